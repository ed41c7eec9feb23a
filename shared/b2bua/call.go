package b2bua

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Call is two legs and what passes between them.
//
//	         INVITE from A
//	              │
//	            setup ──── 18x from B ───► ringing
//	              │                           │
//	              ├─────── 2xx from B ────────┤
//	              │                           ▼
//	all targets   │                       answered ◄─┐ re-INVITE, INFO …
//	refused, or   │                           │ └────┘
//	CANCEL, or    ▼                           │ BYE of either side, media timeout, command
//	no answer   ending ◄──────────────────────┘
//	              │
//	            (gone once each leg's BYE is answered)
type Call struct {
	eng   *Engine
	id    string
	trace string // of its Info; never changes
	plan  Plan
	log   *slog.Logger
	box   mailbox

	shown  atomic.Pointer[Info] // what Calls shows; replaced, never changed
	ladder ladder

	measure func() []MediaSide // the plan's; nil: nothing is measured

	// Below here everything belongs to the goroutine that runs the mailbox.
	info      Info
	a         *leg
	b         *leg   // the leg that answered, or the only one that can still send us requests
	tried     []*leg // the legs of the group that rings
	group     int    // index of that group
	best      *outcome
	offer     []byte    // what B-legs are offered; nil if A made no offer
	redirects int       // targets that 3xx led to
	moved     []sip.Uri // what A is told of one
	told      *early    // whose description A got in a reliable response; nil: nobody's
	ring      *time.Timer
	turn      *time.Timer // of the targets that ring; nil before the first that has one
	turns     int         // how many there were
	ended     bool        // plan.End was called

	transfer  *transfer  // a party of this call on its way into another; nil: none
	music     *music     // what one side hears while the other holds it; nil: nothing
	joint     *joint     // a party of another call on its way into this; nil: none
	referrals []referral // REFERs that were carried across
	host      *leg       // the service's, while a transfer needs one (service.go); nil: none
	pick      *joint     // a party of another call that is to answer this one; nil: none
	strays    []*leg     // that came from other calls too late; they have only their end before them
	coming    *leg       // a leg that is to take the place of another (RFC 3891)
	changing  bool       // an offer of ours is under way: no other INVITE is taken
}

func (e *Engine) newCall(s *transaction.Server, plan Plan) (*Call, error) {
	tag := sipmsg.NewTag()
	dlg, err := dialog.FromInvite(s.Request(), tag)
	if err != nil {
		return nil, err
	}
	c := &Call{eng: e, id: plan.ID, trace: plan.Info.Trace, plan: plan, info: plan.Info, measure: plan.Measure}
	if c.id == "" {
		c.id = sipmsg.NewTag()
	}
	c.info.ID, c.info.State, c.info.Started = c.id, StateSetup, e.cfg.Now()
	c.log = e.cfg.Log.With("call", c.id, "trace", c.info.Trace)
	c.box.crew, c.box.loop, c.box.crashed = e.crew, c.box.run, c.onCrash
	c.a = &leg{side: A, key: legKey{dlg.CallID, tag}, policy: plan.Policy, account: plan.Account, dlg: dlg, flow: s.Flow(), server: s}
	c.a.call.Store(c)
	if b := plan.behalf; b != nil {
		c.a.inner, c.joint = true, &joint{of: b.of, transfer: b.transfer, place: c.a}
	}
	far := dlg.Remote.Tag
	c.a.remoteTag.Store(&far)
	c.show()
	c.note(c.a, false, s.Flow(), s.Request())
	return c, nil
}

// ID returns the call's identifier.
func (c *Call) ID() string { return c.id }

// Hangup ends the call from outside, whatever its state.
func (c *Call) Hangup(why verdict.Reason) { c.post(func() { c.abort(why) }) }

// post adds an event that must not be lost.
func (c *Call) post(ev func()) { c.box.post(ev) }

// offerEvent adds an event that a far side may send at will. It reports whether there was room.
func (c *Call) offerEvent(ev func()) bool {
	if c.box.offer(ev) {
		return true
	}
	c.log.Debug("call has too much to do; event dropped", "reason", verdict.QueueFull)
	return false
}

// later posts ev after d.
func (c *Call) later(d time.Duration, ev func()) *time.Timer {
	return time.AfterFunc(d, func() { c.post(ev) })
}

// show publishes the call's state.
func (c *Call) show() {
	i := c.info
	c.shown.Store(&i)
}

func (c *Call) state(s State) {
	c.info.State = s
	c.show()
}

// other returns the leg across, or nil while there is none.
func (c *Call) other(l *leg) *leg {
	if l == c.a {
		return c.b
	}
	return c.a
}

// abort ends the call for a reason of ours.
func (c *Call) abort(why verdict.Reason) {
	code := sip.StatusServiceUnavailable
	if why == verdict.Internal {
		code = sip.StatusInternalServerError
	}
	c.end(Ending{Code: code, Reason: why}, nil)
}

// end ends the call and brings each leg to its end. An INVITE of A that waits gets e.Code, with what may pass from the
// far side's response, which may be nil. It may be called again; the first Ending is the one that counts.
func (c *Call) end(e Ending, far *sip.Response) {
	code := e.Code
	if code < 300 {
		code = sip.StatusInternalServerError
	}
	if c.a.established {
		e.Code = sip.StatusOK
	}
	c.finish(e)
	c.dismiss(c.a, func() {
		if c.a.established {
			c.hangup(c.a, e.Reason)
		} else {
			c.refuse(c.a, code, far)
		}
	})
	for _, l := range c.tried {
		c.dismiss(l, func() {
			if l.established {
				c.hangup(l, e.Reason)
			} else {
				c.callOff(l, causeOf(e.Reason))
			}
		})
	}
	c.settle()
}

// dismiss brings a leg to its end. If that fails by a fault of ours, the leg is dropped as it is.
func (c *Call) dismiss(l *leg, how func()) {
	if !l.over && !c.contain("end of a leg", how) {
		c.drop(l)
	}
}

// finish marks the call as ended, once.
func (c *Call) finish(e Ending) {
	if c.ended {
		return
	}
	c.ended = true
	if c.ring != nil {
		c.ring.Stop()
	}
	c.patience(0)
	e.Answered, e.At = c.info.Answered, c.eng.cfg.Now()
	c.ladder.end(e)
	c.state(StateEnding)
	c.breakOff()
	c.unhold()
	if c.plan.Media != nil {
		c.contain("Media.Close", c.plan.Media.Close)
	}
	if c.plan.Local != nil {
		c.contain("Local.Close", c.plan.Local.Close)
	}
	if c.plan.End != nil {
		c.contain("Plan.End", func() { c.plan.End(e) })
	}
	c.plan = Plan{Policy: c.plan.Policy, Media: c.plan.Media} // descriptions still go the closed media's way
	level := slog.LevelInfo
	if e.Reason == verdict.Challenged {
		level = slog.LevelDebug // the caller comes again with credentials: that is the attempt
	}
	c.log.Log(context.Background(), level, "call ended", "code", e.Code, "reason", e.Reason, "by", e.By, "answered", !e.Answered.IsZero())
}

// close marks a leg as done.
func (c *Call) close(l *leg) {
	l.over = true
	if l.resend != nil {
		l.resend.Stop()
	}
	if l.session.timer != nil {
		l.session.timer.Stop()
	}
	l.rel.stop()
	if l.silence != nil {
		l.silence.Stop()
	}
	if l.dialing != nil {
		l.dialing()
	}
	c.eng.unregister(l)
	c.settle()
}

// settle forgets the call once no leg needs it any more.
func (c *Call) settle() {
	if !c.ended || !c.a.over {
		return
	}
	for _, l := range slices.Concat(c.tried, c.strays) { // the one that answered is among the tried
		if !l.over {
			return
		}
	}
	c.eng.forget(c)
	c.eng.memory.keep(c.record(), c.eng.cfg.Kept)
	c.lighten()
}

// lighten lets go of what a call that is over needs no more. Transactions hold on to it for as long as a 2xx may come again.
func (c *Call) lighten() {
	c.offer, c.best, c.ring = nil, nil, nil
	for _, l := range append(c.tried, c.a) {
		l.server, l.resend, l.forks, l.mine, l.theirs, l.byeCause = nil, nil, nil, nil, nil, nil
		l.target = Target{Policy: l.target.Policy, Name: l.target.Name}
	}
}

// onCrash takes a panic in an event: it ends this call and no other.
func (c *Call) onCrash(fault any, stack []byte) {
	c.log.Error("fault while serving a call", "reason", verdict.Internal, "fault", fault, "stack", string(stack))
	c.post(func() {
		if !c.ended {
			c.abort(verdict.Internal)
			return
		}
		for _, l := range append([]*leg{c.a}, c.tried...) { // it was ending: nothing more can be done for it
			c.drop(l)
		}
	})
}

// contain runs what others gave us, or what leads there, and reports whether it came back.
func (c *Call) contain(what string, fn func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("fault while ending a call", "reason", verdict.Internal, "where", what, "fault", p, "stack", string(debug.Stack()))
		}
	}()
	fn()
	return true
}

// drop gives up a leg without a word, but for an INVITE that waits for one.
func (c *Call) drop(l *leg) {
	if s := l.server; s != nil && !l.unacked {
		l.server = nil
		res := sipmsg.Response(s.Request(), sip.StatusInternalServerError, "", l.key.localTag)
		c.note(l, true, s.Flow(), res)
		if err := s.Respond(res); err != nil {
			c.log.Debug("sending a response", "side", l.side, "error", err)
		}
	}
	if !l.over {
		c.close(l)
	}
}
