package border

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/caps"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// turnedAway makes a call that finds no room.
func (p *phone) turnedAway(ask transactiontest.Ask, why verdict.Reason) *sip.Response {
	p.r.Helper()
	before := p.r.b.metrics.refused.Counts()[why]
	res := p.Do(p.flow, ask, 503)
	if after := p.r.b.metrics.refused.Counts()[why]; after != before+1 {
		p.r.Errorf("%s is counted %d, then %d", why, before, after)
	}
	return res
}

// TestRateOfAll: what comes faster than all may call is refused before the exchange hears of it, but for emergency calls of those who are
// known. A part is kept for who has answered a challenge.
func TestRateOfAll(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Admission = caps.Config{Total: caps.Limit{PerSecond: 0.001, Burst: 4}, Emergency: []string{"112"}}
	})
	p := r.phone("1001", transport.TLS, 50)
	for range 3 {
		p.Ask(p.flow, p.call("1002"))
		r.exchange.Next(sip.INVITE)
	}
	has(t, p.turnedAway(p.call("1002"), verdict.CallRate), "Retry-After", "1")
	p.Ask(p.flow, p.call("1002", proxyCredentials))
	r.exchange.Next(sip.INVITE)
	p.turnedAway(p.call("1002", proxyCredentials), verdict.CallRate)
	p.register()
	for range 20 { // more than strangers may
		p.Ask(p.flow, p.call("112"))
		r.exchange.Next(sip.INVITE)
	}
	r.settle()
	r.exchange.Quiet()
}

// TestPlaces: an address and an account have only so many calls at a time; another has its own, and what ends makes room.
func TestPlaces(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Admission = caps.Config{Source: caps.Limit{Calls: 3}, Phone: caps.Limit{Calls: 2}, Emergency: []string{"112"}}
	})
	stranger, other := r.phone("1001", transport.TLS, 50), r.phone("1002", transport.TLS, 51)
	for range 3 {
		stranger.Ask(stranger.flow, stranger.call("1003"))
		r.exchange.Next(sip.INVITE)
	}
	has(t, stranger.turnedAway(stranger.call("1003"), verdict.SourceCalls), "Retry-After", "5")
	other.register()
	ask := other.call("1003", proxyCredentials)
	asked := other.Ask(other.flow, ask)
	first := r.exchange.Next(sip.INVITE)
	other.Ask(other.flow, other.call("1003", proxyCredentials))
	r.exchange.Next(sip.INVITE)
	other.turnedAway(other.call("1003", proxyCredentials), verdict.AccountCalls)
	other.Ask(other.flow, other.call("112", proxyCredentials))
	r.exchange.Next(sip.INVITE)

	r.exchange.Answer(first, 486, "")
	asked.Response(486)
	r.eventually("the place to be free", func() bool { return r.b.caps.Calls(caps.AOR, "1002@"+domain) == 1 })
	other.Ask(other.flow, other.call("1003", proxyCredentials))
	r.exchange.Next(sip.INVITE)
}

// TestAdmissionReloads: other limits hold from the next call on.
func TestAdmissionReloads(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	p.Ask(p.flow, p.call("1002"))
	r.exchange.Next(sip.INVITE)
	cfg := r.cfg
	cfg.Admission = caps.Config{Source: caps.Limit{PerSecond: 0.1, Burst: 1}}
	if err := r.b.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	p.Ask(p.flow, p.call("1002"))
	r.exchange.Next(sip.INVITE)
	has(t, p.turnedAway(p.call("1002"), verdict.SourceCallRate), "Retry-After", "10")
}

// TestAnswers counts answers by realm, method and code, and nothing that a stranger makes up.
func TestAnswers(t *testing.T) {
	a := &answers{}
	a.count(access, sip.INVITE, 486)
	a.count(access, sip.INVITE, 486)
	a.count(peer, "MADEUP", 405)
	a.count(core, sip.BYE, 100)
	a.count(core, sip.BYE, 700)
	got := map[string]float64{}
	a.emit(func(name string, v float64, labels ...string) {
		got[name+" "+labels[0]+" "+labels[1]+" "+labels[2]] = v
	})
	if len(got) != 2 || got["answers_total access INVITE 486"] != 2 || got["answers_total peer other 405"] != 1 {
		t.Error(got)
	}
}
