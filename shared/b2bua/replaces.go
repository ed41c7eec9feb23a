package b2bua

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
)

// The faults of an INVITE that is to take the place of a party.
var (
	ErrNoDialog = errors.New("no such call")                // RFC 3891 §3: answered 481
	ErrNotYours = errors.New("the call is somebody else's") // answered 403
	ErrBusy     = errors.New("the call has too much to do") // answered 503
)

// Replace has the caller of s take the place of the party of dialog r in its call (RFC 3891), which must be one of the same
// account. On an error it has answered nothing.
func (e *Engine) Replace(s *transaction.Server, r dialog.Replaces, account string, policy *LegPolicy) error {
	old := e.dialog(r)
	switch {
	case old == nil:
		return ErrNoDialog
	case account == "" || old.account != account:
		return ErrNotYours
	}
	tag := sipmsg.NewTag()
	dlg, err := dialog.FromInvite(s.Request(), tag)
	if err != nil {
		return err
	}
	l := &leg{key: legKey{dlg.CallID, tag}, policy: policy, account: account, dlg: dlg, flow: s.Flow(), server: s}
	l.call.Store(old.owner())
	far := dlg.Remote.Tag
	l.remoteTag.Store(&far)
	if !e.register(l) {
		return ErrMerged
	}
	if !old.deliver(func(c *Call) { c.replace(old, l, s, r.EarlyOnly) }) {
		e.unregister(l)
		return ErrBusy
	}
	return nil
}

// replace puts l in the place of old: the far side is re-invited with what l offers, or asked for an offer.
func (c *Call) replace(old, l *leg, s *transaction.Server, earlyOnly bool) {
	l.call.Store(c)
	c.note(l, false, s.Flow(), s.Request())
	l.learn(s.Request())
	y := c.other(old)
	offer, refused := offerOf(s.Request())
	code := 0
	switch {
	case c.ended || old.over || old.former || !old.established: // RFC 3891 §3: an early dialog that it did not begin
		code = sip.StatusCallTransactionDoesNotExists
	case earlyOnly:
		code = sip.StatusBusyHere // RFC 3891 §3
	case refused != nil:
		code = refused.Code
	case c.tooShort(s.Request()):
		code = statusIntervalTooSmall
	case c.plan.Local != nil || !old.up() || !y.up():
		code = sip.StatusTemporarilyUnavailable
	case c.transfer != nil || c.joint != nil || c.changing:
		code = sip.StatusRequestPending
	}
	if code != 0 {
		c.refuse(l, code, nil)
		return
	}
	c.coming, c.changing = l, true
	failed := func(code int) {
		c.changing = false
		if c.coming == l {
			c.coming = nil
			c.refuse(l, max(code, 300), nil)
		}
	}
	s.OnCancel(func() { c.post(func() { c.withdraw(l, y, failed) }) })
	c.whenIdle(y, func() {
		c.reinvite(y, offer, func(sdp []byte, code int) { c.onReplaced(old, l, y, offer, sdp, code, failed) })
	}, func() { failed(sip.StatusRequestPending) })
}

// withdraw takes the CANCEL of an INVITE with Replaces.
func (c *Call) withdraw(l, y *leg, failed func(int)) {
	if c.coming != l {
		return
	}
	if y.inviting() {
		y.sent.cancel()
	}
	changing := y.inviting()
	failed(sip.StatusRequestTerminated)
	c.changing = changing // until the far side has answered
}

// onReplaced takes what the far side said to the re-INVITE: sdp is its answer, or its offer where l made none.
func (c *Call) onReplaced(old, l, y *leg, offer, sdp []byte, code int, failed func(int)) {
	switch {
	case sdp == nil:
		failed(code)
		c.checkPeer(y, code)
		return
	case c.coming != l: // its caller gave up
		if offer == nil {
			c.ack(y.sent, refusing(sdp))
		}
		c.changing = false
		c.resync(old, y)
		return
	}
	c.coming, c.changing = nil, false
	out := c.response(l, l.server, sip.StatusOK, nil)
	setSDP(out, sdp)
	l.mine, l.theirs, l.asked = sdp, offer, offer == nil
	c.put(old, l)
	c.joined(l, Joined{Account: l.account, Party: l.dlg.Remote, Partner: l.account, Trace: c.info.Trace})
	c.accept(l, l.server, out)
	c.retire(old)
}
