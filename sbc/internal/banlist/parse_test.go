package banlist

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

func list(ps ...string) []netip.Prefix {
	out := []netip.Prefix{}
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, text, column string
		format, is         Format
		want               []netip.Prefix
	}{
		{name: "plain", is: Plain, text: "# list\n\n198.51.100.7\r\n192.0.2.0/24 ; SBL1\n;x\n2001:db8::/32#y\n", want: list("192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32")},
		{name: "no end of line", is: Plain, text: "192.0.2.1", want: list("192.0.2.1/32")},
		{name: "byte order mark", is: Plain, text: "\xef\xbb\xbf192.0.2.1\n", want: list("192.0.2.1/32")},
		{name: "nothing", is: Plain, want: list()},
		{name: "comments only", is: Plain, text: "# a, b\n; c\n", want: list()},
		{name: "range", is: Plain, text: "192.0.2.5-192.0.2.9\n10.0.0.0 - 10.0.0.255\n198.51.100.1-198.51.100.1\n",
			want: list("10.0.0.0/24", "192.0.2.5/32", "192.0.2.6/31", "192.0.2.8/31", "198.51.100.1/32")},
		{name: "range to the end", is: Plain, text: "255.255.255.254-255.255.255.255\n", want: list("255.255.255.254/31")},
		{name: "host bits", is: Plain, text: "192.0.2.77/24\n2001:db8::1/64\n", want: list("192.0.2.0/24", "2001:db8::/64")},
		{name: "mapped", is: Plain, text: "::ffff:192.0.2.1\n::ffff:c000:200/120\n", want: list("192.0.2.0/24")},
		{name: "lengths of IPv6", is: Plain, text: "2001:db8::/65\n2001:db9::1/127\n2001:dba::1\n", want: list("2001:db8::/65", "2001:db9::/127", "2001:dba::1/128")},
		{name: "twice and within", is: Plain, text: "192.0.2.1\n192.0.2.0/25\n192.0.2.0/24\n192.0.2.0/24\n192.0.3.0\n", want: list("192.0.2.0/24", "192.0.3.0/32")},
		{name: "first column", is: CSV, text: "192.0.2.1,x\n192.0.2.2,y\n", want: list("192.0.2.1/32", "192.0.2.2/32")},
		{name: "header", is: CSV, text: "\"when\",\"ip\"\n2024-01-01,192.0.2.1\n2024-01-02,\"192.0.2.2\"\n", want: list("192.0.2.1/32", "192.0.2.2/32")},
		{name: "named", is: CSV, column: "Dst", text: "src;dst\n192.0.2.1;192.0.2.2\n", format: CSV, want: list("192.0.2.2/32")},
		{name: "numbered", is: CSV, column: "2", text: "192.0.2.1\t192.0.2.2\n", want: list("192.0.2.2/32")},
		{name: "numbered, header", is: CSV, column: "2", text: "a,b\n192.0.2.1,192.0.2.2\n", want: list("192.0.2.2/32")},
		{name: "quotes", is: CSV, text: "\"a, \"\"b\"\"\nc\",192.0.2.1\n\"d\",192.0.2.2\n", want: list("192.0.2.1/32", "192.0.2.2/32")},
		{name: "range in a row", is: CSV, text: "# first,last\n\n192.0.2.4-192.0.2.5,x\n", want: list("192.0.2.4/31")},
		{name: "drop", is: DropJSON, text: `{"cidr":"192.0.2.0/24","sblid":"SBL1","rir":"x"}` + "\n" + `{"cidr":"2001:db8::/32"}` + "\n" + `{"type":"metadata","records":2,"size":9}` + "\n",
			want: list("192.0.2.0/24", "2001:db8::/32")},
		{name: "drop, no metadata", is: DropJSON, text: `{"cidr":"192.0.2.0\/24"}`, want: list("192.0.2.0/24")},
		{name: "drop, array", is: DropJSON, text: ` [ {"x":[1,{"cidr":null}],"cidr":"192.0.2.0/24"} , "192.0.3.1" ] `, want: list("192.0.2.0/24", "192.0.3.1/32")},
		{name: "drop, empty", is: DropJSON, text: `[]`, want: list()},
		{name: "apiban", is: APIBAN, text: `{"ipaddress":["192.0.2.1","2001:db8::1"],"ID":"1700000000"}`, want: list("192.0.2.1/32", "2001:db8::1/128")},
		{name: "apiban, ips", is: APIBAN, text: `{"ID":1,"ips":["192.0.2.1"]}`, want: list("192.0.2.1/32")},
		{name: "apiban, nothing new", is: APIBAN, text: `{"ipaddress":null,"ID":"none"}`, want: list()},
		{name: "escapes", is: APIBAN, text: `{"ips":["\u0031.2.3.4"],"x":"\"\\"}`, want: list("1.2.3.4/32")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tc.text), iotest.OneByteReader(strings.NewReader(tc.text))} {
				got, rep, err := Parse(r, Options{Format: tc.format, Column: tc.column})
				if err != nil || fmt.Sprint(got) != fmt.Sprint(tc.want) || rep.Format != tc.is || rep.Entries != len(got) {
					t.Errorf("%v, %+v, %v\nwant %v as %s", got, rep, err, tc.want, tc.is)
				}
			}
		})
	}
}

// Each entry is refused for its own reason, and the good one beside it stays.
func TestRefusals(t *testing.T) {
	for text, want := range map[string]Refusal{
		"192.0.2.256": NotAddress, "192.0.2": NotAddress, "192.0.2.1.1": NotAddress, "192.0.2.01": NotAddress, "192.0.2.1/33": NotAddress,
		"192.0.2.1/": NotAddress, "192.0.2.1/024": NotAddress, "192.0.2.1 x": NotAddress, "192.0.2.1-": NotAddress, "192.0.2.1-2001:db8::1": NotAddress,
		"fe80::1%eth0": NotAddress, "2001:db8::/129": NotAddress, "2001:db8::/": NotAddress, "example.com": NotAddress, "192.0.2.1/-1": NotAddress,
		"192.0.2.9-192.0.2.5": BadRange,
		"192.0.0.0/7":         TooWide, "0.0.0.0/0": TooWide, "::/0": TooWide, "2000::/15": TooWide, "::ffff:0:0/96": TooWide, "0.0.0.0-255.255.255.255": TooWide,
		"0.0.0.0": ThisNet, "0.0.0.0/8": ThisNet, "0.1.2.3": ThisNet, "::ffff:0.0.0.1": ThisNet,
		"::": Unspec, "::/16": Unspec, "::1/127": Unspec, "::1": Loopback, "127.0.0.1": Loopback, "127.0.0.0/8": Loopback, "126.0.0.0-127.0.0.5": Loopback,
		"224.0.0.1": Multicast, "239.255.0.0/16": Multicast, "ff02::1": Multicast, "ff00::/16": Multicast,
		"169.254.169.254": LinkLocal, "fe80::1": LinkLocal, "febf::/16": LinkLocal,
	} {
		got, rep, err := Parse(strings.NewReader("192.0.2.1\n"+text+"\n"), Options{MaxGarbage: 50, Format: Plain})
		if err != nil || len(got) != 1 || rep.Refused[want] != 1 || rep.RefusedAll() != 1 || rep.Samples[0].Line != 2 {
			t.Errorf("%s: %v, %+v, %v; want %s", text, got, rep, err, want)
		}
	}
	for _, text := range []string{"1.0.0.0/8", "2001::/16", "240.0.0.1", "10.0.0.0/8", "169.255.0.0/16", "fec0::/16", "::2", "::8000:0:0/97"} {
		if got, rep, err := Parse(strings.NewReader(text), Options{}); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %+v, %v", text, got, rep, err)
		}
	}
}

// What is no list, or not all of one, is refused as a whole.
func TestRefusedWhole(t *testing.T) {
	drop := `{"cidr":"192.0.2.0/24"}` + "\n"
	for _, tc := range []struct {
		name, text string
		o          Options
		want       error
	}{
		{"web page", " <!DOCTYPE html>\n192.0.2.1\n", Options{}, ErrGarbage},
		{"web page for CSV", "<html>", Options{Format: CSV}, ErrGarbage},
		{"web page for JSON", "<html>", Options{Format: DropJSON}, ErrGarbage},
		{"words", "Service unavailable\n", Options{}, ErrGarbage},
		{"a tenth and more", strings.Repeat("192.0.2.1\n", 8) + "x\n", Options{}, ErrGarbage},
		{"nul bytes", strings.Repeat("\x00", 200_000), Options{}, ErrGarbage},
		{"long lines", strings.Repeat(strings.Repeat("1", maxLine+1)+"\n", 3), Options{}, ErrGarbage},
		{"open quote", "\"192.0.2.1,\n192.0.2.2\n", Options{}, ErrGarbage},
		{"no such column", "a,b\n192.0.2.1,x\n", Options{Column: "c"}, ErrOptions},
		{"too many", "192.0.2.1\n192.0.2.1\n192.0.2.1\n", Options{MaxEntries: 2}, ErrTooMany},
		{"too many in JSON", `{"ips":["192.0.2.1","192.0.2.1","192.0.2.1"]}`, Options{MaxEntries: 2}, ErrTooMany},
		{"too many of ranges", "10.0.0.1-10.255.255.254\n", Options{MaxEntries: 9}, ErrTooMany},
		{"too large", "192.0.2.1\n192.0.2.2\n", Options{MaxBytes: 19}, ErrTooLarge},
		{"JSON cut", drop + `{"cidr":"192.0.3.`, Options{}, ErrTruncated},
		{"array cut", `["192.0.2.1"`, Options{}, ErrTruncated},
		{"fewer than said", drop + `{"type":"metadata","records":2}`, Options{}, ErrTruncated},
		{"more than said", drop + drop + `{"type":"metadata","records":1}`, Options{}, ErrTruncated},
		{"after the end", `{"type":"metadata","records":0}` + drop, Options{}, ErrGarbage},
		{"an error in JSON", `{"error":"rate limit"}`, Options{}, ErrGarbage},
		{"an error in JSON for APIBAN", `{"error":"rate limit"}`, Options{Format: APIBAN}, ErrGarbage},
		{"an error where addresses should be", `{"ipaddress":"rate limit exceeded","ID":"none"}`, Options{}, ErrGarbage},
		{"key twice", `{"cidr":"192.0.2.0/24","cidr":"192.0.3.0/24"}`, Options{}, ErrGarbage},
		{"no strings", `{"ips":[1,2]}`, Options{}, ErrGarbage},
		{"deep", strings.Repeat("[", 100_000), Options{}, ErrGarbage},
		{"no JSON", `{"cidr" "192.0.2.0/24"}`, Options{}, ErrGarbage},
		{"no number", `{"cidr":01}`, Options{}, ErrGarbage},
		{"a long string", `["` + strings.Repeat("1", 2*maxLine), Options{}, ErrGarbage},
		{"no format", "x", Options{Format: "xml"}, ErrOptions},
	} {
		got, rep, err := Parse(strings.NewReader(tc.text), tc.o)
		if !errors.Is(err, tc.want) || got != nil || strings.ContainsAny(fmt.Sprint(err), "\n\x00") || len(fmt.Sprint(err)) > 400 {
			t.Errorf("%s: %v, %+v, %v; want %v", tc.name, got, rep, err, tc.want)
		}
	}
	broken := io.MultiReader(strings.NewReader("192.0.2.1\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got, _, err := Parse(broken, Options{}); !errors.Is(err, ErrTruncated) || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReport(t *testing.T) {
	text := strings.Repeat("192.0.2.1\n", 100) + "192.0.3.1/24\n0.0.0.0/0\n127.0.0.1\nwor\x1bse\n"
	_, rep, err := Parse(strings.NewReader(text), Options{})
	want := `2 networks of 104 entries, 99 within others, 1 with host bits, 1 refused: loopback, 1 refused: not-an-address, 1 refused: too-wide (first: line 102, "0.0.0.0/0")`
	if err != nil || rep.String() != want || rep.Samples[2].Text != `"wor\x1bse"` {
		t.Errorf("%s, %v\nwant %s", rep, err, want)
	}
	_, rep, _ = Parse(strings.NewReader(strings.Repeat(strings.Repeat("z", 500)+"\n", 50)), Options{})
	if len(rep.Samples) != maxSamples || len(rep.Samples[0].Text) > maxText+5 || rep.Refused[NotAddress] != 50 {
		t.Errorf("%+v", rep)
	}
}

func TestImport(t *testing.T) {
	if _, _, err := Import(strings.NewReader("# nothing\n"), Options{}); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	if got, _, err := Import(strings.NewReader("192.0.2.1"), Options{}); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
}

func TestCursor(t *testing.T) {
	for text, want := range map[string]string{
		`{"ipaddress":["192.0.2.1"],"ID":"1700000000"}`: "1700000000", `{"ID":1700000000}`: "1700000000", `{"ID":"none","x":{"ID":"1"}}`: "none", `{"ID":[1]}`: "", `{}`: "",
	} {
		if got, err := Cursor(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{"": ErrTruncated, `{"ID":"1"`: ErrTruncated, "[]": ErrGarbage, "<html>": ErrGarbage} {
		if got, err := Cursor(strings.NewReader(text)); !errors.Is(err, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
