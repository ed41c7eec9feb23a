package callcontrol

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/e164"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// blockPatience is how long an answer may wait until a block is on disk.
const blockPatience = 5 * time.Second

// External is one call through a trunk that somebody wants to cause.
type External struct {
	ID     string      // of the toll; unique: the call's ID, or, for another leg of a call, that, a slash and more
	Causer string      // extension whose rights decide, and whose caps count
	Call   *store.Call // row to write in the same transaction; nil where the call has one
	Action dialplan.Action
}

// call is the ID of the call that the toll is of.
func (x External) call() string {
	id, _, _ := strings.Cut(x.ID, "/")
	return id
}

// Permit is an external call that was allowed, and counted against the caps. Whoever got it must end it.
type Permit struct {
	c      *Control
	id     string // of the toll; empty: an emergency call, which counts nowhere
	call   string
	causer string
}

// Finding is what the rights and caps say of an external call.
type Finding struct {
	Number    e164.Number    `json:"number"`
	Class     string         `json:"class"`
	Emergency bool           `json:"emergency,omitempty"`
	Reason    verdict.Reason `json:"reason,omitempty"` // why it is denied; None: it is not
	Rule      string         `json:"rule"`             // what decided, for a person
}

// Authorize is the one way to a trunk. It decides whether causer may call, by the number and by every cap, and counts the
// call, in the same transaction that writes its row. An emergency call passes always. The verdict is OK exactly where
// there is a Permit.
func (c *Control) Authorize(ctx context.Context, x External) (*Permit, Finding, verdict.Verdict) {
	ctx, cancel := context.WithTimeout(ctx, blockPatience)
	defer cancel()
	plan := c.plan.Load()
	f := c.judge(plan, x)
	if f.Emergency {
		if x.Call != nil {
			c.putRow(x.Call)
		}
		return &Permit{}, f, verdict.Passed
	}
	now, limits := c.cfg.Now(), limitsOf(plan, f.Class, x.Action.Trunk)
	if f.Reason != verdict.None {
		if x.Causer != "" {
			c.denied(ctx, x, &f, limits, now)
		}
		return nil, f, verdict.Rejected(sip.StatusForbidden, f.Reason)
	}
	err := c.cfg.Store.Admit(ctx, x.Call, &store.Toll{
		ID: x.ID, Extension: x.Causer, Trunk: x.Action.Trunk, Number: x.Action.Number, Started: now,
	}, limits)
	var d *store.Denial
	switch {
	case errors.As(err, &d):
		f.Reason, f.Rule = d.Reason, d.Error()
		c.report(x, f, d.Blocked)
		return nil, f, verdict.Rejected(sip.StatusForbidden, d.Reason)
	case err != nil:
		c.cfg.Log.Error("external call refused: it can't be counted", "call", x.ID, "error", err)
		f.Reason, f.Rule = verdict.Overload, "the call can't be counted"
		return nil, f, verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	}
	return &Permit{c, x.ID, x.call(), x.Causer}, f, verdict.Passed
}

// judge says what the rights are, without the caps.
func (c *Control) judge(plan *dialplan.Plan, x External) Finding {
	f := Finding{Number: plan.Number(x.Action), Emergency: x.Action.Emergency}
	e, ok := c.cfg.Store.Extension(x.Causer)
	if ok {
		f.Class = classOf(e)
	}
	switch {
	case f.Emergency:
		f.Rule = "emergency number"
	case !ok:
		f.Reason, f.Rule = verdict.NotAllowed, "nobody whose rights could decide"
	default:
		right := plan.Right(f.Class, f.Number)
		f.Reason, f.Rule = right.Reason, right.Rule
	}
	return f
}

// denied counts a call that its number denies.
func (c *Control) denied(ctx context.Context, x External, f *Finding, l store.Limits, now time.Time) {
	blocked, err := c.cfg.Store.Deny(ctx, x.Causer, f.Reason, l, now)
	if err != nil {
		c.cfg.Log.Error("counting a denied call", "call", x.ID, "error", err)
	}
	c.report(x, *f, blocked)
}

// report tells the operator of a denied call.
func (c *Control) report(x External, f Finding, blocked bool) {
	c.cfg.Log.Warn("external call denied", "call", x.ID, "reason", f.Reason, "rule", f.Rule, "extension", x.Causer, "number", x.Action.Number,
		"country", f.Number.Country, "kind", f.Number.Kind, "class", f.Class, "trunk", x.Action.Trunk)
	if c.cfg.Denied != nil {
		c.cfg.Denied(f.Reason)
	}
	if blocked {
		c.cfg.Log.Error("extension is blocked for external calls until an operator lifts it", "extension", x.Causer, "reason", f.Reason,
			"remedy", "pbx extension unblock "+x.Causer)
	}
}

// limitsOf are the limits of a call of that class through that trunk.
func limitsOf(plan *dialplan.Plan, class, trunk string) store.Limits {
	cl, _ := plan.Class(class)
	return store.Limits{
		Extension: capsOf(cl.Caps), Trunk: capsOf(plan.TrunkCaps(trunk)), All: capsOf(plan.Total()),
		BlockDenied: cl.BlockDenied, BlockDay: cl.BlockDay,
	}
}

func capsOf(c dialplan.Caps) store.Caps {
	out := store.Caps{Concurrent: c.Concurrent, PerMinute: c.PerMinute, PerHour: c.PerHour, PerDay: c.PerDay, Talk: store.NoTalkCap}
	if c.MinutesPerDay < dialplan.Unlimited {
		out.Talk = time.Duration(c.MinutesPerDay) * time.Minute
	}
	return out
}

// Answered notes that the call is up: from now on it uses minutes.
func (p *Permit) Answered(at time.Time) {
	if p.id != "" {
		p.c.cfg.Store.Connect(p.id, at, p.fault)
		p.c.meter.add(p.id, metered{p.call, p.causer})
	}
}

// End notes that the call is over. answered is zero where nobody answered.
func (p *Permit) End(answered, at time.Time) {
	if p.id != "" {
		p.c.meter.remove(p.id)
		p.c.cfg.Store.Settle(p.id, answered, at, p.fault)
	}
}

// Refund takes back a call that was never placed.
func (p *Permit) Refund() {
	if p.id != "" {
		p.c.cfg.Store.Refund(p.id, p.fault)
	}
}

func (p *Permit) fault(err error) {
	p.c.cfg.Log.Error("counting an external call", "call", p.id, "error", err)
}

// grant is a permit of an attempt, and which of its targets it is for.
type grant struct {
	permit   *Permit
	target   string    // name of the target
	number   string    // that it is called by
	answered time.Time // zero: it has not
}

// admit writes the call's row, where who causes the call may.
func (a *attempt) admit() verdict.Verdict {
	if a.action.Kind != dialplan.Trunk {
		a.put(store.CallSetup)
		return verdict.Passed
	}
	a.row.State = store.CallSetup
	row := a.row
	return a.authorize(External{ID: a.id, Causer: a.caller.causer(), Call: &row, Action: a.action})
}

// authorize asks Authorize for an attempt, and notes in its record what it says.
func (a *attempt) authorize(x External) verdict.Verdict {
	permit, f, v := a.c.Authorize(context.Background(), x)
	if permit != nil {
		a.grants = append(a.grants, grant{permit: permit, target: trunkAccount + x.Action.Trunk, number: x.Action.Number})
	}
	a.rec.Country, a.rec.Kind, a.rec.Class, a.rec.Emergency = f.Number.Country, string(f.Number.Kind), f.Class, f.Emergency
	if x.Causer != a.caller.Number {
		a.rec.Causer = x.Causer
	}
	if a.rec.Denied = ""; !v.OK() {
		a.rec.Denied = f.Rule
	}
	return v
}

// spend notes that a target answered: from now on the call uses minutes of who caused it.
func (a *attempt) spend(by b2bua.Target, at time.Time) {
	for i := range a.grants {
		if g := &a.grants[i]; g.target == by.Name && g.number == by.URI.User && g.answered.IsZero() {
			g.answered = at
			g.permit.Answered(at)
		}
	}
}

// settle ends what was granted.
func (a *attempt) settle(at time.Time) {
	for _, g := range a.grants {
		g.permit.End(g.answered, at)
	}
	a.grants = nil
}

// refund takes back what was granted to a call that could not start.
func (a *attempt) refund() {
	for _, g := range a.grants {
		g.permit.Refund()
	}
	a.grants = nil
}
