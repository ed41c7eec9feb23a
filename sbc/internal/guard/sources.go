package guard

import (
	"net/netip"
	"time"

	"brickhouse/bpf"
	"brickhouse/bpf/table"
	"brickhouse/sbc/internal/score"
	"brickhouse/shared/verdict"
)

// What the numbers of the tables' lists stand for, from table.FirstBan on.
const (
	listPersons = table.FirstBan               // bans by persons, and those that were found in the kernel
	listRules   = listPersons + 1              // the first rule; the others follow in their order
	listFeeds   = listRules + score.MaxRules   // the first list from a file or feed
	maxFeeds    = table.Lists - int(listFeeds) // how many of them there can be
)

// timebase relates the guard's clock to the one that the tables' entries end by, CLOCK_MONOTONIC.
type timebase struct {
	at   time.Time
	mono time.Duration
}

func newTimebase(now time.Time) (timebase, error) {
	mono, err := bpf.Monotonic()
	return timebase{now, mono}, err
}

// mono is t on CLOCK_MONOTONIC.
func (b timebase) of(t time.Time) time.Duration { return b.mono + t.Sub(b.at) }

// tick is when something that ends at t ends in the tables: never before t, and up to 1.1 s after it. The zero time stands for never.
func (b timebase) tick(t time.Time) table.Tick {
	if t.IsZero() {
		return table.Forever
	}
	return table.TickOf(b.of(t))
}

// time is when an entry of the tables ends.
func (b timebase) time(t table.Tick) time.Time {
	if t == table.Forever {
		return time.Time{}
	}
	return b.at.Add(t.Duration() - b.mono)
}

// listOf says which list of the tables a ban stands in.
func (g *Guard) listOf(b *Ban) table.List {
	for i, r := range g.cfg.Rules {
		if b.Rule != "" && r.Name == b.Rule {
			return listRules + table.List(i)
		}
	}
	return listPersons
}

// listName is the word for a list of the tables, as statistics show it.
func (g *Guard) listName(l table.List) string {
	switch {
	case l == listPersons:
		return "persons"
	case l >= listRules && int(l-listRules) < len(g.cfg.Rules):
		return "rule " + g.cfg.Rules[l-listRules].Name
	}
	for name, f := range g.feeds {
		if f.list == l {
			return "list " + name
		}
	}
	return ""
}

// nameOf is listName for whoever does not hold the lock.
func (g *Guard) nameOf(l table.List) string {
	if l == table.None {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listName(l)
}

// enforceLocked puts a ban into the tables.
func (g *Guard) enforceLocked(b *Ban) {
	if err := g.set.Ban(b.Prefix, g.listOf(b), g.base.tick(b.Until)); err != nil {
		g.kernelFaultLocked(err)
	}
}

// limitLocked holds a source to a strict rate instead of banning it.
func (g *Guard) limitLocked(p netip.Prefix, until time.Time) {
	if _, there := g.limited[p]; !there && len(g.limited) >= g.cfg.MaxBans {
		return
	}
	g.limited[p] = until
	if err := g.set.Limit(p, g.base.tick(until)); err != nil {
		g.kernelFaultLocked(err)
	}
}

// limitedUntilLocked is until when an address is held to a strict rate; the zero time if it is not.
func (g *Guard) limitedUntilLocked(a netip.Addr, now time.Time) (until time.Time) {
	for p, t := range g.limited {
		if p.Contains(a) && in(t, now) && t.After(until) {
			until = t
		}
	}
	return until
}

// unlimitLocked ends the strict rate of a source. It reports whether there was one.
func (g *Guard) unlimitLocked(p netip.Prefix, now time.Time) bool {
	until, limited := g.limited[p]
	if !limited {
		return false
	}
	delete(g.limited, p)
	if err := g.set.Unlimit(p); err != nil {
		g.kernelFaultLocked(err)
	}
	return in(until, now)
}

// markKnownLocked tells the tables that a good registration lives behind a source until then.
func (g *Guard) markKnownLocked(p netip.Prefix, until time.Time) {
	if !until.After(g.marked[p]) {
		return
	}
	g.marked[p] = until
	if err := g.set.Know(p, g.base.tick(until)); err != nil {
		g.kernelFaultLocked(err)
	}
}

func (g *Guard) unmarkKnownLocked(p netip.Prefix) {
	delete(g.marked, p)
	if err := g.set.Unknow(p); err != nil {
		g.kernelFaultLocked(err)
	}
}

// expireSourcesLocked forgets limits and registrations that have ended. In the tables they end by themselves.
func (g *Guard) expireSourcesLocked(now time.Time) {
	for p, until := range g.limited {
		if in(until, now) {
			continue
		}
		g.unlimitLocked(p, now)
	}
	for p, until := range g.marked {
		if !in(until, now) || g.scoring.known.Count(p, now) == 0 { // ended, forgotten for another or evicted
			g.unmarkKnownLocked(p)
		}
	}
}

// banReason is why a packet of a banned source is dropped.
func banReason(network bool) verdict.Reason {
	if network {
		return verdict.NetworkBanned
	}
	return verdict.HostBanned
}
