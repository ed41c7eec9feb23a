package lab

import (
	"fmt"
	"testing"
)

func TestBaresipCallsBaresip(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		alice := l.Remote.Baresip(Account{User: "1001", Tone: 440})
		bob := l.Remote2.Baresip(Account{User: "1002", Tone: 700})
		wire := l.Internet.Capture()
		_ = wire
		alice.Call(fmt.Sprintf("sip:1002@%s", l.Remote2.Addr()))
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
	})
}
