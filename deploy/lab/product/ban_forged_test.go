package product

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/shared/siptest"
)

// junk also holds what is malformed against its sender, so that a forged datagram need not even know a nonce.
const junk = guessing + `
    - {name: junk, weights: {malformed-message: 1, unknown-domain: 1}, window: 1m, threshold: 5, ban: 5m}`

// Whoever can write any source address into a datagram gets nobody banned: not the carrier, not a phone, not the exchange, not the
// border. And they all go on.
func TestForgedSourcesBanNobody(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, UDP: true, SRTP: "allow", Trunk: true, Guard: junk})
	for _, n := range []string{"1001", "1002", "1003"} {
		p.Extension(n, "md5")
	}
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	bob.Register()
	udp := siptest.Config{User: "1001", Password: Password, Domain: Domain, Transport: siptest.UDP, Server: p.OutsideUDP().String(),
		Bind: l.Remote.Addr(), Within: l.Remote.Do, Tone: 440}
	alice := tester(t, udp)
	enrol(t, alice)
	carol := tester(t, p.outsider(t, l.Remote2, "1003", 550))
	enrol(t, carol)

	victims := []netip.AddrPort{
		alice.Addr(),
		netip.AddrPortFrom(l.Remote2.Addr(), 5060),
		p.CarrierAddr(),
		l.Exchange.Port(l.Core, 5070),
		l.DMZ.Port(l.Internet, 5061),
	}
	wire := l.Internet.Capture()
	p.forgeAll(t, victims)
	// That they were heard is seen by the answers, which went to those whose names were used.
	answered := regexp.MustCompile(`SIP/2.0 40[013] [^\r]*\r\n(?s:.*)(?:Call-ID: |i:)forged0-`) // in full or short
	until(t, waits, "an answer to what was forged", func() string {
		for _, pk := range wire.Peek() {
			if pk.Src == p.OutsideUDP() && pk.Dst == victims[0] && answered.Match(pk.Payload) {
				return ""
			}
		}
		return "none to " + victims[0].String()
	})
	until(t, waits, "offences and holds", func() string {
		if s := p.banStats(t); s.Offences < 20 || s.Holds == 0 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	p.nobodyBanned(t)

	// They go on: the phone whose very address and port was used, the other one, and the carrier.
	echoed(t, alice, 440)
	echoed(t, carol, 550)
	carrier := l.Carrier.SIPp(lab.SIPp{Scenario: "uac", Server: p.Peer(), To: "4930100", Tone: 620, Talk: 2 * time.Second})
	bob.Answer()
	bob.Hears(620)
	carrier.MustSucceed(waits)
	bob.WaitClosed()
	p.nobodyBanned(t)
	if s := p.banStats(t); s.dropped() > 0 {
		t.Errorf("the kernel dropped something: %+v", s)
	}
}

// forgeAll sends failed logins and rubbish in the name of each of the victims, to both sides of the border.
func (p *Product) forgeAll(t *testing.T, victims []netip.AddrPort) {
	t.Helper()
	nonce := p.nonce(t)
	for i, victim := range victims {
		mark := fmt.Sprintf("forged%d-", i)
		for n := range 20 {
			for _, b := range [][]byte{
				login("1001", nonce, mark, n, victim), login("nobody", nonce, mark+"n", n, victim), login("1001", "invented", mark+"i", n, victim),
				[]byte("REGISTER sip:" + Domain + " SIP/2.0\r\nVia: rubbish\r\n\r\n"),
			} {
				for _, to := range []netip.AddrPort{p.OutsideUDP(), p.Peer()} {
					if err := forge(p.Lab.Attacker, victim, to, b); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// echoed registers a phone again and lets it hear itself.
func echoed(t *testing.T, ph *siptest.Phone, hz float64) {
	t.Helper()
	enrol(t, ph)
	call, err := ph.Call(bounded(t, waits), "*43")
	if err != nil {
		t.Fatalf("%s: %v", ph.Name(), err)
	}
	if _, err := call.AwaitTone(bounded(t, waits), hz); err != nil {
		t.Errorf("%s: %v", ph.Name(), err)
	}
	if err := call.Hangup(bounded(t, waits)); err != nil {
		t.Error(err)
	}
}

// nonce is a challenge that the border gave to the attacker.
func (p *Product) nonce(t *testing.T) string {
	t.Helper()
	l := p.Lab
	c := siptest.Config{User: "1001", Domain: Domain, Transport: siptest.UDP, Server: p.OutsideUDP().String(), Bind: l.Attacker.Addr(), Within: l.Attacker.Do}
	own := netip.AddrPortFrom(l.Attacker.Addr(), 5060)
	// Who has proved nothing gets no more bytes than it sent: as long as a phone's, with all that phones say of themselves.
	phones := []byte("User-Agent: " + strings.Repeat("phone/1.0 ", 30) + "\r\n")
	plain := regexp.MustCompile(`(?m)^Authorization:.*\r\n`).ReplaceAll(login("1001", "", "own", 1, own), phones)
	answer, err := siptest.SendRaw(bounded(t, waits), c, plain, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`nonce="([^"]+)"`).FindSubmatch(answer)
	if m == nil {
		t.Fatalf("no nonce in %q", answer)
	}
	return string(m[1])
}

// The list of those who are never banned wins, whatever they do.
func TestNeverBanned(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, Trunk: true, Guard: guessing + "\n  allow: [" + l.Remote2.Addr().String() + "/32]"})
	for _, c := range []struct {
		h   *lab.Host
		why string
	}{{l.Carrier, "trunk"}, {l.Remote2, "config"}} {
		for _, try := range p.guess(t, c.h, c.h.Addr(), 20, nil) {
			if try.Outcome != siptest.Denied {
				t.Errorf("%s: %v", c.h.Name, try)
			}
		}
		e := p.whyBanned(t, c.h.Addr())
		if !strings.Contains(e.Allowed, c.why) || len(e.Bans) > 0 {
			t.Errorf("%s: %+v", c.h.Name, e)
		}
		if out, err := p.Try("sbc", "", "ban", "add", c.h.Addr().String()); err == nil {
			t.Errorf("%s was banned by hand: %s", c.h.Name, out)
		}
	}
	p.nobodyBanned(t)
	if s := p.banStats(t); s.dropped() > 0 {
		t.Errorf("%+v", s)
	}
}
