package sanitize

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// message builds a request or response with extra header lines and a body.
func message(t testing.TB, start, method, extra, body string) sip.Message {
	t.Helper()
	text := plainText(start, method, extra, body)
	if v := Raw([]byte(text), true); !v.OK() {
		t.Fatalf("test message: %v\n%s", v, text)
	}
	return mustParse(t, text)
}

func plainText(start, method, extra, body string) string {
	return start + "\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\n" +
		"From: \"Alice\" <sip:1001@example.com>;tag=1928301774\r\n" +
		"To: <sip:1002@example.com>\r\n" +
		"Call-ID: a84b4c76e66710@192.0.2.1\r\n" +
		"CSeq: 314159 " + method + "\r\n" +
		"Contact: <sip:1001@192.0.2.1:5060>\r\n" + extra +
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

func invite(extra, body string) string {
	return plainText("INVITE sip:1002@example.com SIP/2.0", "INVITE", extra, body)
}

func mustParse(t testing.TB, text string) sip.Message {
	t.Helper()
	msg, err := sipmsg.Parse([]byte(text))
	if err != nil {
		t.Fatalf("test message: %v\n%s", err, text)
	}
	return msg
}

func request(t testing.TB, method, extra, body string) *sip.Request {
	t.Helper()
	return message(t, method+" sip:1002@example.com SIP/2.0", method, extra, body).(*sip.Request)
}

func answer(t testing.TB, code int, method, extra, body string) *sip.Response {
	t.Helper()
	return message(t, fmt.Sprintf("SIP/2.0 %d X", code), method, extra, body).(*sip.Response)
}

const sdpType = "Content-Type: application/sdp\r\n"

func TestMessage(t *testing.T) {
	dtmf := "Content-Type: application/dtmf-relay\r\n"
	for name, c := range map[string]struct {
		realm, method, extra, body, want string
	}{
		"INVITE":                    {"access", "INVITE", sdpType, "v=0", "pass"},
		"INVITE without offer":      {"access", "INVITE", "", "", "pass"},
		"REGISTER of a phone":       {"access", "REGISTER", "Require: path, OUTBOUND\r\n", "", "pass"},
		"REGISTER of a trunk":       {"peer", "REGISTER", "", "", "reject 405: method-not-allowed"},
		"REGISTER of the exchange":  {"core", "REGISTER", "", "", "pass"},
		"unknown realm":             {"", "OPTIONS", "", "", "reject 405: method-not-allowed"},
		"unknown method":            {"access", "NEWMETHOD", "", "", "reject 405: method-not-allowed"},
		"MESSAGE":                   {"access", "MESSAGE", "Content-Type: Text/Plain;charset=utf-8\r\n", "grüße\r\n\t", "pass"},
		"MESSAGE of the exchange":   {"core", "MESSAGE", "Content-Type: text/plain\r\n", strings.Repeat("x", maxText), "pass"},
		"MESSAGE of a trunk":        {"peer", "MESSAGE", "Content-Type: text/plain\r\n", "hi", "reject 405: method-not-allowed"},
		"MESSAGE, long":             {"access", "MESSAGE", "Content-Type: text/plain\r\n", strings.Repeat("x", maxText+1), "reject 413: unsupported-body"},
		"MESSAGE, control bytes":    {"access", "MESSAGE", "Content-Type: text/plain\r\n", "\x1b[2J", "reject 415: unsupported-body"},
		"MESSAGE, Latin-1":          {"access", "MESSAGE", "Content-Type: text/plain\r\n", "gr\xfc\xdfe", "reject 415: unsupported-body"},
		"MESSAGE, C1":               {"access", "MESSAGE", "Content-Type: text/plain\r\n", "\u0085", "reject 415: unsupported-body"},
		"MESSAGE of a page":         {"access", "MESSAGE", "Content-Type: text/html\r\n", "<b>", "reject 415: unsupported-body"},
		"PUBLISH":                   {"access", "PUBLISH", "Content-Type: application/pidf+xml\r\n", "<presence/>", "reject 400: bad-body"},
		"SUBSCRIBE":                 {"access", "SUBSCRIBE", "", "", "pass"},
		"SUBSCRIBE of a trunk":      {"peer", "SUBSCRIBE", "", "", "reject 405: method-not-allowed"},
		"PUBLISH of a trunk":        {"peer", "PUBLISH", "", "", "reject 405: method-not-allowed"},
		"NOTIFY of a phone":         {"access", "NOTIFY", "", "", "reject 405: method-not-allowed"},
		"SUBSCRIBE of the exchange": {"core", "SUBSCRIBE", "", "", "reject 405: method-not-allowed"},
		"no more hops":              {"access", "INVITE", "Max-Forwards: 0\r\n", "", "reject 483: too-many-hops"},
		"one hop":                   {"access", "INVITE", "Max-Forwards: 1\r\n", "", "pass"},
		"Require":                   {"access", "INVITE", "Require: precondition\r\n", "", "reject 420: extension-required"},
		"Require 100rel":            {"access", "INVITE", "Require: 100rel, Timer\r\n", "", "pass"},
		"Require 100rel, OPTIONS":   {"peer", "OPTIONS", "Require: 100rel\r\n", "", "reject 420: extension-required"},
		"PRACK":                     {"peer", "PRACK", sdpType + "RAck: 1 1 INVITE\r\n", "v=0", "pass"},
		"UPDATE":                    {"core", "UPDATE", sdpType, "v=0", "pass"},
		"UPDATE with text":          {"access", "UPDATE", "Content-Type: text/plain\r\n", "hi", "reject 415: unsupported-body"},
		"Require outbound, INVITE":  {"access", "INVITE", "Require: outbound\r\n", "", "reject 420: extension-required"},
		"Require is no token":       {"access", "REGISTER", "Require: \"path\"\r\n", "", "reject 420: extension-required"},
		"Proxy-Require":             {"access", "INVITE", "Proxy-Require: foo\r\n", "", "reject 420: extension-required"},
		"Require in CANCEL":         {"access", "CANCEL", "Require: foo\r\n", "", "pass"},
		"Require in ACK":            {"access", "ACK", "Require: foo\r\n", "", "pass"},
		"unknown body":              {"access", "INVITE", "Content-Type: application/unknown\r\n", "x", "reject 415: unsupported-body"},
		"unknown body, optional":    {"access", "INVITE", "Content-Type: a/b\r\nContent-Disposition: render;handling=optional\r\n", "x", "pass"},
		"compressed body":           {"access", "INVITE", sdpType + "Content-Encoding: gzip\r\n", "x", "reject 415: unsupported-body"},
		"compressed, compact":       {"access", "INVITE", sdpType + "e: gzip\r\n", "x", "reject 415: unsupported-body"},
		"identity":                  {"access", "INVITE", sdpType + "e: identity\r\n", "v=0", "pass"},
		"optional SDP is still SDP": {"access", "REGISTER", sdpType + "Content-Disposition: session;handling=optional\r\n", "x", "reject 415: unsupported-body"},
		"multipart":                 {"access", "INVITE", "Content-Type: multipart/mixed;boundary=a\r\n", "--a--", "reject 415: unsupported-body"},
		"large body":                {"access", "INVITE", sdpType, strings.Repeat("x", maxBody+1), "reject 413: oversize"},
		"REGISTER with a body":      {"access", "REGISTER", "Content-Type: text/xml\r\n", "x", "reject 415: unsupported-body"},
		"BYE with a body":           {"access", "BYE", "Content-Type: text/plain\r\n", "x", "pass"},
		"answer not acceptable":     {"access", "INVITE", "Accept: text/plain\r\n", "", "reject 406: unsupported-body"},
		"nothing acceptable":        {"access", "INVITE", "Accept:\r\n", "", "reject 406: unsupported-body"},
		"all acceptable":            {"access", "INVITE", "Accept: text/plain, */*;q=0.1\r\n", "", "pass"},
		"answer acceptable":         {"access", "INVITE", "Accept: application/sdp\r\n", "", "pass"},
		"DTMF":                      {"access", "INFO", dtmf, "Signal=5\r\nDuration=160\r\n", "pass"},
		"DTMF with blanks":          {"access", "INFO", dtmf, "Signal= *\r\nDuration= 160\r\n", "pass"},
		"DTMF, LF only":             {"access", "INFO", dtmf, "Signal=#\nDuration=160", "pass"},
		"DTMF hook flash":           {"access", "INFO", dtmf, "Signal=16\r\n", "pass"},
		"DTMF without signal":       {"access", "INFO", dtmf, "Duration=160\r\n", "reject 400: bad-body"},
		"DTMF, two signals":         {"access", "INFO", dtmf, "Signal=5\r\nSignal=6\r\n", "reject 400: bad-body"},
		"DTMF, odd signal":          {"access", "INFO", dtmf, "Signal=55\r\n", "reject 400: bad-body"},
		"DTMF, odd line":            {"access", "INFO", dtmf, "Signal=5\r\nX: 1\r\n", "reject 400: bad-body"},
		"DTMF, long duration":       {"access", "INFO", dtmf, "Signal=5\r\nDuration=160000\r\n", "reject 400: bad-body"},
		"DTMF, large":               {"access", "INFO", dtmf, "Signal=5\r\n" + strings.Repeat("\r\n", 200), "reject 400: bad-body"},
		"plain DTMF":                {"access", "INFO", "Content-Type: application/dtmf\r\n", "5", "pass"},
		"plain DTMF, odd":           {"access", "INFO", "Content-Type: application/dtmf\r\n", "hello", "reject 400: bad-body"},
		"INFO without a body":       {"access", "INFO", "", "", "pass"},
		"INFO with SDP":             {"access", "INFO", sdpType, "v=0", "reject 415: unsupported-body"},
		"form first":                {"access", "INVITE", "Expires: soon\r\n", "", "reject 400: bad-number"},
		"INVITE of a trunk":         {"peer", "INVITE", "", "", "pass"},
		"INFO of the exchange":      {"core", "INFO", "", "", "pass"},
	} {
		if v := Message(c.realm, request(t, c.method, c.extra, c.body)); v.String() != c.want {
			t.Errorf("%s: %v, want %s", name, v, c.want)
		}
	}
	if v := Message("access", answer(t, 200, "INVITE", sdpType, "v=0")); !v.OK() {
		t.Errorf("response: %v", v)
	}
	if v := Message("access", answer(t, 200, "INVITE", sdpType, strings.Repeat("x", maxBody+1))); v.Action != verdict.Drop {
		t.Errorf("large response: %v", v)
	}
	if v := Message("access", nil); v.Action != verdict.Drop {
		t.Errorf("nil: %v", v)
	}
}

func TestSipfrag(t *testing.T) {
	for s, want := range map[string]bool{
		"SIP/2.0 100 Trying\r\n": true, "SIP/2.0 200": true, "SIP/2.0 200 OK": true, "SIP/2.0 200 OK\r\nX: 1\r\n": false,
		"SIP/2.0 20": false, "SIP/2.0 2000": false, "INVITE x SIP/2.0": false, "": false, "SIP/2.0 200 \x00": false,
	} {
		if got := content(typeSipfrag, []byte(s)); got != want {
			t.Errorf("sipfrag %q: %v", s, got)
		}
	}
	if content("text/html", []byte("x")) {
		t.Error("text/html is no type that passes")
	}
}

const digestHeader = `Digest username="1001", realm="example.com", nonce="abc", uri="sip:example.com", response="0123456789abcdef0123456789abcdef", algorithm=MD5`
const challengeHeader = `Digest realm="example.com", nonce="abc", algorithm=SHA-256, qop="auth"`

// crossing is one header on its way.
func TestCopy(t *testing.T) {
	all := []Policy{Inward, Outward, ToTrunk}
	for _, c := range []struct {
		start  string // method, or status code and method
		header string
		want   string // the header that comes out; "" if none
		ways   []Policy
	}{
		{"INVITE", "Authorization: " + digestHeader, "Authorization: " + digestHeader, []Policy{Inward, ToTrunk}},
		{"INVITE", "Proxy-Authorization: " + digestHeader, "Proxy-Authorization: " + digestHeader, []Policy{Inward, ToTrunk}},
		{"REGISTER", "Authorization: Basic abc", "", all},
		{"REGISTER", "Authorization: NoOneKnowsThisScheme opaque-data=here", "", all},
		{"REGISTER", `Authorization: Digest username="x`, "", all},
		{"401 REGISTER", "WWW-Authenticate: " + challengeHeader, "WWW-Authenticate: " + challengeHeader, []Policy{Inward, Outward}},
		{"407 INVITE", "Proxy-Authenticate: " + challengeHeader, "Proxy-Authenticate: " + challengeHeader, []Policy{Inward, Outward}},
		{"200 INVITE", "WWW-Authenticate: " + challengeHeader, "", all},
		{"407 INVITE", "WWW-Authenticate: " + challengeHeader, "", all},
		{"401 INVITE", "WWW-Authenticate: Negotiate", "", all},
		{"INVITE", "WWW-Authenticate: " + challengeHeader, "", all},
		{"401 INVITE", "Authorization: " + digestHeader, "", all},
		{"REGISTER", "Expires: 060", "Expires: 60", all},
		{"INVITE", "Expires: 60", "", all},
		{"200 REGISTER", "Expires: 3600", "Expires: 3600", all},
		{"423 REGISTER", "Min-Expires: 300", "Min-Expires: 300", all},
		{"200 REGISTER", "Min-Expires: 300", "", all},
		{"503 INVITE", "Retry-After: 30 (I am <b>busy</b>);duration=5", "Retry-After: 30", all},
		{"200 INVITE", "Retry-After: 30", "", all},
		{"REGISTER", "k: gruu, Outbound, \"x\"", "Supported: outbound", []Policy{Inward}},
		{"INVITE", "Supported: outbound, timer, 100rel, replaces", "", all},
		{"200 REGISTER", "Require: outbound, other", "Require: outbound", []Policy{Inward, Outward}},
		{"200 INVITE", "Require: 100rel", "", all},
		{"INVITE", "Privacy: ID; foo;user", "Privacy: id;user", []Policy{Inward, ToTrunk}},
		{"INVITE", "Privacy: foo", "", all},
		{"BYE", `Reason: Q.850;cause=16;text="<script>"`, "Reason: Q.850;cause=16", all},
		{"CANCEL", `Reason: sip ;cause=200;text="Call completed elsewhere"`, "Reason: SIP;cause=200", all},
		{"480 INVITE", "Reason: Q.850;cause=128", "", all},
		{"480 INVITE", "Reason: Q.850;cause=19", "Reason: Q.850;cause=19", all},
		{"BYE", "Reason: X.1;cause=19", "", all},
		{"BYE", "Reason: SIP", "", all},
		{"BYE", "Reason: SIP;cause=-1", "", all},
		{"BYE", "Reason: SIP;cause=99", "", all},
		{"REGISTER", "Reason: SIP;cause=200", "", all},
		{"SUBSCRIBE", "o: message-summary;id=7;x=y", "Event: message-summary;id=7", all},
		{"SUBSCRIBE", "Event: dialog;id=\"a b\"", "Event: dialog", all},
		{"SUBSCRIBE", "Event: a b", "", all},
		{"INVITE", "Event: talk", "", all},
		{"NOTIFY", "Subscription-State: Active;expires=60;x=y;reason=\"a b\"", "Subscription-State: active;expires=60", all},
		{"NOTIFY", "Subscription-State: terminated;reason=noresource;retry-after=9", "Subscription-State: terminated;retry-after=9;reason=noresource", all},
		{"NOTIFY", "Subscription-State: odd", "", all},
		{"REFER", "Refer-Sub: FALSE ;x=y", "Refer-Sub: false", all},
		{"202 REFER", "Refer-Sub: true", "Refer-Sub: true", all},
		{"REFER", "Refer-Sub: perhaps", "", all},
		{"REFER", "Require: norefersub", "Require: norefersub", []Policy{Inward, Outward}},
		{"REFER", "Require: outbound", "", all},
		{"REGISTER", "Require: outbound", "", all},
	} {
		for _, p := range all {
			src := crossing(t, c.start, c.header+"\r\n", "")
			dst := sip.NewRequest(sip.OPTIONS, sip.Uri{Host: "a.b"})
			Copy(dst, src, p)
			want := ""
			for _, way := range c.ways {
				if way == p {
					want = c.want
				}
			}
			if got := only(dst); got != want {
				t.Errorf("%s, %s, way %d: %q, want %q", c.start, c.header, p, got, want)
			}
		}
	}
}

// crossing makes a message from "METHOD" or "CODE METHOD".
func crossing(t *testing.T, start, extra, body string) sip.Message {
	t.Helper()
	code, method, ok := strings.Cut(start, " ")
	if !ok {
		return request(t, start, extra, body)
	}
	n, err := strconv.Atoi(code)
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, n, method, extra, body)
}

// only returns the header lines of a message that has no others.
func only(msg sip.Message) string {
	head, _, _ := strings.Cut(string(sipmsg.Bytes(msg)), "\r\nContent-Length:")
	_, lines, _ := strings.Cut(head, "\r\n")
	return lines
}

func TestCopyContentType(t *testing.T) {
	for _, c := range []struct {
		start, header, body, want string
	}{
		{"INVITE", "Content-Type: Application/SDP;charset=x", "v=0", "Content-Type: application/sdp"},
		{"200 INVITE", "c: application/sdp", "v=0", "Content-Type: application/sdp"},
		{"INVITE", "Content-Type: application/sdp", "", ""},
		{"INVITE", "Content-Type: application/sdp\r\nContent-Encoding: gzip", "v=0", ""},
		{"INVITE", "Content-Type: text/plain", "x", ""},
		{"200 BYE", "Content-Type: application/sdp", "v=0", ""},
		{"ACK", "Content-Type: application/sdp", "v=0", "Content-Type: application/sdp"},
		{"INFO", "Content-Type: application/dtmf-relay", "Signal=1\r\nDuration=100\r\n", "Content-Type: application/dtmf-relay"},
		{"INFO", "Content-Type: application/dtmf-relay", "Signal=1\r\nFrom: x\r\n", ""},
		{"NOTIFY", "Content-Type: message/sipfrag", "SIP/2.0 200 OK", "Content-Type: message/sipfrag"},
		{"200 INFO", "Content-Type: text/html", "<b>", ""},
	} {
		dst := sip.NewResponse(200, "OK")
		Copy(dst, crossing(t, c.start, c.header+"\r\n", c.body), Inward)
		if got := only(dst); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.start, c.header, got, c.want)
		}
	}
}

// outlaws never pass, whichever way, in whatever message, in whatever spelling.
var outlaws = []string{
	corelink.HeaderRealm, corelink.HeaderTrunk, corelink.HeaderFlow, corelink.HeaderTrace, corelink.HeaderVerdict, "brickhouse-x", "BRICKHOUSE-REALM",
	"P-Asserted-Identity", "p-asserted-identity", "P-Preferred-Identity", "P-Charging-Vector", "X-Custom", "x-anything", "Path", "Service-Route",
	"Diversion", "History-Info", "Alert-Info", "Call-Info", "Replaces", "Join", "User-Agent", "Server", "Warning", "Subject", "s", "Organization",
	"Allow", "Referred-By", "b", "Refer-To", "r", "Target-Dialog", "Date", "Timestamp", "Error-Info", "In-Reply-To", "Geolocation", "Identity",
	"Accept-Contact", "Session-Expires", "x", "Min-SE", "Record-Route", "Route", "Via", "v", "Security-Verify", "Remote-Party-ID", "Unknown-Header",
	"Content-Disposition", "Content-Encoding", "Content-Language", "MIME-Version", "Authentication-Info", "Proxy-Require", "Unsupported",
	"Accept", "Accept-Encoding", "Allow-Events", "RSeq", "RAck", "Info-Package", "Recv-Info", "Flow-Timer", "Priority", "Resource-Priority",
}

func TestOutlawsNeverPass(t *testing.T) {
	values := []string{"1", "<sip:a@b.c>", "a;b=c", "SIP/2.0/UDP a.b;branch=z9hG4bKx", challengeHeader, "800 INVITE"}
	for _, name := range outlaws {
		for _, start := range []string{"INVITE", "REGISTER", "BYE", "NOTIFY", "INFO", "SUBSCRIBE", "200 INVITE", "401 REGISTER", "407 INVITE", "503 BYE", "423 REGISTER"} {
			for _, value := range values {
				src := crossing(t, start, "", "")
				if sipmsg.Add(src, name, value) != nil {
					continue
				}
				for _, p := range []Policy{Inward, Outward, ToTrunk, anyWay} {
					dst := sip.NewResponse(200, "OK")
					Copy(dst, src, p)
					if got := only(dst); got != "" {
						t.Fatalf("%s: %s of %s passed: %q", name, value, start, got)
					}
				}
			}
		}
	}
}

// The table itself names no outlaw, and each name once in its one spelling.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules {
		if sipmsg.Canonical(r.name) != r.name || seen[r.name] || r.ways == 0 || r.remake == nil || r.also && r.codes == nil {
			t.Errorf("rule %q", r.name)
		}
		seen[r.name] = true
		if corelink.IsPrivate(r.name) || strings.HasPrefix(r.name, "P-") || strings.HasPrefix(r.name, "X-") {
			t.Errorf("%q may never pass", r.name)
		}
	}
	for _, name := range outlaws {
		if seen[sipmsg.Canonical(name)] {
			t.Errorf("%q has a rule", name)
		}
	}
}

func TestCopyBounds(t *testing.T) {
	src := answer(t, 401, "REGISTER", strings.Repeat("WWW-Authenticate: "+challengeHeader+"\r\n", 20), "")
	dst := sip.NewResponse(401, "")
	Copy(dst, src, Outward)
	if n := len(sipmsg.Headers(dst, "WWW-Authenticate")); n != maxValues {
		t.Errorf("%d challenges passed", n)
	}
	Copy(dst, nil, Outward)
	Copy(dst, sip.NewResponse(200, "OK"), Outward) // without CSeq it has no method
	var none *sip.Request
	Copy(dst, none, Outward)
	dst = sip.NewResponse(200, "")
	Copy(dst, request(t, "INVITE", "Privacy: "+strings.Repeat("id;", 50)+"id\r\n", ""), Inward)
	if v, _ := sipmsg.Header(dst, "Privacy"); strings.Count(v, "id") != maxTokens {
		t.Errorf("Privacy: %q", v)
	}
}

func TestAllow(t *testing.T) {
	if got := Allow("access"); got != "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, MESSAGE, SUBSCRIBE, PUBLISH, REGISTER" {
		t.Errorf("Allow(access) = %q", got)
	}
	if Allow("") != "" || strings.Contains(Allow("peer"), "REGISTER") {
		t.Error("Allow of other realms")
	}
}

func TestMalformed(t *testing.T) {
	for why, want := range map[verdict.Reason]bool{verdict.ControlBytes: true, verdict.BadHeader: true, verdict.NotSIP: true, verdict.None: false,
		verdict.MethodNotAllowed: false, verdict.ExtensionRequired: false, verdict.UnknownDomain: false, verdict.TooManyHops: false} {
		if Malformed(why) != want {
			t.Errorf("Malformed(%q) = %v", why, !want)
		}
	}
}

func TestRawAllocatesNothing(t *testing.T) {
	data := sipmsg.Bytes(request(t, "INVITE", sdpType, "v=0"))
	if n := testing.AllocsPerRun(100, func() { Raw(data, true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The wall of this room: it is pure.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			switch path := strings.Trim(i.Path.Value, `"`); path {
			case "net", "os", "time", "log/slog", "sync":
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	src := request(b, "INVITE", sdpType+"Authorization: "+digestHeader+"\r\n", "v=0")
	b.ReportAllocs()
	for b.Loop() {
		Copy(sip.NewRequest(sip.INVITE, sip.Uri{Host: "a.b"}), src, Inward)
	}
}

func BenchmarkMessage(b *testing.B) {
	src := request(b, "INVITE", sdpType, "v=0")
	b.ReportAllocs()
	for b.Loop() {
		if v := Message("access", src); !v.OK() {
			b.Fatal(v)
		}
	}
}
