package sipmsg

import (
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func mustURI(t testing.TB, s string) sip.Uri {
	t.Helper()
	u, err := ParseURI(s)
	if err != nil {
		t.Fatalf("ParseURI(%q): %v", s, err)
	}
	return u
}

func newRequest(t testing.TB) *sip.Request {
	t.Helper()
	req := sip.NewRequest(sip.INVITE, mustURI(t, "sip:1002@example.com"))
	for _, line := range [][2]string{
		{"v", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb"},
		{"f", `"Alice" <sip:1001@example.com>;tag=a1`},
		{"t", "<sip:1002@example.com>"},
		{"i", "c1@192.0.2.1"},
		{"CSEQ", "7 INVITE"},
		{"m", "<sip:1001@192.0.2.1:5060;transport=udp>;+sip.instance=\"<urn:uuid:1>\""},
		{"k", "path, outbound"},
		{"supported", "100rel"},
		{"record-route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>"},
		{"x-odd-NAME", "1, 2"},
	} {
		if err := Add(req, line[0], line[1]); err != nil {
			t.Fatalf("Add(%q): %v", line, err)
		}
	}
	return req
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"k": "Supported", "K": "Supported", "call-id": "Call-ID", "CALL-ID": "Call-ID", "i": "Call-ID", "cseq": "CSeq",
		"www-authenticate": "WWW-Authenticate", "p-asserted-identity": "P-Asserted-Identity", "x-foo-BAR": "X-Foo-Bar",
		"r": "Refer-To", "o": "Event", "x": "Session-Expires", "mime-version": "MIME-Version", "z": "Z", "": "", "1": "1",
		" via ": "Via", "brickhouse-verdict": "Brickhouse-Verdict", "a": "Accept-Contact", "b": "Referred-By",
		"c": "Content-Type", "d": "Request-Disposition", "e": "Content-Encoding", "f": "From", "j": "Reject-Contact",
		"l": "Content-Length", "m": "Contact", "n": "Identity-Info", "s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via",
		"y": "Identity", "v\x00": "V\x00",
	} {
		if got := Canonical(in); got != want {
			t.Errorf("Canonical(%q) = %q, want %q", in, got, want)
		}
		if got := Canonical(Canonical(in)); got != want {
			t.Errorf("Canonical twice of %q = %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("a", 200)
	if got := Canonical(long); !strings.EqualFold(got, long) {
		t.Errorf("long name became %q", got)
	}
}

func TestHeaderFindsEveryForm(t *testing.T) {
	req := newRequest(t)
	for name, want := range map[string]string{
		"k": "path, outbound", "Supported": "path, outbound", "SUPPORTED": "path, outbound", "i": "c1@192.0.2.1",
		"from": `"Alice" <sip:1001@example.com>;tag=a1`, "cseq": "7 INVITE", "X-ODD-Name": "1, 2",
		"via": "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport",
	} {
		if got, ok := Header(req, name); !ok || got != want {
			t.Errorf("Header(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
	if got, ok := Header(req, "Subject"); ok {
		t.Errorf("Header(Subject) = %q, want none", got)
	}
}

func TestHeadersSplitsOnlyLists(t *testing.T) {
	req := newRequest(t)
	for name, want := range map[string][]string{
		"supported":  {"path", "outbound", "100rel"},
		"Via":        {"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport", "SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb"},
		"x-odd-name": {"1, 2"},
		"Allow":      nil,
	} {
		if got := Headers(req, name); !slices.Equal(got, want) {
			t.Errorf("Headers(%q) = %q, want %q", name, got, want)
		}
	}
	if err := Add(req, "Warning", `399 a.b "x, \"y\"", , 307 c.d "z"`); err != nil {
		t.Fatal(err)
	}
	if got := Headers(req, "warning"); len(got) != 2 || got[0] != `399 a.b "x, \"y\""` {
		t.Errorf("Headers(Warning) = %q", got)
	}
	if err := Add(req, "Path", "<sip:a,b@h;lr>,<sip:c>"); err != nil {
		t.Fatal(err)
	}
	if got := Headers(req, "Path"); !slices.Equal(got, []string{"<sip:a,b@h;lr>", "<sip:c>"}) {
		t.Errorf("Headers(Path) = %q", got)
	}
}

func TestRemoveTakesEveryForm(t *testing.T) {
	req := newRequest(t)
	req.AppendHeader(sip.NewHeader("p-asserted-identity", "<sip:x@y>"))
	req.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<sip:z@y>"))
	req.AppendHeader(sip.NewHeader("k", "timer"))
	Remove(req, "P-ASSERTED-identity")
	Remove(req, "supported")
	out := strings.ToLower(string(Bytes(req)))
	if strings.Contains(out, "asserted") || strings.Contains(out, "supported") || strings.Contains(out, "\nk:") {
		t.Errorf("left over:\n%s", out)
	}
	Remove(req, "Via")
	if req.Via() != nil {
		t.Error("Via is still remembered")
	}
	RemoveFunc(req, func(name string) bool { return name == "Record-Route" || name == "CSeq" })
	if req.RecordRoute() != nil || req.CSeq() != nil || req.Contact() == nil {
		t.Error("RemoveFunc took the wrong ones")
	}
	Remove(nil, "Via") // a message that isn't sipgo's has no headers
}

// sipgo parses generic headers late and remembers the result.
func TestRemoveForgetsLateParsed(t *testing.T) {
	for name, value := range map[string]string{
		"Via": "SIP/2.0/UDP a.b;branch=z9hG4bK1", "From": "<sip:a@b.c>", "To": "<sip:a@b.c>", "Call-ID": "x", "CSeq": "1 INVITE",
		"Contact": "<sip:a@b.c>", "Route": "<sip:a@b.c>", "Record-Route": "<sip:a@b.c>", "Content-Length": "0",
		"Content-Type": "a/b", "Max-Forwards": "70",
	} {
		req := sip.NewRequest(sip.INVITE, mustURI(t, "sip:a@b.c"))
		req.AppendHeader(sip.NewHeader(name, value))
		seen := func() bool {
			switch name {
			case "Via":
				return req.Via() != nil
			case "From":
				return req.From() != nil
			case "To":
				return req.To() != nil
			case "Call-ID":
				return req.CallID() != nil
			case "CSeq":
				return req.CSeq() != nil
			case "Contact":
				return req.Contact() != nil
			case "Route":
				return req.Route() != nil
			case "Record-Route":
				return req.RecordRoute() != nil
			case "Content-Length":
				return req.ContentLength() != nil
			case "Content-Type":
				return req.ContentType() != nil
			}
			return req.MaxForwards() != nil
		}
		if !seen() {
			t.Errorf("%s: sipgo does not see it", name)
		}
		Remove(req, name)
		if seen() || len(req.Headers()) != 0 {
			t.Errorf("%s is still remembered, headers %v", name, req.Headers())
		}
	}
}

func TestSetReplacesAll(t *testing.T) {
	req := newRequest(t)
	if err := Set(req, "k", "timer"); err != nil {
		t.Fatal(err)
	}
	if got := Headers(req, "Supported"); !slices.Equal(got, []string{"timer"}) {
		t.Errorf("Supported = %q", got)
	}
	if err := Set(req, "Contact", "<sip:b@192.0.2.9>;q=0.5, <sip:c@192.0.2.9>"); err != nil {
		t.Fatal(err)
	}
	if got := Headers(req, "m"); len(got) != 2 || req.Contact().Address.User != "c" && req.Contact().Address.User != "b" {
		t.Errorf("Contact = %q", got)
	}
	if err := Set(req, "From", "<sip:z@example.com>;tag=zz"); err != nil || req.From().Address.User != "z" {
		t.Errorf("From = %v, %v", req.From(), err)
	}
}

func TestSetRefuses(t *testing.T) {
	for _, bad := range [][2]string{
		{"Subject", "a\r\nX: 1"}, {"Subject", "a\nb"}, {"Subject", "a\x00"}, {"Subject", "\xff"}, {"Subject", "a\x7f"},
		{"X Y", "1"}, {"", "1"}, {"X:", "1"}, {"X\r\nY", "1"},
		{"From", "nonsense"}, {"Via", "SIP/2.0"}, {"CSeq", "1"}, {"CSeq", "4294967296 INVITE"}, {"Max-Forwards", "256"},
		{"Content-Length", "-1"}, {"Content-Type", "text"}, {"Call-ID", "a b"}, {"Contact", "<sip:a@b>,,<sip:c@d>"},
		{"Route", "sip:a@b?X=y"}, {"Refer-To", "<sip:a@b"}, {"To", `"x <sip:a@b>`},
	} {
		req := newRequest(t)
		before := string(Bytes(req))
		if err := Set(req, bad[0], bad[1]); err == nil {
			t.Errorf("Set(%q) did not refuse", bad)
		}
		if err := Add(req, bad[0], bad[1]); err == nil {
			t.Errorf("Add(%q) did not refuse", bad)
		}
		if after := string(Bytes(req)); after != before {
			t.Errorf("Set(%q) changed the message:\n%s", bad, after)
		}
	}
}

func TestResponseCopiesWhatItShould(t *testing.T) {
	req := newRequest(t)
	if err := Add(req, "Timestamp", "54"); err != nil {
		t.Fatal(err)
	}
	res := Response(req, 180, "", "totag")
	want := "SIP/2.0 180 Ringing\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n" +
		"Via: SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\n" +
		"From: \"Alice\" <sip:1001@example.com>;tag=a1\r\n" +
		"To: <sip:1002@example.com>;tag=totag\r\n" +
		"Call-ID: c1@192.0.2.1\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
	if got := string(Bytes(res)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if trying := Response(req, 100, "", "totag"); trying.To().Params.Has("tag") {
		t.Error("100 has a tag")
	} else if _, ok := Header(trying, "Timestamp"); !ok {
		t.Error("100 has no Timestamp")
	}
	if tag, _ := Response(req, 486, "", "").To().Params.Get("tag"); len(tag) < 8 {
		t.Errorf("made tag %q", tag)
	}
	req.To().Params.Add("tag", "theirs")
	if tag, _ := Response(req, 200, "Fine", "ours").To().Params.Get("tag"); tag != "theirs" {
		t.Errorf("tag in a dialog became %q", tag)
	}
	if got := Response(sip.NewRequest(sip.INVITE, sip.Uri{}), 400, "", "x"); len(got.Headers()) != 0 {
		t.Errorf("empty request gave %v", got.Headers())
	}
}

func TestResponseSharesNothing(t *testing.T) {
	req := newRequest(t)
	res := Response(req, 200, "", "x")
	res.Via().Params.Add("received", "192.0.2.7")
	res.From().Params.Add("tag", "changed")
	*res.CallID() = "changed"
	if req.Via().Params.Has("received") || *req.CallID() == "changed" {
		t.Error("response shares the request's headers")
	}
	if tag, _ := req.From().Params.Get("tag"); tag != "a1" {
		t.Error("response shares From")
	}
	if req.To().Params.Has("tag") {
		t.Error("the request's To got the tag")
	}
}

func TestReasonPhrase(t *testing.T) {
	for code, want := range map[int]string{200: "OK", 404: "Not Found", 199: "Early Dialog Terminated", 155: "Session Progress",
		299: "OK", 399: "Redirect", 499: "Bad Request", 599: "Server Internal Error", 699: "Decline", 0: "Decline"} {
		if got := ReasonPhrase(code); got != want {
			t.Errorf("ReasonPhrase(%d) = %q, want %q", code, got, want)
		}
	}
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		for _, id := range []string{NewTag(), NewBranch(), NewCallID()} {
			if seen[id] || !isToken(id) || len(id) < 16 {
				t.Fatalf("bad or repeated id %q", id)
			}
			seen[id] = true
		}
	}
	if !strings.HasPrefix(NewBranch(), "z9hG4bK") {
		t.Error("branch without the cookie")
	}
}
