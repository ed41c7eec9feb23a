package border

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// transactionOptions is a ping of the exchange.
func transactionOptions(r *rig) transactiontest.Ask {
	host := r.link.Remote().Addr().String()
	return transactiontest.NewAsk(sip.OPTIONS, "sip:"+host, "sip:"+domain, "sip:"+host)
}

// TestOptions answers pings on all sides, and says what each may send.
func TestOptions(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	res := p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:1001@"+domain, "sip:"+domain), 200)
	has(t, res, "Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, MESSAGE, SUBSCRIBE, PUBLISH, REGISTER")
	has(t, res, "Accept", "application/sdp")
	lacks(t, res, "brickhouse", "Server:", "Contact:")
	carrier, f := r.carrier(carrierHost)
	res = carrier.Do(f, transactiontest.NewAsk(sip.OPTIONS, "sip:"+r.addr(peerHost), "sip:carrier.test", "sip:"+r.addr(peerHost)), 200)
	has(t, res, "Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE")
	r.exchange.Do(r.link, transactionOptions(r), 200)
}

// carrier is a trunk's gateway on that host.
func (r *rig) carrier(host int) (*transactiontest.Party, *transport.Flow) {
	r.Helper()
	p := transactiontest.New(r.TB, "carrier")
	i := p.Listen(transport.UDP, r.at(host, 5060), nil)
	return p, i.FlowTo(r.at(peerHost, peerPort))
}

// TestSilence: who does not know our domain, or is no carrier, learns nothing.
func TestSilence(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	var asked []*transactiontest.Asked
	for n, uri := range []string{"sip:evil.example", "sip:1001@" + r.addr(peerHost), "sip:1001@EXAMPLE.org"} {
		for _, m := range []sip.RequestMethod{sip.OPTIONS, sip.REGISTER, sip.INVITE} {
			asked = append(asked, p.Ask(p.flow, transactiontest.NewAsk(m, uri, "sip:1001@"+domain, uri)))
		}
		r.refused(verdict.UnknownDomain, uint64(3*n+3))
	}
	stranger, f := r.carrier(carrierHost + 9)
	asked = append(asked, stranger.Ask(f, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:x@y.z", "sip:"+domain)))
	r.refused(verdict.UnknownPeer, 1)
	bad := transactiontest.NewAsk(sip.MESSAGE, "sip:"+domain, "sip:x@y.z", "sip:"+domain)
	asked = append(asked, stranger.Ask(f, bad)) // 405 to others
	r.refused(verdict.UnknownPeer, 2)
	if conn, err := stranger.Dial(transport.TCP, r.ip(carrierHost+9), r.at(peerHost, peerPort), nil); err == nil {
		stranger.Ended(conn)
	}
	r.refused(verdict.UnknownPeer, 3)
	for _, a := range asked {
		a.Nothing()
	}
	r.settle()
	r.exchange.Quiet()
	for _, uri := range []string{"sip:EXAMPLE.com", "sip:" + r.addr(accessHost) + ":5060"} {
		p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, uri, "sip:1001@"+domain, uri), 200)
	}
}

// TestRefused holds what is answered with a refusal, and which.
func TestRefused(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	own, number := "sip:1001@"+domain, "sip:1002@"+domain
	for name, c := range map[string]struct {
		ask    transactiontest.Ask
		code   int
		header string // of the answer
	}{
		"method":           {transactiontest.NewAsk(sip.NOTIFY, number, own, number), 405, "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, MESSAGE, SUBSCRIBE, PUBLISH, REGISTER"},
		"INFO, no dialog":  {transactiontest.NewAsk(sip.INFO, number, own, number), 405, "Allow: INVITE, ACK"},
		"BYE, no dialog":   {transactiontest.NewAsk(sip.BYE, number, own, number), 481, ""},
		"unknown dialog":   {within(transactiontest.NewAsk(sip.BYE, "sip:x@"+r.addr(accessHost), own, number)), 481, ""},
		"INVITE elsewhere": {within(transactiontest.NewAsk(sip.INVITE, "sip:x@"+r.addr(accessHost), own, number)), 481, ""},
		"extension":        {transactiontest.NewAsk(sip.INVITE, number, own, number, "Require: precondition"), 420, "Unsupported: precondition"},
		"hops":             {transactiontest.NewAsk(sip.INVITE, number, own, number, "Max-Forwards: 0"), 483, ""},
		"number":           {transactiontest.NewAsk(sip.INVITE, "sip:"+domain, own, number), 484, ""},
	} {
		res := p.Do(p.flow, c.ask, c.code)
		if c.header != "" && !strings.Contains(string(sipmsg.Bytes(res)), "\r\n"+c.header) {
			t.Errorf("%s: no %q in\n%s", name, c.header, sipmsg.Bytes(res))
		}
		lacks(t, res, "brickhouse", "Server:")
	}
	carrier, f := r.carrier(carrierHost)
	has(t, carrier.Do(f, transactiontest.NewAsk(sip.REGISTER, "sip:"+domain, own, own), 405), "Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE")
	r.settle()
	r.exchange.Quiet()
}

// within gives a request the tag of a dialog that nobody has.
func within(a transactiontest.Ask) transactiontest.Ask {
	a.To += ";tag=nobody"
	return a
}

// TestStrays: an ACK and a response that nobody waits for are counted and not answered.
func TestStrays(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	p.Ask(p.flow, within(transactiontest.NewAsk(sip.ACK, "sip:x@"+r.addr(accessHost), "sip:1001@"+domain, "sip:1002@"+domain)))
	r.refused(verdict.StrayACK, 1)
	if err := p.flow.Send([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP " + r.addr(accessHost) + ":5060;branch=z9hG4bKx\r\nFrom: <sip:a@b.c>;tag=1\r\nTo: <sip:c@d.e>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r.refused(verdict.StrayResponse, 1)
}

// TestUnreadable answers what can be answered, without keeping anything.
func TestUnreadable(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	const odd = "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bKodd;rport\r\nFrom: <sip:a@b.c>;tag=1\r\nTo: <sip:c@d.e>\r\n" +
		"Call-ID: odd\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 999\r\nContent-Length: 0\r\nX-Filler: so that an answer is no larger than its cause, wherever it is sent\r\n\r\n"
	if err := p.flow.Send([]byte(odd)); err != nil {
		t.Fatal(err)
	}
	res := p.NextStray()
	if res.StatusCode != 400 || res.CallID().Value() != "odd" {
		t.Errorf("answer\n%s", sipmsg.Bytes(res))
	}
	if server, _ := r.b.tx.Counts(); server != 0 {
		t.Errorf("%d transactions", server)
	}
}
