package callcontrol

import (
	"context"
	"fmt"
	"slices"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/queue"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// Unfit is why a service can't be set so.
type Unfit string

func (u Unfit) Error() string { return string(u) }

func unfit(format string, args ...any) error { return Unfit(fmt.Sprintf(format, args...)) }

// Bounds of what people set.
const (
	maxAfter     = 600 // seconds
	maxForwardTo = 64  // characters
)

// SetForward sends an extension's calls of a condition to a number; empty: nowhere. after is how many seconds it rings first, for no
// answer; 0: as the dialplan says. When it returns, the change is on disk. Errors: Unfit, those of the store, or that ctx ended.
func (c *Control) SetForward(ctx context.Context, extension string, when store.Condition, to string, after int) error {
	if !slices.Contains(store.Conditions(), when) {
		return unfit("%q is no condition; give always, busy, no-answer or unreachable", when)
	}
	if after < 0 || after > maxAfter {
		return unfit("it may ring for 1 to %d seconds", maxAfter)
	}
	if to != "" {
		if err := c.fits(extension, to); err != nil {
			return err
		}
	}
	return c.change(ctx, extension, func(s *store.Services) error {
		s.SetForward(when, to)
		if when == store.NoAnswer {
			s.After = after
		}
		return nil
	})
}

// fits says why calls of an extension can't be forwarded to a number.
func (c *Control) fits(extension, to string) error {
	if len(to) > maxForwardTo {
		return unfit("the number is too long")
	}
	plan := c.plan.Load()
	action, ok := plan.Lookup("", to, c.moment())
	switch {
	case !ok:
		return unfit("no rule of the dialplan fits %s", to)
	case action.Kind == dialplan.Extension && action.Number == extension:
		return unfit("an extension can't be forwarded to itself")
	case action.Kind == dialplan.Extension:
		if _, ok := c.cfg.Store.Extension(action.Number); !ok {
			return unfit("no extension %q", action.Number)
		}
	case action.Emergency:
		return unfit("nobody may be forwarded to an emergency number")
	case action.Kind == dialplan.Trunk:
		if f := c.judge(plan, External{Causer: extension, Action: action}); f.Reason != verdict.None {
			return unfit("extension %s may not call %s: %s", extension, to, f.Rule)
		}
	case action.Kind == dialplan.Voicemail, action.Kind == dialplan.Feature && action.Code == dialplan.LeaveMessage:
		if !c.hasMailbox(action.Number) {
			return unfit("extension %s has no mailbox", action.Number)
		}
	case !slices.Contains([]dialplan.Kind{dialplan.Ring, dialplan.ToMenu, dialplan.ToQueue, dialplan.ToRoom}, action.Kind):
		return unfit("%s is neither an extension, nor a group, menu, queue or room, nor a mailbox, nor a number outside", to)
	}
	return nil
}

// SetDND turns do not disturb on or off.
func (c *Control) SetDND(ctx context.Context, extension string, on bool) error {
	return c.change(ctx, extension, func(s *store.Services) error { s.DND = on; return nil })
}

// SetCallWaiting says whether a second call rings.
func (c *Control) SetCallWaiting(ctx context.Context, extension string, on bool) error {
	return c.change(ctx, extension, func(s *store.Services) error { s.NoWaiting = !on; return nil })
}

// SetBlock blocks a caller for an extension, or lets it through again. The empty number stands for callers without one.
func (c *Control) SetBlock(ctx context.Context, extension, caller string, on bool) error {
	if len(caller) > maxForwardTo {
		return unfit("the number is too long")
	}
	return c.change(ctx, extension, func(s *store.Services) error {
		if caller == "" {
			s.BlockAnonymous = on
		} else if !s.Block(caller, on) {
			return unfit("an extension may block %d callers", store.MaxBlocked)
		}
		return nil
	})
}

func (c *Control) change(ctx context.Context, extension string, change func(*store.Services) error) error {
	durable, err := c.cfg.Store.ChangeServices(ctx, extension, change)
	if err != nil {
		return err
	}
	return await(ctx, durable)
}

// await waits until a change is on disk.
func await(ctx context.Context, durable <-chan struct{}) error {
	select {
	case <-durable:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the disk: %w", ctx.Err())
	}
}

// nightSwitch is the name of the switch of night and day.
const nightSwitch = "night"

// Night tells how the office is switched.
func (c *Control) Night() dialplan.Night {
	if s, ok := c.cfg.Store.Switch(nightSwitch); ok {
		return dialplan.Night(s.State)
	}
	return dialplan.Auto
}

// SetNight switches the office. by is the extension that does; empty: an operator.
func (c *Control) SetNight(ctx context.Context, night dialplan.Night, by string) error {
	if night != dialplan.Closed && night != dialplan.Open && night != dialplan.Auto {
		return unfit("%q is no position of the switch; give on, off or auto", night)
	}
	durable, err := c.cfg.Store.Turn(ctx, &store.Switch{Name: nightSwitch, State: string(night), By: by, At: c.cfg.Now()})
	if err != nil {
		return err
	}
	c.cfg.Log.Info("the office is switched", "night", night, "by", by)
	return await(ctx, durable)
}

// How long who dials a feature code waits at most, and hears the tone that tells how it went.
const (
	changePatience = 5 * time.Second
	confirmTime    = 2 * time.Second
)

// toFeature does what a feature code says: most of them set something, and a tone answers.
func (a *attempt) toFeature(plan b2bua.Plan) (b2bua.Plan, verdict.Verdict) {
	var turn b2bua.Turn
	var v verdict.Verdict
	switch a.action.Code {
	case dialplan.OwnMailbox:
		turn, v = a.hearOwn()
	case dialplan.AnyMailbox:
		turn, v = a.hearMessages("")
	case dialplan.LeaveMessage:
		turn, v = a.leaveMessage(a.action.Number)
	case dialplan.PickUp:
		turn, v = a.pickUp("")
	case dialplan.PickUpExtension:
		turn, v = a.pickUp(a.action.Number)
	case dialplan.Park:
		turn, v = a.park("")
	case dialplan.ParkSlot:
		turn, v = a.park(a.action.Number)
	default:
		turn, v = b2bua.Turn{Local: a.local(a.setService())}, verdict.Passed
	}
	plan.Local = turn.Local
	return plan, v
}

// setService does what a feature code says, and returns the tone that tells how it went.
func (a *attempt) setService() media.Kind {
	a.confirms = true
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	if err := a.serve(ctx); err != nil {
		a.c.cfg.Log.Info("service is not set", "call", a.id, "trace", a.caller.Trace, "extension", a.caller.Number, "code", a.action.Code,
			"number", a.action.Number, "error", err)
		return media.Deny
	}
	return media.Confirm
}

// forwardCodes are the codes that set and end forwards.
var forwardCodes = map[dialplan.Code]store.Condition{
	dialplan.ForwardAlways: store.Always, dialplan.ForwardAlwaysOff: store.Always, dialplan.ForwardBusy: store.Busy, dialplan.ForwardBusyOff: store.Busy,
	dialplan.ForwardNoAnswer: store.NoAnswer, dialplan.ForwardNoAnswerOff: store.NoAnswer,
	dialplan.ForwardAway: store.Unreachable, dialplan.ForwardAwayOff: store.Unreachable,
}

func (a *attempt) serve(ctx context.Context) error {
	c, who, code := a.c, a.caller.Number, a.action.Code
	if !a.caller.isOwner() {
		return unfit("only an extension's own phone sets its services")
	}
	if when, ok := forwardCodes[code]; ok {
		return c.SetForward(ctx, who, when, a.action.Number, 0)
	}
	switch code {
	case dialplan.DNDOn, dialplan.DNDOff:
		return c.SetDND(ctx, who, code == dialplan.DNDOn)
	case dialplan.WaitingOn, dialplan.WaitingOff:
		return c.SetCallWaiting(ctx, who, code == dialplan.WaitingOn)
	case dialplan.AgentIn, dialplan.AgentOut, dialplan.AgentPause:
		return c.SetAgent(ctx, who, map[dialplan.Code]queue.Presence{
			dialplan.AgentIn: queue.In, dialplan.AgentOut: queue.Out, dialplan.AgentPause: queue.Paused,
		}[code])
	}
	if !slices.Contains(a.plan.Features().NightBy, who) {
		return unfit("night_by does not name the extension")
	}
	return c.SetNight(ctx, map[dialplan.Code]dialplan.Night{
		dialplan.NightOn: dialplan.Closed, dialplan.NightOff: dialplan.Open, dialplan.NightAuto: dialplan.Auto,
	}[code], who)
}
