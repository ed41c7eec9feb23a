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
	case c.info.State != StateAnswered || !x.established || x.over:
		c.reply(x, s, sip.StatusCallTransactionDoesNotExists, nil)
		return
	case x.server != nil: // RFC 3261 §14.2: the last one is not done yet
		c.reply(x, s, sip.StatusInternalServerError, sip.NewHeader("Retry-After", strconv.Itoa(glareRetry)))
		return
	case c.plan.Local != nil:
		c.reofferHere(x, s)
		return
	case y == nil || y.over:
		c.reply(x, s, sip.StatusCallTransactionDoesNotExists, nil)
		return
	case x.pending || y.pending || y.server != nil: // RFC 3261 §14.1: glare
		c.reply(x, s, sip.StatusRequestPending, nil)
		return
	}
	offer := sdpOf(s.Request())
	if len(offer) > 0 {
		out, err := c.offered(x.side, offer)
		if err != nil {
			r := refusal(err)
			c.log.Info("re-INVITE refused", "side", x.side, "reason", r.Reason)
			c.reply(x, s, r.Code, nil)
			return
		}
		offer = out
	}
	c.reinviteAcross(x, y, s, offer)
}

// reinviteAcross sends the INVITE that onReinvite made, and carries its outcome back.
func (c *Call) reinviteAcross(x, y *leg, s *transaction.Server, offer []byte) {
	req := y.dlg.NewRequest(sip.INVITE)
	y.contact(req, y.via())
	y.allow(req)
	y.pass(req, s.Request())
	setSDP(req, offer)
	x.server, y.pending = s, true
	x.unacked = false
	s.OnCancel(func() {
		c.post(func() {
			if y.pending && y.client != nil {
				y.client.Cancel()
			}
		})
	})
	y.client = c.sendWithin(y, req, func(ev transaction.Event) { c.onReinviteEvent(x, y, s, len(offer) > 0, ev) })
}

// onReinviteEvent takes a response to a re-INVITE that we carried across.
func (c *Call) onReinviteEvent(x, y *leg, s *transaction.Server, offered bool, ev transaction.Event) {
	res := ev.Response
	switch {
	case res != nil && res.IsProvisional():
		return
	case res != nil && res.IsSuccess() && y.over:
		c.ack(y, nil)
		return
	case res != nil && res.IsSuccess() && !y.pending:
		c.repeatAck(y, res)
		return
	case !y.pending:
		return
	}
	y.pending = false
	switch {
	case x.over || c.info.State != StateAnswered:
		if res != nil && res.IsSuccess() {
			c.ack(y, nil)
		}
	case res != nil && res.IsSuccess():
		c.reinviteAccepted(x, y, s, offered, res)
	default:
		c.reinviteFailed(x, y, s, res)
	}
}

func (c *Call) reinviteAccepted(x, y *leg, s *transaction.Server, offered bool, res *sip.Response) {
	x.dlg.Refresh(s.Request())
	y.dlg.Refresh(res)
	sdp, err := sdpOf(res), error(nil)
	switch {
	case offered && len(sdp) > 0:
		sdp, err = c.answered(y.side, sdp)
	case len(sdp) > 0:
		sdp, err = c.offered(y.side, sdp)
	default:
		err = &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody}
	}
	if offered || err != nil {
		c.ack(y, nil)
	}
	if err != nil {
		x.server = nil
		c.reply(x, s, refusal(err).Code, nil)
		return
	}
	out := c.response(x, s, res.StatusCode, res)
	setSDP(out, sdp)
	c.accept(x, s, out)
}

func (c *Call) reinviteFailed(x, y *leg, s *transaction.Server, res *sip.Response) {
	x.server = nil
	code := sip.StatusRequestTimeout
	if res != nil {
		code = res.StatusCode
	}
	if code/100 == 3 {
		code = sip.StatusNotAcceptableHere
	}
	c.respond(x, s, c.response(x, s, code, res))
	if code == sip.StatusCallTransactionDoesNotExists || code == sip.StatusRequestTimeout {
		// RFC 3261 §12.2.1.2: the far side has lost the dialog
		c.finish(Ending{Code: sip.StatusOK, Reason: verdict.UnknownDialog, By: y.side})
		c.hangup(x, verdict.UnknownDialog)
		c.hangup(y, verdict.UnknownDialog)
	}
}

// reofferHere answers a re-INVITE of a call that ends here.
func (c *Call) reofferHere(x *leg, s *transaction.Server) {
	sdp, err := c.plan.Local.Answer(sdpOf(s.Request()))
	if err != nil {
		c.reply(x, s, refusal(err).Code, nil)
		return
	}
	x.dlg.Refresh(s.Request())
	out := c.response(x, s, sip.StatusOK, nil)
	setSDP(out, sdp)
	c.accept(x, s, out)
}
