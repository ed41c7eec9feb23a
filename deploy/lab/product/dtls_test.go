package product

import (
	"fmt"
	"strings"
	"testing"

	"brickhouse/deploy/lab"
	"brickhouse/shared/b2bua"
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
	p.soundsGood(t)
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

// soundsGood waits until both sides of the only call have reported by RTCP how they hear each other: well.
func (p *Product) soundsGood(t *testing.T) {
	t.Helper()
	var calls []b2bua.Info
	p.ask(t, &calls, "sbc", "call", "list")
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	until(t, waits, "both sides to report", func() string {
		var records []b2bua.Record
		p.ask(t, &records, "sbc", "call", "show", calls[0].ID)
		for _, m := range records[0].Media {
			if m.Reports == 0 || m.Loss > 0.02 || m.MOS < 4 || m.MOS > 4.5 || m.RoundTripMS <= 0 || m.RoundTripMS > 1000 || m.JitterMS > 50 {
				return fmt.Sprintf("%+v", m)
			}
		}
		return ""
	})
}
