package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// maxLost is how many answers too many we end for one INVITE. More phones than that behind one target are left to find
// out by themselves.
const maxLost = 16

// onCancel takes A's CANCEL of the first INVITE; the transaction has answered the CANCEL itself.
func (c *Call) onCancel() {
	c.noteCancel(c.a, false, c.a.dlg.RemoteSeq)
	if !c.a.established {
		c.end(Ending{Code: sip.StatusRequestTerminated, Reason: verdict.CallCancelled, By: A}, nil)
	}
}

// refuse gives A's INVITE its final response, with what may pass from the far side's.
func (c *Call) refuse(l *leg, code int, far *sip.Response) {
	c.endUpdating(l)
	if s := l.server; s != nil {
		l.server = nil
		out := c.response(l, s, code, far)
		if code/100 == 3 {
			for _, u := range c.moved {
				out.AppendHeader(&sip.ContactHeader{Address: u})
			}
		}
		c.respond(l, s, out)
	}
	c.close(l)
}

// callOff cancels a target that has not answered. If its answer is under way, refuseLate takes it.
func (c *Call) callOff(l *leg, reason string) {
	if l.over {
		return
	}
	c.endUpdating(l)
	if v := l.sent; v != nil {
		v.off = true
		if reason != "" {
			v.cancel(sip.NewHeader("Reason", reason))
		} else {
			v.cancel()
		}
	}
	c.close(l)
}

// refuseLate ends the dialog that a 2xx made although nobody wants it (RFC 3261 §13.2.2.4). It stands alone: its leg may
// be over, and one INVITE may make several of them.
func (c *Call) refuseLate(v *invitation, res *sip.Response) {
	l, tx, tag := v.leg, c.eng.cfg.Transactions, toTag(res)
	d, again := v.lost[tag]
	if !again {
		if len(v.lost) >= maxLost {
			return
		}
		d = l.another() // its BYE follows what its early dialog may have seen
		if err := d.Establish(res); err != nil {
			c.log.Debug("ending an answer without a usable dialog", "target", l.target.Name, "error", err)
		}
		if v.lost == nil {
			v.lost = map[string]*dialog.Dialog{}
		}
		v.lost[tag] = d
	}
	ack := d.Ack(v.seq)
	for _, h := range v.credentials {
		ack.AppendHeader(sip.HeaderClone(h))
	}
	if err := tx.SendAck(l.via(d), ack); err != nil {
		c.log.Debug("acknowledging a late answer", "error", err)
	}
	if again {
		return // its BYE repeats itself
	}
	if _, err := tx.Send(l.via(d), d.NewRequest(sip.BYE), func(transaction.Event) {}); err != nil {
		c.log.Debug("ending a late answer", "error", err)
	}
}
