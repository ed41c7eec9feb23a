package callcontrol

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// ringing knows which calls ring where.
type ringing struct {
	mu    sync.Mutex
	calls map[string]ring
	begun uint64
}

// ring is a call that rings.
type ring struct {
	number uint64 // of the call, in the order in which they began
	caller string
	at     []string // extensions
}

// set notes where a call rings now.
func (r *ringing) set(call, caller string, targets []b2bua.Target) {
	var at []string
	for _, t := range targets {
		if !strings.HasPrefix(t.Account, trunkAccount) && !slices.Contains(at, t.Account) {
			at = append(at, t.Account)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(at) == 0 {
		delete(r.calls, call)
		return
	}
	old, ok := r.calls[call]
	if !ok {
		if r.calls == nil {
			r.calls = map[string]ring{}
		}
		r.begun++
		old.number = r.begun
	}
	r.calls[call] = ring{old.number, caller, at}
}

// drop forgets a call.
func (r *ringing) drop(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, call)
}

// where returns the calls that ring at an extension which fits, oldest first. Nobody picks up its own call.
func (r *ringing) where(who string, fits func(extension string) bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for call, x := range r.calls {
		if x.caller != who && slices.ContainsFunc(x.at, fits) {
			out = append(out, call)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(r.calls[a].number, r.calls[b].number) })
	return out
}

// pickUp answers a call that rings at another extension; empty: at any of the caller's pickup groups.
func (a *attempt) pickUp(extension string) (b2bua.Turn, verdict.Verdict) {
	who := a.caller.Number
	a.place(a.rec.Dialled)
	if !a.caller.isOwner() || extension != "" && !a.plan.PicksUp(who, extension) {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	calls := a.c.ringing.where(who, func(at string) bool {
		if extension != "" {
			return at == extension
		}
		return at != who && a.plan.PicksUp(who, at)
	})
	if len(calls) == 0 {
		return b2bua.Turn{}, notHere
	}
	return a.silently(func(ctx context.Context, d line) {
		for _, call := range calls {
			if a.join(ctx, d, call) < 300 || ctx.Err() != nil {
				return
			}
		}
		a.c.cfg.Log.Info("no call can be picked up any more", "call", a.id, "trace", a.caller.Trace, "by", who)
		sorry(ctx, d)
	}), verdict.Passed
}
