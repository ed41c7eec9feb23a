package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// lend begins the part that this call has in an attended transfer: the party of another call is to take the place of leg
// place, the transferor's. Its far side is asked for an offer.
func (c *Call) lend(of *Call, t *transfer, place *leg) {
	failed := func(code int) { of.post(func() { of.transferFailed(t, code) }) }
	y := c.other(place)
	switch {
	case c.ended || place.over || place.former:
		failed(sip.StatusCallTransactionDoesNotExists)
		return
	case c.plan.Local != nil && place == c.a:
		c.lendToService(of, t)
		return
	case place != c.host && !place.up() || !y.up(): // not answered yet
		failed(sip.StatusTemporarilyUnavailable)
		return
	case c.transfer != nil || c.joint != nil || c.changing:
		failed(sip.StatusRequestPending)
		return
	}
	j := &joint{of: of, transfer: t, place: place}
	c.joint = j
	giveUp := func(code int) {
		if c.joint == j {
			c.joint = nil
			failed(code)
			if place.over {
				c.end(Ending{Reason: verdict.NormalClearing, By: place.side}, nil)
			}
		}
	}
	c.whenIdle(y, func() {
		if c.joint == j {
			c.reinvite(y, nil, func(offer []byte, code int) { c.onLent(j, y, offer, code, giveUp) })
		}
	}, func() { giveUp(sip.StatusRequestPending) })
}

// onLent takes the offer that the far side made for the party that is to come.
func (c *Call) onLent(j *joint, y *leg, offer []byte, code int, giveUp func(int)) {
	switch {
	case offer == nil:
		giveUp(code)
		c.checkPeer(y, code)
	case c.joint != j: // nobody comes
		c.ack(y.sent, refusing(offer))
		c.reunite(&transfer{by: j.place, rest: y})
	default:
		j.offer = offer
		j.of.post(func() { j.of.onLoan(j.transfer, c, offer) })
	}
}

// unjoin takes the news that nobody will come.
func (c *Call) unjoin(t *transfer) {
	if c.pick != nil && c.pick.transfer == t {
		c.pick = nil
		return
	}
	j := c.joint
	if j == nil || j.transfer != t {
		return
	}
	c.joint = nil
	switch y := c.other(j.place); {
	case j.place == c.host && j.offer != nil:
		c.ack(y.sent, refusing(j.offer))
		c.reunite(&transfer{by: j.place, rest: y})
	case j.place == c.host:
	case j.place.inner:
		c.end(Ending{Code: sip.StatusRequestTerminated, Reason: verdict.CallCancelled, By: A}, nil)
	case j.place.over:
		c.end(Ending{Reason: verdict.NormalClearing, By: j.place.side}, nil)
	case j.offer != nil:
		c.ack(y.sent, refusing(j.offer))
		c.resync(j.place, y)
	}
}

// take puts leg x, which another call gave, in the place that it was meant for. answer is for the far side, which has made
// an offer; nil where it has not.
func (c *Call) take(t *transfer, x *leg, answer []byte, news Joined) {
	if p := c.pick; p != nil && p.transfer == t {
		c.pickedUp(x, answer)
		return
	}
	j := c.joint
	if j == nil || j.transfer != t { // the call ended, or somebody answered, while x was on its way
		c.strays = append(c.strays, x)
		c.dismiss(x, func() { c.hangup(x, verdict.NormalClearing) })
		return
	}
	c.joint = nil
	if y := c.other(j.place); y != nil && y.owesAck() {
		c.ack(y.sent, answer)
	}
	place := j.place
	c.put(place, x)
	c.watch(x)
	c.retire(place)
	switch {
	case place == c.host:
		c.takeFromService()
	case c.plan.Local != nil && answer != nil:
		if err := c.plan.Local.Accept(answer); err != nil {
			c.log.Warn("answer can't be used", "side", x.side, "error", err)
			c.abort(refusal(err).Reason)
			return
		}
	}
	c.joined(x, news)
}

// joined tells of a new party.
func (c *Call) joined(x *leg, news Joined) {
	news.Side = x.side
	if x.side == A {
		c.info.Caller = news.Party.URI.User
	} else {
		c.info.Callee = news.Party.URI.User
	}
	c.show()
	c.log.Info("party replaced", "side", x.side, "by", news.Account, "from_trace", news.Trace)
	if c.plan.Joined != nil {
		c.plan.Joined(news)
	}
}

// askedTooSoon reports whether a new INVITE on a leg has to wait because the call changes hands.
func (c *Call) askedTooSoon(l *leg, s *transaction.Server) bool {
	if !c.changing && c.joint == nil {
		return false
	}
	c.reply(l, s, sip.StatusRequestPending)
	return true
}
