package sipmsg

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// sweepPlaces are texts of the test message behind which each byte value is put.
var sweepPlaces = []string{
	"INVITE", "INVITE ", "sip:", "sip:1002", "1002@", "1002@example.com", "example.com SIP/2", "SIP/2.0", "SIP/2.0\r\n", "\r\n", "Via", "Via:", "SIP/2.0/UDP",
	"192.0.2.1", "192.0.2.1:50", "branch", "branch=", "z9hG4bK", ";rport", "Max-Forwards", "Max-Forwards: 7", "From: ", "\"Ali", "\"Alice\"", "<sip:1001",
	"tag", "tag=", "tag=19", "To: B", "To: Bob ", "<sip:1002@example.com", "<sip:1002@example.com>", "Call-", "Call-ID: a84", "CSeq: 31", "CSeq: 314159",
	"CSeq: 314159 ", "CSeq: 314159 INV", "Contact: ", "Content-Length", "Content-Length: ", "Content-Length: 4", "Content-Length: 4\r", "Content-Length: 4\r\n",
}

// Each byte value, put anywhere, is refused or does no harm: what is understood is written as it was understood, the second
// reader agrees, and no header comes or goes that the sender did not name.
func TestByteSweep(t *testing.T) {
	taken := 0
	for _, place := range sweepPlaces {
		i := strings.Index(invite, place)
		if i < 0 {
			t.Fatalf("%q is not in the message", place)
		}
		i += len(place)
		for c := range 256 {
			data := []byte(invite[:i] + string([]byte{byte(c)}) + invite[i:])
			msg, v := judge(data, true)
			if !v.OK() {
				continue
			}
			taken++
			if c < ' ' && c != '\t' || c == 0x7f {
				t.Errorf("control byte %#x behind %q passes", c, place)
			}
			roundTrip(t, data)
			want := 9
			if place == "Content-Length" {
				want++ // it became another header; the body got its own length
			}
			if n := len(list(msg)); n != want {
				t.Errorf("byte %#x behind %q: %d headers", c, place, n)
			}
		}
	}
	if taken < 200 {
		t.Errorf("only %d of the swept messages pass: the sweep does not sweep", taken)
	}
}

// Every prefix of a message is refused, and nothing panics at an edge.
func TestPrefixes(t *testing.T) {
	for _, text := range []string{invite, response} {
		for n := range len(text) {
			data := []byte(text)[:n:n]
			if _, v := judge(data, true); v.OK() {
				t.Errorf("the first %d bytes pass", n)
			}
			if _, err := Parse(data); err == nil {
				t.Errorf("the first %d bytes are a message", n)
			}
		}
	}
}

// Each header that must be single is refused when it stands twice, in any pair of its spellings.
func TestEveryDuplicate(t *testing.T) {
	compacts := map[string]string{}
	for c := byte('a'); c <= 'z'; c++ {
		if full := compact(c); full != "" {
			compacts[full] = string(c)
		}
	}
	head := edit(t, invite, "Content-Length: 4\r\n\r\nv=0\n", "")
	tested := 0
	for _, k := range known {
		if k.shape != shapeSingle {
			continue
		}
		spellings := []string{k.name, strings.ToLower(k.name), strings.ToUpper(k.name)}
		if c := compacts[k.name]; c != "" {
			spellings = append(spellings, c, strings.ToUpper(c))
		}
		for _, a := range spellings {
			for _, b := range spellings {
				tested++
				text := head + a + ": 0\r\n" + b + ": 0\r\n\r\n"
				if v := ScreenRaw([]byte(text), true, DefaultLimits()); v.Reason != verdict.DuplicateHeader {
					t.Errorf("%s and %s: %v", a, b, v)
				}
			}
		}
	}
	if tested < 300 {
		t.Errorf("only %d pairs", tested)
	}
	// Parse holds it too, for whoever calls it alone.
	for _, again := range []string{"f: <sip:a@b.c>;tag=1", "CSEQ: 314159 INVITE", "L: 4"} {
		_, err := Parse([]byte(edit(t, invite, "Contact:", again+"\r\nContact:")))
		if v := VerdictOf(err); err == nil || v.Reason != verdict.DuplicateHeader {
			t.Errorf("%s: %v", again, err)
		}
	}
}

// On messages that nobody reads differently, sipgo's own parser and ours see the same.
func TestAgainstSipgo(t *testing.T) {
	for _, text := range []string{invite, response,
		edit(t, invite, "To: Bob <sip:1002@example.com>", "t: <sips:1002:pw@[2001:db8::1]:5061;transport=tcp;lr>;tag=x"),
		edit(t, invite, "Contact:", "Route: <sip:p1.example.com;lr>,<sip:p2.example.com:5070;lr>\r\nRecord-Route: <sip:r.example.com;lr>\r\nContact:"),
		edit(t, invite, "Max-", "v: SIP/2.0/TLS [2001:db8::9]:5061;branch=z9hG4bKx;received=192.0.2.9, SIP/2.0/TCP c.d;branch=z9hG4bKy\r\nMax-"),
	} {
		ours, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := sip.ParseMessage([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := facts(ours), facts(theirs); a != b {
			t.Errorf("we read\n%s\nsipgo reads\n%s", a, b)
		}
	}
}

// facts are what both readers have names for.
func facts(msg sip.Message) string {
	var b strings.Builder
	if req, ok := msg.(*sip.Request); ok {
		fmt.Fprintln(&b, req.Method, req.Recipient.String())
	}
	if res, ok := msg.(*sip.Response); ok {
		fmt.Fprintln(&b, res.StatusCode, res.Reason)
	}
	for _, h := range list(msg) {
		switch h := h.(type) {
		case *sip.ViaHeader:
			fmt.Fprintln(&b, h.ProtocolName, h.ProtocolVersion, h.Transport, h.Host, h.Port, h.Params)
		case *sip.RouteHeader:
			fmt.Fprintln(&b, h.Address.Host, h.Address.Port, h.Address.UriParams)
		case *sip.RecordRouteHeader:
			fmt.Fprintln(&b, h.Address.Host, h.Address.Port, h.Address.UriParams)
		}
	}
	from, to, contact := msg.From(), msg.To(), msg.(interface{ Contact() *sip.ContactHeader }).Contact()
	fmt.Fprintln(&b, from.DisplayName, from.Address.String(), from.Params)
	fmt.Fprintln(&b, to.DisplayName, to.Address.Scheme, to.Address.User, to.Address.Password, to.Address.Host, to.Address.Port, to.Address.UriParams, to.Params)
	fmt.Fprintln(&b, contact.Address.String(), msg.CallID().Value(), msg.CSeq().Value(), string(msg.Body()))
	return b.String()
}

// What sipgo reads wrong or lets through is refused or read right here (libraries.md, traps T6 to T9).
func TestSipgoTraps(t *testing.T) {
	lower := strings.ReplaceAll(edit(t, invite, "INVITE sip", "invite sip"), "314159 INVITE", "314159 invite")
	msg, v := judge([]byte(lower), true)
	if !v.OK() || msg.(*sip.Request).Method != "invite" {
		t.Errorf("a method in small letters is another method: %v", v)
	}
	msg, v = judge([]byte(edit(t, invite, "Via: SIP/2.0/UDP 192.0.2.1:5060;", "Via: SIP / 2.0 / UDP 192.0.2.1 : 5060 ;")), true)
	if via := msg.Via(); !v.OK() || via.Transport != "UDP" || via.Host != "192.0.2.1" || via.Port != 5060 {
		t.Errorf("blanks in Via: %v, %+v", v, via)
	}
	msg, v = judge([]byte(edit(t, invite, "314159 INVITE", "314159   INVITE")), true)
	if !v.OK() || msg.CSeq().MethodName != sip.INVITE {
		t.Errorf("blanks in CSeq: %v", v)
	}
	msg, v = judge([]byte(edit(t, invite, "tag=1928301774", "x=\"a;tag=b,c\" ; TAG = 1928301774")), true)
	if tag, _ := msg.From().Params.Get("tag"); !v.OK() || tag != "1928301774" {
		t.Errorf("tag beside a quoted one: %v, %q", v, tag)
	}
	msg, v = judge([]byte(edit(t, invite, ";rport", ";x=\"a,b\";rport, SIP/2.0/UDP z.y;branch=z9hG4bKz")), true)
	if n := len(Headers(msg, "v")); !v.OK() || n != 2 {
		t.Errorf("comma in a quoted Via parameter: %v, %d Vias", v, n)
	}
	msg, v = judge([]byte(edit(t, invite, "Contact:", "K: timer\r\nR: <sip:x@y.z>\r\nX: 90\r\nContact:")), true)
	if s, _ := Header(msg, "Supported"); !v.OK() || s != "timer" || msg.(*sip.Request).ReferTo() == nil {
		t.Errorf("compact forms: %v, %q", v, s)
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
