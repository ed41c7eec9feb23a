package exchange

import (
	"context"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
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
	return x.changeExtension(ctx, number, func(e *store.Extension) { e.Class = class })
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
