package dialog

import (
	"errors"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// answer is a response to the INVITE of a calling dialog.
func answer(t *testing.T, status string, extra ...string) *sip.Response {
	t.Helper()
	msg, err := sipmsg.Parse([]byte(strings.Join(append([]string{
		"SIP/2.0 " + status,
		"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2",
		"From: <sip:1001@example.com>;tag=me",
		"Call-ID: c2", "CSeq: 3 INVITE", "Content-Length: 0",
	}, extra...), "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*sip.Response)
}

func calling() *Dialog {
	uri := sip.Uri{Scheme: "sip", User: "1002", Host: "example.com"}
	first := sip.Uri{Scheme: "sip", Host: "edge.example.com", UriParams: sip.HeaderParams{{K: "lr"}}}
	return NewClient("c2", Party{URI: uri, Tag: "me"}, Party{URI: uri}, uri, []sip.Uri{first}, 3)
}

func TestEstablish(t *testing.T) {
	to, contact := "To: <sip:1002@example.com>;tag=you", "Contact: <sip:you@192.0.2.7>"
	for name, c := range map[string]struct {
		status  string
		lines   []string
		want    error
		tag     string
		request string // start line and routes of what follows
	}{
		"2xx": {"200 OK", []string{to, contact}, nil, "you", "BYE sip:you@192.0.2.7 SIP/2.0\r\nMax"},
		"2xx with routes in one line": {
			"200 OK", []string{to, contact, "Record-Route: <sip:near.example.com;lr>, <sip:far.example.com;lr>"}, nil, "you",
			"BYE sip:you@192.0.2.7 SIP/2.0\r\nRoute: <sip:far.example.com;lr>\r\nRoute: <sip:near.example.com;lr>\r\nMax",
		},
		"2xx without Contact": {"200 OK", []string{to}, ErrIncomplete, "you", "BYE sip:1002@example.com SIP/2.0\r\nMax"},
		"2xx with *":          {"200 OK", []string{to, "Contact: *"}, ErrIncomplete, "you", "BYE sip:1002@example.com SIP/2.0\r\nMax"},
		"18x": { // keeps the routes that were known before
			"180 Ringing", []string{to, contact}, nil, "you", "BYE sip:you@192.0.2.7 SIP/2.0\r\nRoute: <sip:edge.example.com;lr>\r\nMax",
		},
		"18x without Contact": {"180 Ringing", []string{to}, nil, "you", "BYE sip:1002@example.com SIP/2.0\r\nRoute: <sip:edge.example.com;lr>\r\nMax"},
		"18x with routes": {
			"183 x", []string{to, contact, "Record-Route: <sip:p.example.com;lr>"}, nil, "you",
			"BYE sip:you@192.0.2.7 SIP/2.0\r\nRoute: <sip:p.example.com;lr>\r\nMax",
		},
		"tag in capitals": {"200 OK", []string{"To: <sip:1002@example.com>;TAG=you", contact}, nil, "you", "BYE sip:you@192.0.2.7 SIP/2.0\r\nMax"},
		"no tag":          {"200 OK", []string{"To: <sip:1002@example.com>", contact}, nil, "", "BYE sip:you@192.0.2.7 SIP/2.0\r\nMax"},
		"Contact with what no start line may have": { // RFC 3261 §19.1.1
			"200 OK", []string{to, "Contact: <sip:you@192.0.2.7;method=BYE;ob?Subject=x>"}, nil, "you", "BYE sip:you@192.0.2.7;ob SIP/2.0\r\nMax",
		},
		"too many routes": {
			"200 OK", append([]string{to, contact}, strings.Split(strings.Repeat("Record-Route: <sip:p;lr>\n", 17), "\n")[:17]...), ErrRouteSet, "you",
			"BYE sip:1002@example.com SIP/2.0\r\nRoute: <sip:edge.example.com;lr>\r\nMax",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := calling()
			if err := d.Establish(answer(t, c.status, c.lines...)); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if d.Remote.Tag != c.tag {
				t.Errorf("tag is %q", d.Remote.Tag)
			}
			if got := string(sipmsg.Bytes(d.NewRequest(sip.BYE))); !strings.HasPrefix(got, c.request) {
				t.Errorf("got\n%s\nwant prefix\n%s", got, c.request)
			}
		})
	}
	if err := calling().Establish(answer(t, "200 OK")); !errors.Is(err, ErrIncomplete) {
		t.Errorf("without To: %v", err)
	}
}

// What a dialog builds shares nothing with it: changing a request changes no other.
func TestRequestsAreTheirOwn(t *testing.T) {
	d := calling()
	first := d.First(sip.INVITE)
	first.From().Params[0].V = "changed"
	first.Route().Address.UriParams[0].K = "changed"
	second := string(sipmsg.Bytes(d.NewRequest(sip.BYE)))
	if strings.Contains(second, "changed") {
		t.Errorf("the second request is\n%s", second)
	}
}

func TestWildcardContact(t *testing.T) {
	req := invite(t)
	req.ReplaceHeader(&sip.ContactHeader{Address: sip.Uri{Wildcard: true}})
	if _, err := FromInvite(req, "bob"); !errors.Is(err, ErrIncomplete) {
		t.Errorf("INVITE with Contact *: %v", err)
	}
	d := calling()
	d.Refresh(req)
	if d.Target.Host != "example.com" {
		t.Errorf("target is %s", d.Target.String())
	}
	d.Refresh(answer(t, "200 OK", "To: <sip:1002@example.com>;tag=you", "Contact: <sip:you@192.0.2.7>"))
	if d.Target.Host != "192.0.2.7" {
		t.Errorf("target is %s", d.Target.String())
	}
	d.Refresh(answer(t, "200 OK", "To: <sip:1002@example.com>;tag=you"))
	if d.Target.Host != "192.0.2.7" {
		t.Errorf("without Contact the target is %s", d.Target.String())
	}
}

func TestReceive(t *testing.T) {
	d := calling()
	req := func(method sip.RequestMethod, seq uint32) *sip.Request {
		r := sip.NewRequest(method, sip.Uri{})
		r.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
		return r
	}
	for _, c := range []struct {
		method sip.RequestMethod
		seq    uint32
		want   error
	}{
		{sip.BYE, 0, nil}, {sip.INFO, 5, nil}, {sip.INFO, 5, ErrOldCSeq}, {sip.INFO, 4, ErrOldCSeq}, {sip.ACK, 4, nil}, {sip.CANCEL, 4, nil},
		{sip.INFO, 1<<31 - 1, nil}, {sip.INFO, 6, ErrOldCSeq},
	} {
		if err := d.Receive(req(c.method, c.seq)); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s %d: %v, want %v", c.method, c.seq, err, c.want)
		}
	}
	if err := d.Receive(sip.NewRequest(sip.INFO, sip.Uri{})); !errors.Is(err, ErrIncomplete) {
		t.Errorf("without CSeq: %v", err)
	}
}

// The room is pure.
func TestImports(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "dialog.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		switch path := strings.Trim(i.Path.Value, `"`); path {
		case "errors", "fmt", "github.com/emiago/sipgo/sip", "brickhouse/shared/sipmsg":
		default:
			t.Errorf("imports %s", path)
		}
	}
}
