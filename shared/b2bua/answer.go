package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onAnswer takes the first 2xx: its leg is the one, the others are called off.
func (c *Call) onAnswer(l *leg, res *sip.Response) {
	if l.established { // the same 2xx again: our ACK was lost
		c.repeatAck(l, res)
		return
	}
	if err := l.dlg.Establish(res); err != nil {
		c.log.Warn("answer without a usable dialog", "target", l.target.Name, "error", err)
		c.refuseLate(l, res)
		c.failed(l, nil)
		return
	}
	l.remoteTag.Store(&l.dlg.Remote.Tag)
	l.established = true
	c.b = l
	c.ring.Stop()
	for _, other := range c.tried {
		if other != l {
			c.callOff(other)
		}
	}
	c.answerA(l, res)
}

// answerA carries B's 2xx to A.
func (c *Call) answerA(l *leg, res *sip.Response) {
	sdp, err := c.acrossAnswer(res)
	if err != nil {
		r := refusal(err)
		c.log.Warn("answer can't be used", "target", l.target.Name, "reason", r.Reason, "error", err)
		c.ack(l, nil)
		c.giveUp(r.Code, r.Reason)
		c.hangup(l, r.Reason)
		return
	}
	if c.plan.Answer != nil {
		c.plan.Answer(l.target)
	}
	c.info.Answered = c.eng.cfg.Now()
	c.state(StateAnswered)
	if c.offer != nil {
		c.ack(l, nil) // A made the offer: nothing that B waits for can still come
	}
	out := c.response(c.a, c.a.server, res.StatusCode, res)
	setSDP(out, sdp)
	c.accept(c.a, c.a.server, out)
}

// acrossAnswer carries the description of the 2xx across: an answer, or B's offer where A made none.
func (c *Call) acrossAnswer(res *sip.Response) ([]byte, error) {
	sdp := sdpOf(res)
	switch {
	case c.offer == nil && len(sdp) == 0:
		return nil, &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody} // RFC 3261 §13.2.1: the 2xx must offer
	case c.offer == nil:
		return c.offered(B, sdp)
	case len(sdp) == 0 && c.early != nil:
		return c.early, nil // it answered in its 18x
	case len(sdp) == 0:
		return nil, &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody}
	}
	return c.answered(B, sdp)
}

// answerHere answers A's INVITE from the plan's Local.
func (c *Call) answerHere(offer []byte) {
	sdp, err := c.plan.Local.Answer(offer)
	if err != nil {
		r := refusal(err)
		c.giveUp(r.Code, r.Reason)
		return
	}
	if c.plan.Answer != nil {
		c.plan.Answer(Target{})
	}
	c.info.Answered = c.eng.cfg.Now()
	c.state(StateAnswered)
	out := c.response(c.a, c.a.server, sip.StatusOK, nil)
	setSDP(out, sdp)
	c.accept(c.a, c.a.server, out)
}

// accept sends a 2xx to an INVITE and repeats it until the ACK comes (RFC 3261 §13.3.1.4).
func (c *Call) accept(l *leg, s *transaction.Server, res *sip.Response) {
	l.established, l.unacked, l.server = true, true, s
	c.respond(l, s, res)
	t := c.eng.cfg.Timers
	l.waiting = t.T1
	waited := t.T1
	var again func()
	again = func() {
		if !l.unacked || l.over || l.server != s {
			return
		}
		if waited >= 64*t.T1 {
			c.onNoAck(l)
			return
		}
		if err := s.Resend(); err != nil {
			c.log.Debug("repeating an answer", "error", err)
		}
		l.waiting = min(2*l.waiting, t.T2)
		waited += l.waiting
		l.resend = c.later(l.waiting, again)
	}
	l.resend = c.later(l.waiting, again)
}

// onNoAck ends a call whose answer was never acknowledged.
func (c *Call) onNoAck(l *leg) {
	l.unacked = false
	c.finish(Ending{Code: sip.StatusOK, Reason: verdict.NoACK, By: l.side})
	c.hangup(c.a, verdict.NoACK)
	c.hangup(c.b, verdict.NoACK)
}

// response builds a response to what s asked on leg l, from the far side's response where there is one.
func (c *Call) response(l *leg, s *transaction.Server, code int, far *sip.Response) *sip.Response {
	req := s.Request()
	phrase := ""
	out := sipmsg.Response(req, code, phrase, l.dlg.Local.Tag)
	if code > 100 && code < 300 {
		if req.Method == sip.INVITE || req.Method == sip.UPDATE {
			l.contact(out, s.Flow()) // RFC 3261 §12.1.1
		}
		if code >= 200 {
			l.allow(out)
		}
	}
	if req.Method == sip.INVITE && code < 300 && l == c.a && !l.established {
		for _, h := range req.GetHeaders("Record-Route") { // RFC 3261 §12.1.1
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	if far != nil {
		l.pass(out, far)
	}
	return out
}

// respond sends a response; a failure is the transport's to tell.
func (c *Call) respond(l *leg, s *transaction.Server, res *sip.Response) {
	if err := s.Respond(res); err != nil {
		c.log.Debug("sending a response", "side", l.side, "code", res.StatusCode, "error", err)
	}
}

// reply answers a request that goes no further.
func (c *Call) reply(l *leg, s *transaction.Server, code int, extra sip.Header) {
	out := c.response(l, s, code, nil)
	if extra != nil {
		out.AppendHeader(extra)
	}
	c.respond(l, s, out)
}
