package callcontrol

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// maxTogether bounds the phones of a group that ring together (RFC 5393 §5.3.3 has 60).
const maxTogether = 50

// hunt is a group that rings for one call.
type hunt struct {
	name  string
	group dialplan.Group
	order []string  // members, as this call rings them
	left  []string  // that have not had their turn in this round
	until time.Time // the group's time is over
	rang  bool      // somebody rang in this round until his time was over
}

// hunts remembers where round-robin goes on, by group.
type hunts struct {
	mu   sync.Mutex
	next map[string]int
}

// order returns a group's members in the order in which a call rings them.
func (h *hunts) order(name string, g *dialplan.Group) []string {
	members := slices.Clone(g.Members)
	switch dialplan.Strategy(g.Strategy) {
	case dialplan.Random:
		rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	case dialplan.RoundRobin:
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.next == nil {
			h.next = map[string]int{}
		}
		i := h.next[name] % len(members)
		members = append(members[i:], members[:i]...)
	}
	return members
}

// rings notes which member rings first for a call: the next one's turn is the next call.
func (h *hunts) rings(name string, g *dialplan.Group, member string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next != nil {
		h.next[name] = slices.Index(g.Members, member) + 1
	}
}

// toGroup rings a group.
func (a *attempt) toGroup(plan b2bua.Plan) (b2bua.Plan, verdict.Verdict) {
	turn, v := a.enter(a.action.Place)
	return a.begin(plan, turn), v
}

// enter leads the call to a group.
func (a *attempt) enter(name string) (b2bua.Turn, verdict.Verdict) {
	g, ok := a.plan.Group(name)
	if !ok {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	if a.loops("group " + name) {
		return b2bua.Turn{}, errLoop
	}
	order := a.c.hunts.order(name, &g)
	a.at, a.hunt = "", &hunt{name: name, group: g, order: order, left: order, until: a.c.cfg.Now().Add(g.Total)}
	a.prefix, a.rec.Group = g.Prefix, g.Number
	a.place(g.Number)
	turn, ok := a.nextMembers()
	if !ok {
		return a.leave(store.Busy)
	}
	if dialplan.Strategy(g.Strategy) == dialplan.RoundRobin && len(turn.Targets) > 0 {
		a.c.hunts.rings(name, &g, turn.Targets[0].Account)
	}
	return turn, verdict.Passed
}

// hunted goes on with the group after members did not answer.
func (a *attempt) hunted(m b2bua.Missed) (b2bua.Turn, verdict.Verdict) {
	h := a.hunt
	h.rang = h.rang || m.Reason == verdict.NoAnswer
	if turn, ok := a.nextMembers(); ok {
		return turn, verdict.Passed
	}
	when := missed(m)
	if when == "" {
		when = store.NoAnswer
	}
	return a.leave(when)
}

// nextMembers returns the phones of the group that ring now. It reports false where the group's time is over, or nobody can ring.
func (a *attempt) nextMembers() (b2bua.Turn, bool) {
	h := a.hunt
	for {
		rest := h.until.Sub(a.c.cfg.Now())
		if rest <= 0 {
			return b2bua.Turn{}, false
		}
		if len(h.left) == 0 {
			if !h.rang || dialplan.Strategy(h.group.Strategy) == dialplan.All {
				return b2bua.Turn{}, false
			}
			h.left, h.rang = h.order, false
		}
		if dialplan.Strategy(h.group.Strategy) == dialplan.All {
			targets := a.together(h.left)
			h.left = nil
			return b2bua.Turn{Targets: targets, Ring: rest, Apart: true}, len(targets) > 0
		}
		m := h.left[0]
		h.left = h.left[1:]
		if targets := a.member(m); len(targets) > 0 {
			return b2bua.Turn{Targets: targets, Ring: min(rest, h.group.Ring), Apart: true}, true
		}
	}
}

// together are the phones of all members.
func (a *attempt) together(members []string) []b2bua.Target {
	var out []b2bua.Target
	for _, m := range members {
		out = append(out, a.member(m)...)
	}
	return out[:min(len(out), maxTogether)]
}

// member returns the phones of a member that may ring.
func (a *attempt) member(number string) []b2bua.Target {
	s, g := a.c.cfg.Store.Services(number), &a.hunt.group
	if _, ok := a.c.cfg.Store.Extension(number); !ok || s.DND || number == a.caller.Number || !a.blocked(s).OK() {
		return nil
	}
	if (!g.Waiting || s.NoWaiting) && a.c.parties.busy(number, a.id) {
		return nil
	}
	to := s.Forward(store.Always)
	if to == "" || !g.Forwards {
		return a.phones(number)
	}
	action, ok := a.plan.Lookup("", to, a.c.moment())
	switch {
	case ok && action.Kind == dialplan.Extension:
		return a.phones(action.Number)
	case ok && action.Kind == dialplan.Trunk && !action.Emergency:
		targets, _ := a.out(number, action)
		return targets
	}
	return nil
}

// leave leads the call to where the group says, after nobody of it took it.
func (a *attempt) leave(when store.Condition) (b2bua.Turn, verdict.Verdict) {
	g := a.hunt.group
	a.hunt, a.prefix = nil, ""
	if g.Then == "" {
		if when == store.Busy {
			return b2bua.Turn{}, verdict.Rejected(sip.StatusBusyHere, verdict.Busy)
		}
		return b2bua.Turn{}, verdict.Rejected(sip.StatusTemporarilyUnavailable, verdict.NoAnswer)
	}
	return a.forward(g.Number, when, g.Then, g.Rights)
}
