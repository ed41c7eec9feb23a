package b2bua

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onAnswer takes the first 2xx: its leg is the one, the others are called off.
func (c *Call) onAnswer(l *leg, res *sip.Response) {
	if err := l.dlg.Establish(res); err != nil {
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
	for _, other := range c.tried {
		if other != l {
			c.callOff(other, answeredElsewhere)
		}
	}
	c.tried = []*leg{l}
	c.answerA(l, res)
}

// answeredElsewhere tells a phone that it need not show a missed call (RFC 3326 §2).
const answeredElsewhere = `SIP;cause=200;text="Call completed elsewhere"`

// answerA carries B's 2xx to A.
func (c *Call) answerA(l *leg, res *sip.Response) {
	sdp, err := c.acrossAnswer(l, res)
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
	if c.offer != nil {
		c.ack(l.sent, nil) // A made the offer: nothing that B waits for can still come
	}
	out := c.response(c.a, c.a.server, res.StatusCode, res)
	setSDP(out, sdp)
	c.up(out)
}

// up is the call's answer.
func (c *Call) up(res *sip.Response) {
	c.info.Answered = c.eng.cfg.Now()
	c.state(StateAnswered)
	c.accept(c.a, c.a.server, res)
	// What only the way to here needed.
	c.plan.Groups, c.plan.Learn, c.plan.Ringing, c.plan.Answer = nil, nil, nil, nil
	c.best, c.offer = nil, nil
	if c.b != nil {
		c.b.target.Headers, c.b.early = nil, nil
	}
}

// acrossAnswer carries the description of the 2xx across: an answer, or B's offer where A made none.
func (c *Call) acrossAnswer(l *leg, res *sip.Response) ([]byte, error) {
	sdp := sdpOf(res)
	if len(sdp) == 0 && c.offer != nil {
		sdp = l.early // it answered in its 18x
	}
	switch {
	case len(sdp) == 0: // RFC 3261 §13.2.1: the 2xx must answer, or offer
		return nil, &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody}
	case c.offer == nil:
		return c.offered(B, sdp)
	}
	return c.answered(B, sdp)
}

// answerHere answers A's INVITE from the plan's Local.
func (c *Call) answerHere(offer []byte) {
	sdp, err := c.local(offer)
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

// local has the plan's Local answer an offer.
func (c *Call) local(offer []byte) ([]byte, error) {
	if len(offer) == 0 {
		return nil, &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.NoCommonMedia}
	}
	return c.plan.Local.Answer(offer)
}

// accept sends a 2xx to an INVITE and repeats it until the ACK comes, on every network: behind a stream there may be a
// hop that loses it (RFC 3261 §13.3.1.4).
func (c *Call) accept(l *leg, s *transaction.Server, res *sip.Response) {
	l.established, l.unacked, l.server = true, true, s
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
