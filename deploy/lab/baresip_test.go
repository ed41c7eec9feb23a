package lab

import (
	"fmt"
	"strings"
	"testing"
)

// Two phones, no server: tones both ways, hold and resume, and what is on the wire.
func TestBaresipCallsBaresip(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		wire := l.Internet.Capture()
		alice := l.Remote.Baresip(Account{User: "1001", Tone: 440})
		bob := l.Remote2.Baresip(Account{User: "1002", Tone: 700})
		alice.Call(fmt.Sprintf("sip:1002@%s", bob.Addr()))
		alice.WaitRinging()
		bob.Answer()
		alice.WaitEstablished()
		alice.Hears(700)
		bob.Hears(440)
		alice.Hold()
		bob.HearsNothing()
		alice.Resume()
		bob.Hears(440)
		alice.Hears(700)
		bob.Hangup()
		alice.WaitClosed()
		wire.HoldsMedia(l.Remote, 25)
		if l.Namespaced() { // the assertions must be able to fail
			wire.Holds("INVITE sip:1002")
			if flows := wire.Flows(); len(flows) != 2 || flows[0].Clear < 25 || flows[1].Clear < 25 {
				t.Errorf("two flows in clear went over the wire; seen: %+v", flows)
			}
			if r := wire.Sound(l.Remote); !r.Is(700) {
				t.Errorf("on its way to alice was %+v", r)
			}
		}
	})
}

// The ways in which a call does not come about.
func TestBaresipRefusals(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		alice := l.Remote.Baresip(Account{User: "1001"})
		bob := l.Remote2.Baresip(Account{User: "1002"})
		carol := l.Remote2.Baresip(Account{User: "1003", Codec: "PCMA"}) // a second phone on one host
		call := func(p *Baresip) { alice.Call(fmt.Sprintf("sip:%s@%s", p.acc.User, p.Addr())) }

		call(bob)
		bob.Reject()
		if why := alice.WaitClosed(); !strings.Contains(why, "486") {
			t.Errorf("busy: %q", why)
		}
		bob.WaitClosed()

		call(bob)
		alice.WaitRinging()
		if from := bob.WaitIncoming(); !strings.Contains(from, "sip:1001@") {
			t.Errorf("the caller is %q", from)
		}
		alice.Hangup()
		if why := bob.WaitClosed(); why == "" {
			t.Errorf("cancelled: no reason given")
		}

		call(carol)
		if why := alice.WaitClosed(); !strings.Contains(why, "488") {
			t.Errorf("no common codec: %q", why)
		}
		if got := carol.Trace(); !strings.Contains(got, "488 Not Acceptable Here") {
			t.Error("carol's trace lacks her 488")
		}
	})
}

func TestBaresipRegistrationFails(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		account, _ := registrar(l, false)
		account.Password = "guess"
		if why := l.Remote.Baresip(account).RegisterFails(); !strings.Contains(why, "401") {
			t.Errorf("wrong password: %q", why)
		}
	})
}

// registrar makes a Kamailio with TLS in the DMZ and returns the accounts of 1001 and 1002 at it.
func registrar(l *Lab, sha256 bool) (alice, bob Account) {
	ca := l.CA()
	l.DMZ.Registrar(Kamailio{
		Domain: "lab.test", Users: map[string]string{"1001": "one", "1002": "two"}, SHA256: sha256, TLS: ca.Issue("lab.test", l.DMZ.Addr()),
	})
	server := l.DMZ.Port(l.Internet, 5061)
	alice = Account{User: "1001", Password: "one", Domain: "lab.test", Server: server, Transport: "tls", CA: ca.File, SRTP: true, Tone: 440}
	bob = Account{User: "1002", Password: "two", Domain: "lab.test", Server: server, Transport: "tls", CA: ca.File, SRTP: true, Tone: 700}
	return alice, bob
}

func TestBaresipOverTLSWithSRTP(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		wire := l.Internet.Capture()
		aliceAccount, bobAccount := registrar(l, false)
		alice, bob := l.Remote.Baresip(aliceAccount), l.Remote2.Baresip(bobAccount)
		alice.Register()
		bob.Register()
		alice.Call("1002")
		bob.Answer()
		alice.WaitEstablished()
		alice.Hears(700)
		bob.Hears(440)
		bob.Hangup()
		alice.WaitClosed()
		if !strings.Contains(alice.Trace(), "a=crypto:") {
			t.Error("no SDES key in what alice saw")
		}
		wire.HoldsNo("lab.test SIP/2.0", "a=crypto:")
		wire.HoldsNoPlainAudio()
		wire.HoldsMedia(l.Remote, 25)
	})
}
