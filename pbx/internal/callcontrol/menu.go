package callcontrol

import (
	"cmp"
	"context"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/menu"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// choose has the caller choose in a menu.
func (a *attempt) choose(name string) (b2bua.Turn, verdict.Verdict) {
	m, ok := a.plan.Menu(name)
	if !ok {
		return b2bua.Turn{}, notHere
	}
	a.at, a.hunt = "", nil
	a.place(m.Number)
	return a.silently(func(ctx context.Context, d line) {
		s := menu.Script{
			Menu: m, Prompts: a.c.cfg.Prompts, People: a.c.people,
			Call: func(ctx context.Context, number string) int {
				return a.leadOn(ctx, d, number, cmp.Or(m.Rights, m.Number))
			},
		}
		s.Run(ctx, d)
	}), verdict.Passed
}

// people are the extensions with their names.
func (c *Control) people() []menu.Person {
	var out []menu.Person
	for _, e := range c.cfg.Store.Extensions() {
		out = append(out, menu.Person{Number: e.Number, Name: e.Name})
	}
	return out
}

// maxLed bounds how often a call is led on by services: two that lead to each other would keep a caller who does nothing for ever.
const maxLed = 50

// leadOn has the party of a script's call call a number, as if causer had dialled it: an extension, or a place that is none and has no rights
// outside. The party hears ringing. It returns the last status code; below 300 the script's call is about to end.
func (a *attempt) leadOn(ctx context.Context, d line, number, causer string) int {
	return a.passOn(ctx, d, a.c.ringback.Play(), func(w b2bua.Refer) (b2bua.Plan, error) {
		w.Account = causer
		return a.led(w, number)
	})
}

// led makes the call on which a service leads its party.
func (a *attempt) led(w b2bua.Refer, number string) (b2bua.Plan, error) {
	if a.caller.led == maxLed {
		return b2bua.Plan{}, &b2bua.Refusal{Code: sip.StatusLoopDetected, Reason: verdict.LoopDetected}
	}
	who := a.party(w)
	who.led = a.caller.led + 1
	return a.c.callFor(w, who, number, "")
}
