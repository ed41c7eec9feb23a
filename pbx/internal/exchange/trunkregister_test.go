package exchange

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
)

const nonce1 = `WWW-Authenticate: Digest realm="c", nonce="one", qop="auth", algorithm=SHA-256`

// registering is an exchange that registers at its carrier, and the border that it does so through.
func registering(t *testing.T) (*rig, *phone) {
	t.Helper()
	r := newRig(t, func(c *Config) { c.Trunks[0].Register = 10 * time.Minute })
	if err := r.x.SetTrunkPassword(t.Context(), "carrier", "pass word"); err != nil {
		t.Fatal(err)
	}
	return r, r.border()
}

// proven wants a REGISTER with right credentials for a nonce.
func proven(t *testing.T, s *transaction.Server, nonce string) {
	t.Helper()
	v, _ := sipmsg.Header(s.Request(), "Authorization")
	c, err := digest.ParseCredentials(v)
	if err != nil || c.Nonce != nonce || c.Username != "account" || c.URI != "sip:carrier.test" || !c.Verify(digest.HA1(digest.SHA256, "account", "c", "pass word"), "REGISTER") {
		t.Errorf("credentials %q, %v", v, err)
	}
}

// TestRegisterAtCarrier takes a registration through challenge, stale nonce and too short a time.
func TestRegisterAtCarrier(t *testing.T) {
	r, border := registering(t)
	s := border.Next(sip.REGISTER)
	req := s.Request()
	if got := req.Recipient.String() + " " + req.To().Address.String() + " " + req.From().Address.String(); got != "sip:carrier.test sip:account@carrier.test sip:account@carrier.test" {
		t.Error(got)
	}
	has(t, req, "Brickhouse-Trunk", "carrier")
	has(t, req, "Expires", "600")
	callID, seq := req.CallID().Value(), req.CSeq().SeqNo
	border.Answer(s, 401, "", nonce1)
	s = border.Next(sip.REGISTER)
	proven(t, s, "one")
	if s.Request().CallID().Value() != callID || s.Request().CSeq().SeqNo != seq+1 {
		t.Error("the carrier can't order the requests") // RFC 3261 §10.2.4
	}
	border.Answer(s, 401, "", `WWW-Authenticate: Digest realm="c", nonce="two", qop="auth", algorithm=SHA-256, stale=true`)
	s = border.Next(sip.REGISTER)
	proven(t, s, "two")
	border.Answer(s, 423, "", "Min-Expires: 1200")
	s = border.Next(sip.REGISTER)
	has(t, s.Request(), "Expires", "1200")
	if r.x.accountsAway[0].registered() {
		t.Error("registered without the carrier's word")
	}
	border.Answer(s, 200, "", "Expires: 900")
	r.eventually("the registration", r.x.accountsAway[0].registered)
	border.Quiet() // it is refreshed after half of its time
}

// TestRegisterRefused: who is refused does not ask on and on.
func TestRegisterRefused(t *testing.T) {
	r, border := registering(t)
	border.Answer(border.Next(sip.REGISTER), 401, "", nonce1)
	border.Answer(border.Next(sip.REGISTER), 401, "", nonce1)
	border.Quiet()
	if r.x.accountsAway[0].registered() {
		t.Error("registered")
	}
}

// TestRegisterAttempt: what one attempt makes of answers.
func TestRegisterAttempt(t *testing.T) {
	r := newRig(t, nil)
	border := r.border()
	r.eventually("the link", func() bool { return r.x.border.Load() != nil })
	for _, c := range []struct {
		code       int
		lines      []string
		left, wait time.Duration
		ok         bool
	}{
		{200, []string{"Expires: 60"}, time.Minute, 0, true},
		{200, nil, 10 * time.Minute, 0, true},
		{200, []string{"Expires: 4000000"}, 20 * time.Minute, 0, true},
		{200, []string{"Expires: 0"}, 0, 0, false},
		{403, nil, 0, 0, false},
		{503, []string{"Retry-After: 90"}, 0, 90 * time.Second, false},
		{503, []string{"Retry-After: 99999999"}, 0, longestRetry, false},
		{401, []string{nonce1}, 0, 0, false}, // there is no password
	} {
		conf := r.cfg.Trunks[0]
		conf.Register = 10 * time.Minute
		r.x.cfg.Trunks = []Trunk{conf}
		a := r.x.trunkAccounts()[0]
		type result struct {
			left, wait time.Duration
			err        error
		}
		done := make(chan result, 1)
		go func() {
			left, wait, err := a.register(t.Context(), r.x.border.Load())
			done <- result{left, wait, err}
		}()
		border.Answer(border.Next(sip.REGISTER), c.code, "", c.lines...)
		if got := <-done; got.left != c.left || got.wait != c.wait || (got.err == nil) != c.ok {
			t.Errorf("%d %q: %+v", c.code, c.lines, got)
		}
	}
}

func TestJitter(t *testing.T) {
	for range 1000 {
		if d := jitter(time.Minute); d > time.Minute || d < 54*time.Second {
			t.Fatal(d)
		}
	}
}
