package b2bua

import (
	"errors"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onRequest takes a request within a dialog of the call.
func (c *Call) onRequest(l *leg, s *transaction.Server) {
	req := s.Request()
	c.note(l, false, s.Flow(), req)
	if l.over || !l.roams(s.Flow()) {
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
		return
	}
	var e *early
	if l.side == B && !l.established {
		if from := req.From(); from != nil {
			tag, _ := sipmsg.Param(from.Params, "tag")
			e = l.earlyBy(tag)
		}
		if e == nil {
			c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
			return
		}
	}
	if err := l.dialogOf(e).Receive(req); err != nil {
		code := sip.StatusBadRequest
		if errors.Is(err, dialog.ErrOldCSeq) {
			code = sip.StatusInternalServerError // RFC 3261 §12.2.2
		}
		c.reply(l, s, code)
		return
	}
	l.flow = s.Flow()
	switch {
	case c.astray(l, s):
	case !l.policy.allows(req.Method):
		c.reply(l, s, sip.StatusMethodNotAllowed, sip.NewHeader("Allow", l.policy.Allow))
	case req.Method == sip.BYE:
		c.onBye(l, s)
	case c.ended:
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
	case req.Method == sip.INVITE:
		c.onReinvite(l, s)
	case req.Method == sip.PRACK:
		c.onPrack(l, s)
	case req.Method == sip.UPDATE:
		c.onUpdate(l, e, s)
	case req.Method == sip.REFER && c.plan.Refer != nil:
		c.onRefer(l, s)
	case c.plan.Refer != nil && (req.Method == sip.NOTIFY || req.Method == sip.SUBSCRIBE): // we sent no REFER (RFC 5057 §5.1)
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
	case req.Method == sip.REFER && c.plan.ReferTo != nil:
		c.referAcross(l, s)
	case req.Method == sip.REFER:
		c.referRefused(l, s, &Refusal{Code: sip.StatusForbidden, Reason: verdict.TransferRefused})
	default:
		c.across(l, s)
	}
}

// allows reports whether a method is in the policy's Allow list.
func (p *LegPolicy) allows(m sip.RequestMethod) bool {
	for name := range strings.SplitSeq(p.Allow, ",") {
		if strings.TrimSpace(name) == string(m) {
			return true
		}
	}
	return false
}

// across carries INFO, OPTIONS and whatever else needs no state of ours to the other leg and its answer back.
func (c *Call) across(x *leg, s *transaction.Server) {
	y := c.other(x)
	switch {
	case c.plan.Local != nil:
		if l, ok := c.plan.Local.(Informed); ok && s.Request().Method == sip.INFO {
			l.Info(s.Request())
		}
		c.reply(x, s, sip.StatusOK)
		return
	case !x.established || y == nil || !y.established:
		c.reply(x, s, sip.StatusTemporarilyUnavailable)
		return
	case s.Request().Method == sip.NOTIFY:
		c.notifyAcross(x, y, s)
		return
	case !y.policy.allows(s.Request().Method):
		c.reply(x, s, sip.StatusMethodNotAllowed, sip.NewHeader("Allow", x.policy.Allow))
		return
	}
	req := y.dlg.NewRequest(s.Request().Method)
	y.pass(req, s.Request())
	c.relay(x, y, s, req)
}

// relay sends req, which stands for what s asked on x, to y, and carries the answer back.
func (c *Call) relay(x, y *leg, s *transaction.Server, req *sip.Request) {
	c.request(y, y.dlg, req, func(ev transaction.Event) {
		code := failureOf(ev)
		if ev.Response != nil || code != sip.StatusRequestTimeout { // RFC 4320 §4.2: by then it is too late for x as well
			out := c.withoutRedirect(x, s, code, ev.Response)
			if req.Method == sip.REFER && code < 300 {
				x.contact(out, s.Flow()) // RFC 3515 §2.2
			}
			c.respond(x, s, out)
		}
		if req.Method != sip.NOTIFY { // RFC 5057 §5.1: that is the end of a subscription, not of the call
			c.checkPeer(y, code)
		}
	})
}

// failureOf is the status code that the outcome of a request within a dialog has for its sender.
func failureOf(ev transaction.Event) int {
	switch {
	case ev.Response == nil && errors.Is(ev.Err, transaction.ErrTimeout): // RFC 3261 §8.1.3.1
		return sip.StatusRequestTimeout
	case ev.Response == nil:
		return sip.StatusServiceUnavailable
	case ev.Response.StatusCode/100 == 3: // nobody is redirected within a call
		return sip.StatusNotAcceptableHere
	}
	return ev.Response.StatusCode
}

// checkPeer ends the call if the outcome of a request shows that leg y's far side has lost the dialog or is gone (RFC 3261
// §12.2.1.2). A connection that broke shows neither: the phone may come back over a new one.
func (c *Call) checkPeer(y *leg, code int) {
	switch {
	case y.owner() != c, y.over:
	case code == sip.StatusCallTransactionDoesNotExists:
		c.end(Ending{Reason: verdict.UnknownDialog, By: y.side}, nil)
	case code == sip.StatusRequestTimeout:
		c.end(Ending{Reason: verdict.PeerLost, By: y.side}, nil)
	}
}

// withoutRedirect builds the response to x from the far side's, which may be nil.
func (c *Call) withoutRedirect(x *leg, s *transaction.Server, code int, far *sip.Response) *sip.Response {
	if far != nil && far.StatusCode != code {
		far = nil
	}
	out := c.response(x, s, code, far)
	sipmsg.Remove(out, "Contact")
	return out
}
