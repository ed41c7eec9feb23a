package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// onAck takes the ACK for our 2xx.
func (c *Call) onAck(l *leg, f *transport.Flow, req *sip.Request) {
	c.note(l, false, f, req)
	if !l.unacked || !l.roams(f) || req.CSeq() == nil || req.CSeq().SeqNo != l.server.Request().CSeq().SeqNo {
		return // repeated, or from somebody else
	}
	asked := l.asked
	c.stopResending(l)
	if l.leaving {
		c.bye(l)
		return
	}
	if asked && c.plan.Local != nil {
		c.ackHere(l, req)
		return
	}
	if y := c.other(l); y != nil && !y.over && y.owesAck() {
		c.ackAcross(l, y, req)
	}
}

// stopResending ends the wait for an ACK.
func (c *Call) stopResending(l *leg) {
	l.unacked, l.server, l.asked = false, nil, false
	if l.resend != nil {
		l.resend.Stop()
		l.resend = nil
	}
}

// ackHere completes a delayed offer of the plan's Local.
func (c *Call) ackHere(l *leg, req *sip.Request) {
	sdp, err := sdpOf(req), error(&Refusal{Reason: verdict.BadBody}) // RFC 3264 §4
	if len(sdp) > 0 {
		err = c.plan.Local.Accept(sdp)
	}
	if err != nil {
		c.log.Warn("answer can't be used", "side", l.side, "error", err)
		c.abort(refusal(err).Reason)
		return
	}
	l.theirs = sdp
}

// ackAcross completes a delayed offer: y made it in its 2xx, the answer is in x's ACK (RFC 3261 §13.2.1).
func (c *Call) ackAcross(x, y *leg, req *sip.Request) {
	sdp := sdpOf(req)
	if len(sdp) == 0 {
		c.ack(y.sent, nil)
		c.abort(verdict.BadBody) // RFC 3264 §4: an offer was made, and there is no answer
		return
	}
	out, err := c.answered(x.side, sdp)
	if err != nil {
		c.log.Warn("answer can't be used", "side", x.side, "error", err)
		c.ack(y.sent, nil)
		c.abort(refusal(err).Reason)
		return
	}
	x.theirs, y.mine = sdp, out
	c.ack(y.sent, out)
}

// ack acknowledges the 2xx to an INVITE of ours. body is the answer to a delayed offer.
func (c *Call) ack(v *invitation, body []byte) {
	v.state, v.ackBody = inviteAcked, body
	if len(body) > 0 {
		v.leg.mine = body
	}
	c.sendAck(v)
}

func (c *Call) sendAck(v *invitation) {
	l := v.leg
	req := l.dlg.Ack(v.seq)
	for _, h := range v.credentials { // RFC 3261 §13.2.2.4: an ACK carries the credentials of its INVITE
		req.AppendHeader(sip.HeaderClone(h))
	}
	setSDP(req, v.ackBody)
	flow := l.via(l.dlg)
	c.note(l, true, flow, req)
	if err := c.eng.cfg.Transactions.SendAck(flow, req); err != nil {
		c.log.Debug("sending an ACK", "side", l.side, "error", err)
	}
}

// onStray takes a 2xx to an INVITE of ours whose transaction is gone.
func (c *Call) onStray(l *leg, res *sip.Response) {
	cseq := res.CSeq()
	if l.sent != nil && l.sent.state != inviteOpen && cseq != nil && cseq.MethodName == sip.INVITE && cseq.SeqNo == l.sent.seq {
		c.onAnswerAgain(l.sent, res)
	}
}
