package sanitize

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// torments is what the border does with each message of RFC 4475 §3: its verdict, and whether a refusal is told.
var torments = map[string]struct {
	want     string
	answered bool
}{
	"wsinv": {"reject 400: bad-header", true}, "intmeth": {"reject 400: control-bytes", false}, "esc01": {"pass", false},
	"escnull": {"pass", false}, "esc02": {"reject 405: method-not-allowed", true}, "lwsdisp": {"pass", false},
	"longreq": {"reject 400: too-many-headers", true}, "dblreq": {"reject 400: bad-content-length", true}, "semiuri": {"pass", false},
	"transports": {"pass", false}, "mpart01": {"reject 415: unsupported-body", true}, "unreason": {"pass", false}, "noreason": {"pass", false},
	"badinv01": {"reject 400: bad-header", false}, "clerr": {"reject 400: bad-content-length", true}, "ncl": {"reject 400: bad-content-length", true},
	"scalar02": {"reject 400: bad-number", false}, "scalarlg": {"drop: bad-number", false}, "quotbal": {"reject 400: bad-header", false},
	"ltgtruri": {"reject 400: bad-start-line", true}, "lwsruri": {"reject 400: bad-start-line", true}, "lwsstart": {"reject 400: bad-start-line", true},
	"trws": {"reject 400: bad-start-line", true}, "escruri": {"reject 400: embedded-headers", true}, "baddate": {"reject 400: bad-header", true},
	"regbadct": {"reject 400: bad-header", true}, "badaspec": {"reject 400: bad-uri", false}, "baddn": {"reject 400: bad-header", false},
	"badvers": {"reject 505: bad-version", true}, "mismatch01": {"reject 400: cseq-mismatch", true}, "mismatch02": {"reject 400: cseq-mismatch", true},
	"bigcode": {"drop: bad-number", false}, "badbranch": {"reject 400: missing-header", true}, "insuf": {"reject 400: missing-header", false},
	"unkscm": {"reject 416: bad-uri", true}, "novelsc": {"reject 416: bad-uri", true}, "unksm2": {"reject 400: bad-uri", true},
	"bext01": {"reject 420: extension-required", true}, "invut": {"reject 415: unsupported-body", true}, "regaut01": {"pass", false},
	"multi01": {"reject 400: duplicate-header", false}, "mcl01": {"reject 400: duplicate-header", true}, "bcast": {"drop: stray-response", false},
	"zeromf": {"reject 483: too-many-hops", true}, "cparam01": {"pass", false}, "cparam02": {"pass", false},
	"regescrt": {"reject 400: embedded-headers", true}, "sdp01": {"reject 406: unsupported-body", true}, "inv2543": {"reject 400: missing-header", true},
}

func TestTorture(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "sipmsg", "testdata", "torture", "*.dat"))
	if err != nil || len(files) != 49 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".dat")
		c, ok := torments[name]
		if !ok {
			t.Errorf("%s has no answer", name)
			continue
		}
		v := judge(data)
		if v.String() != c.want {
			t.Errorf("%s: %v, want %s", name, v, c.want)
		}
		reply, answered := StatelessReply(data, v)
		if answered != c.answered {
			t.Errorf("%s: answered %v\n%s", name, answered, reply)
		}
		if answered {
			checkReply(t, data, reply, v)
		}
	}
}

// judge is the road of a message from a phone.
func judge(data []byte) verdict.Verdict {
	if v := Raw(data, true); !v.OK() {
		return v
	}
	msg, err := sipmsg.Parse(data)
	if err != nil {
		return sipmsg.VerdictOf(err)
	}
	return Message("access", msg)
}

// checkReply holds what is true of every answer: well formed, no larger than what it answers, and of the same transaction.
func checkReply(t *testing.T, data, reply []byte, v verdict.Verdict) {
	t.Helper()
	if len(reply) > len(data) {
		t.Errorf("%d bytes answer %d", len(reply), len(data))
	}
	if v := sipmsg.ScreenRaw(reply, true, sipmsg.Limits{MaxDatagram: 1 << 20, MaxLine: 1 << 17, MaxHeaders: 1000, MaxRepeat: 1000, MaxVias: 9999}); !v.OK() {
		t.Errorf("answer is refused: %v\n%q", v, reply)
	}
	msg, err := sipmsg.Parse(reply)
	if err != nil {
		t.Fatalf("answer can't be read: %v\n%q", err, reply)
	}
	res, ok := msg.(*sip.Response)
	if !ok || res.StatusCode != v.Code {
		t.Fatalf("answer %q to %v", reply, v)
	}
	if tag, _ := res.To().Params.Get("tag"); tag == "" {
		t.Errorf("answer without a tag: %q", reply)
	}
	if again, _ := StatelessReply(data, v); string(again) != string(reply) {
		t.Error("two answers to one message")
	}
}

const broken = "OPTIONS  sip:1002@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n" +
	"v: SIP/2.0/TCP b.example.com;branch=z9hG4bKb\r\n" +
	"From: \"A\" <sip:1001@example.com>;tag=1\r\n" +
	"To :\r\n <sip:1002@example.com>\r\n" +
	"Call-ID: c1\r\n" +
	"X-Odd: a\nb\x00c\r\n" +
	"CSeq: 7 OPTIONS\r\n" +
	"User-Agent: friendly-scanner and some more text to have room\r\n" +
	"Max-Forwards: 70\r\n\r\n"

func TestStatelessReply(t *testing.T) {
	v := verdict.Rejected(400, verdict.BadStartLine)
	reply, ok := StatelessReply([]byte(broken), v)
	if !ok {
		t.Fatal("no answer")
	}
	checkReply(t, []byte(broken), reply, v)
	lines := strings.Split(string(reply), "\r\n")
	want := []string{"SIP/2.0 400 Bad Request", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport", "Via: SIP/2.0/TCP b.example.com;branch=z9hG4bKb",
		`From: "A" <sip:1001@example.com>;tag=1`, "To: <sip:1002@example.com>;tag=", "Call-ID: c1", "CSeq: 7 OPTIONS", "Content-Length: 0", "", ""}
	if len(lines) != len(want) {
		t.Fatalf("answer\n%s", reply)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d: %q, want %q", i, lines[i], want[i])
		}
	}
}

func TestNoReply(t *testing.T) {
	reject := verdict.Rejected(400, verdict.BadHeader)
	for name, c := range map[string]struct {
		old, new string
		v        verdict.Verdict
	}{
		"drop":            {"", "", verdict.Dropped(verdict.BadHeader)},
		"pass":            {"", "", verdict.Passed},
		"success":         {"", "", verdict.Rejected(200, verdict.BadHeader)},
		"ACK":             {"OPTIONS  sip", "ACK sip", reject},
		"ACK in CSeq":     {"7 OPTIONS", "7 ACK", reject},
		"response":        {"OPTIONS  sip:1002@example.com SIP/2.0", "SIP/2.0 200 OK", reject},
		"HTTP":            {"OPTIONS  sip:1002@example.com SIP/2.0", "GET / HTTP/1.1", reject},
		"odd method":      {"OPTIONS  sip", "OPT@ONS sip", reject},
		"no Via":          {"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\nv:", "X:", reject},
		"no From":         {"From:", "X:", reject},
		"no To":           {"To :", "X:", reject},
		"no Call-ID":      {"Call-ID:", "X:", reject},
		"no CSeq":         {"CSeq:", "X:", reject},
		"two From":        {"User-Agent:", "f: <sip:x@y.z>\r\nX:", reject},
		"two Call-ID":     {"User-Agent:", "i: c1\r\nX:", reject},
		"broken Via":      {"192.0.2.1:5060", "192.0.2.1:-1", reject},
		"broken 2nd Via":  {"SIP/2.0/TCP b", "SIP/2.0 b", reject},
		"NUL in From":     {"\"A\"", "\"A\x00\"", reject},
		"LF in To":        {"\r\n <sip:1002@example.com>", " <sip:1002@example.com>\nX: y", reject},
		"LF in Call-ID":   {"Call-ID: c1", "Call-ID: c1\nX: y", reject},
		"CR in CSeq":      {"7 OPTIONS", "7 OPTIONS\rX", reject},
		"not UTF-8":       {"\"A\"", "\"\xff\"", reject},
		"no line end":     {broken, "OPTIONS sip:a SIP/2.0", reject},
		"cut short":       {broken[strings.Index(broken, "CSeq"):], "CSeq: 7 OPT", reject},
		"cut in the fold": {broken[strings.Index(broken, "\r\n <sip"):], "\r\n <sip:1002@exa", reject},
		"too small":       {broken[strings.Index(broken, "Call-ID"):], "i:c\r\nCSeq:7 OPTIONS\r\n\r\n", verdict.Rejected(505, verdict.BadVersion)},
		"empty":           {broken, "", reject},
	} {
		if c.old != "" && !strings.Contains(broken, c.old) {
			t.Fatalf("%s: %q is not there", name, c.old)
		}
		text := broken
		if c.old != "" {
			text = strings.Replace(broken, c.old, c.new, 1)
		}
		if reply, ok := StatelessReply([]byte(text), c.v); ok {
			t.Errorf("%s: answered\n%s", name, reply)
		}
	}
	many := strings.Replace(broken, "X-Odd", strings.Repeat("X: 1\r\n", maxLines)+"X-Odd", 1)
	if _, ok := Answerable([]byte(many)); ok {
		t.Error("answers a message of very many lines")
	}
}

func TestRefusal(t *testing.T) {
	req := request(t, "INVITE", "Require: 100rel, precondition, timer\r\nProxy-Require: \"x\"\r\n", "")
	for code, want := range map[int]string{405: "Allow: " + Allow("peer"), 415: "Accept: application/sdp", 406: "Accept: application/sdp",
		420: "Unsupported: precondition, invalid", 483: ""} {
		res := Refusal(req, "peer", verdict.Rejected(code, verdict.Internal))
		out := string(sipmsg.Bytes(res))
		if !strings.Contains(out, "\r\n"+want) || want == "" && strings.Count(out, "\r\n") != 8 {
			t.Errorf("%d: no %q in\n%s", code, want, out)
		}
		again := Refusal(req, "peer", verdict.Rejected(code, verdict.Internal))
		if string(sipmsg.Bytes(again)) != out {
			t.Errorf("%d: retransmission is answered otherwise", code)
		}
	}
	bare := sip.NewResponse(415, "")
	Explain(bare, "peer", verdict.Rejected(415, verdict.UnsupportedBody))
	if v, _ := sipmsg.Header(bare, "Accept"); v != typeSDP {
		t.Errorf("Accept = %q", v)
	}
}

// FuzzBorder takes any bytes to the border: nothing panics; an answer is well formed and not larger than its cause; what
// crosses is well formed and holds no header without a rule.
func FuzzBorder(f *testing.F) {
	f.Add([]byte(broken), true)
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "sipmsg", "testdata", "torture", "*.dat"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
	}
	for _, name := range outlaws {
		f.Add([]byte(strings.Replace(broken, "  sip", " sip", 1)+name+": x\r\n\r\n"), true)
	}
	known := map[string]bool{"Content-Length": true}
	for _, r := range rules {
		known[r.name] = true
	}
	f.Fuzz(func(t *testing.T, data []byte, inward bool) {
		v := judge(data)
		if v.OK() {
			v = verdict.Rejected(400, verdict.BadHeader)
		}
		if reply, ok := StatelessReply(data, v); ok {
			checkReply(t, data, reply, v)
		}
		msg, err := sipmsg.Parse(data)
		if err != nil {
			return
		}
		if req, ok := msg.(*sip.Request); ok {
			sipmsg.Bytes(Refusal(req, "access", verdict.Rejected(420, verdict.ExtensionRequired)))
		}
		dst, way := sip.NewRequest(sip.OPTIONS, sip.Uri{Host: "a.b"}), Outward
		if inward {
			way = Inward
		}
		Copy(dst, msg, way)
		out := sipmsg.Bytes(dst)
		if v := Raw(out, true); !v.OK() {
			t.Fatalf("what crosses is refused: %v\n%q", v, out)
		}
		for line := range strings.SplitSeq(only(dst), "\r\n") {
			if name, _, _ := strings.Cut(line, ":"); line != "" && !known[name] {
				t.Fatalf("%q crossed", line)
			}
		}
	})
}

// TestAcksRefusal: the ACK for an INVITE that was refused statelessly is known by what it repeats.
func TestAcksRefusal(t *testing.T) {
	invite := request(t, "INVITE", sdpType, "v=0")
	res := Refusal(invite, "access", verdict.Rejected(420, verdict.ExtensionRequired))
	tag, _ := sipmsg.Param(res.To().Params, "tag")
	ack := func(branch, tag string) *sip.Request {
		text := "ACK sip:1002@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=" + branch + ";rport\r\nMax-Forwards: 70\r\n" +
			"From: \"Alice\" <sip:1001@example.com>;tag=1928301774\r\nTo: <sip:1002@example.com>;tag=" + tag + "\r\n" +
			"Call-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 ACK\r\nContent-Length: 0\r\n\r\n"
		msg, err := sipmsg.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return msg.(*sip.Request)
	}
	if !AcksRefusal(ack("z9hG4bK776asdhds", tag)) {
		t.Error("the ACK for a refusal is none")
	}
	if AcksRefusal(ack("z9hG4bKother", tag)) || AcksRefusal(ack("z9hG4bK776asdhds", "nobody")) {
		t.Error("any ACK is one")
	}
	raw, _ := StatelessReply([]byte(broken), verdict.Rejected(400, verdict.BadHeader))
	if again, _ := StatelessReply([]byte(broken), verdict.Rejected(400, verdict.BadHeader)); string(raw) != string(again) {
		t.Error("a retransmission has another tag")
	}
	if AcksRefusal(sip.NewRequest(sip.ACK, sip.Uri{})) {
		t.Error("an empty ACK is one")
	}
}
