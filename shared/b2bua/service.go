package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// How a party of a call that ends here (Plan.Local) gets into another call, because the service says so:
//
//	PassOn   it calls somebody else: a menu leads on, a queue has found an agent, a parked call comes back
//	Join     it takes a place in a call that there is: that of the service there (a parked call is fetched), or of the phones that
//	         ring there (a call is picked up)
//
// Both are transfers (transfer.go) whose transferor is the service. It has a leg in the call for that, with nobody on it (host).

// PassOn has the party of a call that ends here call whom plan says, as a blind transfer would. Until somebody answers, the service goes
// on. tell hears each status code of the new call, on the call's goroutine; it must not block. At 200 the party is gone, and its call here
// ends; from 300 on it stays. It reports false if there is no such call.
func (e *Engine) PassOn(id string, plan func(Refer) (Plan, error), tell func(code int)) bool {
	return e.serve(id, tell, func(c *Call, t *transfer) {
		x := t.rest
		p, err := plan(Refer{
			Target: x.dlg.Local.URI, Party: x.dlg.Remote, Partner: x.account, Trace: c.info.Trace, Flow: x.flow,
		})
		if err != nil {
			c.transferFailed(t, refusal(err).Code)
			return
		}
		c.transferToTarget(t, p)
	})
}

// Join has the party of a call that ends here take a place in another one. tell is PassOn's: 480 and 481 say that there is no such place any more, 491
// that somebody else is about to take it.
func (e *Engine) Join(id, other string, tell func(code int)) bool {
	e.mu.RLock()
	to := e.calls[other]
	e.mu.RUnlock()
	return e.serve(id, tell, func(c *Call, t *transfer) {
		if to == nil || to == c {
			c.transferFailed(t, sip.StatusCallTransactionDoesNotExists)
			return
		}
		t.to = to
		to.post(func() { to.giveWay(c, t) })
	})
}

// CallOff ends what PassOn has begun, if nobody has answered: tell hears 487. It reports false if there is no such call.
func (e *Engine) CallOff(id string) bool {
	e.mu.RLock()
	c := e.calls[id]
	e.mu.RUnlock()
	if c == nil {
		return false
	}
	c.post(c.callOffOwn)
	return true
}

// callOffOwn ends the service's transfer while its target has not answered.
func (c *Call) callOffOwn() {
	if own := c.transfer; own != nil && own.by == c.host && c.host != nil && !c.changing {
		c.callOffTarget(own)
		c.transferFailed(own, sip.StatusRequestTerminated)
	}
}

// serve begins a transfer by the service of a call.
func (e *Engine) serve(id string, tell func(code int), do func(*Call, *transfer)) bool {
	e.mu.RLock()
	c := e.calls[id]
	e.mu.RUnlock()
	if c == nil {
		return false
	}
	c.post(func() {
		switch {
		case c.ended || c.plan.Local == nil || !c.a.up():
			tell(sip.StatusCallTransactionDoesNotExists)
			return
		case c.transfer != nil || c.joint != nil || c.changing:
			tell(sip.StatusRequestPending)
			return
		}
		t := &transfer{by: c.hosted(), rest: c.a, tell: tell}
		c.transfer = t
		do(c, t)
	})
	return true
}

// hosted is the leg on which the service is.
func (c *Call) hosted() *leg {
	if c.host == nil {
		c.host = &leg{side: B, policy: c.a.policy, flow: c.a.flow, established: true, inner: true}
		c.host.call.Store(c)
	}
	return c.host
}

// giveWay lends a place of this call to the party of another one: the service's, or that of the phones which ring.
func (c *Call) giveWay(of *Call, t *transfer) {
	switch {
	case c.ended:
		of.post(func() { of.transferFailed(t, sip.StatusCallTransactionDoesNotExists) })
	case c.plan.Local != nil:
		c.callOffOwn() // who comes is better than who is still called
		c.lend(of, t, c.hosted())
	default:
		c.lendRinging(of, t)
	}
}

// lendRinging begins a pick-up: the party of another call is to answer in place of the phones that ring. It gets the caller's offer; where
// the caller made none, it is asked for one.
func (c *Call) lendRinging(of *Call, t *transfer) {
	code := 0
	switch {
	case c.a.established, c.a.server == nil, c.a.rel != nil && c.a.rel.final != nil:
		code = sip.StatusCallTransactionDoesNotExists
	case c.told != nil: // the caller has agreed with one of the phones already
		code = sip.StatusTemporarilyUnavailable
	case c.pick != nil:
		code = sip.StatusRequestPending
	}
	if code != 0 {
		of.post(func() { of.transferFailed(t, code) })
		return
	}
	c.pick = &joint{of: of, transfer: t}
	offer := c.offer
	of.post(func() { of.onLoan(t, c, offer) })
}

// unpick tells who wants to pick up the call that nothing comes of it.
func (c *Call) unpick() {
	if p := c.pick; p != nil {
		c.pick = nil
		p.of.post(func() { p.of.transferFailed(p.transfer, sip.StatusCallTransactionDoesNotExists) })
	}
}

// pickedUp takes the party that picked the call up: the phones stop ringing, and the caller has its answer. sdp is the party's answer to the
// caller's offer, or its own offer where the caller made none.
func (c *Call) pickedUp(x *leg, sdp []byte) {
	c.pick = nil
	c.ring.Stop()
	c.patience(0)
	for _, l := range c.tried {
		c.callOff(l, answeredElsewhere)
	}
	x.side = B
	c.b, c.tried = x, []*leg{x}
	c.a.mine, c.a.asked = sdp, c.offer == nil
	c.info.Callee = x.dlg.Remote.URI.User
	c.watch(x)
	if c.plan.Answer != nil {
		c.plan.Answer(Target{Name: x.account, Account: x.account, URI: x.dlg.Remote.URI})
	}
	out := c.response(c.a, c.a.server, sip.StatusOK, nil)
	setSDP(out, sdp)
	c.up(out)
}

// askRest has the party make an offer for the place that it is to take, and gives it away with that.
func (c *Call) askRest(t *transfer) {
	c.whenIdle(t.rest, func() {
		c.changing = true
		c.reinvite(t.rest, nil, func(offer []byte, code int) {
			c.changing = false
			switch {
			case offer == nil && c.transfer == t:
				c.callOffTarget(t)
				c.transferFailed(t, code)
			case offer != nil && c.transfer == t:
				c.transferred(t, offer)
			case offer != nil:
				c.ack(t.rest.sent, refusing(offer))
				c.reunite(t)
			}
		})
	}, func() {
		if c.transfer == t {
			c.callOffTarget(t)
			c.transferFailed(t, sip.StatusRequestPending)
		}
	})
}

// lendToService begins the part that this call has in an attended transfer to its service: the party of another call is to take the
// caller's place.
func (c *Call) lendToService(of *Call, t *transfer) {
	failed := func(code int) { of.post(func() { of.transferFailed(t, code) }) }
	switch {
	case !c.a.up():
		failed(sip.StatusTemporarilyUnavailable)
		return
	case c.transfer != nil || c.joint != nil || c.changing:
		failed(sip.StatusRequestPending)
		return
	}
	offer, err := c.plan.Local.Offer()
	if err != nil {
		failed(refusal(err).Code)
		return
	}
	c.joint = &joint{of: of, transfer: t, place: c.a}
	of.post(func() { of.onLoan(t, c, offer) })
}

// takeFromService ends a service: x is in its place.
func (c *Call) takeFromService() {
	local := c.plan.Local
	c.plan.Local, c.host = nil, nil
	c.contain("Local.Close", local.Close)
}

// reunite has those agree on their media anew whom a transfer was to part, after one of them was offered something that came to nothing.
func (c *Call) reunite(t *transfer) {
	if t.by != c.host {
		c.resync(t.by, t.rest)
		return
	}
	x := t.rest
	failed := func() { c.end(Ending{Reason: verdict.NoCommonMedia, By: A}, nil) }
	if c.ended || c.plan.Local == nil || !x.up() {
		return
	}
	c.changing = true
	c.whenIdle(x, func() {
		c.reinvite(x, nil, func(offer []byte, _ int) {
			c.changing = false
			if offer == nil {
				failed()
				return
			}
			answer, err := c.plan.Local.Answer(offer)
			if err != nil {
				answer = refusing(offer)
			}
			c.ack(x.sent, answer)
			if err != nil {
				failed()
			}
		})
	}, failed)
}

// invited is whom the transferor had called, or was called by: the To of the call that its transfer makes.
func (t *transfer) invited() sip.Uri {
	if t.by.dlg == nil {
		return *t.rest.dlg.Local.URI.Clone()
	}
	return *t.by.dlg.Remote.URI.Clone()
}
