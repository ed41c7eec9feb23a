package border

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/caps"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// inbound is a call of the carrier's.
func inbound(r *rig) transactiontest.Ask {
	ask := transactiontest.NewAsk(sip.INVITE, "sip:4930123@"+r.addr(peerHost), "sip:0170555@carrier.test", "sip:4930123@carrier.test")
	ask.Body = offer(r.ip(carrierHost))
	return ask
}

// toCarrier is a call of the exchange's to the carrier.
func toCarrier(r *rig) transactiontest.Ask {
	return r.callOut("sip:1@x", "sip:1@x", trunkLine("carrier"))
}

// busy ends a call at the exchange.
func (r *rig) busy(asked *transactiontest.Asked, s *transaction.Server) {
	r.Helper()
	r.exchange.Answer(s, 486, "")
	asked.Response(486)
}

// TestTrunkCalls: a trunk carries so many calls, both ways together. Who talks goes on talking.
func TestTrunkCalls(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Peer.Trunks[0].Limits = caps.Limit{Calls: 1} })
	carrier, f := r.carrier(carrierHost)
	ask := inbound(r)
	asked := carrier.Ask(f, ask)
	s := r.exchange.Next(sip.INVITE)
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	res := asked.Response(200)
	carrier.Ask(f, ask.Within(res, sip.ACK))
	r.exchange.NextAck()

	has(t, carrier.Do(f, inbound(r), 503), "Retry-After", "5")
	has(t, r.exchange.Do(r.link, toCarrier(r), 503), "Retry-After", "5")
	r.refused(verdict.TrunkCalls, 2)
	p := r.phone("1001", transport.TLS, 50) // no call of the trunk's
	r.busy(p.Ask(p.flow, p.call("1002", proxyCredentials)), r.exchange.Next(sip.INVITE))

	again := carrier.Ask(f, ask.Within(res, sip.INVITE)) // within the call
	r.exchange.Answer(r.exchange.Next(sip.INVITE), 488, "")
	again.Response(488)
	r.hang(s, carrier)
	r.eventually("the place to be free", func() bool { return r.b.caps.Calls(caps.Trunk, "carrier") == 0 })
	r.exchange.Ask(r.link, toCarrier(r))
	carrier.Next(sip.INVITE)
}

// TestTrunkRate: a trunk takes so many calls a second, both ways together, and says when to come again.
func TestTrunkRate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Peer.Trunks[0].Limits = caps.Limit{PerSecond: 0.05, Burst: 2} })
	carrier, f := r.carrier(carrierHost)
	r.busy(carrier.Ask(f, inbound(r)), r.exchange.Next(sip.INVITE))
	asked := r.exchange.Ask(r.link, toCarrier(r))
	carrier.Answer(carrier.Next(sip.INVITE), 486, "")
	asked.Response(486)
	has(t, carrier.Do(f, inbound(r), 503), "Retry-After", "20")
	has(t, r.exchange.Do(r.link, toCarrier(r), 503), "Retry-After", "20")
	r.refused(verdict.TrunkRate, 2)
	r.exchange.Quiet()
}

// TestTotalCalls: all from outside together, phones and carriers.
func TestTotalCalls(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Admission = caps.Config{Total: caps.Limit{Calls: 1}} })
	carrier, f := r.carrier(carrierHost)
	asked := carrier.Ask(f, inbound(r))
	s := r.exchange.Next(sip.INVITE)
	p := r.phone("1001", transport.UDP, 50)
	has(t, p.turnedAway(p.call("1002", proxyCredentials), verdict.Overload), "Retry-After", "5")
	r.busy(asked, s)
	r.eventually("the place to be free", func() bool { return r.b.caps.Calls(caps.Total, "") == 0 })
	r.busy(p.Ask(p.flow, p.call("1002", proxyCredentials)), r.exchange.Next(sip.INVITE))
}

// TestPhoneRate: an account makes so many calls a second, whatever it writes into From.
func TestPhoneRate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Admission = caps.Config{Phone: caps.Limit{PerSecond: 0.1, Burst: 1}} })
	p, q := r.phone("1001", transport.UDP, 50), r.phone("1002", transport.UDP, 50)
	p.register()
	q.register()
	r.busy(p.Ask(p.flow, p.call("1003", proxyCredentials)), r.exchange.Next(sip.INVITE))
	p.user = "1009"
	has(t, p.turnedAway(p.call("1003", proxyCredentials), verdict.AccountRate), "Retry-After", "10")
	r.busy(q.Ask(q.flow, q.call("1003", proxyCredentials)), r.exchange.Next(sip.INVITE))
}

// TestFailedCallsHoldNoPlace: what can't be called gives its place back.
func TestFailedCallsHoldNoPlace(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Admission = caps.Config{Total: caps.Limit{Calls: 1}, Source: caps.Limit{Calls: 1}}
		c.Peer.Trunks[0].Limits = caps.Limit{Calls: 1}
	})
	carrier, f := r.carrier(carrierHost)
	p := r.phone("1001", transport.TLS, 50)
	for range 3 {
		r.exchange.Do(r.link, r.callOut("sip:x", "sip:1@x", trunkLine("carrier")), 484)
		p.Do(p.flow, p.call("1/2", proxyCredentials), 484)
	}
	if err := r.b.carriers.SetEnabled("carrier", false); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		carrier.Do(f, inbound(r), 503)
		r.exchange.Do(r.link, toCarrier(r), 503)
	}
	r.refused(verdict.TrunkDisabled, 6)
	if n := r.b.caps.Calls(caps.Total, "") + r.b.caps.Calls(caps.Trunk, "carrier"); n != 0 {
		t.Errorf("%d places are held by nobody", n)
	}
}

// TestTurnedAwayLeaveNothing: no call and no transaction, and their ACKs are no strays.
func TestTurnedAwayLeaveNothing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Peer.Trunks[0].Limits = caps.Limit{PerSecond: 0.001, Burst: 1} })
	carrier, f := r.carrier(carrierHost)
	r.busy(carrier.Ask(f, inbound(r)), r.exchange.Next(sip.INVITE))
	r.eventually("the first call to be over", func() bool { return r.b.engine.Len() == 0 })
	before, _ := r.b.tx.Counts()
	for range 50 {
		carrier.Do(f, inbound(r), 503)
	}
	r.refused(verdict.TrunkRate, 50)
	r.eventually("the transactions to be gone", func() bool { now, _ := r.b.tx.Counts(); return now <= before })
	if n := r.b.engine.Len(); n != 0 {
		t.Errorf("%d calls", n)
	}
	r.refused(verdict.StrayACK, 0)
}
