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
