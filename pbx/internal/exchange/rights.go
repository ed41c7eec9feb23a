package exchange

import (
	"context"
	"fmt"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/dialplan"
)

// warnHomeless tells of a dialplan that leads out and does not name our country: its premium-rate numbers pass for ordinary ones.
func (x *Exchange) warnHomeless(p *dialplan.Plan) {
	if len(p.Trunks()) > 0 && !p.HasHome() {
		x.log.Warn("the dialplan names no home.country: premium-rate numbers of our own country can't be told from others", "remedy", "set home.country")
	}
}

// Account is what an extension may call through trunks, and has used (package admin).
func (x *Exchange) Account(ctx context.Context, number string) (callcontrol.Account, bool, error) {
	return x.calls.Account(ctx, number)
}

// Forecast says what would become of a call.
func (x *Exchange) Forecast(ctx context.Context, from, dialled string) (callcontrol.Forecast, error) {
	return x.calls.Forecast(ctx, from, dialled)
}

// Classes returns the names of the dialplan's classes of service.
func (x *Exchange) Classes() []string { return x.calls.Classes() }

// SetClass gives an extension a class of service.
func (x *Exchange) SetClass(ctx context.Context, number, class string) error {
	e, ok := x.store.Extension(number)
	if !ok {
		return fmt.Errorf("no extension %q; pbx extension list shows those there are", number)
	}
	next := *e
	next.Class = class
	durable, err := x.store.PutExtension(ctx, &next)
	if err != nil {
		return fmt.Errorf("storing extension %s: %w", number, err)
	}
	return wait(ctx, durable)
}

// Unblock lets an extension call through trunks again. It reports whether it was blocked.
func (x *Exchange) Unblock(ctx context.Context, number string) (bool, error) {
	was, durable, err := x.store.Unblock(ctx, number, x.now())
	if err != nil || !was {
		return was, err
	}
	x.log.Warn("extension is unblocked for external calls by an operator", "extension", number)
	return true, wait(ctx, durable)
}
