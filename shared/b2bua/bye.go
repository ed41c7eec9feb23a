package b2bua

import (
	"fmt"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onBye takes a BYE: its leg is over, and so is the call.
func (c *Call) onBye(l *leg, s *transaction.Server) {
	c.reply(l, s, sip.StatusOK, nil)
	if l == c.a && !l.established { // RFC 3261 §15: a caller may end an early dialog so
		if c.info.State != StateEnding {
			c.giveUp(sip.StatusRequestTerminated, verdict.CallCancelled)
		}
		return
	}
	if l.server != nil && !l.unacked { // a re-INVITE that can't be answered any more
		c.reply(l, l.server, sip.StatusRequestTerminated, nil)
	}
	c.finish(Ending{Code: sip.StatusOK, Reason: verdict.NormalClearing, By: l.side})
	y := c.other(l)
	c.close(l)
	c.hangup(y, verdict.NormalClearing)
}

// hangup sends BYE on a leg that is up. A 2xx of ours that waits for its ACK comes first (RFC 3261 §15), and so does an
// ACK that we owe.
func (c *Call) hangup(l *leg, why verdict.Reason) {
	if l == nil || l.over {
		return
	}
	if !l.established {
		c.callOff(l)
		return
	}
	l.byeReason = why
	if l.client != nil && l.inviteSeq != 0 && !l.acked {
		if l.pending { // our re-INVITE is still open: it ends with the dialog
			l.client.Cancel()
		} else {
			c.ack(l, nil)
		}
	}
	if l.unacked {
		l.byePending = true
		return
	}
	c.bye(l)
}

func (c *Call) bye(l *leg) {
	l.byePending = false
	if l.over {
		return
	}
	req := l.dlg.NewRequest(sip.BYE)
	if why := l.byeReason; why != verdict.NormalClearing && why != verdict.None {
		req.AppendHeader(sip.NewHeader("Reason", fmt.Sprintf(`SIP;cause=%d;text="%s"`, sip.StatusServiceUnavailable, why))) // RFC 3326
	}
	req.SetBody(nil)
	c.sendWithin(l, req, func(ev transaction.Event) {
		if ev.Response == nil || !ev.Response.IsProvisional() {
			c.close(l)
		}
	})
}

// sendWithin sends a request within a dialog, answers challenges to it where the leg can, and hands the final outcome to
// done on the call's goroutine.
func (c *Call) sendWithin(l *leg, req *sip.Request, done func(transaction.Event)) *transaction.Client {
	l.tries = 0
	var send func(req *sip.Request) *transaction.Client
	onEvent := func(req *sip.Request, ev transaction.Event) {
		if res := ev.Response; res != nil && challenged(res) && l.target.Auth != nil && l.tries < maxChallenges {
			if next := c.withCredentials(l, req, res); next != nil {
				l.client = send(next)
				return
			}
		}
		done(ev)
	}
	send = func(req *sip.Request) *transaction.Client {
		if req.Method == sip.INVITE {
			l.invite, l.inviteSeq, l.acked = req, req.CSeq().SeqNo, false
		}
		client, err := c.eng.cfg.Transactions.Send(l.via(), req, func(ev transaction.Event) {
			c.post(func() { onEvent(req, ev) })
		})
		if err != nil {
			c.post(func() { done(transaction.Event{Err: err}) })
		}
		return client
	}
	return send(req)
}
