package b2bua

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// response builds a response to what s asked on leg l, from the far side's response where there is one.
func (c *Call) response(l *leg, s *transaction.Server, code int, far *sip.Response) *sip.Response {
	req := s.Request()
	out := sipmsg.Response(req, code, "", l.key.localTag)
	if code > 100 && code < 300 {
		session := req.Method == sip.INVITE || req.Method == sip.UPDATE
		if session {
			l.contact(out, s.Flow()) // RFC 3261 §12.1.1
		}
		switch {
		case code >= 200 && session:
			l.options(out, true)
		case code >= 200:
			l.allow(out)
		}
		if code >= 200 && req.Method == sip.UPDATE {
			c.grant(l, req, out)
		}
	}
	if code == statusIntervalTooSmall {
		out.AppendHeader(sip.NewHeader("Min-SE", seconds(c.eng.cfg.Session.Min))) // RFC 4028 §6
	}
	if req.Method == sip.INVITE && code < 300 && !l.established {
		for _, h := range req.GetHeaders("Record-Route") { // RFC 3261 §12.1.1
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	if far != nil {
		l.pass(out, far)
	}
	return out
}

// respond sends a response other than the 2xx to an INVITE.
func (c *Call) respond(l *leg, s *transaction.Server, res *sip.Response) {
	c.note(l, true, s.Flow(), res)
	err := s.Respond(res)
	if err == nil {
		return
	}
	c.log.Debug("sending a response", "side", l.side, "code", res.StatusCode, "error", err)
	if s == c.a.server && errors.Is(err, transaction.ErrTransport) {
		c.post(c.onCallerLost)
	}
}

// onCallerLost ends a call whose caller can't be answered any more: its connection ended while it waited.
func (c *Call) onCallerLost() {
	if !c.a.established {
		c.end(Ending{Code: sip.StatusRequestTerminated, Reason: verdict.TransportFailure, By: A}, nil)
	}
}

// reply answers a request that goes no further.
func (c *Call) reply(l *leg, s *transaction.Server, code int, extra ...sip.Header) {
	out := c.response(l, s, code, nil)
	for _, h := range extra {
		out.AppendHeader(h)
	}
	c.respond(l, s, out)
}
