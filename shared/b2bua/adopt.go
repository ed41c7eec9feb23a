package b2bua

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// How a leg changes hands.
//
// A transfer ends with a leg of one call in another. One goroutine at a time owns a call, and with it its legs, so a leg
// is never shared: it is given. Only the goroutine of the call that has it (handOver) does so, only while nothing is under
// way on it (idle), and in this order:
//
//	take it out of the call's own fields           nothing here touches it any more
//	post "take" into the other call's mailbox      whatever comes later into that mailbox finds the leg there
//	store the other call as the leg's owner        whoever asks from now on goes there at once
//
// Who read the old owner before the store posts into the old mailbox. There the event finds that the leg has another owner
// (deliver, onInvitation) and goes after it, behind "take". The mailboxes' locks make what the one goroutine wrote visible
// to the other. No lock is held over two calls, so nothing can wait in a circle, and no call waits for another: what one
// wants of the other is an event, and so is the answer.
//
// What may be under way on a leg without its owner knowing is a request other than INVITE that was carried across. Its
// outcome is an event of the call that sent it, which leaves a leg alone that is no longer its own (request, checkPeer).

// owner is the call that the leg belongs to now.
func (l *leg) owner() *Call { return l.call.Load() }

// deliver has the leg's call serve an event of a far side. It reports whether there was room for it.
func (l *leg) deliver(ev func(c *Call)) bool {
	c := l.owner()
	return c.offerEvent(func() {
		if l.owner() != c {
			l.deliver(ev)
			return
		}
		ev(c)
	})
}

// idle reports whether no offer is under way on the leg, in either direction.
func (l *leg) idle() bool {
	return l.server == nil && !l.inviting() && !l.owesAck() && !l.offering && l.updating == nil
}

// up reports whether the leg's far side can be talked to.
func (l *leg) up() bool {
	return l != nil && l.established && !l.over && !l.leaving && !l.former && l.dlg != nil && !l.inner
}

// put has l take the place of old in the call.
func (c *Call) put(old, l *leg) {
	c.unhold()
	l.side = old.side
	if c.a == old {
		c.a = l
		return
	}
	if c.b = l; old == c.host {
		c.tried = []*leg{l}
	}
	for i := range c.tried {
		if c.tried[i] == old {
			c.tried[i] = l
		}
	}
}

// handOver gives leg x, which is idle, to another call, whose side of it take is.
func (c *Call) handOver(x *leg, to *Call, take func()) {
	gone := &leg{key: x.key, policy: x.policy, flow: x.flow, established: true, over: true, former: true}
	gone.call.Store(c)
	c.put(x, gone)
	x.unwatch()
	to.post(take)
	x.call.Store(to)
}

// astray takes requests that have no business in the call as it is now, and reports whether it did: of a leg that lost its
// place, and of one that talks to nobody while the call changes hands.
func (c *Call) astray(l *leg, s *transaction.Server) bool {
	bye := s.Request().Method == sip.BYE
	switch y := c.other(l); {
	case l.former && bye: // crossed with ours
		c.reply(l, s, sip.StatusOK)
		c.endPending(l)
		c.close(l)
	case l.former:
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
	case y != nil && (y.former || y.inner) && !bye:
		c.reply(l, s, sip.StatusRequestPending)
	default:
		return false
	}
	return true
}

// retire takes a leg that lost its place to its end.
func (c *Call) retire(l *leg) {
	l.former = true
	if l.inner {
		c.stopResending(l)
		c.close(l)
		return
	}
	c.dismiss(l, func() { c.hangup(l, verdict.Transferred) })
}

// Pauses and tries of a re-INVITE of ours that has to wait until a leg is idle.
const (
	idlePause = 500 * time.Millisecond
	idleTries = 20
)

// whenIdle runs fn once the leg is idle, or gives up with giveUp.
func (c *Call) whenIdle(l *leg, fn, giveUp func()) {
	tries := 0
	var try func()
	try = func() {
		switch {
		case c.ended || l.owner() != c || !l.up():
			giveUp()
		case l.idle():
			fn()
		case tries == idleTries:
			giveUp()
		default:
			tries++
			c.later(idlePause, try)
		}
	}
	try()
}

// reinvite sends a re-INVITE of ours and hands on what it leads to: the description in the 2xx, or none and the code of
// the failure. With an offer, the 2xx is acknowledged here; without one the ACK is the caller's, with the answer in it.
func (c *Call) reinvite(l *leg, offer []byte, done func(sdp []byte, code int)) {
	c.reinviteTry(l, offer, 0, done)
}

func (c *Call) reinviteTry(l *leg, offer []byte, tries int, done func(sdp []byte, code int)) {
	req := l.dlg.NewRequest(sip.INVITE)
	l.contact(req, l.via(l.dlg))
	l.options(req, true)
	c.timing(l, req)
	setSDP(req, offer)
	c.invite(l, req, false, func(ev transaction.Event) {
		res, code := ev.Response, failureOf(ev)
		switch {
		case res != nil && res.IsProvisional():
			return
		case code == sip.StatusRequestPending && tries < maxGlare: // RFC 3261 §14.1
			again := func() { c.reinviteTry(l, offer, tries+1, done) }
			c.later(l.glareWait(), func() { c.whenIdle(l, again, func() { done(nil, code) }) })
			return
		case res == nil || !res.IsSuccess():
			done(nil, code)
			return
		}
		l.dlg.Refresh(res)
		l.learn(res)
		c.timed(l, res)
		sdp := sdpOf(res)
		if l.theirs = sdp; offer != nil {
			l.mine = offer
		}
		if offer != nil || len(sdp) == 0 {
			c.ack(l.sent, nil)
		}
		if len(sdp) == 0 {
			done(nil, sip.StatusNotAcceptableHere) // RFC 3261 §13.2.1: the 2xx must answer, or offer
			return
		}
		done(sdp, sip.StatusOK)
	})
}

// resync has both legs agree on their media anew, after one of them was offered something that came to nothing.
func (c *Call) resync(x, y *leg) {
	if c.ended || !x.up() || !y.up() {
		return
	}
	c.changing = true
	failed := func(int) {
		c.changing = false
		c.end(Ending{Reason: verdict.NoCommonMedia, By: x.side}, nil)
	}
	c.whenIdle(x, func() {
		c.reinvite(x, nil, func(offer []byte, code int) {
			if offer == nil {
				failed(code)
				return
			}
			c.reinvite(y, offer, func(answer []byte, code int) {
				c.ack(x.sent, answer)
				if answer == nil {
					failed(code)
					return
				}
				c.changing = false
				c.unhold()
			})
		})
	}, func() { failed(0) })
}

// Across names the dialog on the other side of the call that holds the one that r names, as the far side there names it.
// found runs once, on the call's goroutine, or at once if no call of ours has that dialog.
func (e *Engine) Across(r dialog.Replaces, found func(across dialog.Replaces, ok bool)) {
	none := func() { found(dialog.Replaces{}, false) }
	l := e.dialog(r)
	if l == nil {
		none()
		return
	}
	room := l.deliver(func(c *Call) {
		y := c.other(l)
		if l.over || y == nil || y.over || y.dlg == nil || y.dlg.Remote.Tag == "" {
			none()
			return
		}
		found(dialog.Replaces{
			CallID: y.dlg.CallID, ToTag: y.dlg.Remote.Tag, FromTag: y.dlg.Local.Tag, EarlyOnly: r.EarlyOnly,
		}, true)
	})
	if !room {
		none()
	}
}

// dialog returns the leg that r names, or nil (RFC 3891 §3: both tags must fit).
func (e *Engine) dialog(r dialog.Replaces) *leg {
	e.mu.RLock()
	l := e.legs[legKey{r.CallID, r.ToTag}]
	e.mu.RUnlock()
	if l == nil {
		return nil
	}
	if tag := l.remoteTag.Load(); tag == nil || *tag != r.FromTag {
		return nil
	}
	return l
}
