package callcontrol

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/e164"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/verdict"
)

// External is one call through a trunk that somebody wants to cause.
type External struct {
	ID     string      // of the toll; unique: the call's ID, or, for a second leg of a call, made of it
	Causer string      // extension whose rights decide, and whose caps count
	Call   *store.Call // row to write in the same transaction; nil where the call has one
	Action dialplan.Action
}

// Permit is an external call that was allowed, and counted against the caps. Whoever got it must end it.
type Permit struct {
	c  *Control
	id string // empty: an emergency call, which counts nowhere
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
	return &Permit{c, x.ID}, f, verdict.Passed
}

// judge says what the rights are, without the caps.
func (c *Control) judge(plan *dialplan.Plan, x External) Finding {
	f := Finding{Number: plan.Number(x.Action), Emergency: x.Action.Emergency}
	e, ok := c.cfg.Store.Extension(x.Causer)
	if ok {
		f.Class = e.Class
	}
	if f.Class == "" {
		f.Class = dialplan.DefaultClass
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
		p.c.tollFault(p.id, p.c.cfg.Store.Connect(context.Background(), p.id, at))
	}
}

// End notes that the call is over. answered is zero where nobody answered.
func (p *Permit) End(answered, at time.Time) {
	if p.id != "" {
		p.c.tollFault(p.id, p.c.cfg.Store.Settle(context.Background(), p.id, answered, at))
	}
}

// Refund takes back a call that was never placed.
func (p *Permit) Refund() {
	if p.id != "" {
		p.c.tollFault(p.id, p.c.cfg.Store.Refund(context.Background(), p.id))
	}
}

func (c *Control) tollFault(id string, err error) {
	if err != nil {
		c.cfg.Log.Error("counting an external call", "call", id, "error", err)
	}
}

// authorize asks Authorize for an attempt: may causer place it? It writes the attempt's row.
func (a *attempt) authorize(causer string) verdict.Verdict {
	a.row.State = store.CallSetup
	row := a.row
	permit, f, v := a.c.Authorize(context.Background(), External{ID: a.id, Causer: causer, Call: &row, Action: a.action})
	a.permit = permit
	a.rec.Country, a.rec.Kind, a.rec.Class, a.rec.Emergency = f.Number.Country, string(f.Number.Kind), f.Class, f.Emergency
	if causer != a.caller.Number {
		a.rec.Causer = causer
	}
	if !v.OK() {
		a.rec.Denied = f.Rule
	}
	return v
}
