package border

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// registers is a trunk that we have an account at.
func registers(c *Config) { c.Peer.Trunks[0].Register = true }

// account is a REGISTER of the exchange.
func account(name string, lines ...string) transactiontest.Ask {
	self := "sip:account@carrier.test"
	return transactiontest.NewAsk(sip.REGISTER, "sip:carrier.test", self, self, append(lines, trunkLine(name), "Expires: 600", "Contact: <sip:secret@pbx.internal>")...)
}

// TestRegisterTrunk registers our own contact at the carrier, and brings its answers back.
func TestRegisterTrunk(t *testing.T) {
	r := newRig(t, registers)
	first, _ := r.carrier(carrierHost)
	second, _ := r.carrier(carrierHost + 1)
	asked := r.exchange.Ask(r.link, account("carrier"))
	s := first.Next(sip.REGISTER)
	req := s.Request()
	lacks(t, req, "brickhouse", "secret", "pbx", r.addr(exchangeHost))
	has(t, req, "Expires", "600")
	if got := req.Recipient.String() + " " + req.To().Address.String() + " " + req.From().Address.String(); got != "sip:carrier.test sip:account@carrier.test sip:account@carrier.test" {
		t.Error(got)
	}
	contact := req.Contact().Address
	if contact.Host != r.addr(peerHost) || contact.Port != peerPort || len(contact.User) < 32 {
		t.Errorf("contact %s", contact.String())
	}
	first.Answer(s, 401, "", `WWW-Authenticate: Digest realm="c", nonce="n"`, "Server: carrier-switch")
	res := asked.Response(401)
	lacks(t, res, "carrier-switch")
	has(t, res, "WWW-Authenticate", `Digest realm="c", nonce="n"`)

	proof := strings.Replace(credentials, `uri="sip:example.com"`, `uri="sip:carrier.test"`, 1)
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{"Contact: <" + contact.String() + ">;expires=300, <sip:other@192.0.2.1>;expires=9", "Expires: 77"}, "300"},
		{[]string{"Expires: 77"}, "77"},
		{nil, "600"},
	} {
		asked = r.exchange.Ask(r.link, account("carrier", proof))
		s = first.Next(sip.REGISTER)
		if v, _ := sipmsg.Header(s.Request(), "Authorization"); !strings.Contains(v, `uri="sip:carrier.test"`) {
			t.Errorf("credentials %q", v)
		}
		first.Answer(s, 200, "", c.lines...)
		res = asked.Response(200)
		has(t, res, "Expires", c.want)
		lacks(t, res, contact.User, r.addr(peerHost))
	}
	second.Quiet()

	asked = r.exchange.Ask(r.link, account("carrier")) // one that is out of order is left for the next, one that refuses is not
	first.Answer(first.Next(sip.REGISTER), 503, "")
	second.Answer(second.Next(sip.REGISTER), 403, "")
	asked.Response(403)
	asked = r.exchange.Ask(r.link, account("carrier"))
	first.Answer(first.Next(sip.REGISTER), 403, "")
	asked.Response(403)
	second.Quiet()
}

// TestRegisterTrunkRefused: not every trunk is one that we register at, and a switched-off one is asked nothing.
func TestRegisterTrunkRefused(t *testing.T) {
	r := newRig(t, nil)
	carrier, _ := r.carrier(carrierHost)
	r.exchange.Do(r.link, account("carrier"), 404)
	r.exchange.Do(r.link, account("nobody"), 404)
	r.exchange.Do(r.link, transactiontest.NewAsk(sip.REGISTER, "sip:carrier.test", "sip:a@carrier.test", "sip:a@carrier.test"), 404)
	r.refused(verdict.TrunkFailed, 3)
	registers(&r.cfg)
	if err := r.b.Reload(r.cfg); err != nil {
		t.Fatal(err)
	}
	if err := r.b.carriers.SetEnabled("carrier", false); err != nil {
		t.Fatal(err)
	}
	r.exchange.Do(r.link, account("carrier"), 503)
	r.refused(verdict.TrunkDisabled, 1)
	carrier.Quiet()
}

// TestCallToRegisteredContact: who knows our contact is the carrier, from whatever address; the number is the one in To. Within the
// call it is known by its address.
func TestCallToRegisteredContact(t *testing.T) {
	r := newRig(t, registers)
	gateway, gf := r.carrier(carrierHost)
	stranger, f := r.carrier(carrierHost + 7)
	call := func(user string) transactiontest.Ask {
		ask := transactiontest.NewAsk(sip.INVITE, "sip:"+user+"@"+r.addr(peerHost), "sip:0170555@carrier.test", "sip:4930123@carrier.test")
		ask.Body = offer(r.ip(carrierHost + 7))
		return ask
	}
	stranger.Ask(f, call("4930123"))
	stranger.Ask(f, call(r.b.contactToken("other")))
	r.refused(verdict.UnknownPeer, 2)
	gateway.Ask(gf, call("4930123")) // its address is no proof: another account may be there, too
	r.refused(verdict.UnknownPeer, 3)

	ask := call(r.b.contactToken("carrier"))
	asked := stranger.Ask(f, ask)
	s := r.exchange.Next(sip.INVITE)
	req := s.Request()
	has(t, req, "Brickhouse-Trunk", "carrier")
	lacks(t, req, r.b.contactToken("carrier"))
	if got := req.Recipient.String(); got != "sip:4930123@example.com" {
		t.Error(got)
	}
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	res := asked.Response(200)
	stranger.Ask(f, ask.Within(res, sip.ACK))
	r.exchange.NextAck()
	r.hang(s, stranger)

	if err := r.b.carriers.SetEnabled("carrier", false); err != nil {
		t.Fatal(err)
	}
	stranger.Do(f, call(r.b.contactToken("carrier")), 503)
	r.refused(verdict.TrunkDisabled, 1)
	if err := r.b.carriers.SetEnabled("carrier", true); err != nil {
		t.Fatal(err)
	}
	r.cfg.Peer.Trunks[0].Register = false
	if err := r.b.Reload(r.cfg); err != nil {
		t.Fatal(err)
	}
	asked = gateway.Ask(gf, call("4930123")) // now it is
	r.exchange.Answer(r.exchange.Next(sip.INVITE), 486, "")
	asked.Response(486)
}

// TestAccountsAtOneCarrier: two trunks may have the same gateway if both are known by their contacts.
func TestAccountsAtOneCarrier(t *testing.T) {
	r := newRig(t, func(c *Config) {
		registers(c)
		two := c.Peer.Trunks[0]
		two.Name = "second"
		c.Peer.Trunks = append(c.Peer.Trunks, two)
	})
	carrier, f := r.carrier(carrierHost)
	for _, name := range []string{"second", "carrier", "second"} {
		asked := carrier.Ask(f, transactiontest.NewAsk(sip.INVITE, "sip:"+r.b.contactToken(name)+"@"+r.addr(peerHost), "sip:1@carrier.test", "sip:4930123@carrier.test"))
		s := r.exchange.Next(sip.INVITE)
		has(t, s.Request(), "Brickhouse-Trunk", name)
		r.exchange.Answer(s, 486, "")
		asked.Response(486)
	}
}
