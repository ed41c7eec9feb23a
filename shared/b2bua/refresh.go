package b2bua

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// refreshAgain is how long a refresh that was not answered by a 2xx, or could not be sent yet, waits for the next one.
const refreshAgain = 10 * time.Second

// refresh tells a far side that the call goes on, and hears that it does: by UPDATE where it takes one (RFC 4028 §7.4),
// else by a re-INVITE with the description that is in force.
func (c *Call) refresh(l *leg) {
	if c.busy(l) || l.leaving || c.changing {
		c.wake(l, refreshAgain)
		return
	}
	if !l.updates() {
		c.refreshByInvite(l)
		return
	}
	req := l.dlg.NewRequest(sip.UPDATE)
	l.contact(req, l.via(l.dlg))
	l.options(req, false)
	c.timing(l, req)
	c.request(l, l.dlg, req, func(ev transaction.Event) {
		if l.owner() != c {
			return // who has it now looks after it
		}
		if res := ev.Response; res != nil && res.IsSuccess() {
			l.dlg.Refresh(res)
		}
		switch failureOf(ev) {
		case sip.StatusMethodNotAllowed, sip.StatusNotImplemented: // it promised too much
			l.can &^= canUpdate
			c.refreshByInvite(l)
		default:
			c.refreshed(l, ev.Response, failureOf(ev))
		}
	})
}

// refreshByInvite has the media make the offer that is in force, so that they understand what is answered: a phone may
// choose a new key. Media know one offer at a time.
func (c *Call) refreshByInvite(l *leg) {
	y := c.other(l)
	if c.busy(l) || l.over || c.ended || c.changing || y != nil && c.busy(y) {
		c.wake(l, refreshAgain)
		return
	}
	var answered func([]byte) error
	offer := func() []byte {
		var sdp []byte
		sdp, answered = c.inForce(l, y)
		return sdp
	}
	c.reoffer(l, offer, func(res *sip.Response, code int) {
		if sdp := answerIn(res); len(sdp) > 0 {
			if err := answered(sdp); err != nil {
				c.end(Ending{Reason: refusal(err).Reason, By: l.side}, nil)
				return
			}
		}
		c.refreshed(l, res, code)
	})
}

// inForce returns the description that leg l has of us, made anew as an offer, and what takes the answer to it.
func (c *Call) inForce(l, y *leg) (offer []byte, answered func([]byte) error) {
	var err error
	switch {
	case c.plan.Local != nil:
		if offer, err = c.plan.Local.Offer(); err == nil {
			return offer, c.plan.Local.Accept
		}
	case c.music != nil: // neither has what the other said last
	case y != nil && len(y.theirs) > 0:
		if offer, err = c.offered(y.side, y.theirs); err == nil {
			return offer, func(answer []byte) error { _, err := c.answered(l.side, answer); return err }
		}
	}
	c.log.Info("session is refreshed with the description as it was", "side", l.side, "error", err)
	return l.mine, func([]byte) error { return nil }
}

// answerIn is the description in a 2xx; nil where there is none.
func answerIn(res *sip.Response) []byte {
	if res == nil || !res.IsSuccess() {
		return nil
	}
	return sdpOf(res)
}

// refreshed takes the outcome of a refresh. A refusal is no end: there is time until the interval is over.
func (c *Call) refreshed(l *leg, res *sip.Response, code int) {
	if c.ended || l.over {
		return
	}
	if res != nil && res.IsSuccess() {
		l.learn(res)
		c.timed(l, res)
		return
	}
	c.log.Info("session was not refreshed", "side", l.side, "code", code)
	c.checkPeer(l, code)
	if c.ended {
		return
	}
	left := l.session.due.Sub(c.eng.cfg.Now()) - min(32*time.Second, l.session.every/3)
	if left <= 0 {
		c.end(Ending{Reason: verdict.SessionExpired, By: l.side}, nil)
		return
	}
	c.wake(l, min(left, max(refreshAgain, l.session.every/16)))
}

// extra answers what a far side wants before it takes a request of ours: credentials, or a longer session interval. It
// returns the request to send, with the next number, or nil. tries counts.
func (c *Call) extra(l *leg, tries *int, req *sip.Request, res *sip.Response) *sip.Request {
	var next *sip.Request
	switch {
	case *tries >= maxChallenges:
		return nil
	case challenged(res):
		next = c.withCredentials(l, req, res)
	case res.StatusCode == statusIntervalTooSmall:
		next = c.longer(l, req, res)
	}
	if next == nil {
		return nil
	}
	*tries++
	sipmsg.Remove(next, "Via")
	l.dlg.LocalSeq++
	next.CSeq().SeqNo = l.dlg.LocalSeq
	return next
}
