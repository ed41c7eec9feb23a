package b2bua

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// ErrSilent is what Target.Tried hears of a target that did not answer within Target.Within.
var ErrSilent = errors.New("no answer at all")

// awaitWord gives a target up that says nothing, not even 100 (RFC 3261 §16.7 calls for failover within 32 s; a caller has
// less patience).
func (c *Call) awaitWord(l *leg) {
	if l.target.Within > 0 && !l.over && !l.spoke {
		l.silence = c.later(l.target.Within, func() { c.onSilence(l) })
	}
}

// word takes the first that is heard of a target.
func (c *Call) word(l *leg, ev transaction.Event) {
	if l.spoke {
		return
	}
	l.spoke = true
	if l.silence != nil {
		l.silence.Stop()
	}
	if l.target.Tried == nil {
		return
	}
	code := 0
	if ev.Response != nil {
		code = ev.Response.StatusCode
	}
	c.contain("Target.Tried", func() { l.target.Tried(code, ev.Err) })
}

// onSilence leaves a target for the next one. Should it answer yet, it gets its CANCEL, or its BYE.
func (c *Call) onSilence(l *leg) {
	if l.over || l.spoke || l.established {
		return
	}
	c.log.Warn("target says nothing", "target", l.target.Name, "reason", verdict.TransportFailure, "after", l.target.Within)
	c.word(l, transaction.Event{Err: ErrSilent})
	c.callOff(l, "")
	c.failed(l, outcome{code: sip.StatusRequestTimeout, reason: verdict.TransportFailure, next: true})
}

// judge lets the plan say whether a target's refusal leads on to the next group.
func (c *Call) judge(o outcome) outcome {
	if c.plan.Next != nil && o.res != nil && !o.last {
		o.next = c.plan.Next(o.res.StatusCode)
	}
	return o
}
