package b2bua

import (
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
)

// maxGlare is how often a re-INVITE of ours that met another is tried again.
const maxGlare = 5

// glareWait is how long it waits: the side that chose the Call-ID lets the other one go first (RFC 3261 §14.1).
func (l *leg) glareWait() time.Duration {
	step := 10 * time.Millisecond
	if l.placed { // we called: the Call-ID is ours
		return 2100*time.Millisecond + time.Duration(rand.IntN(191))*step
	}
	return time.Duration(1+rand.IntN(200)) * step // not at once: the other one is still on its way
}

// reoffer sends a re-INVITE of our own on a leg that is up; nobody across waits for it. offer makes the description,
// for each try anew: after a 491 there is another one. done gets the final response, nil where there is none, and the
// code that it comes to. A 2xx is acknowledged by then.
func (c *Call) reoffer(l *leg, offer func() []byte, done func(res *sip.Response, code int)) {
	c.reofferTry(l, offer, 0, done)
}

func (c *Call) reofferTry(l *leg, offer func() []byte, tries int, done func(res *sip.Response, code int)) {
	req := l.dlg.NewRequest(sip.INVITE)
	l.contact(req, l.via(l.dlg))
	l.options(req, true)
	c.timing(l, req)
	setSDP(req, offer())
	c.invite(l, req, false, func(ev transaction.Event) {
		code := failureOf(ev)
		switch {
		case ev.Response != nil && ev.Response.IsProvisional():
			return
		case code == sip.StatusRequestPending && tries < maxGlare:
			c.later(l.glareWait(), func() { c.reofferAgain(l, offer, tries+1, done) })
			return
		case ev.Response != nil && ev.Response.IsSuccess():
			l.dlg.Refresh(ev.Response)
			c.ack(l.sent, nil)
		}
		done(ev.Response, code)
	})
}

// reofferAgain is the next try, unless the other one's offer is still under way.
func (c *Call) reofferAgain(l *leg, offer func() []byte, tries int, done func(res *sip.Response, code int)) {
	y := c.other(l)
	switch {
	case c.ended, l.owner() != c, l.over, l.leaving:
	case c.changing, c.busy(l), y != nil && c.busy(y):
		done(nil, sip.StatusRequestPending)
	default:
		c.reofferTry(l, offer, tries, done)
	}
}
