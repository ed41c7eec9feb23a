package sipmsg

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// nasties are values that try to break out of their place.
var nasties = []string{
	"", " ", "a\r\nX-Injected: 1", "a\nb", "a\rb", "a\x00b", "a\x7f", "\xff\xfe", `"`, `\`, `a" <sip:evil@example.com>;x="`, `\"`, `\\"`,
	"<", ">", "a>b", ";", "a;b=c", ",", "a,b", "?", "a?b=c", "@", "a@b", "[", "[::1]", "::1", "fe80::1%eth0", "%", "%0", "%0d%0a", "%zz",
	"ü", "日本", "\u2028", " a ", "\t", "a b", "a\tb", "*", "..", ".a", "-", "a..b", "255.255.255.256", strings.Repeat("a", 300),
	"SIP/2.0", ":", "a:b", "=", "a=b", "&", "'", "(", "\r\n\r\n", "\r\n ", "\"a\\", `"a"`, `"a" "b"`, `"a\"`, `\` + "\x00", `\ü`,
}

// nastyMessage puts one value in every place of a message.
func nastyMessage(v string, num int, response bool) sip.Message {
	kv := sip.HeaderParams{{K: "tag", V: v}, {K: v, V: "x"}, {K: v, V: v}, {K: "", V: v}, {K: "flag"}}
	uri := sip.Uri{Scheme: v, User: v, Password: v, Host: v, Port: num, UriParams: kv, Headers: kv}
	var raw sip.Uri
	_ = sip.ParseUri("tel:"+v, &raw) // what it does not take leaves an empty URI, which is a case too
	id, ct := sip.CallIDHeader(v), sip.ContentTypeHeader(v)
	mf, cl, exp := sip.MaxForwardsHeader(num), sip.ContentLengthHeader(num), sip.ExpiresHeader(num)
	headers := []sip.Header{
		&sip.ViaHeader{ProtocolName: v, ProtocolVersion: v, Transport: v, Host: v, Port: num, Params: kv},
		&sip.FromHeader{DisplayName: v, Address: uri, Params: kv},
		&sip.ToHeader{DisplayName: v, Address: raw, Params: kv}, &id,
		&sip.CSeqHeader{SeqNo: uint32(num), MethodName: sip.RequestMethod(v)},
		&sip.ContactHeader{DisplayName: v, Address: uri, Params: kv}, &sip.ContactHeader{Address: sip.Uri{Wildcard: true, Host: v}},
		&sip.RouteHeader{Address: uri}, &sip.RecordRouteHeader{Address: raw}, &sip.ReferToHeader{Address: uri},
		&sip.ReferredByHeader{DisplayName: v, Address: uri, Params: kv}, &ct, &mf, &cl, &cl, &exp,
		sip.NewHeader("Subject", v), sip.NewHeader(v, "x"), sip.NewHeader(v, v), sip.NewHeader("l", "77"), sip.NewHeader("X-Odd", v),
	}
	if response {
		res := sip.NewResponse(num, v)
		res.SipVersion = v
		for _, h := range headers {
			res.AppendHeader(h)
		}
		return res
	}
	req := sip.NewRequest(sip.RequestMethod(v), uri)
	req.SipVersion = v
	for _, h := range headers {
		req.AppendHeader(h)
	}
	return req
}

// wide takes whatever has the right form.
func wide() Limits {
	return Limits{MaxDatagram: 1 << 30, MaxMessage: 1 << 30, MaxLine: 1 << 28, MaxHeaders: 1 << 20, MaxRepeat: 1 << 15, MaxVias: 1 << 20,
		MaxRoutes: 1 << 20, MaxContacts: 1 << 20, MaxURI: 1 << 20, MaxURIParams: maxParams, MaxToken: 1 << 20}
}

// lines returns the names of the header lines of a written message.
func names(b []byte) []string {
	head, _, _ := strings.Cut(string(b), "\r\n\r\n")
	var out []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		out = append(out, name)
	}
	return out
}

func TestBytesCannotBeInjected(t *testing.T) {
	for _, v := range nasties {
		for _, num := range []int{0, -1, 200, 70000, 1 << 40} {
			for _, response := range []bool{false, true} {
				msg := nastyMessage(v, num, response)
				out := Bytes(msg)
				if err := strictRead(out); err != nil {
					t.Errorf("%q, %d: %v\n%s", v, num, err, out)
				}
				for _, name := range names(out) {
					if strings.EqualFold(name, "X-Injected") {
						t.Errorf("%q was injected:\n%s", v, out)
					}
				}
				if n := strings.Count(strings.ToLower(string(out)), "\r\ncontent-length:"); n != 1 {
					t.Errorf("%q: %d Content-Length", v, n)
				}
			}
		}
	}
}

func TestBytesSkipsNil(t *testing.T) {
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{Host: "a.b"})
	for _, h := range []sip.Header{(*sip.ViaHeader)(nil), (*sip.FromHeader)(nil), (*sip.ToHeader)(nil), (*sip.ContactHeader)(nil),
		(*sip.CSeqHeader)(nil), (*sip.CallIDHeader)(nil), (*sip.RouteHeader)(nil), (*sip.RecordRouteHeader)(nil),
		(*sip.ReferToHeader)(nil), (*sip.ReferredByHeader)(nil), (*sip.ContentTypeHeader)(nil), (*sip.ContentLengthHeader)(nil),
		(*sip.MaxForwardsHeader)(nil), (*sip.ExpiresHeader)(nil)} {
		req.AppendHeader(h)
	}
	if got := string(Bytes(req)); got != "OPTIONS sip:a.b SIP/2.0\r\nContent-Length: 0\r\n\r\n" {
		t.Errorf("got %q", got)
	}
	var none *sip.Request
	var nores *sip.Response
	for _, msg := range []sip.Message{nil, none, nores} {
		if got := Bytes(msg); len(got) != 0 {
			t.Errorf("%T gave %q", msg, got)
		}
	}
}

func TestBytesEncodesForThePlace(t *testing.T) {
	req := sip.NewRequest(sip.INVITE, sip.Uri{User: "a b@c", Host: "2001:db8::1", Port: 5061, UriParams: sip.HeaderParams{{K: "lr"}, {K: "x", V: "ä"}}})
	req.AppendHeader(&sip.FromHeader{DisplayName: `Bob "the \ Builder"`, Address: sip.Uri{User: "#1", Host: "EXAMPLE.com"}, Params: sip.HeaderParams{{K: "tag", V: "a b"}}})
	req.AppendHeader(&sip.ToHeader{DisplayName: `already \"escaped\"`, Address: sip.Uri{Host: "bad host!"}})
	req.AppendHeader(sip.NewHeader("k", "a\r\nb"))
	req.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Host: "*", Wildcard: true}})
	req.SetBody([]byte("body"))
	want := "INVITE sip:a%20b%40c@[2001:db8::1]:5061;lr;x=%C3%A4 SIP/2.0\r\n" +
		`From: "Bob \"the \\ Builder\"" <sip:%231@EXAMPLE.com>;tag="a b"` + "\r\n" +
		`To: "already \"escaped\"" <sip:badhost>` + "\r\n" +
		"Supported: a  b\r\nContact: *\r\nContent-Length: 4\r\n\r\nbody"
	if got := string(Bytes(req)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAppendBytesAppends(t *testing.T) {
	res := sip.NewResponse(99, "x")
	if got := string(AppendBytes([]byte("> "), res)); got != "> SIP/2.0 500 x\r\nContent-Length: 0\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestRoundTripIsStable(t *testing.T) {
	for _, text := range []string{invite, response} {
		roundTrip(t, []byte(text))
	}
	for _, c := range tortures {
		if c.want == "pass" {
			roundTrip(t, torture(t, c.name))
		}
	}
}

// roundTrip reads, writes, and reads what was written: it must pass the screen, be the same to a second reader, and be
// written the same again.
func roundTrip(t *testing.T, data []byte) {
	t.Helper()
	msg, err := Parse(data)
	if err != nil {
		return
	}
	out := Bytes(msg)
	if v := ScreenRaw(out, false, wide()); !v.OK() {
		t.Fatalf("what was written is refused: %v\nread %q\nwrote %q", v, data, out)
	}
	if err := strictRead(out); err != nil {
		t.Fatalf("the second reader refuses what was written: %v\nread %q\nwrote %q", err, data, out)
	}
	again, err := Parse(out)
	if err != nil {
		t.Fatalf("what was written can't be read: %v\nread %q\nwrote %q", err, data, out)
	}
	if second := Bytes(again); string(second) != string(out) {
		t.Fatalf("written twice, two messages:\n%q\n%q", out, second)
	}
	first, then := dump(msg), dump(again)
	if first != then {
		t.Fatalf("read twice, two messages:\n%s\n%s", first, then)
	}
	if err := sameToSecondReader(again, out); err != nil {
		t.Fatalf("two readers, two messages: %v\n%q", err, out)
	}
	if Screen(again, wide()).OK() { // what nobody is shown may be read as anybody likes
		if err := sameToSipgo(again, out); err != nil {
			t.Fatalf("%v\n%q", err, out)
		}
	}
}

func BenchmarkBytes(b *testing.B) {
	msg, err := Parse([]byte(invite))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendBytes(buf[:0], msg)
	}
}
