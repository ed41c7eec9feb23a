package banlist

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// sound says what holds for each list, whatever it was read from.
func sound(t *testing.T, list []netip.Prefix, rep Report, o Options) {
	t.Helper()
	for i, p := range list {
		a := p.Addr()
		switch {
		case !p.IsValid() || p != p.Masked() || a.Is4In6() && p.Bits() >= 96:
			t.Fatalf("%s", p)
		case a.Is4() && p.Bits() < MinBits4 || a.Is6() && p.Bits() < MinBits6:
			t.Fatalf("%s is too wide", p)
		case a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Is4() && a.As4()[0] == 0:
			t.Fatalf("%s is on the list", p)
		case i > 0 && (list[i-1].Compare(p) >= 0 || list[i-1].Contains(a)):
			t.Fatalf("%s before %s", list[i-1], p)
		}
	}
	if rep.Entries != len(list) || len(list) > o.MaxEntries || len(rep.Samples) > maxSamples || rep.RefusedAll() > rep.Read {
		t.Fatalf("%d on the list, %+v", len(list), rep)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"192.0.2.1\n192.0.2.0/24 ; x\n2001:db8::/32\n", "192.0.2.5-192.0.2.9\n", "a,b\n\"192.0.2.1\",x\n", "\"a\n,", "::ffff:1.2.3.4/99\n", "\xef\xbb\xbf1.1.1.1",
		`{"cidr":"192.0.2.0/24"}` + "\n" + `{"type":"metadata","records":1}`, `["192.0.2.1",{"cidr":"::/0"}]`, `{"ipaddress":["192.0.2.1"],"ID":"9"}`, `{"ips":[[],null,"\u0031"]}`,
		"0.0.0.0/0\n127.0.0.1\nff02::1\n", "<html>",
	} {
		for i := range Formats() {
			f.Add([]byte(text), byte(i), "")
		}
		f.Add([]byte(text), byte(2), "b")
	}
	f.Fuzz(func(t *testing.T, text []byte, format byte, column string) {
		o := Options{Format: Formats()[int(format)%len(Formats())], Column: column, MaxEntries: 500, MaxBytes: 1 << 20, MaxGarbage: 60}
		list, rep, err := Parse(bytes.NewReader(text), o)
		if err != nil {
			if list != nil || !slices.ContainsFunc([]error{ErrGarbage, ErrTooMany, ErrTooLarge, ErrTruncated, ErrOptions}, func(e error) bool { return errors.Is(err, e) }) {
				t.Fatalf("%v, %v", list, err)
			}
			return
		}
		sound(t, list, rep, o)
		var b bytes.Buffer
		if err := Write(&b, list, Plain); err != nil {
			t.Fatal(err)
		}
		if again, _, err := Parse(&b, Options{Format: Plain}); err != nil || !slices.Equal(again, list) {
			t.Fatalf("%v read back as %v, %v", list, again, err)
		}
	})
}

// An entry is an address to us exactly when it is one to netip, but for zones and ranges.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "192.0.2.1/24", "01.2.3.4", "1.2.3.4/08", "::ffff:1.2.3.4/120", "2001:db8::/65", "fe80::1%x", "1.2.3.4/32 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "-") {
			return
		}
		want, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil && a.Zone() == "" {
				want = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if want.IsValid() && want.Addr().Is4In6() && want.Bits() >= 96 {
			want = netip.PrefixFrom(want.Addr().Unmap(), want.Bits()-96)
		}
		c := NewCollector(9)
		why := c.parse([]byte(s))
		if (why == NotAddress) == want.IsValid() {
			t.Fatalf("%q: %q, and netip says %s, %v", s, why, want, err)
		}
		if got, _, _ := c.Finish(); why == "" && (len(got) != 1 || got[0] != want.Masked()) {
			t.Fatalf("%q: %v, want %s", s, got, want.Masked())
		}
	})
}

// A value is JSON to us exactly when it is to encoding/json, up to our bounds.
func FuzzTokens(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e+3,true,null,"x\"\\\u00e9"],"b":{}}`, `[]`, `[1,]`, `{"a"}`, `"\x"`, `01`, `tru`, "\"\t\"", `{"a":1}}`, `[[[[]]]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxEntry || bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxDepth {
			return
		}
		tk := tokens{in: bufio.NewReaderSize(bytes.NewReader(text), maxLine)}
		err := tk.skip(0)
		if err == nil {
			_, end := tk.peek()
			if end != io.EOF {
				err = errors.New("more")
			}
		}
		if (err == nil) != json.Valid(text) {
			t.Fatalf("%q: %v, and encoding/json says %t", text, err, json.Valid(text))
		}
	})
}
