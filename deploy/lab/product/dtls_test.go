package product

import (
	"strings"
	"testing"

	"brickhouse/deploy/lab"
)

// TestDTLSWithBaresip lets a phone whose media are keyed by DTLS (OpenSSL's) call inside and be called, with hold; nobody on the
// Internet hears it.
func TestDTLSWithBaresip(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{Keys: "{tls: dtls}"})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	internet := l.Internet.Capture()
	account := p.RemoteAccount("1001", 440)
	account.SRTP, account.DTLS = false, true
	out, in := baresip(l.Remote, account), baresip(l.Desk, p.InsideAccount("1002", 700))
	out.Register()
	in.Register()
	talk(t, out, in)
	hold(t, out, in)
	hangup(in, out)
	talk(t, in, out)
	hold(t, in, out)
	hangup(out, in)
	for _, want := range []string{"UDP/TLS/RTP/SAVP", "a=setup:passive", "a=setup:actpass", "a=fingerprint:sha-256 "} {
		if !strings.Contains(strings.ToLower(out.Trace()), strings.ToLower(want)) {
			t.Errorf("the phone saw no %s", want)
		}
	}
	seesNo(t, out, append(texts(p.insideAddrs()), "a=crypto")...)
	seesNo(t, in, append(texts(p.outsideAddrs()), "a=fingerprint", "a=setup", "a=ice")...)
	internet.HoldsNoPlainAudio()
	internet.HoldsNoPlainRTCP(l.DMZ)
	internet.HoldsMedia(l.Remote, 25)
	p.onlyRefused(t, "sbc")
}
