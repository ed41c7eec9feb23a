package lab

import (
	"strings"
	"testing"
)

func TestLinphoneCallsBaresip(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		wire := l.Internet.Capture()
		aliceAccount, bobAccount := registrar(l, false)
		alice, bob := l.Remote.Linphone(aliceAccount), l.Remote2.Baresip(bobAccount)
		alice.Register()
		bob.Register()
		alice.Call("1002")
		alice.WaitRinging()
		bob.Answer()
		alice.WaitEstablished()
		alice.Hears(700)
		bob.Hears(440)
		alice.Hold()
		alice.HearsNothing()
		alice.Resume()
		bob.Hears(440)
		alice.Hears(700)
		alice.Hangup()
		bob.WaitClosed()

		bob.Call("1001")
		alice.Answer()
		bob.WaitEstablished()
		alice.Hears(700)
		bob.Hears(440)
		bob.Hangup()
		alice.WaitClosed()
		wire.HoldsNoPlainAudio()
		wire.HoldsNoPlainRTCP(l.Remote)
		wire.HoldsMedia(l.Remote, 25)
		if !strings.Contains(alice.Trace(), "a=crypto:") {
			t.Error("no SDES key in what alice saw")
		}
	})
}

// baresip cannot do SHA-256; linphone can, and it looks at the certificate.
func TestLinphoneRegisters(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		account, _ := registrar(l, true)
		alice := l.Remote.Linphone(account)
		alice.Register()
		if !strings.Contains(alice.Trace(), "algorithm=SHA-256") {
			t.Error("not by SHA-256")
		}
		alice.Unregister()
		wrong := account
		wrong.Password = "guess"
		if why := l.Remote.Linphone(wrong).RegisterFails(); !strings.HasPrefix(why, "401") {
			t.Errorf("wrong password: %q", why)
		}
		stranger := account
		stranger.CA = l.CA().File
		mallory := l.Remote2.Linphone(stranger)
		if why := mallory.RegisterFails(); why != "503 io error" {
			t.Errorf("unknown CA: %q", why)
		}
		if strings.Contains(mallory.Trace(), "SIP/2.0 200") {
			t.Error("registered at a server that its CA does not know")
		}
	})
}

// Both phones over IPv6, straight to each other.
func TestPhonesOverIPv6(t *testing.T) {
	l := New(t)
	alice := l.Remote.Baresip(Account{User: "1001", Tone: 440, IPv6: true})
	bob := l.Remote2.Linphone(Account{User: "1002", Tone: 700, IPv6: true})
	wire := l.Internet.Capture()
	alice.Call("sip:1002@" + bob.Addr().String())
	bob.Answer()
	alice.WaitEstablished()
	alice.Hears(700)
	bob.Hears(440)
	alice.Hangup()
	bob.WaitClosed()
	for _, f := range wire.Flows() {
		if !f.Src.Addr().Is6() {
			t.Errorf("media from %s to %s", f.Src, f.Dst)
		}
	}
}
