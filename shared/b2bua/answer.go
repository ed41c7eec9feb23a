package b2bua

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onAnswer takes the first 2xx: its leg is the one, the others are called off.
func (c *Call) onAnswer(l *leg, res *sip.Response) {
	e, err := l.confirm(res)
	if err != nil {
		c.log.Warn("answer without a usable dialog", "target", l.target.Name, "error", err)
		c.refuseLate(l.sent, res)
		c.failed(l, outcome{code: sip.StatusBadGateway, reason: verdict.MissingHeader, next: true})
		return
	}
	tag := l.dlg.Remote.Tag
	l.remoteTag.Store(&tag)
	l.established = true
	c.b = l
	c.ring.Stop()
	c.patience(0)
	for _, other := range c.tried {
		if other != l {
			c.callOff(other, answeredElsewhere)
		}
	}
	c.tried = []*leg{l}
	l.learn(res)
	c.timed(l, res)
	c.answerA(l, e, res)
}

// answeredElsewhere tells a phone that it need not show a missed call (RFC 3326 §2).
const answeredElsewhere = `SIP;cause=200;text="Call completed elsewhere"`

// answerA carries B's 2xx to A.
func (c *Call) answerA(l *leg, e *early, res *sip.Response) {
	settled := e != nil && e == c.told && e.sure // A has it, and B knows
	var sdp []byte
	var err error
	if !settled {
		sdp, err = c.acrossAnswer(l, e, res)
	}
	if err != nil {
		r := refusal(err)
		c.log.Warn("answer can't be used", "target", l.target.Name, "reason", r.Reason, "error", err)
		code := r.Code
		if code < 500 {
			code = sip.StatusNotAcceptableHere // the fault is not A's
		}
		c.end(Ending{Code: code, Reason: r.Reason, By: B}, nil)
		return
	}
	if c.plan.Answer != nil {
		c.plan.Answer(l.target)
	}
	if c.offer != nil || settled {
		c.ack(l.sent, nil) // nothing that B waits for can still come
	}
	out := c.response(c.a, c.a.server, res.StatusCode, res)
	setSDP(out, sdp)
	if c.a.rel.holds() {
		c.a.rel.final = func() { c.up(out) }
		return
	}
	c.up(out)
}

// up is the call's answer.
func (c *Call) up(res *sip.Response) {
	c.unpick()
	c.info.Answered = c.eng.cfg.Now()
	c.state(StateAnswered)
	c.accept(c.a, c.a.server, res)
	// What only the way to here needed.
	c.plan.Groups, c.plan.Learn, c.plan.Ringing, c.plan.Answer = nil, nil, nil, nil
	c.plan.Redirect, c.plan.Moved, c.plan.Then = nil, nil, nil
	c.best, c.offer, c.told = nil, nil, nil
	c.a.rel.stop()
	if c.b != nil {
		c.b.target.Headers = nil
	}
}

// acrossAnswer carries the description of the 2xx across: an answer, or B's offer where A made none.
func (c *Call) acrossAnswer(l *leg, e *early, res *sip.Response) (out []byte, err error) {
	sdp := sdpOf(res)
	if e != nil && c.offer != nil && (len(sdp) == 0 || e.sure) {
		sdp = e.sdp // it answered in its 18x
	}
	switch {
	case len(sdp) == 0: // RFC 3261 §13.2.1: the 2xx must answer, or offer
		return nil, &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody}
	case c.offer == nil && c.told != nil: // A answered the offer of another phone, and can't take that back
		return nil, &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.NoCommonMedia}
	case c.offer == nil:
		out, err = c.offered(B, sdp)
		c.a.asked = true
	default:
		out, err = c.answered(B, sdp)
		l.mine = c.offer
	}
	l.theirs, c.a.mine = sdp, out
	return out, err
}

// answerHere answers A's INVITE from the plan's Local.
func (c *Call) answerHere(offer []byte) {
	sdp, err := c.local(c.plan.Local, c.a, offer)
	if err != nil {
		r := refusal(err)
		c.end(Ending{Code: r.Code, Reason: r.Reason}, nil)
		return
	}
	if c.plan.Answer != nil {
		c.plan.Answer(Target{})
	}
	out := c.response(c.a, c.a.server, sip.StatusOK, nil)
	setSDP(out, sdp)
	c.up(out)
}

// local has the plan's Local answer an offer, or make one where there is none.
func (c *Call) local(service Local, l *leg, offer []byte) (sdp []byte, err error) {
	if l.asked = len(offer) == 0; l.asked {
		sdp, err = service.Offer()
	} else {
		sdp, err = service.Answer(offer)
	}
	if err == nil {
		l.mine = sdp
	}
	return sdp, err
}

// accept sends a 2xx to an INVITE and repeats it until the ACK comes, on every network: behind a stream there may be a
// hop that loses it (RFC 3261 §13.3.1.4).
func (c *Call) accept(l *leg, s *transaction.Server, res *sip.Response) {
	l.established, l.unacked, l.server = true, true, s
	c.grant(l, s.Request(), res)
	c.note(l, true, s.Flow(), res)
	if err := s.Respond(res); err != nil {
		c.log.Info("answer can't be sent", "side", l.side, "error", err)
		c.stopResending(l)
		c.end(Ending{Reason: verdict.TransportFailure, By: l.side}, nil)
		return
	}
	c.resendAfter(l, s, c.eng.cfg.Timers.T1, 0)
}

// resendAfter repeats the 2xx of s after gap; waited is how long it has been without ACK so far.
func (c *Call) resendAfter(l *leg, s *transaction.Server, gap, waited time.Duration) {
	t := c.eng.cfg.Timers
	l.resend = c.later(gap, func() {
		if !l.unacked || l.over || l.server != s {
			return
		}
		waited += gap
		if waited >= 64*t.T1 {
			c.onNoAck(l)
			return
		}
		if err := s.Resend(); err != nil {
			c.log.Debug("repeating an answer", "error", err)
		}
		c.resendAfter(l, s, min(2*gap, t.T2, 64*t.T1-waited), waited)
	})
}

// onNoAck ends a call whose answer was never acknowledged.
func (c *Call) onNoAck(l *leg) {
	c.stopResending(l)
	if l.leaving {
		c.bye(l)
		return
	}
	c.end(Ending{Reason: verdict.NoACK, By: l.side}, nil)
}
