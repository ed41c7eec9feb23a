package sipmsg

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// tortures is the right answer to each message of RFC 4475 §3. why names our policy where it is stricter than the RFC, and
// who answers where passing here is not the end of it.
var tortures = []struct {
	name string
	want string
	why  string
}{
	// §3.1.1 valid
	{"wsinv", "reject 400: bad-header", "policy: no blank between a header's name and its colon"},
	{"intmeth", "reject 400: control-bytes", "policy: no control bytes, also not escaped in quotes"},
	{"esc01", "pass", ""},
	{"escnull", "pass", ""},
	{"esc02", "pass", "RE%47IST%45R is a method of its own, and C%6Fntact a header of its own"},
	{"lwsdisp", "pass", ""},
	{"longreq", "reject 400: too-many-headers", "policy: at most 32 Via values, this has 34"},
	{"dblreq", "reject 400: bad-content-length", "policy: a datagram ends where its body ends"},
	{"semiuri", "pass", ""},
	{"transports", "pass", ""},
	{"mpart01", "pass", "the border takes no multipart, 415"},
	{"unreason", "pass", ""},
	{"noreason", "pass", ""},
	// §3.1.2 invalid
	{"badinv01", "reject 400: bad-header", ""},
	{"clerr", "reject 400: bad-content-length", ""},
	{"ncl", "reject 400: bad-content-length", ""},
	{"scalar02", "reject 400: bad-number", ""},
	{"scalarlg", "drop: bad-number", ""},
	{"quotbal", "reject 400: bad-header", ""},
	{"ltgtruri", "reject 400: bad-start-line", ""},
	{"lwsruri", "reject 400: bad-start-line", ""},
	{"lwsstart", "reject 400: bad-start-line", ""},
	{"trws", "reject 400: bad-start-line", ""},
	{"escruri", "reject 400: embedded-headers", ""},
	{"baddate", "reject 400: bad-header", ""},
	{"regbadct", "reject 400: bad-header", ""},
	{"badaspec", "reject 400: bad-uri", ""},
	{"baddn", "reject 400: bad-header", ""},
	{"badvers", "reject 505: bad-version", ""},
	{"mismatch01", "reject 400: cseq-mismatch", ""},
	{"mismatch02", "reject 400: cseq-mismatch", "the RFC allows 501 too"},
	{"bigcode", "drop: bad-number", ""},
	// §3.2 transaction layer
	{"badbranch", "reject 400: missing-header", ""},
	// §3.3 application layer
	{"insuf", "reject 400: missing-header", ""},
	{"unkscm", "reject 416: bad-uri", ""},
	{"novelsc", "reject 416: bad-uri", ""},
	{"unksm2", "reject 400: bad-uri", ""},
	{"bext01", "pass", "the border refuses the extensions, 420"},
	{"invut", "pass", "the border refuses the body, 415"},
	{"regaut01", "pass", "the border leaves the credentials out, the registrar challenges"},
	{"multi01", "reject 400: duplicate-header", ""},
	{"mcl01", "reject 400: duplicate-header", ""},
	{"bcast", "drop: stray-response", ""},
	{"zeromf", "pass", "the border refuses it, 483"},
	{"cparam01", "pass", ""},
	{"cparam02", "pass", ""},
	{"regescrt", "reject 400: embedded-headers", "policy: a Contact carries no headers"},
	{"sdp01", "pass", "the border refuses it, 406"},
	// §3.4 backward compatibility
	{"inv2543", "reject 400: missing-header", "policy: no RFC 2543 transactions"},
}

func torture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "torture", name+".dat"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTorture(t *testing.T) {
	for _, c := range tortures {
		b := torture(t, c.name)
		msg, v := judge(b, true)
		if v.String() != c.want {
			t.Errorf("%s: %v, want %s", c.name, v, c.want)
		}
		if !v.OK() {
			continue
		}
		out := Bytes(msg)
		if v := ScreenRaw(out, true, DefaultLimits()); !v.OK() {
			t.Errorf("%s: what we write is refused: %v\n%s", c.name, v, out)
		}
	}
}

// Every file has an answer and every answer a file.
func TestTortureIsComplete(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "torture", "*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(tortures) || len(files) != 49 {
		t.Errorf("%d files, %d answers, RFC 4475 has 49", len(files), len(tortures))
	}
}

// What only our policy refuses is still read by the grammar.
func TestTortureByTheGrammar(t *testing.T) {
	msg, err := Parse(torture(t, "wsinv"))
	if err != nil {
		t.Fatal(err)
	}
	req := msg.(*sip.Request)
	if v := Screen(msg, DefaultLimits()); v.String() != "reject 400: missing-header" { // its first branch is of RFC 2543
		t.Errorf("wsinv: %v", v)
	}
	for name, want := range map[string]string{
		"To":               "<sip:vera@chair.example.com>;tag=1918181833n",
		"From":             `"J Quotes \\\"" <sip:jq@example.com>;tag=98asjd8`,
		"Max-Forwards":     "68",
		"CSeq":             "9 INVITE",
		"Subject":          "",
		"NewFangledHeader": "newfangled value continued newfangled value",
		"Contact":          `"Quoted string \"\"" <sip:jq@example.com>;newparam=newvalue;secondparam;q=0.33`,
		"Route":            "<sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
	} {
		if got, ok := Header(req, name); !ok || got != want {
			t.Errorf("wsinv: %s = %q, want %q", name, got, want)
		}
	}
	want := []string{"SIP/2.0/UDP 192.0.2.2;branch=390skdjuw", "SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8",
		"SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239"}
	if got := Headers(req, "Via"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("wsinv: Via = %q", got)
	}
	if from := DisplayText(req.From().DisplayName); from != `J Quotes \"` {
		t.Errorf("wsinv: display text %q", from)
	}

	lim := DefaultLimits()
	lim.MaxVias, lim.MaxRepeat = 64, 64
	if v := ScreenRaw(torture(t, "longreq"), true, lim); !v.OK() {
		t.Errorf("longreq with room for its Vias: %v", v)
	}
	if msg, err = Parse(torture(t, "longreq")); err != nil {
		t.Errorf("longreq: %v", err)
	} else if v := Screen(msg, lim); !v.OK() {
		t.Errorf("longreq: %v", v)
	}

	clean := bytes.ReplaceAll(torture(t, "intmeth"), []byte(`\`+"\x07"), []byte("x"))
	clean = bytes.ReplaceAll(bytes.ReplaceAll(clean, []byte(`\`+"\x00"), nil), []byte(`\`+"\x7f"), nil)
	if msg, v := judge(clean, true); !v.OK() {
		t.Errorf("intmeth without controls: %v", v)
	} else if got := msg.(*sip.Request).Recipient.Password; got != "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)" {
		t.Errorf("intmeth: password %q", got)
	}

	first := torture(t, "dblreq")
	first = first[:bytes.Index(first, []byte("\r\n\r\n"))+4]
	if _, v := judge(first, true); !v.OK() {
		t.Errorf("dblreq without its tail: %v", v)
	}
}
