package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onBye takes a BYE: its leg is over, and so is the call.
func (c *Call) onBye(l *leg, s *transaction.Server) {
	switch {
	case !l.established && l.side == B: // RFC 3261 §15: the callee of an early dialog sends none
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
		return
	case !l.established: // RFC 3261 §15: the caller may end an early dialog so
		c.reply(l, s, sip.StatusOK)
		c.end(Ending{Code: sip.StatusRequestTerminated, Reason: verdict.CallCancelled, By: A}, nil)
		return
	}
	c.reply(l, s, sip.StatusOK)
	c.endPending(l)
	c.close(l)
	if c.lingers(l) {
		return
	}
	if y := c.other(l); y != nil {
		y.byeCause = s.Request()
	}
	c.end(Ending{Code: sip.StatusTemporarilyUnavailable, Reason: verdict.NormalClearing, By: l.side}, nil)
}

// endPending answers what is still open on a leg whose dialog ends.
func (c *Call) endPending(l *leg) {
	if s := l.server; s != nil && !l.unacked {
		l.server = nil
		c.reply(l, s, sip.StatusRequestTerminated) // RFC 3261 §15.1.2
	}
	c.endUpdating(l)
	if v := l.sent; l.inviting() {
		v.off = true
		v.cancel()
	}
}

// endUpdating answers an UPDATE or PRACK whose offer won't come through any more.
func (c *Call) endUpdating(l *leg) {
	if s := l.updating; s != nil {
		l.updating = nil
		c.reply(l, s, sip.StatusRequestTerminated)
	}
}

// hangup ends a leg that is up. An ACK that we owe comes first, and the BYE waits for the ACK that is owed to us
// (RFC 3261 §15).
func (c *Call) hangup(l *leg, why verdict.Reason) {
	if l.over || l.leaving {
		return
	}
	if l.inner { // there is nobody to tell
		c.stopResending(l)
		c.close(l)
		return
	}
	l.leaving, l.byeReason = true, why
	c.endPending(l)
	if l.owesAck() {
		c.ack(l.sent, nil)
	}
	if !l.unacked {
		c.bye(l)
	}
}

func (c *Call) bye(l *leg) {
	if l.over {
		return
	}
	req := l.dlg.NewRequest(sip.BYE)
	if l.byeCause != nil {
		l.pass(req, l.byeCause)
		setSDP(req, nil)
	}
	addCause(req, l.byeReason)
	c.request(l, l.dlg, req, func(transaction.Event) { c.close(l) })
}
