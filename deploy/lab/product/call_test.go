package product

import (
	"testing"

	"brickhouse/deploy/lab"
)

// TestRemoteCallsInside is the main job: a remote phone calls a phone inside, and each hears the other.
func TestRemoteCallsInside(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	alice := l.Remote.Baresip(p.RemoteAccount("1001", 440))
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	alice.Register()
	bob.Register()
	alice.Call("1002")
	bob.Answer()
	alice.WaitEstablished()
	alice.Hears(700)
	bob.Hears(440)
	alice.Hold()
	bob.HearsNothing()
	alice.Resume()
	bob.Hears(440)
	alice.Hangup()
	bob.WaitClosed()
}

// TestInsidePhoneOverTLS: a phone on the voice VLAN that encrypts its signalling.
func TestInsidePhoneOverTLS(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{})
	p.Extension("1001", "md5")
	p.Extension("1002", "sha-256")
	secure := p.InsideAccount("1001", 440)
	secure.Server, secure.Transport, secure.CA = p.InsideTLS(), "tls", p.CA()
	alice := l.Desk.Baresip(secure)
	secure.User, secure.Tone = "1002", 700
	bob := l.Desk2.Linphone(secure)
	alice.Register()
	bob.Register()
	for _, call := range []struct {
		from, to lab.Phone
		number   string
	}{{alice, bob, "1002"}, {bob, alice, "1001"}} {
		call.from.Call(call.number)
		call.to.Answer()
		call.from.WaitEstablished()
		alice.Hears(700)
		bob.Hears(440)
		call.from.Hangup()
		call.to.WaitClosed()
	}
}
