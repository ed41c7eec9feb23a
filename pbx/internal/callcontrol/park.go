package callcontrol

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// How a call is parked.
//
//	blind transfer to the code, or to a free slot   who is transferred waits there at once
//	the code is dialled, then an attended transfer  who parks hears the slot first; whom it transfers takes its place
//	a slot is dialled where somebody waits          who dials gets whom waits
//
// Who waits hears music. After park_time who parked it is called; until that one answers, and if it does not, the call stays where it is.

// parking is a call that is in a slot.
type parking struct {
	slot string
	by   string // extension that parked it

	comes   chan struct{} // closed by arrived
	arrived func()        // tells that there is somebody who waits, not just who parks
}

// here reports whether there is somebody who waits.
func (p *parking) here() bool {
	select {
	case <-p.comes:
		return true
	default:
		return false
	}
}

// CanWatch reports whether a number is that of a slot, a queue or a room, which phones can watch although it is no extension.
func (c *Control) CanWatch(number string) bool {
	plan := c.plan.Load()
	f := plan.Features()
	return slices.Contains(f.Slots(), number) || plan.Meets(number)
}

// park answers a call that is to be parked, or that fetches one. slot is empty where any will do.
func (a *attempt) park(slot string) (b2bua.Turn, verdict.Verdict) {
	f := a.plan.Features()
	slots := f.Slots()
	by, blind := a.caller.Causer, true
	if by == "" {
		by, blind = a.caller.Number, false
	}
	if slot != "" {
		slot = f.Park + slot
		if !slices.Contains(slots, slot) {
			return b2bua.Turn{}, notHere
		}
		slots = []string{slot}
		if p, ok := a.c.cfg.Store.Parked(slot); ok && !blind {
			return a.fetch(p), verdict.Passed
		}
		if !blind && !a.c.parties.busy(by, a.id) { // nobody whom it could park
			return b2bua.Turn{}, notHere
		}
	}
	if a.caller.Trunk != "" && !blind {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	row := store.Parked{Call: a.id, By: by, Since: a.c.cfg.Now()}
	if blind {
		row.Party = a.caller.Number
	}
	slot, err := a.c.cfg.Store.Park(ctx, row, slots...)
	switch {
	case errors.Is(err, store.ErrTaken):
		return b2bua.Turn{}, verdict.Rejected(sip.StatusBusyHere, verdict.Busy)
	case err != nil:
		a.c.cfg.Log.Error("parking a call", "call", a.id, "trace", a.caller.Trace, "error", err)
		return b2bua.Turn{}, verdict.Rejected(sip.StatusServiceUnavailable, verdict.SystemFailure)
	}
	p := &parking{slot: slot, by: by, comes: make(chan struct{})}
	p.arrived = sync.OnceFunc(func() { close(p.comes) })
	if blind {
		p.arrived()
	}
	a.parked = p
	a.place(slot)
	a.c.cfg.Log.Info("call is parked", "call", a.id, "trace", a.caller.Trace, "slot", slot, "by", by)
	return a.silently(func(ctx context.Context, d line) { a.wait(ctx, d, p, f.ParkTime) }), verdict.Passed
}

// wait is the script of a parked call.
func (a *attempt) wait(ctx context.Context, d line, p *parking, patience time.Duration) {
	a.tellSlot(ctx, d, p, patience)
	if !p.here() {
		return
	}
	sound := a.c.cfg.Music.Play()
	for ctx.Err() == nil {
		rest, cancel := context.WithTimeout(ctx, patience)
		entertain(rest, d, sound)
		cancel()
		if ctx.Err() == nil {
			a.passOn(ctx, d, sound, func(w b2bua.Refer) (b2bua.Plan, error) { return a.comeBack(w, p) })
		}
	}
}

// tellSlot tells who parks a call where it will be, until somebody takes its place.
func (a *attempt) tellSlot(ctx context.Context, d line, p *parking, patience time.Duration) {
	if p.here() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	go func() {
		select {
		case <-p.comes:
			cancel()
		case <-ctx.Done():
		}
	}()
	words := append([]string{"park-at"}, prompt.Digits(p.slot)...)
	for range 2 {
		if _, err := d.Play(ctx, a.c.cfg.Prompts.Say(words...)); err != nil {
			return
		}
	}
	entertain(ctx, d, a.c.cfg.Music.Play())
}

// comeBack makes the call of who waits to who parked it.
func (a *attempt) comeBack(w b2bua.Refer, p *parking) (b2bua.Plan, error) {
	w.Account = p.by
	who := a.party(w)
	f := a.plan.Features()
	who.only = &only{among: []string{p.by}, ring: f.NoAnswer, prefix: "Parked: "}
	return a.c.callFor(w, who, p.by, "")
}

// fetch gives who dials the call that is parked.
func (a *attempt) fetch(p *store.Parked) b2bua.Turn {
	a.place(p.Slot)
	return a.silently(func(ctx context.Context, d line) {
		if code := a.join(ctx, d, p.Call); code >= 300 {
			a.c.cfg.Log.Info("a parked call can't be fetched", "call", a.id, "trace", a.caller.Trace, "slot", p.Slot, "by", a.caller.Number, "code", code)
			sorry(ctx, d)
		}
	})
}

// unpark notes that somebody took a place in a parked call: that of who parked it, and waits; or that of the exchange, and talks to who waited.
func (a *attempt) unpark(side b2bua.Side, number string) {
	p := a.parked
	if side == b2bua.A {
		a.c.cfg.Store.Occupy(p.slot, a.id, number, a.c.unwritten(a.id))
		p.arrived()
		return
	}
	a.leaveSlot()
	a.rec.Callee = number
	a.c.cfg.Log.Info("parked call is fetched", "call", a.id, "trace", a.caller.Trace, "slot", p.slot, "by", number)
}

// leaveSlot frees the call's slot, if it has one.
func (a *attempt) leaveSlot() {
	if p := a.parked; p != nil {
		a.parked = nil
		a.c.cfg.Store.Unpark(p.slot, a.id, a.c.unwritten(a.id))
	}
}
