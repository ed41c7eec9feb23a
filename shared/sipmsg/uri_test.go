package sipmsg

import (
	"errors"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestParseURI(t *testing.T) {
	for in, want := range map[string]string{
		"sip:a@b.c": "", "SIP:a@B.c": "sip:a@B.c", "sips:a:pw@b.c:5061;transport=tcp;lr?x=y&z=": "", "sip:b.c": "", "sip:b.c.": "",
		"sip:[2001:db8::1]:5060": "", "sip:192.0.2.1": "", "sip:a;b=c@d.e": "", "sip:%00@b.c": "", "sip:+49(30)1@b.c;user=phone": "",
		"sip:a@b.c;X=Y": "sip:a@b.c;x=Y", "sip:a:@b.c": "sip:a@b.c", "tel:+4930123;phone-context=x": "", "urn:service:sos": "",
		"soap.beep://192.0.2.103:3002": "", "sip:a?b/c@d.e": "", "sip:1-a.b": "", "sip:a@b.c:05060": "sip:a@b.c:5060",
	} {
		u, err := ParseURI(in)
		if want == "" {
			want = in
		}
		if got := string(appendURI(nil, &u)); err != nil || got != want {
			t.Errorf("ParseURI(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	u := mustURI(t, "sip:al%69ce:pw@[::1]:5062;a=b;lr?h=v")
	if u.User != "al%69ce" || u.Password != "pw" || u.Host != "[::1]" || u.Port != 5062 || !u.UriParams.Has("lr") || u.Headers[0].V != "v" {
		t.Errorf("got %+v", u)
	}
	if u = mustURI(t, "tel:+49"); u.Raw() != "+49" || u.User != "" || u.Host != "" {
		t.Errorf("got %+v", u)
	}
}

func TestParseURIRefuses(t *testing.T) {
	for _, in := range []string{
		"", ":", "sip", "sip:", "a", "1sip:a@b.c", "s ip:a@b.c", "sip: a@b.c", "sip:a@b.c ", "sip:@b.c", "sip::pw@b.c", "sip:a@", "sip:a@@b.c",
		"sip:a@b@c", "sip:a b@c.d", "sip:a@b_c.d", "sip:a@-b.c", "sip:a@b-.c", "sip:a@b..c", "sip:a@.b", "sip:a@b.c..", "sip:a@1.2.3",
		"sip:a@1.2.3.4.5", "sip:a@256.1.1.1", "sip:a@1.2.3.04", "sip:a@[::1", "sip:a@[fe80::1%eth0]", "sip:a@[1.2.3.4]", "sip:a@[]",
		"sip:a@[::1]x", "sip:a@::1", "sip:a@b.c:", "sip:a@b.c:0", "sip:a@b.c:65536", "sip:a@b.c:-1", "sip:a@b.c:+1", "sip:a@b.c:1x",
		"sip:a@b.c:0000005060", "sip:a@b.c;", "sip:a@b.c;;x", "sip:a@b.c;=x", "sip:a@b.c;x=", "sip:a@b.c;x=1;X=2", "sip:a@b.c;x=\"y\"",
		"sip:a@b.c;x=<", "sip:a@b.c?", "sip:a@b.c?x", "sip:a@b.c?=y", "sip:a@b.c?x=y&", "sip:a@b.c?x=\r\n", "sip:a%@b.c", "sip:a%0@b.c",
		"sip:a%zz@b.c", "sip:a#b@c.d", "sip:ü@b.c", "sip:a@ü.c", "tel:", "tel:+49 30", "tel:<1>", "tel:ü", "sip:a\x00@b.c", "*",
		"sip:a@" + strings.Repeat("a", 64) + ".c", "sip:a@" + strings.Repeat("a.", 128) + "c",
		"sip:a@b.c" + strings.Repeat(";a", 1) + strings.Repeat(";a", 1), "sip:a@b.c" + params(65, ";p%d"), "sip:a@b.c?h=1" + params(65, "&h%d=1"),
	} {
		if u, err := ParseURI(in); err == nil || !errors.Is(err, ErrURI) {
			t.Errorf("ParseURI(%q) = %+v, %v; want ErrURI", in, u, err)
		}
	}
}

func params(n int, form string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(form, "%d", strings.Repeat("x", i+1)))
	}
	return b.String()
}

func TestSameURI(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		// the examples of RFC 3261 §19.1.4
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		// others
		{"sip:a@b.c", "sips:a@b.c", false},
		{"sip:a@b.c;x=1", "sip:a@b.c;x=2", false},
		{"sip:a@[::1]", "sip:a@[0:0::1]", true},
		{"sip:a:p@b.c", "sip:a@b.c", false},
		{"sip:a%2Fb@c.d", "sip:a/b@c.d", false},
		{"tel:+49", "TEL:+49", true},
		{"tel:+49", "tel:+48", false},
		{"tel:+49", "sip:49@a.b", false},
	} {
		a, b := mustURI(t, c.a), mustURI(t, c.b)
		if SameURI(a, b) != c.same || SameURI(b, a) != c.same {
			t.Errorf("SameURI(%q, %q) = %v", c.a, c.b, !c.same)
		}
	}
	if !SameURI(sip.Uri{Host: "a.b"}, sip.Uri{Scheme: "sip", Host: "a.b"}) || SameURI(sip.Uri{Host: "*", Wildcard: true}, sip.Uri{Host: "*"}) {
		t.Error("missing scheme or wildcard")
	}
}

func TestParseNameAddr(t *testing.T) {
	for in, want := range map[string]string{
		"sip:a@b.c":                               "<sip:a@b.c>",
		"sip:a@b.c;tag=1":                         "<sip:a@b.c>;tag=1",
		"<sip:a@b.c;tag=1>":                       "<sip:a@b.c;tag=1>",
		" Bob  Smith <sip:a@b.c> ; TAG = 1 ":      `"Bob  Smith" <sip:a@b.c>;tag=1`,
		"caller<sip:a@b.c>":                       `"caller" <sip:a@b.c>`,
		`"a \"b\" <x>; y"<sip:a@b.c>;z="q;, r"`:   `"a \"b\" <x>; y" <sip:a@b.c>;z="q;, r"`,
		`"" <sip:a@b.c>`:                          "<sip:a@b.c>",
		"<tel:+49>;x=[::1]":                       "<tel:+49>;x=[::1]",
		"<sip:a@b.c>;+sip.instance=\"<urn:x:1>\"": "<sip:a@b.c>;+sip.instance=\"<urn:x:1>\"",
	} {
		if n, err := ParseNameAddr(in); err != nil || n.String() != want {
			t.Errorf("ParseNameAddr(%q) = %q, %v; want %q", in, n, err, want)
		}
	}
	for _, in := range []string{
		"", " ", "<", "<>", "<sip:a@b.c", "sip:a@b.c>", "a b", `"a`, `"a" sip:a@b.c`, `"a\"<sip:a@b.c>`, `"a" x <sip:a@b.c>`, "Bell, A <sip:a@b.c>",
		"ü <sip:a@b.c>", "<sip:a@b.c> x", "<sip:a@b.c>;", "<sip:a@b.c>;;a", "<sip:a@b.c>;a=", "<sip:a@b.c>;a;A", "<sip:a@b.c>;a=\"b",
		"<sip:a@b.c>;a=b c", "<sip:a@b.c>;a=\"b\"c", "sip:a@b.c?x=y", "sip:a,b@c.d", "<sip:a@b.c><sip:d@e.f>", "< sip:a@b.c>", "<sip:a@b.c >",
		"<sip:a@b.c>" + params(65, ";p%d"), "\"a\x00\" <sip:a@b.c>", "\"a\\\x00\" <sip:a@b.c>", "*",
	} {
		if n, err := ParseNameAddr(in); err == nil {
			t.Errorf("ParseNameAddr(%q) = %q, want an error", in, n)
		}
	}
}

func TestHeaderParam(t *testing.T) {
	for _, c := range []struct {
		value, param, want string
		ok                 bool
	}{
		{"<sip:a@b.c;tag=no>;tag=yes", "Tag", "yes", true},
		{`"x;tag=no" <sip:a@b.c>;tag="y \"es\""`, "tag", `y "es"`, true},
		{"<sip:a@b.c>;ob", "ob", "", true},
		{"active;expires=60", "expires", "60", true},
		{"<sip:a@b.c>", "tag", "", false},
		{`"open;tag=1`, "tag", "", false},
		{"<sip:open;tag=1", "tag", "", false},
		{"a;;tag=1", "tag", "", false},
		{"", "tag", "", false},
	} {
		if got, ok := HeaderParam(c.value, c.param); got != c.want || ok != c.ok {
			t.Errorf("HeaderParam(%q, %q) = %q, %v", c.value, c.param, got, ok)
		}
	}
}

func TestCleanDisplayName(t *testing.T) {
	for in, want := range map[string]string{
		"Bob": "Bob", `Bob "B" Smith`: `Bob \"B\" Smith`, `a\b`: `a\b`, `a\`: `a\\`, "a\r\nb\x00c": "abc", `x\"y`: `x\"y`, "ü\xff": "ü",
		"a\u0085b": "ab", "": "",
	} {
		if got := CleanDisplayName(in); got != want {
			t.Errorf("CleanDisplayName(%q) = %q, want %q", in, got, want)
		}
	}
	for _, long := range []string{strings.Repeat("ü", 500), strings.Repeat(`"`, 500), strings.Repeat(`\"`, 500), strings.Repeat("a", 255) + `"`} {
		got := CleanDisplayName(long)
		if len(got) > maxDisplay || !insideQuotes(got) || len(got) < maxDisplay/2 {
			t.Errorf("CleanDisplayName of %d bytes = %q", len(long), got)
		}
	}
	if got := DisplayText(`a \"b\" \\`); got != `a "b" \` {
		t.Errorf("DisplayText = %q", got)
	}
}

func TestParseVia(t *testing.T) {
	for in, want := range map[string]string{
		"SIP/2.0/UDP a.b:5060;branch=x;RPORT":                   "SIP/2.0/UDP a.b:5060;branch=x;rport",
		"SIP / 2.0 /\tUDP  a.b : 5060 ; ttl=16":                 "SIP/2.0/UDP a.b:5060;ttl=16",
		"SIP/2.0/WSS df7jal23ls0d.invalid":                      "SIP/2.0/WSS df7jal23ls0d.invalid",
		"SIP/2.0/TLS [2001:db8::9:1]:5061;received=2001:db8::7": "SIP/2.0/TLS [2001:db8::9:1]:5061;received=2001:db8::7",
		"SIP/2.0/TLS [2001:db8::9:1]":                           "SIP/2.0/TLS [2001:db8::9:1]",
	} {
		h, err := parseVia(in)
		if err != nil || string(appendVia(nil, h)) != want {
			t.Errorf("parseVia(%q) = %v, %v; want %q", in, h, err, want)
		}
	}
	for _, in := range []string{"", "SIP", "SIP/2.0", "SIP/2.0/UDP", "SIP/2.0/UDPa.b", "SIP/2.0/UDP ", "/2.0/UDP a.b", "SIP/2.0/UDP a.b:x", "SIP/2.0/UDP a.b:-1",
		"SIP/2.0/UDP a.b:0", "SIP/2.0/UDP a.b;", "SIP/2.0/UDP a.b;branch=", "SIP/2.0/UDP a b", "SIP/2.0/UDP a.b c.d", "SIP/2.0/UDP ::1", "SIP/2.0/UDP [::1", "SIP/2.0/UDP a.b:70000"} {
		if h, err := parseVia(in); err == nil {
			t.Errorf("parseVia(%q) = %v, want an error", in, h)
		}
	}
}

func TestParseMediaType(t *testing.T) {
	got, p, err := ParseMediaType(`Application / SDP ; charset="utf-8"; a=b`)
	if v, _ := Param(p, "charset"); err != nil || got != "application/sdp" || v != "utf-8" {
		t.Errorf("got %q, %q, %v", got, p, err)
	}
	for _, in := range []string{"", "a", "a/", "/b", "a b/c", "a/b c", "a/b;", "a/b;x=\"", "a/b/c"} {
		if got, _, err := ParseMediaType(in); err == nil {
			t.Errorf("ParseMediaType(%q) = %q, want an error", in, got)
		}
	}
}

func TestParseKeepsNothingOfTheInput(t *testing.T) {
	b := []byte(invite)
	msg, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	before := string(Bytes(msg))
	for i := range b {
		b[i] = 'x'
	}
	if string(Bytes(msg)) != before {
		t.Error("the message shares the input's memory")
	}
}

func BenchmarkParse(b *testing.B) {
	data := []byte(invite)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
