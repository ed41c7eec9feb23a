package exchange

import (
	"context"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/queue"
	"brickhouse/pbx/internal/store"
)

// SetForward sends an extension's calls of a condition elsewhere (package admin).
func (x *Exchange) SetForward(ctx context.Context, extension string, when store.Condition, to string, after int) error {
	return x.calls.SetForward(ctx, extension, when, to, after)
}

// SetDND turns do not disturb on or off.
func (x *Exchange) SetDND(ctx context.Context, extension string, on bool) error {
	return x.calls.SetDND(ctx, extension, on)
}

// SetCallWaiting says whether a second call rings.
func (x *Exchange) SetCallWaiting(ctx context.Context, extension string, on bool) error {
	return x.calls.SetCallWaiting(ctx, extension, on)
}

// SetBlock blocks a caller for an extension, or lets it through again.
func (x *Exchange) SetBlock(ctx context.Context, extension, caller string, on bool) error {
	return x.calls.SetBlock(ctx, extension, caller, on)
}

// Night tells how the office is switched.
func (x *Exchange) Night() dialplan.Night { return x.calls.Night() }

// SetNight switches the office.
func (x *Exchange) SetNight(ctx context.Context, night dialplan.Night, by string) error {
	return x.calls.SetNight(ctx, night, by)
}

// Queues returns what is going on in all queues.
func (x *Exchange) Queues() []queue.Status { return x.calls.Queues() }

// SetAgent logs an agent in at its queues, out, or pauses it.
func (x *Exchange) SetAgent(ctx context.Context, extension string, p queue.Presence) error {
	return x.calls.SetAgent(ctx, extension, p)
}
