package b2bua

import (
	"errors"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
)

// onRequest takes a request within a dialog of the call.
func (c *Call) onRequest(l *leg, s *transaction.Server) {
	req := s.Request()
	if !l.roams(s.Flow()) {
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists, nil)
		return
	}
	if l.over {
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists, nil)
		return
	}
	if err := l.dlg.Receive(req); err != nil {
		code := sip.StatusBadRequest
		if errors.Is(err, dialog.ErrOldCSeq) {
			code = sip.StatusInternalServerError // RFC 3261 §12.2.2
		}
		c.reply(l, s, code, nil)
		return
	}
	l.flow = s.Flow()
	switch {
	case !l.policy.allows(req.Method):
		c.reply(l, s, sip.StatusMethodNotAllowed, sip.NewHeader("Allow", l.policy.Allow))
	case req.Method == sip.BYE:
		c.onBye(l, s)
	case req.Method == sip.INVITE:
		c.onReinvite(l, s)
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
	if c.plan.Local != nil {
		c.reply(x, s, sip.StatusOK, nil)
		return
	}
	if y == nil || y.over || !y.established {
		c.reply(x, s, sip.StatusTemporarilyUnavailable, nil)
		return
	}
	if !y.policy.allows(s.Request().Method) {
		c.reply(x, s, sip.StatusMethodNotAllowed, sip.NewHeader("Allow", x.policy.Allow))
		return
	}
	req := y.dlg.NewRequest(s.Request().Method)
	req.SetBody(nil)
	y.pass(req, s.Request())
	c.sendWithin(y, req, func(ev transaction.Event) {
		switch res := ev.Response; {
		case res == nil:
			c.reply(x, s, sip.StatusRequestTimeout, nil)
		case res.IsProvisional():
		default:
			c.respond(x, s, c.withoutRedirect(x, s, res))
		}
	})
}

// withoutRedirect builds the response to x from the far side's; a redirection within a call is refused.
func (c *Call) withoutRedirect(x *leg, s *transaction.Server, res *sip.Response) *sip.Response {
	code := res.StatusCode
	if code/100 == 3 {
		code = sip.StatusNotAcceptableHere
	}
	out := c.response(x, s, code, res)
	sipmsg.Remove(out, "Contact")
	return out
}
