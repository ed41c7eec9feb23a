package product

import (
	"strings"
	"testing"

	"brickhouse/deploy/lab"
)

// TestBrowserPhone lets JsSIP in Chromium call a desk phone inside and be called by it, with hold, a restart of ICE and a line of
// video that is refused, through the kernel filter and its pinholes. Each hears the other; nobody on the Internet hears them, and neither side sees the other's addresses.
func TestBrowserPhone(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{WSS: true, XDP: true, Guard: "  pinholes: true"})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	internet := l.Internet.Capture()
	web := l.Remote.Browser(p.WebAccount("1001", 440), p.Certificate())
	desk := l.Desk.Baresip(p.InsideAccount("1002", 700))
	web.Register()
	desk.Register()
	both := func() {
		t.Helper()
		t.Logf("the browser hears %+v", web.Hears(700))
		t.Logf("the desk phone hears %+v", desk.Hears(440))
	}

	web.CallWithVideo("1002")
	desk.Answer()
	web.WaitEstablished()
	both()
	web.Hold()
	desk.HearsNothing()
	web.Resume()
	both()
	web.RestartICE()
	both()
	web.Hangup()
	desk.WaitClosed()

	desk.Call("1001")
	web.Answer()
	desk.WaitEstablished()
	both()
	desk.Hangup()
	web.WaitClosed()

	for _, want := range []string{"m=video 0 ", "a=ice-lite", "a=group:BUNDLE 0\r\n", "a=setup:passive", "a=setup:actpass"} {
		if !strings.Contains(web.Trace(), want) {
			t.Errorf("the browser saw no %q", want)
		}
	}
	for _, not := range append(texts(p.insideAddrs()), "a=crypto") {
		if strings.Contains(web.Trace(), not) {
			t.Errorf("the browser saw %q", not)
		}
	}
	for _, not := range append(texts(p.outsideAddrs()), "a=fingerprint", "a=ice", "a=candidate", "a=extmap", "SAVP") {
		if strings.Contains(desk.Trace(), not) {
			t.Errorf("the desk phone saw %q", not)
		}
	}
	internet.HoldsNoPlainAudio()
	internet.HoldsNoPlainRTCP(l.DMZ)
	internet.HoldsMedia(l.Remote, 25)
	p.onlyRefused(t, "sbc")
}
