package border

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/caps"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// texting is a MESSAGE of the phone.
func (p *phone) texting(number, words string, lines ...string) transactiontest.Ask {
	a := transactiontest.NewAsk(sip.MESSAGE, "sip:"+number+"@"+domain, "sip:"+p.user+"@"+domain, "sip:"+number+"@"+domain, append([]string{"Content-Type: text/plain;charset=utf-8"}, lines...)...)
	a.Body = words
	return a
}

// TestMessageIn gives the exchange a phone's text, once the phone says who it is.
func TestMessageIn(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	ask := p.texting("1002", "grüße", "Subject: secret", "X-A: secret", "Brickhouse-Trunk: secret")
	asked := p.Ask(p.flow, ask)
	s := r.exchange.Next(sip.MESSAGE)
	if len(s.Request().Body()) > 0 {
		t.Errorf("a stranger's words go inside: %q", s.Request().Body())
	}
	r.exchange.Answer(s, 407, "", `Proxy-Authenticate: Digest realm="example.com", nonce="abc"`, `Brickhouse-Verdict: challenge;nonce=foreign;aor="1001@example.com"`, "Server: pbx")
	res := asked.Response(407)
	has(t, res, "Proxy-Authenticate", `Digest realm="example.com", nonce="abc"`)
	lacks(t, res, "brickhouse", "pbx")

	asked = p.Ask(p.flow, ask.With(proxyCredentials))
	s = r.exchange.Next(sip.MESSAGE)
	req := s.Request()
	lacks(t, req, r.addr(50), r.addr(accessHost), "secret")
	has(t, req, "Brickhouse-Realm", "access")
	has(t, req, "Content-Type", "text/plain")
	if string(req.Body()) != "grüße" || req.Recipient.String() != "sip:1002@example.com" || req.From().Address.String() != "sip:1001@example.com" {
		t.Errorf("inside:\n%s", sipmsg.Bytes(req))
	}
	r.exchange.Answer(s, 200, "", "Server: pbx", "Contact: <sip:pbx.internal>")
	lacks(t, asked.Response(200), "pbx")
	nobody := p.texting("1002", "x")
	nobody.URI = "sip:" + domain
	p.Do(p.flow, nobody, 484)
	carrier, f := r.carrier(carrierHost)
	own := "sip:49301@" + r.addr(peerHost)
	carrier.Do(f, transactiontest.NewAsk(sip.MESSAGE, own, own, own), 405)
}

// TestMessageOut gives a registered phone the exchange's text.
func TestMessageOut(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	to := func(token string) transactiontest.Ask {
		a := transactiontest.NewAsk(sip.MESSAGE, "sip:"+token+"@"+r.link.Remote().String(), "sip:1002@pbx.internal", "sip:1001@example.com", "Content-Type: text/plain", "Brickhouse-Trace: t1", "X-Inside: secret")
		a.Body = "hello"
		return a
	}
	r.exchange.Do(r.link, to("nobody"), 430)
	token := p.register()
	asked := r.exchange.Ask(r.link, to(token))
	s := p.Next(sip.MESSAGE)
	lacks(t, s.Request(), "brickhouse", "secret", "pbx", token, r.addr(exchangeHost))
	if got := "<" + s.Request().Recipient.String() + ">"; got != p.contact() || string(s.Request().Body()) != "hello" {
		t.Errorf("outside:\n%s", sipmsg.Bytes(s.Request()))
	}
	p.Answer(s, 486, "", "Server: secret", "Retry-After: 30")
	res := asked.Response(486)
	has(t, res, "Retry-After", "30")
	lacks(t, res, "secret", r.addr(50))
	asked = r.exchange.Ask(r.link, to(token))
	p.Next(sip.MESSAGE)
	p.flow.Close(verdict.NormalClearing)
	asked.Response(430)
}

// TestMessageLimits: a text that is under way has a call's place.
func TestMessageLimits(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Admission.Source = caps.Limit{Calls: 1} })
	p := r.phone("1001", transport.TLS, 50)
	asked := p.Ask(p.flow, p.texting("1002", "one", proxyCredentials))
	s := r.exchange.Next(sip.MESSAGE)
	res := p.Do(p.flow, p.texting("1002", "two", proxyCredentials), 503)
	if v, ok := sipmsg.Header(res, "Retry-After"); !ok {
		t.Errorf("Retry-After: %q", v)
	}
	r.exchange.Quiet()
	r.exchange.Answer(s, 200, "")
	asked.Response(200)
	asked = p.Ask(p.flow, p.texting("1002", "two", proxyCredentials))
	r.exchange.Answer(r.exchange.Next(sip.MESSAGE), 200, "")
	asked.Response(200)
}
