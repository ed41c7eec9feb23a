package b2bua

import (
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// Turn is who is called in place of targets that were not reached: a forward, the next members of a group.
type Turn struct {
	Targets   []Target
	Local     Local         // answers here instead of Targets
	Ring      time.Duration // how long they ring; 0: as long as the call may
	Forwarded bool          // A is told so (RFC 3261 §21.1.3)
	Apart     bool          // they are several people: a 6xx of one ends its own ringing alone
}

// Missed is why the targets before were not reached.
type Missed struct {
	Code   int            // as A would hear it
	Reason verdict.Reason // NoAnswer where their time was over
}

// patience gives the targets of a turn their time; 0: that of the call.
func (c *Call) patience(d time.Duration) {
	c.turns++
	if c.turn != nil {
		c.turn.Stop()
	}
	if n := c.turns; d > 0 {
		c.turn = c.later(d, func() { c.onTurnOver(n) })
	}
}

// onTurnOver takes the end of a turn's time: its targets are called off, and others have their turn, or the caller is told.
func (c *Call) onTurnOver(n int) {
	if n != c.turns || c.ended || c.a.established || c.b != nil {
		return
	}
	c.callOffTried("")
	o := outcome{code: sip.StatusTemporarilyUnavailable, reason: verdict.NoAnswer}
	c.best = &o
	c.goOn()
}

func (c *Call) callOffTried(reason string) {
	for _, l := range c.tried {
		c.callOff(l, reason)
	}
}

// goOn has the plan say who is called next, or gives up.
func (c *Call) goOn() {
	if c.plan.Then == nil || c.best == nil {
		c.giveUp()
		return
	}
	turn, ok := c.plan.Then(Missed{c.best.code, c.best.reason})
	if !ok {
		c.giveUp()
		return
	}
	c.callOffTried("") // those that a 6xx of another left ringing
	c.best, c.plan.Apart = nil, turn.Apart
	if turn.Forwarded {
		c.tellForwarded()
	}
	if turn.Local != nil {
		c.patience(0)
		c.plan.Local = turn.Local
		c.answerHere(c.offer)
		return
	}
	c.plan.Groups = append(slices.Clip(c.plan.Groups[:min(c.group+1, len(c.plan.Groups))]), turn.Targets)
	c.group = len(c.plan.Groups) - 1
	c.patience(turn.Ring)
	c.ringGroup()
}

// tellForwarded tells A that somebody else is called than who was.
func (c *Call) tellForwarded() {
	if c.a.server != nil && (c.a.rel == nil || c.a.rel.final == nil) {
		c.tell(sip.NewResponse(sip.StatusCallIsForwarded, ""), nil, nil)
	}
}
