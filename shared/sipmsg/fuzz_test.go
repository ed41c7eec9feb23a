package sipmsg

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// seeds are the torture messages and what has broken other programs.
func seeds(t testing.TB) [][]byte {
	out := [][]byte{[]byte(invite), []byte(response)}
	for _, c := range tortures {
		out = append(out, torture(t, c.name))
	}
	for _, e := range [][2]string{
		{"Content-Length: 4", "Content-Length: 4294967328"}, // CVE-2026-23457
		{"Content-Length: 4", "Content-Length: 4\r\nl: 4"},
		{"Max-Forwards: 70\r\n", "Max-Forwards: 70\n"},
		{"Bob", "B\x00b"},
		{"Max-Forwards:", "Max-Forwards :"}, // CVE-2020-28361
		{"Max-Forwards:", "Max-Forwards\x0b:"},
		{"To: Bob", strings.Repeat("Accept: a/b\r\n", 51) + "To: Bob"}, // CVE-2018-7284
		{"192.0.2.1:5060;branch", "192.0.2.1:-1;branch"},
		{";tag=1928301774", ";tag=" + strings.Repeat("x", 200)}, // CVE-2018-8828
		{"314159 INVITE", "314159 " + strings.Repeat("I", 300)}, // CVE-2017-9372
		{"SIP/2.0/UDP 192", "SIP / 2.0 / UDP\r\n 192"},
		{"Contact:", "k: a,\"b\r\nContact:"},
		{"Contact:", "Authorization: Digest username=\"a\", realm=\"b\\\"c\", nonce=,\r\nContact:"},
		{"Contact:", "Warning: 399 a.b \"x, y\", 307 c.d \"\\\r\nContact:"},
		{"<sip:1001@192.0.2.1:5060>", "\"a\\\" <sip:x@y>"},
		{"<sip:1001@192.0.2.1:5060>", "<sip:a@[::ffff:1.2.3.4]:1;x=%00?a=b&c=>;+sip.instance=\"<urn:uuid:1>\";q=.5"},
		{"<sip:1001@example.com>", "<tel:+49-30-1;phone-context=a.b>"},
	} {
		out = append(out, []byte(edit(t, invite, e[0], e[1])))
	}
	return out
}

// FuzzMessage takes any bytes down the whole road. Nothing may panic; what was read, written and read again is the same
// to this reader and to the second one; what is refused raw is refused for what it is, twice the same.
func FuzzMessage(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	lim := DefaultLimits()
	f.Fuzz(func(t *testing.T, data []byte) {
		exact := bytes.Clone(data)[:len(data):len(data)]
		v := ScreenRaw(exact, true, lim)
		if again := ScreenRaw(exact, true, lim); again != v {
			t.Fatalf("two verdicts: %v, %v", v, again)
		}
		msg, err := Parse(exact)
		if err != nil {
			if !VerdictOf(err).OK() && msg == nil {
				return
			}
			t.Fatalf("error %v with message %v and verdict %v", err, msg, VerdictOf(err))
		}
		Screen(msg, lim)
		roundTrip(t, exact)
	})
}

// FuzzWrite puts any text in every place of a message: what is written has the form it should have.
func FuzzWrite(f *testing.F) {
	for i, s := range nasties {
		f.Add(s, i*i*i, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, v string, num int, response bool) {
		v = v[:min(len(v), 2000)] // the second reader is slow
		out := Bytes(nastyMessage(v, num, response))
		if err := strictRead(out); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := ScreenRaw(out, false, wide()); !got.OK() && got.String() != "reject 400: duplicate-header" && got.String() != "drop: duplicate-header" {
			t.Fatalf("%v\n%s", got, out)
		}
	})
}

// FuzzValues reads any text as each kind of value.
func FuzzValues(f *testing.F) {
	for _, s := range nasties {
		f.Add(s)
	}
	for _, s := range []string{`"A \"B\"" <sip:a@b;x=y?z=1>;tag=q`, "sip:a@b;c=d", "<tel:+1;a=b>", "SIP / 2.0 / UDP [::1] : 5060;branch=a",
		"application/sdp ; charset=\"x\"", "12 INVITE", "<sip:a@b>, \"x, y\" <sip:c@d>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := ParseURI(s); err == nil {
			written := string(appendURI(nil, &u))
			again, err := ParseURI(written)
			if err != nil || dumpURI(again) != dumpURI(u) || !SameURI(u, again) {
				t.Errorf("%q → %q → %v, %s", s, written, err, dumpURI(again))
			}
		}
		if n, err := ParseNameAddr(s); err == nil {
			again, err := ParseNameAddr(n.String())
			if err != nil || again.String() != n.String() {
				t.Errorf("%q → %q → %v", s, n, err)
			}
		}
		for _, name := range []string{"Via", "Contact", "From", "CSeq", "Content-Type", "Supported", "Call-ID"} {
			req := sip.NewRequest(sip.OPTIONS, sip.Uri{Host: "a.b"})
			if Add(req, name, s) == nil {
				Headers(req, name)
				if err := strictRead(Bytes(req)); err != nil {
					t.Errorf("%s: %q: %v", name, s, err)
				}
			}
		}
		clean := CleanDisplayName(s)
		if !insideQuotes(clean) || len(clean) > maxDisplay || CleanDisplayName(clean) != clean {
			t.Errorf("CleanDisplayName(%q) = %q", s, clean)
		}
		HeaderParam(s, "tag")
		if _, _, err := ParseMediaType(s); err == nil && !plain(s) {
			t.Errorf("media type %q", s)
		}
		Canonical(s)
	})
}
