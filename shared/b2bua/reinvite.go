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
	case x.server != nil: // RFC 3261 §14.2: the last one is not done yet
		c.reply(x, s, sip.StatusInternalServerError, sip.NewHeader("Retry-After", strconv.Itoa(glareRetry)))
		return
	case x.inviting(): // RFC 3261 §14.2: glare
		c.reply(x, s, sip.StatusRequestPending)
		return
	case c.plan.Local == nil && (y.owesAck() || y.server != nil): // across, that is glare as well
		c.reply(x, s, sip.StatusRequestPending)
		return
	}
	offer, refused := offerOf(s.Request())
	if refused != nil {
		c.reply(x, s, refused.Code)
		return
	}
	if c.plan.Local != nil {
		c.reofferHere(x, s, offer)
		return
	}
	if len(offer) > 0 {
		out, err := c.offered(x.side, offer)
		if err != nil {
			r := refusal(err)
			c.log.Info("re-INVITE refused", "side", x.side, "reason", r.Reason)
			c.reply(x, s, r.Code)
			return
		}
		offer = out
	}
	c.reinviteAcross(x, y, s, offer)
}

// reinviteAcross sends the INVITE that onReinvite made, and carries its outcome back.
func (c *Call) reinviteAcross(x, y *leg, s *transaction.Server, offer []byte) {
	req := y.dlg.NewRequest(sip.INVITE)
	y.contact(req, y.via(y.dlg))
	y.allow(req)
	y.pass(req, s.Request())
	setSDP(req, offer)
	x.server = s
	c.invite(y, req, false, func(ev transaction.Event) {
		if ev.Response == nil || !ev.Response.IsProvisional() {
			c.onReinvited(x, y, s, len(offer) > 0, ev)
		}
	})
	v := y.sent
	s.OnCancel(func() { c.post(func() { v.cancel() }) })
}

// onReinvited takes the outcome of a re-INVITE that we carried across.
func (c *Call) onReinvited(x, y *leg, s *transaction.Server, offered bool, ev transaction.Event) {
	if ev.Response != nil && ev.Response.IsSuccess() {
		c.reinviteAccepted(x, y, s, offered, ev.Response)
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

func (c *Call) reinviteAccepted(x, y *leg, s *transaction.Server, offered bool, res *sip.Response) {
	x.dlg.Refresh(s.Request())
	y.dlg.Refresh(res)
	sdp, err := sdpOf(res), error(nil)
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
	out := c.response(x, s, res.StatusCode, res)
	setSDP(out, sdp)
	c.accept(x, s, out)
}

// reofferHere answers a re-INVITE of a call that ends here.
func (c *Call) reofferHere(x *leg, s *transaction.Server, offer []byte) {
	sdp, err := c.local(offer)
	if err != nil {
		c.reply(x, s, refusal(err).Code)
		return
	}
	x.dlg.Refresh(s.Request())
	out := c.response(x, s, sip.StatusOK, nil)
	setSDP(out, sdp)
	c.accept(x, s, out)
}
