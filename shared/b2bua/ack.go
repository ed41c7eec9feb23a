package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
)

// onAck takes the ACK for our 2xx.
func (c *Call) onAck(l *leg, f *transport.Flow, req *sip.Request) {
	if !l.unacked || !l.roams(f) || l.server == nil || req.CSeq() == nil ||
		req.CSeq().SeqNo != l.server.Request().CSeq().SeqNo {
		return // repeated, or from somebody else
	}
	l.unacked, l.server = false, nil
	if l.resend != nil {
		l.resend.Stop()
	}
	if y := c.other(l); y != nil && !y.acked && y.inviteSeq != 0 && !y.over {
		c.ackAcross(y, req)
	}
	if l.byePending {
		c.bye(l)
	}
}

// ackAcross completes a delayed offer: the far side made it in its 2xx, the answer is in this ACK (RFC 3261 §13.2.1).
func (c *Call) ackAcross(y *leg, req *sip.Request) {
	sdp := sdpOf(req)
	if len(sdp) > 0 {
		out, err := c.answered(y.side.Other(), sdp)
		if err != nil {
			why := refusal(err).Reason
			c.ack(y, nil)
			c.abort(why)
			return
		}
		sdp = out
	}
	c.ack(y, sdp)
}

// ack acknowledges the 2xx to our INVITE on leg l. body is the answer to a delayed offer.
func (c *Call) ack(l *leg, body []byte) {
	l.acked, l.ackBody = true, body
	c.sendAck(l)
	if l.byePending {
		c.bye(l)
	}
}

func (c *Call) sendAck(l *leg) {
	req := l.dlg.Ack(l.inviteSeq)
	if l.invite != nil { // RFC 3261 §13.2.2.4: an ACK carries the credentials of its INVITE
		for _, name := range []string{"Authorization", "Proxy-Authorization"} {
			for _, h := range l.invite.GetHeaders(name) {
				req.AppendHeader(sip.HeaderClone(h))
			}
		}
	}
	setSDP(req, l.ackBody)
	if err := c.eng.cfg.Transactions.SendAck(l.via(), req); err != nil {
		c.log.Debug("sending an ACK", "side", l.side, "error", err)
	}
}

// repeatAck answers a 2xx that came again.
func (c *Call) repeatAck(l *leg, res *sip.Response) {
	if l.acked && res.CSeq() != nil && res.CSeq().SeqNo == l.inviteSeq {
		c.sendAck(l)
	}
}
