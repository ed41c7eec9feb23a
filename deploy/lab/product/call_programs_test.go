package product

import (
	"strings"
	"testing"
)

// TestCallsBetweenPrograms lets phones of two makes, outside and inside, call each other in every direction.
func TestCallsBetweenPrograms(t *testing.T) {
	c := assemble(t, Options{})
	for i, from := range c.phones() {
		for j, to := range c.phones() {
			if i == j {
				continue
			}
			talk(t, from, to)
			if (i+j)%2 == 0 {
				hangup(from, to)
			} else {
				hangup(to, from)
			}
		}
	}
	c.nothingLeaks(t)
	for _, want := range []struct {
		p    phone
		text string
	}{
		{c.outL, "algorithm=SHA-256"}, {c.outL, "AES_CM_128_HMAC_SHA1_80"}, {c.inL, "algorithm=SHA-256"},
		{c.outB, "algorithm=MD5"}, {c.inB, "algorithm=MD5"},
	} {
		if !strings.Contains(want.p.Trace(), want.text) {
			t.Errorf("%s saw no %s", want.p.number, want.text)
		}
	}
	// It offers the CM suites only, but takes the better one that the border offers.
	if !answered(c.outB.Trace(), "AEAD_AES_256_GCM") || !answered(c.outB.Trace(), "AES_CM_128_HMAC_SHA1_80") {
		t.Error("baresip outside did not talk with both suites")
	}
}

// answered tells whether some 200 agreed on an SRTP suite.
func answered(trace, suite string) bool {
	for _, m := range strings.Split(trace, "SIP/2.0 200 ")[1:] {
		if head, body, ok := strings.Cut(m, "\r\n\r\n"); ok && strings.Contains(head, "INVITE") {
			sdp, _, _ := strings.Cut(body, "\r\n\r\n")
			if strings.Contains(sdp, "a=crypto:1 "+suite+" ") {
				return true
			}
		}
	}
	return false
}

// TestHoldBetweenPrograms lets either side of a call hold and resume it.
func TestHoldBetweenPrograms(t *testing.T) {
	c := assemble(t, Options{})
	for _, pair := range [][2]phone{{c.outL, c.inB}, {c.inL, c.outB}, {c.outB, c.outL}} {
		from, to := pair[0], pair[1]
		talk(t, from, to)
		hold(t, from, to)
		hold(t, to, from)
		hangup(to, from)
	}
	c.nothingLeaks(t)
}
