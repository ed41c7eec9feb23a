package siptest

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

// lines joins header lines into a message.
func lines(l ...string) []byte { return []byte(strings.Join(l, "\r\n") + "\r\n\r\n") }

func options(extra ...string) []byte {
	return lines(append([]string{"OPTIONS sip:bob@example.test SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport",
		"Max-Forwards: 70", "From: \"A; <x>\" <sip:alice@example.test;a=b>;tag=1", "To: <sip:bob@example.test>", "Call-ID: c1",
		"CSeq: 7 OPTIONS"}, extra...)...)
}

func TestParseMessage(t *testing.T) {
	m, err := ParseMessage(options("k: path, outbound", "Subject: one", "  two", "Contact: <sip:a@b>;q=1, \"x, y\" <sip:c@d,e>",
		"Content-Length: 0"))
	must(t, err)
	if !m.IsRequest() || m.Method != "OPTIONS" || m.URI != "sip:bob@example.test" || m.CSeq() != 7 || m.CallID() != "c1" {
		t.Errorf("%+v", m)
	}
	if m.FromTag() != "1" || m.ToTag() != "" || m.branch() != "z9hG4bK1" {
		t.Errorf("tags %q %q, branch %q", m.FromTag(), m.ToTag(), m.branch())
	}
	if m.Header("supported") != "path, outbound" || m.Header("SUBJECT") != "one two" {
		t.Errorf("supported %q, subject %q", m.Header("supported"), m.Header("subject"))
	}
	if l := m.list("Contact"); len(l) != 2 || address(l[0]) != "sip:a@b" || address(l[1]) != "sip:c@d,e" {
		t.Errorf("contacts %q", l)
	}
	if address(m.Header("From")) != "sip:alice@example.test;a=b" {
		t.Errorf("From %q", address(m.Header("From")))
	}
	if n := m.Names(); len(n) != 10 || n[6] != "Supported" {
		t.Errorf("names %q", n)
	}
	r, err := ParseMessage(bytes.Replace(options(), []byte("OPTIONS sip:bob@example.test SIP/2.0"), []byte("SIP/2.0 486 Busy Here"), 1))
	must(t, err)
	if r.IsRequest() || r.Code != 486 || r.Reason != "Busy Here" || r.Method != "OPTIONS" || r.result().OK() {
		t.Errorf("%+v", r)
	}
}

func TestParseMessageRefuses(t *testing.T) {
	whole := string(options())
	tests := map[string]string{
		"nothing":               "",
		"no end":                strings.TrimSuffix(whole, "\r\n"),
		"no Via":                strings.Replace(whole, "Via:", "X:", 1),
		"no CSeq":               strings.Replace(whole, "CSeq:", "X:", 1),
		"other method in CSeq":  strings.Replace(whole, "7 OPTIONS", "7 BYE", 1),
		"CSeq too large":        strings.Replace(whole, "CSeq: 7", "CSeq: 2147483648", 1),
		"two Call-IDs":          string(options("Call-ID: other")),
		"two From, one compact": string(options("f: <sip:x@y>;tag=2")),
		"wrong length":          string(options("Content-Length: 5")),
		"status 99":             strings.Replace(whole, "OPTIONS sip:bob@example.test SIP/2.0", "SIP/2.0 099 X", 1),
		"other version":         strings.Replace(whole, "SIP/2.0\r\n", "SIP/3.0\r\n", 1),
		"line without colon":    string(options("nonsense")),
		"bare LF in a value":    string(options("Subject: hi\nX-Injected: 1")),
		"too many":              string(options(strings.Split(strings.Repeat("X: 1\n", maxFields), "\n")[:maxFields]...)),
	}
	for name, raw := range tests {
		if m, err := ParseMessage([]byte(raw)); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(options())
	f.Add(options("k: x", "Contact: \"\\\"\" <sip:a@b>;q=0.1,*", "l: 0"))
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h;branch=z9\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		for _, name := range m.Names() {
			for _, v := range m.list(name) {
				address(v)
				param(v, "tag")
				withoutTag(v)
				digestFields(v)
			}
		}
		if m.CallID() == "" || m.Method == "" {
			t.Errorf("accepted without Call-ID or method: %q", b)
		}
	})
}

func TestAddressAndParams(t *testing.T) {
	tests := []struct{ value, address, tag, without string }{
		{"<sip:a@b>;tag=1", "sip:a@b", "1", "<sip:a@b>"},
		{"sip:a@b;tag=2", "sip:a@b", "2", "sip:a@b"},
		{`"q\"<sip:no@no>;tag=0" <sip:a@b;tag=9>;x=y;TAG="3"`, "sip:a@b;tag=9", "3", `"q\"<sip:no@no>;tag=0" <sip:a@b;tag=9>;x=y`},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		if got := address(tt.value); got != tt.address {
			t.Errorf("address(%q) = %q", tt.value, got)
		}
		if got := param(tt.value, "tag"); got != tt.tag {
			t.Errorf("tag of %q = %q", tt.value, got)
		}
		if got := withoutTag(tt.value); got != tt.without {
			t.Errorf("withoutTag(%q) = %q", tt.value, got)
		}
	}
	if !hasParam("SIP/2.0/UDP h;rport;branch=1", "RPORT") || hasParam("SIP/2.0/UDP h;branch=rport", "rport") {
		t.Error("parameter without value")
	}
}

func TestHostPort(t *testing.T) {
	tests := map[string]string{
		"sip:a@10.0.0.1:5070;transport=udp": "10.0.0.1:5070",
		"sip:a@10.0.0.1":                    "10.0.0.1:5060",
		"sip:10.0.0.1;transport=tls;lr":     "10.0.0.1:5061",
		"sips:a@example.test":               "example.test:5061",
		"sip:a@[2001:db8::1]:99":            "[2001:db8::1]:99",
		"sip:a@[2001:db8::1]?x=y":           "[2001:db8::1]:5060",
	}
	for uri, want := range tests {
		if got := hostPort(uri); got != want {
			t.Errorf("hostPort(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestDraft(t *testing.T) {
	d := &draft{start: "INVITE sip:b@c SIP/2.0", body: []byte("hello")}
	d.add("Via", "v").add("From", "f").add("Route", "<sip:r;lr>").add("CSeq", "4 INVITE").add("Call-ID", "i")
	copied := d.clone()
	d.set("via", "w")
	if copied.get("Via") != "v" || d.get("VIA") != "w" || d.get("X") != "" {
		t.Error("set, get or clone")
	}
	if !strings.HasSuffix(string(d.bytes()), "\r\nContent-Length: 5\r\n\r\nhello") {
		t.Errorf("%q", d.bytes())
	}
	ack := string(d.follower("ACK", "to;tag=1").bytes())
	for _, want := range []string{"ACK sip:b@c SIP/2.0\r\n", "Via: w\r\n", "CSeq: 4 ACK\r\n", "To: to;tag=1\r\n", "Route: <sip:r;lr>\r\n",
		"Call-ID: i\r\n", "Content-Length: 0\r\n"} {
		if !strings.Contains(ack, want) {
			t.Errorf("ACK lacks %q:\n%s", want, ack)
		}
	}
}

func TestReadFrame(t *testing.T) {
	one := string(options("Content-Length: 3")) + "abc"
	two := string(options("l: 0"))
	r := bufio.NewReader(strings.NewReader("\r\n\r\n" + one + two))
	var got []string
	for {
		b, err := readFrame(r)
		if err != nil {
			if !strings.Contains(err.Error(), io.EOF.Error()) {
				t.Error(err)
			}
			break
		}
		got = append(got, string(b))
	}
	if len(got) != 4 || got[0]+got[1] != "" || got[2] != one || got[3] != two {
		t.Errorf("%q", got)
	}
	for name, s := range map[string]string{
		"no length":      string(options()),
		"negative":       string(options("Content-Length: -1")),
		"not a number":   string(options("Content-Length: x")),
		"too long":       string(options("Content-Length: 999999999")),
		"cut in header":  "OPTIONS sip:x SIP/2.0\r\nVia: ",
		"cut in body":    string(options("Content-Length: 9")) + "abc",
		"bare line feed": "OPTIONS sip:x SIP/2.0\nVia: x\n\n",
		"endless header": "OPTIONS sip:x SIP/2.0\r\n" + strings.Repeat("X: y\r\n", maxFrame/6),
	} {
		if b, err := readFrame(bufio.NewReader(strings.NewReader(s))); err == nil {
			t.Errorf("%s: accepted %q", name, b)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\r\n\r\n"))
	f.Add(options("Content-Length: 0"))
	f.Add([]byte("A\r\nl: 2\r\n\r\nab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for range 100 {
			if _, err := readFrame(r); err != nil {
				return
			}
		}
	})
}
