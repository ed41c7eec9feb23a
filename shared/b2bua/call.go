package b2bua

import (
	"context"
	"log/slog"
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
	eng  *Engine
	id   string
	plan Plan
	log  *slog.Logger
	box  mailbox

	shown atomic.Pointer[Info] // what Calls shows; replaced, never changed

	// Below here everything belongs to the goroutine that runs the mailbox.
	info  Info
	a     *leg
	b     *leg   // the leg that answered, or the only one that can still send us requests
	tried []*leg // the legs of the group that rings
	group int    // index of that group
	best  *sip.Response
	offer []byte // what B-legs are offered; nil if A made no offer
	early []byte // the last answer that A got in a provisional response
	ring  *time.Timer
	ended bool // plan.End was called
}

func (e *Engine) newCall(s *transaction.Server, plan Plan) (*Call, error) {
	req := s.Request()
	tag := sipmsg.NewTag()
	dlg, err := dialog.FromInvite(req, tag)
	if err != nil {
		return nil, err
	}
	c := &Call{eng: e, plan: plan, info: plan.Info}
	if plan.ID == "" {
		plan.ID = sipmsg.NewTag()
	}
	c.id, c.info.ID, c.info.State, c.info.Started = plan.ID, plan.ID, StateSetup, e.cfg.Now()
	c.log = e.cfg.Log.With("call", c.id, "trace", c.info.Trace)
	c.box.crashed = func(p any, stack []byte) {
		c.log.Error("fault while serving a call", "reason", verdict.Internal, "fault", p, "stack", string(stack))
		c.post(func() { c.abort(verdict.Internal) })
	}
	c.a = &leg{call: c, side: A, key: legKey{dlg.CallID, tag}, policy: plan.Policy, dlg: dlg, flow: s.Flow(), server: s}
	c.a.remoteTag.Store(&dlg.Remote.Tag)
	c.show()
	return c, nil
}

// ID returns the call's identifier.
func (c *Call) ID() string { return c.id }

// Hangup ends the call from outside, whatever its state.
func (c *Call) Hangup(why verdict.Reason) { c.post(func() { c.abort(why) }) }

func (c *Call) post(ev func()) bool {
	if c.box.post(ev) {
		return true
	}
	c.log.Warn("call has too much to do; event dropped", "reason", verdict.QueueFull)
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
	if c.info.State == StateAnswered {
		c.finish(Ending{Code: sip.StatusOK, Reason: why})
		c.hangup(c.a, why)
		c.hangup(c.b, why)
		return
	}
	if c.info.State != StateEnding {
		c.giveUp(sip.StatusServiceUnavailable, why)
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
	e.Answered, e.At = c.info.Answered, c.eng.cfg.Now()
	c.state(StateEnding)
	if c.plan.Media != nil {
		c.plan.Media.Close()
	}
	if c.plan.Local != nil {
		c.plan.Local.Close()
	}
	if c.plan.End != nil {
		c.plan.End(e)
	}
	level := slog.LevelInfo
	if e.Reason == verdict.Challenged {
		level = slog.LevelDebug // the caller comes again with credentials: that is the attempt
	}
	c.log.Log(context.Background(), level, "call ended", "code", e.Code, "reason", e.Reason, "by", e.By, "answered", !e.Answered.IsZero())
}

// settle forgets the call once no leg needs it any more.
func (c *Call) settle() {
	if !c.ended || !c.a.over {
		return
	}
	for _, l := range c.tried {
		if !l.over {
			return
		}
	}
	if c.b != nil && !c.b.over {
		return
	}
	c.eng.unregister(c.a)
	for _, l := range c.tried {
		c.eng.unregister(l)
	}
	c.eng.forget(c)
}

// close marks a leg as done.
func (c *Call) close(l *leg) {
	l.over = true
	if l.resend != nil {
		l.resend.Stop()
	}
	c.eng.unregister(l)
	c.settle()
}
