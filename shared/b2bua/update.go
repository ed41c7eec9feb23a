package b2bua

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onUpdate takes an UPDATE (RFC 3311), before the answer or after. e is the early dialog it came in, of a B-leg that has
// not answered. Without an offer it is the leg's own business: a new target, a session that goes on.
func (c *Call) onUpdate(x *leg, e *early, s *transaction.Server) {
	req := s.Request()
	x.learn(req)
	offer, refused := offerOf(req)
	switch {
	case refused != nil:
		c.reply(x, s, refused.Code)
		return
	case c.tooShort(req):
		c.reply(x, s, statusIntervalTooSmall)
		return
	case len(offer) == 0:
		x.dialogOf(e).Refresh(req)
		c.reply(x, s, sip.StatusOK)
		return
	}
	if c.askedTooSoon(x, s) {
		return
	}
	if code := c.glare(x, e); code != 0 {
		c.glared(x, s, code)
		return
	}
	if c.plan.Local != nil {
		c.reofferTo(c.plan.Local, x, s, offer)
		return
	}
	if c.hears(x, offer) {
		c.reofferTo(c.music.local, x, s, offer)
		return
	}
	c.carryOffer(x, e, s, offer)
}

// dialogOf returns the dialog that a request on the leg came in.
func (l *leg) dialogOf(e *early) *dialog.Dialog {
	if e != nil {
		return e.dlg
	}
	return l.dlg
}

// glare tells whether an offer may come from x now (RFC 3311 §5.2): 491 where one of ours waits for its answer, 500 where
// one of x's does, 0 if it may.
func (c *Call) glare(x *leg, e *early) int {
	answered := x.established
	switch {
	case x.updating != nil: // two at once
		return sip.StatusInternalServerError
	case x.offering, answered && (x.inviting() || x.owesAck()), answered && x.unacked && x.asked, e != nil && e.owed != 0:
		return sip.StatusRequestPending
	case answered && x.server != nil && !x.unacked:
		return sip.StatusInternalServerError
	case answered, e != nil && e.sure, x == c.a && c.a.rel != nil && c.a.rel.settled:
		return 0
	case c.told != nil && c.told.owed != 0:
		return sip.StatusRequestPending
	}
	return sip.StatusInternalServerError // the first offer has no answer yet that can be relied on
}

// glared refuses an offer that came at the wrong time; a 500 says when to try again (RFC 3311 §5.2: 0–10 s).
func (c *Call) glared(x *leg, s *transaction.Server, code int) {
	if code == sip.StatusInternalServerError {
		c.reply(x, s, code, sip.NewHeader("Retry-After", strconv.Itoa(rand.IntN(glareRetryMax)+1)))
		return
	}
	c.reply(x, s, code)
}

// glareRetryMax bounds the Retry-After of a request that came while another was open, in seconds.
const glareRetryMax = 10

// opposite returns where an offer of x goes: the leg across and its dialog. d is nil while there is none in which a first
// offer was answered for good.
func (c *Call) opposite(x *leg, e *early) (y *leg, d *dialog.Dialog) {
	settled := c.a.rel != nil && c.a.rel.settled
	switch {
	case x == c.a && c.b != nil:
		return c.b, c.b.dlg
	case x == c.a && settled && c.told != nil && c.told.sure && !c.told.leg.over:
		return c.told.leg, c.told.dlg
	case x != c.a && (c.a.established || settled && (e == nil || e == c.told)):
		return c.a, c.a.dlg
	}
	return nil, nil
}

// carryOffer carries an offer of x that came in an UPDATE or PRACK across: as an UPDATE where that is allowed, within a
// call that is up else as a re-INVITE. What can't be carried is refused and changes nothing.
func (c *Call) carryOffer(x *leg, e *early, s *transaction.Server, offer []byte) {
	y, d := c.opposite(x, e)
	invite := y != nil && !y.updates() && y.established && x.established
	switch {
	case d == nil, !y.updates() && !invite:
		code := sip.StatusGatewayTimeout // RFC 3311 §5.2: it can't be asked for without a person, or at all
		if s.Request().Method == sip.PRACK {
			code = sip.StatusNotAcceptableHere
		}
		c.reply(x, s, code)
		return
	case c.busy(y):
		c.reply(x, s, sip.StatusRequestPending)
		return
	}
	out, err := c.offered(x.side, offer)
	if err != nil {
		r := refusal(err)
		c.log.Info("offer refused", "side", x.side, "method", s.Request().Method, "reason", r.Reason)
		c.reply(x, s, r.Code)
		return
	}
	w := &swap{x: x, y: y, s: s, xd: x.dialogOf(e), yd: d, theirs: offer, ours: out}
	x.updating, y.offering = s, true
	if invite {
		c.updateByInvite(w)
		return
	}
	req := y.within(d, sip.UPDATE)
	y.contact(req, y.via(d))
	y.options(req, false)
	c.timing(y, req)
	y.pass(req, s.Request())
	setSDP(req, out)
	c.request(y, d, req, func(ev transaction.Event) { c.onSwapped(w, ev) })
}

// busy reports whether an offer to leg y would cross another.
func (c *Call) busy(y *leg) bool {
	if y.offering || y.updating != nil || y.owesAck() {
		return true
	}
	return y.established && (y.inviting() || y.server != nil)
}

// swap is an offer on its way across, and who waits for its answer.
type swap struct {
	x, y         *leg
	xd, yd       *dialog.Dialog
	s            *transaction.Server
	theirs, ours []byte // the offer as x made it, and as y gets it
}

// updateByInvite carries an offer to a far side that knows no UPDATE. The asker can't wait as long as an INVITE may.
func (c *Call) updateByInvite(w *swap) {
	y := w.y
	req := y.dlg.NewRequest(sip.INVITE)
	y.contact(req, y.via(y.dlg))
	y.options(req, true)
	c.timing(y, req)
	y.pass(req, w.s.Request())
	setSDP(req, w.ours)
	var late *time.Timer
	c.invite(y, req, false, func(ev transaction.Event) {
		if ev.Response != nil && ev.Response.IsProvisional() {
			return
		}
		late.Stop()
		if ev.Response != nil && ev.Response.IsSuccess() {
			c.ack(y.sent, nil)
		}
		c.onSwapped(w, ev)
	})
	v := y.sent
	late = c.later(48*c.eng.cfg.Timers.T1, func() { // the asker's timer F is 64·T1
		if v.state == inviteOpen {
			v.cancel()
		}
	})
}

// onSwapped takes the outcome of an offer that carryOffer sent.
func (c *Call) onSwapped(w *swap, ev transaction.Event) {
	x, y := w.x, w.y
	if x.updating != w.s {
		return // the call is over
	}
	x.updating, y.offering = nil, false
	code := failureOf(ev)
	if ev.Response == nil || !ev.Response.IsSuccess() {
		if code == sip.StatusRequestTerminated {
			code = sip.StatusGatewayTimeout // ours, in updateByInvite
		}
		if ev.Response != nil || code != sip.StatusRequestTimeout { // RFC 4320 §4.2: by then it is too late for x as well
			c.respond(x, w.s, c.withoutRedirect(x, w.s, code, ev.Response))
		}
		if y.established {
			c.checkPeer(y, failureOf(ev))
		}
		return
	}
	w.yd.Refresh(ev.Response)
	c.timed(y, ev.Response)
	y.learn(ev.Response)
	answer, err := sdpOf(ev.Response), error(&Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody})
	var out []byte
	if len(answer) > 0 {
		out, err = c.answered(y.side, answer)
	}
	if err != nil { // y has changed its media and x can't: there is no way back
		c.reply(x, w.s, sip.StatusNotAcceptableHere)
		c.end(Ending{Code: sip.StatusNotAcceptableHere, Reason: refusal(err).Reason, By: y.side}, nil)
		return
	}
	x.theirs, x.mine, y.mine, y.theirs = w.theirs, out, w.ours, answer
	c.unhold()
	w.xd.Refresh(w.s.Request())
	res := c.response(x, w.s, ev.Response.StatusCode, ev.Response)
	setSDP(res, out)
	c.respond(x, w.s, res)
}
