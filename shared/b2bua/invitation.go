package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
)

// maxChallenges is how many challenges in a row we answer to one request.
const maxChallenges = 2

// inviteState is how far an INVITE of ours has come:
//
//	open ──2xx──► answered ──our ACK──► acked
//	  └──300–699, timeout, transport error──► refused
type inviteState uint8

const (
	inviteOpen inviteState = iota
	inviteAnswered
	inviteAcked
	inviteRefused
)

// invitation is an INVITE of ours, and what must be remembered of it for as long as its 2xx may come again.
type invitation struct {
	leg   *leg
	first bool                    // it asks for the dialog; others are re-INVITEs
	on    func(transaction.Event) // gets the provisional responses, and the first final outcome

	state    inviteState
	req      *sip.Request // as last sent, while it is open
	client   *transaction.Client
	seq      uint32
	tries    int  // challenges and the like answered
	canceled bool // CANCEL was asked for: its outcome still counts, a challenge is not answered any more
	off      bool // nobody waits for its outcome

	credentials []sip.Header              // of the request, for the ACK
	ackBody     []byte                    // the answer to a delayed offer
	lost        map[string]*dialog.Dialog // dialogs that we refused, by their remote tag
}

// invite sends an INVITE on a leg.
func (c *Call) invite(l *leg, req *sip.Request, first bool, on func(transaction.Event)) {
	v := &invitation{leg: l, first: first, on: on}
	l.sent = v
	c.sendInvitation(v, req)
}

// sendInvitation sends the INVITE, or sends it again with credentials.
func (c *Call) sendInvitation(v *invitation, req *sip.Request) {
	v.req, v.seq = req, req.CSeq().SeqNo
	client, err := c.transmit(v.leg, v.leg.dlg, req, func(ev transaction.Event) { c.onInvitation(v, ev) })
	if err != nil {
		c.post(func() { c.onInvitation(v, transaction.Event{Err: err}) })
		return
	}
	v.client = client
}

// onInvitation takes what becomes of an INVITE of ours.
func (c *Call) onInvitation(v *invitation, ev transaction.Event) {
	if now := v.leg.owner(); now != c {
		now.post(func() { now.onInvitation(v, ev) })
		return
	}
	res := ev.Response
	if v.state != inviteOpen {
		if res != nil && res.IsSuccess() {
			c.onAnswerAgain(v, res)
		}
		return
	}
	if res != nil && v.first && !v.off && c.plan.Learn != nil {
		c.plan.Learn(res)
	}
	switch {
	case res != nil && res.IsProvisional():
		if !v.off {
			v.on(ev)
		}
		return
	case res != nil && !res.IsSuccess() && !v.off && !v.canceled:
		if next := c.extra(v.leg, &v.tries, v.req, res); next != nil {
			v.leg.forks = nil
			c.sendInvitation(v, next)
			return
		}
	}
	v.close(ev)
	switch {
	case v.off && v.state == inviteAnswered && v.first:
		c.refuseLate(v, res) // it lost the race, or the call is over
	case v.off && v.state == inviteAnswered:
		c.ack(v, nil) // of a dialog that ends
	case !v.off:
		v.on(ev)
	}
}

// close keeps of the INVITE what its ACK needs.
func (v *invitation) close(ev transaction.Event) {
	v.state = inviteRefused
	if ev.Response != nil && ev.Response.IsSuccess() {
		v.state = inviteAnswered
		for _, name := range []string{"Authorization", "Proxy-Authorization"} {
			v.credentials = append(v.credentials, v.req.GetHeaders(name)...)
		}
	}
	v.req, v.client = nil, nil
}

// cancel asks the far side to stop, and still waits for what it says.
func (v *invitation) cancel(extra ...sip.Header) {
	if v.client != nil {
		v.leg.owner().noteCancel(v.leg, true, v.seq)
		v.client.Cancel(extra...)
	}
	v.canceled = true
}

// onAnswerAgain takes a 2xx after the first final response: the same one because our ACK was lost, or one from another
// phone behind the same target (RFC 3261 §13.2.2.4).
func (c *Call) onAnswerAgain(v *invitation, res *sip.Response) {
	l := v.leg
	switch {
	case v.first && (v.off || !l.established || toTag(res) != l.dlg.Remote.Tag):
		c.refuseLate(v, res)
	case v.state == inviteAcked:
		c.sendAck(v)
	}
}

// transmit sends a request in a dialog of a leg and posts what becomes of it. on does not run if an error is returned.
func (c *Call) transmit(l *leg, d *dialog.Dialog, req *sip.Request, on func(transaction.Event)) (*transaction.Client, error) {
	final := false // the layer calls back once at a time
	flow := l.via(d)
	c.note(l, true, flow, req)
	take := func(ev transaction.Event) {
		if ev.Response != nil {
			c.note(l, false, flow, ev.Response)
		}
		on(ev)
	}
	return c.eng.cfg.Transactions.Send(flow, req, func(ev transaction.Event) {
		if res := ev.Response; res != nil && (final || res.IsProvisional()) {
			c.offerEvent(func() { take(ev) }) // of those the far side may send any number
			return
		}
		final = true
		c.post(func() { take(ev) })
	})
}

// request sends a request other than INVITE within a dialog of the leg, answers challenges to it where the leg can, and
// hands the outcome to done.
func (c *Call) request(l *leg, d *dialog.Dialog, req *sip.Request, done func(transaction.Event)) {
	tries := 0
	var send func(req *sip.Request)
	send = func(req *sip.Request) {
		_, err := c.transmit(l, d, req, func(ev transaction.Event) {
			res := ev.Response
			if res != nil && res.IsProvisional() {
				return
			}
			if res != nil && !res.IsSuccess() && l.owner() == c {
				if next := c.extra(l, &tries, req, res); next != nil {
					send(next)
					return
				}
			}
			done(ev)
		})
		if err != nil {
			c.post(func() { done(transaction.Event{Err: err}) })
		}
	}
	send(req)
}

func challenged(res *sip.Response) bool {
	return res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired
}

// withCredentials builds the request that follows a challenge to req (RFC 3261 §22.2), or returns nil where there is no
// answer to it.
func (c *Call) withCredentials(l *leg, req *sip.Request, res *sip.Response) *sip.Request {
	if l.target.Auth == nil {
		return nil
	}
	credentials, err := l.target.Auth(req, res)
	if err != nil {
		c.log.Warn("challenge can't be answered", "target", l.target.Name, "error", err)
		return nil
	}
	next := req.Clone()
	sipmsg.Remove(next, credentials.Name())
	next.AppendHeader(credentials)
	return next
}

func toTag(res *sip.Response) string {
	if to := res.To(); to != nil {
		tag, _ := sipmsg.Param(to.Params, "tag")
		return tag
	}
	return ""
}
