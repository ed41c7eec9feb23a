package exchange

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

const plain = "Content-Type: text/plain"

// text is a MESSAGE to a number.
func (p *phone) text(number, body string, lines ...string) transactiontest.Ask {
	a := transactiontest.NewAsk(sip.MESSAGE, "sip:"+number+"@"+domain, "sip:"+p.user+"@"+domain, "sip:"+number+"@"+domain, append(append([]string{plain}, p.lines...), lines...)...)
	a.Body = body
	return a
}

// TestMessage passes texts between phones inside and behind the border.
func TestMessage(t *testing.T) {
	r := newRig(t, nil)
	a, border := r.phone("1001", transport.UDP, 50), r.border()
	b := border.remote("1002", "flow-2")
	a.register()
	b.lines = append(b.lines, "Path: <sip:flow-2@"+r.addr(borderHost)+";lr;ob>")
	b.register()
	asked, _ := a.with(a.text("1002", "grüße", "Server: secret", "Subject: secret"), 407)
	s := b.Next(sip.MESSAGE)
	req := s.Request()
	if string(req.Body()) != "grüße" || req.From().Address.String() != "sip:1001@"+domain || req.Recipient.User != "1002" {
		t.Errorf("the border gets\n%s", sipmsg.Bytes(req))
	}
	has(t, req, "Content-Type", "text/plain;charset=UTF-8")
	has(t, req, "Route", "<sip:flow-2@"+r.addr(borderHost)+";lr;ob>")
	lacks(t, req, "secret", r.addr(50), "Proxy-Authorization")
	b.Answer(s, 202, "", "Contact: <sip:x@y.z>")
	if res := asked.Response(200); res.Contact() != nil {
		t.Error("a text makes no dialog")
	}

	b.lines = b.lines[:3]
	asked, _ = b.with(b.text("1001", "back"), 407)
	s = a.Next(sip.MESSAGE)
	lacks(t, s.Request(), "brickhouse-", "flow-2")
	a.Answer(s, 486, "")
	asked.Response(486)
}

// TestMessageRefused holds what becomes of texts that nobody gets.
func TestMessageRefused(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.phone("1001", transport.UDP, 50), r.phone("1002", transport.UDP, 51)
	b.register()
	for name, c := range map[string]struct {
		ask  transactiontest.Ask
		code int
	}{
		"nobody":         {a.text("7777", "x"), 404},
		"not registered": {a.text("1001", "x"), 480},
		"a service":      {a.text("*43", "x"), 403},
		"long":           {a.text("1002", strings.Repeat("x", 1025)), 413},
		"no text":        {a.text("1002", "\xff\xfe"), 400},
		"type":           {transactiontest.Ask{Method: sip.MESSAGE, URI: "sip:1002@" + domain, From: "<sip:1001@" + domain + ">;tag=t", To: "<sip:1002@" + domain + ">", CallID: "c", Seq: 1, Lines: []string{"Content-Type: text/html"}, Body: "<b>"}, 415},
		"nothing":        {transactiontest.NewAsk(sip.MESSAGE, "sip:1002@"+domain, "sip:1001@"+domain, "sip:1002@"+domain), 415},
	} {
		asked, _ := a.with(c.ask, 407)
		if ev := asked.Event(); ev.Response == nil || ev.Response.StatusCode != c.code {
			t.Errorf("%s: %+v, want %d", name, ev.Response, c.code)
		}
	}
	b.Quiet()
	for range 8 {
		a.with(a.text("1002", "waits"), 407)
		b.Next(sip.MESSAGE)
	}
	asked, _ := a.with(a.text("1002", "one too many"), 407)
	asked.Response(503)
	r.refused(verdict.Overload, 1)
	b.Quiet()
}
