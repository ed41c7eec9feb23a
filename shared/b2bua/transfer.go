package b2bua

import (
	"bytes"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// transfer is a party of this call on its way into another one.
//
//	            REFER of by
//	                │
//	   blind        │         attended
//	┌─ call of its own to    the other call of by re-INVITEs
//	│  the target, without   its far side, without an offer
//	│  an offer      └──┬───────┘
//	│                   │ its far side's offer
//	│                   ▼
//	│          re-INVITE of rest with it
//	│                   │ answer
//	│                   ▼
//	│          rest and the answer are given to the other call; NOTIFY 200, BYE to by
//	└─ a failure on the way: NOTIFY with its code, and this call goes on
//
// (RFC 3725 §4.3 is the same with a controller that has two legs in one hand.)
type transfer struct {
	by   *leg // the transferor
	rest *leg // who is transferred
	to   *Call
	plan *Plan // of a target that answers here, until it was called
	note notifier
	tell func(code int) // hears how far it has come, where the transferor is a service; else nil
}

// joint is what a call knows of a transfer that is to put a party of another call in the place of one of its own.
type joint struct {
	of       *Call // the call that the party comes from
	transfer *transfer
	place    *leg   // whose place the party will take: the transferor's, or that of nobody (inner); nil: that of the phones that ring
	offer    []byte // what the far side offered, while it waits for the answer
}

// behalf marks a plan as that of a call which is made for a transfer.
type behalf struct {
	of       *Call
	transfer *transfer
}

// transferToTarget calls the target of a blind transfer.
func (c *Call) transferToTarget(t *transfer, plan Plan) {
	if plan.Local == nil {
		c.callTarget(t, plan, nil)
		return
	}
	t.plan = &plan // a service of ours answers offers: rest has to make one
	failed := func(code int) {
		if c.transfer == t {
			c.unplan(t, code)
			c.transferFailed(t, code)
		}
	}
	c.whenIdle(t.rest, func() {
		c.changing = true
		c.reinvite(t.rest, nil, func(offer []byte, code int) {
			c.changing = false
			switch {
			case offer == nil:
				failed(code)
			case c.transfer != t:
				c.ack(t.rest.sent, refusing(offer))
			default:
				t.plan = nil
				c.callTarget(t, plan, offer)
			}
		})
	}, func() { failed(sip.StatusRequestPending) })
}

// unplan ends the plan of a target that was never called.
func (c *Call) unplan(t *transfer, code int) {
	plan := t.plan
	if plan == nil {
		return
	}
	t.plan = nil
	if plan.Local != nil {
		c.contain("Local.Close", plan.Local.Close)
	}
	if plan.End != nil {
		e := Ending{Code: code, Reason: reasonOf(code), At: c.eng.cfg.Now()}
		c.contain("Plan.End", func() { plan.End(e) })
	}
}

// callTarget begins the call to the target: one whose caller is nobody, until rest takes that place.
func (c *Call) callTarget(t *transfer, plan Plan, offer []byte) {
	plan.behalf = &behalf{c, t}
	s := transaction.Inner(t.rest.flow, c.inviteFor(t, offer), sipmsg.NewTag(), func(res *sip.Response) {
		c.post(func() { c.onTarget(t, offer, res) })
	})
	to, err := c.eng.Start(s, plan)
	if err != nil {
		c.log.Warn("target of a transfer can't be called", "error", err)
		t.plan = &plan
		c.unplan(t, sip.StatusServiceUnavailable)
		c.targetFailed(t, offer, sip.StatusServiceUnavailable)
		return
	}
	t.to = to
}

// inviteFor is the INVITE that rest would have sent.
func (c *Call) inviteFor(t *transfer, offer []byte) *sip.Request {
	req := sip.NewRequest(sip.INVITE, t.rest.dlg.Target)
	hops, callID := sip.MaxForwardsHeader(dialog.MaxForwards), sip.CallIDHeader(sipmsg.NewCallID())
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: *t.rest.dlg.Remote.URI.Clone(), Params: sip.HeaderParams{{K: "tag", V: sipmsg.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: t.invited()})
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE})
	req.AppendHeader(&sip.ContactHeader{Address: *t.rest.dlg.Target.Clone()})
	setSDP(req, offer)
	return req
}

// onTarget takes a response to that INVITE. offer is what rest offered, where the target answers here.
func (c *Call) onTarget(t *transfer, offer []byte, res *sip.Response) {
	switch {
	case c.transfer != t:
	case res.IsProvisional():
		if res.StatusCode > sip.StatusTrying {
			c.notify(t, res.StatusCode, nil)
		}
	case !res.IsSuccess():
		c.targetFailed(t, offer, res.StatusCode)
	case offer != nil:
		c.ack(t.rest.sent, sdpOf(res))
		c.transferred(t, nil)
	default:
		c.offerRest(t, sdpOf(res))
	}
}

// targetFailed ends a transfer whose target was not reached. Where rest has made an offer for it, that comes to nothing.
func (c *Call) targetFailed(t *transfer, offer []byte, code int) {
	if c.transfer != t {
		return
	}
	if offer != nil {
		c.ack(t.rest.sent, refusing(offer))
	}
	c.transferFailed(t, code)
	if offer != nil {
		c.reunite(t)
	}
}

// transferToCall joins rest with the far side of another call of the transferor.
func (c *Call) transferToCall(t *transfer, r dialog.Replaces) {
	l := c.eng.dialog(r)
	switch {
	case l == nil:
		c.transferFailed(t, sip.StatusCallTransactionDoesNotExists)
	case l.account != t.by.account: // somebody else's call
		c.log.Warn("transfer refused", "reason", verdict.NotAllowed, "account", t.by.account)
		c.transferFailed(t, sip.StatusGlobalDecline)
	case l.owner() == c:
		c.transferFailed(t, sip.StatusGlobalDecline)
	default:
		t.to = l.owner()
		if !l.deliver(func(to *Call) { to.lend(c, t, l) }) {
			c.transferFailed(t, sip.StatusServiceUnavailable)
		}
	}
}

// onLoan takes the offer of the other call's far side; nil: rest has to make one.
func (c *Call) onLoan(t *transfer, to *Call, offer []byte) {
	t.to = to
	if c.transfer != t {
		c.callOffTarget(t)
		return
	}
	if offer == nil {
		c.askRest(t)
		return
	}
	c.offerRest(t, offer)
}

// offerRest offers rest what the target's side offered.
func (c *Call) offerRest(t *transfer, sdp []byte) {
	refused := func(code int) {
		if c.transfer == t {
			c.callOffTarget(t)
			c.transferFailed(t, code)
		}
	}
	c.whenIdle(t.rest, func() {
		if c.transfer != t {
			return
		}
		c.changing = true
		c.reinvite(t.rest, sdp, func(answer []byte, code int) {
			c.changing = false
			switch {
			case c.transfer == t && answer != nil:
				c.transferred(t, answer)
			case c.transfer == t:
				refused(code)
				c.checkPeer(t.rest, code)
			case answer != nil && (t.by == c.host || t.by.up()): // the target is gone, and rest was told of its media
				c.reunite(t)
			}
		})
	}, func() { refused(sip.StatusRequestPending) })
}

// transferred gives rest to the other call: answer is what its far side waits for, or rest's own offer where that made none.
func (c *Call) transferred(t *transfer, answer []byte) {
	c.transfer = nil
	news := Joined{Account: t.by.account, Party: t.rest.dlg.Remote, Partner: t.rest.account, Trace: c.info.Trace}
	to, x := t.to, t.rest
	c.handOver(x, to, func() { to.take(t, x, answer, news) })
	c.notify(t, sip.StatusOK, func() { c.end(Ending{Reason: verdict.Transferred, By: t.by.side}, nil) })
}

// transferFailed tells the transferor. The call goes on as if nothing had been, unless the transferor has left it.
func (c *Call) transferFailed(t *transfer, code int) {
	if c.transfer != t {
		return
	}
	c.transfer = nil
	c.log.Info("transfer failed", "side", t.by.side, "code", code)
	c.notify(t, max(code, 300), nil)
	if t.by.over {
		c.end(Ending{Reason: verdict.NormalClearing, By: t.by.side}, nil)
	}
}

// callOffTarget tells the other call that nobody will come.
func (c *Call) callOffTarget(t *transfer) {
	if to := t.to; to != nil {
		to.post(func() { to.unjoin(t) })
	}
	c.unplan(t, sip.StatusRequestTerminated)
}

// lingers reports whether the call outlives a leg whose far side hung up: a transferor need not wait for its transfer
// (RFC 5589 §6.1).
func (c *Call) lingers(l *leg) bool {
	return c.transfer != nil && c.transfer.by == l || c.joint != nil && c.joint.place == l
}

// breakOff ends the part that an ending call has in a transfer.
func (c *Call) breakOff() {
	if t := c.transfer; t != nil {
		c.callOffTarget(t)
		c.transfer = nil
		c.notify(t, sip.StatusRequestTerminated, nil)
	}
	if j := c.joint; j != nil {
		c.joint = nil
		if !j.place.inner || j.place.established { // otherwise the response to its INVITE tells, and better
			j.of.post(func() { j.of.transferFailed(j.transfer, sip.StatusTemporarilyUnavailable) })
		}
	}
	c.unpick()
	if l := c.coming; l != nil {
		c.coming = nil
		c.refuse(l, sip.StatusCallTransactionDoesNotExists, nil)
	}
}

// refusing answers an offer with no to each of its streams (RFC 3264 §6).
func refusing(offer []byte) []byte {
	var out []byte
	for line := range bytes.Lines(offer) {
		if rest, ok := bytes.CutPrefix(line, []byte("m=")); ok {
			if f := bytes.SplitN(rest, []byte(" "), 3); len(f) == 3 {
				line = bytes.Join([][]byte{append([]byte("m="), f[0]...), []byte("0"), f[2]}, []byte(" "))
			}
		}
		out = append(out, line...)
	}
	return out
}
