package b2bua

import (
	"strconv"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// glareRetry is the Retry-After that a second INVITE gets while the first is open, in seconds (RFC 3261 §14.2: 0–10).
const glareRetry = 2

// onReinvite carries a new INVITE within the dialog across: hold, resume, another codec, another address.
func (c *Call) onReinvite(x *leg, s *transaction.Server) {
	y := c.other(x)
	switch {
	case c.askedTooSoon(x, s):
		return
	case x.server != nil || x.updating != nil: // RFC 3261 §14.2: the last one is not done yet
		c.reply(x, s, sip.StatusInternalServerError, sip.NewHeader("Retry-After", strconv.Itoa(glareRetry)))
		return
	case x.inviting() || x.offering: // RFC 3261 §14.2: glare
		c.reply(x, s, sip.StatusRequestPending)
		return
	case c.plan.Local == nil && (!y.established || c.busy(y)): // across, that is glare as well
		c.reply(x, s, sip.StatusRequestPending)
		return
	}
	x.learn(s.Request())
	if c.tooShort(s.Request()) {
		c.reply(x, s, statusIntervalTooSmall)
		return
	}
	offer, refused := offerOf(s.Request())
	if refused != nil {
		c.reply(x, s, refused.Code)
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
	if c.holds(x, y, s, offer) {
		return
	}
	var out []byte
	if len(offer) > 0 {
		var err error
		out, err = c.offered(x.side, offer)
		if err != nil {
			r := refusal(err)
			c.log.Info("re-INVITE refused", "side", x.side, "reason", r.Reason)
			c.reply(x, s, r.Code)
			return
		}
	}
	c.reinviteAcross(x, y, s, offer, out)
}

// reinviteAcross sends the INVITE that onReinvite made, and carries its outcome back. offer is x's, out what y gets of it.
func (c *Call) reinviteAcross(x, y *leg, s *transaction.Server, offer, out []byte) {
	req := y.dlg.NewRequest(sip.INVITE)
	y.contact(req, y.via(y.dlg))
	y.options(req, true)
	c.timing(y, req)
	y.pass(req, s.Request())
	setSDP(req, out)
	x.server = s
	c.invite(y, req, false, func(ev transaction.Event) {
		if ev.Response == nil || !ev.Response.IsProvisional() {
			c.onReinvited(&swap{x: x, y: y, s: s, theirs: offer, ours: out}, ev)
		}
	})
	v := y.sent
	s.OnCancel(func() { c.post(func() { v.cancel() }) })
}

// onReinvited takes the outcome of a re-INVITE that we carried across.
func (c *Call) onReinvited(w *swap, ev transaction.Event) {
	x, y, s := w.x, w.y, w.s
	if ev.Response != nil && ev.Response.IsSuccess() {
		c.reinviteAccepted(w, ev.Response)
		return
	}
	code := failureOf(ev)
	if ev.Err != nil && y.sent.canceled {
		code = sip.StatusRequestTerminated
	}
	x.server = nil
	c.respond(x, s, c.withoutRedirect(x, s, code, ev.Response))
	c.checkPeer(y, failureOf(ev))
}

func (c *Call) reinviteAccepted(w *swap, res *sip.Response) {
	x, y, s, offered := w.x, w.y, w.s, len(w.theirs) > 0
	x.dlg.Refresh(s.Request())
	y.dlg.Refresh(res)
	y.learn(res)
	c.timed(y, res)
	sdp, err := sdpOf(res), error(nil)
	answer := sdp
	switch {
	case len(sdp) == 0:
		err = &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody}
	case offered:
		sdp, err = c.answered(y.side, sdp)
	default:
		sdp, err = c.offered(y.side, sdp)
	}
	if offered || err != nil {
		c.ack(y.sent, nil)
	}
	if err != nil {
		x.server = nil
		c.reply(x, s, sip.StatusNotAcceptableHere)
		if offered || len(sdpOf(res)) > 0 {
			// One side has changed its media and the other has not: there is no way back (RFC 3261 §13.2.2.4).
			c.end(Ending{Reason: refusal(err).Reason, By: y.side}, nil)
		}
		return
	}
	if y.theirs, x.mine = answer, sdp; offered {
		x.theirs, y.mine = w.theirs, w.ours
	}
	x.asked = !offered
	c.unhold()
	out := c.response(x, s, res.StatusCode, res)
	setSDP(out, sdp)
	c.accept(x, s, out)
}

// reofferTo answers a re-INVITE or UPDATE of a side that hears a service of ours.
func (c *Call) reofferTo(l Local, x *leg, s *transaction.Server, offer []byte) {
	sdp, err := c.local(l, x, offer)
	if err != nil {
		c.reply(x, s, refusal(err).Code)
		return
	}
	x.dlg.Refresh(s.Request())
	if len(offer) > 0 {
		x.theirs = offer
	}
	out := c.response(x, s, sip.StatusOK, nil)
	setSDP(out, sdp)
	if s.Request().Method == sip.UPDATE {
		c.respond(x, s, out)
		return
	}
	c.accept(x, s, out)
}
