package border

import (
	"net/url"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// talk has a phone call 1002, and returns the call as the phone and as the exchange have it.
func (p *phone) talk() (ask transactiontest.Ask, res *sip.Response, inside *transaction.Server) {
	p.r.Helper()
	ask = p.call("1002", proxyCredentials)
	asked := p.Ask(p.flow, ask)
	inside = p.r.exchange.Next(sip.INVITE)
	p.r.exchange.Answer(inside, 200, offer(p.r.ip(exchangeHost)))
	res = asked.Response(200)
	p.Ask(p.flow, ask.Within(res, sip.ACK))
	p.r.exchange.NextAck()
	return ask, res, inside
}

// replaces names a dialog of the phone as it would for us.
func replaces(ask transactiontest.Ask, res *sip.Response) dialog.Replaces {
	from, _ := sipmsg.HeaderParam(ask.From, "tag")
	to, _ := sipmsg.Param(res.To().Params, "tag")
	return dialog.Replaces{CallID: ask.CallID, ToTag: to, FromTag: from}
}

// asInside is how the exchange knows that dialog.
func asInside(s *transaction.Server) dialog.Replaces {
	from, _ := sipmsg.Param(s.Request().From().Params, "tag")
	return dialog.Replaces{CallID: s.Request().CallID().Value(), ToTag: s.Tag(), FromTag: from}
}

// TestRefer carries a phone's transfers to the exchange, and what becomes of them back.
func TestRefer(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	ask, res, in := p.talk()
	other, otherRes, otherIn := p.talk()
	own := r.addr(accessHost)
	for i, c := range []struct{ to, want string }{
		{"<sip:1003@" + domain + ";user=phone?Subject=secret>", "<sip:1003@example.com>"},
		{"<sip:1003@" + own + ":5061;transport=tls>", "<sip:1003@example.com>"},
		{"<sip:" + own + ":5061?Replaces=" + url.QueryEscape(replaces(other, otherRes).String()) + ">", "<sip:example.com?Replaces=" + url.QueryEscape(asInside(otherIn).String()) + ">"},
	} {
		refer := ask.Within(res, sip.REFER, "Refer-To: "+c.to, "Referred-By: <sip:1001@secret.example>", "X-A: secret", "Require: norefersub")
		refer.Seq += 2 * i
		asked := p.Ask(p.flow, refer)
		s := r.exchange.Next(sip.REFER)
		req := s.Request()
		lacks(t, req, "secret", own, r.addr(50), "Referred-By")
		has(t, req, "Refer-To", c.want)
		has(t, req, "Require", "norefersub")
		r.exchange.Answer(s, 202, "", "Refer-Sub: true", "Contact: <sip:pbx.internal>")
		back := asked.Response(202)
		has(t, back, "Refer-Sub", "true")
		if back.Contact() == nil || back.Contact().Address.Host != own {
			t.Errorf("Contact of the answer: %v", back.Contact())
		}
	}
	note := transactiontest.Back(in.Request(), in.Tag(), sip.NOTIFY, "Event: refer", "Subscription-State: terminated;reason=noresource",
		"Content-Type: message/sipfrag;version=2.0", "Server: pbx")
	note.Body = "SIP/2.0 486 Busy Here\r\n"
	told := r.exchange.Ask(r.link, note)
	s := p.Next(sip.NOTIFY)
	lacks(t, s.Request(), "pbx", "brickhouse", r.addr(exchangeHost))
	has(t, s.Request(), "Event", "refer")
	has(t, s.Request(), "Subscription-State", "terminated;reason=noresource")
	if string(s.Request().Body()) != note.Body {
		t.Errorf("body %q", s.Request().Body())
	}
	p.Answer(s, 200, "")
	told.Response(200)
	refer := transactiontest.Back(in.Request(), in.Tag(), sip.REFER, "Refer-To: <sip:1003@example.com>")
	refer.Seq = 7
	r.exchange.Do(r.link, refer, 403) // the exchange transfers by itself
	p.Quiet()
}

// TestReferRefused: what can't be carried across ends here, and the call goes on.
func TestReferRefused(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	ask, res, in := p.talk()
	refer := func(to string, code int) {
		t.Helper()
		a := ask.Within(res, sip.REFER, "Refer-To: "+to)
		ask.Seq = a.Seq
		p.Do(p.flow, a, code)
	}
	for to, code := range map[string]int{
		"<sip:1003@elsewhere.example>": 404, "<sip:" + domain + ">": 400, "<tel:+4930>": 400,
		"<sip:" + domain + "?Replaces=nothing%3Bto-tag%3D1%3Bfrom-tag%3D2>": 404,
	} {
		refer(to, code)
	}
	p.Do(p.flow, transactiontest.NewAsk(sip.REFER, "sip:1002@"+domain, "sip:1001@"+domain, "sip:1002@"+domain, "Refer-To: <sip:1003@"+domain+">"), 403)
	own := replaces(ask, res)
	wrong := own
	wrong.FromTag = "guessed"
	p.Do(p.flow, p.call("1002", "Replaces: "+wrong.String()), 481)
	p.Do(p.flow, p.call("1002", "Replaces: nonsense"), 400)
	r.settle()
	r.exchange.Quiet()
	asked := p.Ask(p.flow, p.call("1002", "Replaces: "+own.String(), "Require: replaces"))
	s := r.exchange.Next(sip.INVITE)
	has(t, s.Request(), "Replaces", asInside(in).String())
	r.exchange.Answer(s, 486, "")
	asked.Response(486)
	r.hang(in, p.Party)
}

// TestReferPolicy: a side that may not transfer does not, and does not learn that others may.
func TestReferPolicy(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Access.Refer = "refuse" })
	p := r.phone("1001", transport.TLS, 50)
	ask, res, in := p.talk()
	lacks(t, res, "REFER", "replaces")
	p.Do(p.flow, ask.Within(res, sip.REFER, "Refer-To: <sip:1003@"+domain+">"), 403)
	p.Do(p.flow, p.call("1002", "Replaces: "+replaces(ask, res).String()), 403)
	r.refused(verdict.TransferRefused, 2)
	carrier, f := r.carrier(carrierHost) // by default
	own := "sip:49301@" + r.addr(peerHost)
	if allow := sipmsg.Headers(carrier.Do(f, transactiontest.NewAsk(sip.OPTIONS, own, own, own), 200), "Allow"); strings.Contains(strings.Join(allow, " "), "REFER") {
		t.Errorf("a carrier may %v", allow)
	}
	carrier.Do(f, transactiontest.NewAsk(sip.REFER, own, own, own, "Refer-To: <sip:1@a.b>"), 403)
	r.hang(in, p.Party)
}
