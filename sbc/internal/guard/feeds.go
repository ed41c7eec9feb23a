package guard

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"brickhouse/bpf/table"
)

// feed is a list from a file or a feed, in force.
type feed struct {
	list    table.List
	kind    FeedKind
	entries int
	refused int // entries that can't be banned
	at      time.Time
}

// FeedKind says what a list does.
type FeedKind uint8

// The kinds.
const (
	FeedBans    FeedKind = iota // its entries are banned
	FeedMonitor                 // what it would drop is counted
	FeedAllow                   // its entries are never banned
)

// groupFeed is the group of the allow list that a list stands in.
func groupFeed(name string) string { return "list " + name }

// SetList makes a list exactly ps, in one step: no packet sees a part of the old and a part of the new. Bans and lists are not counted
// together: a list's entries are no bans of ours, and nothing of them is in the journal.
func (g *Guard) SetList(name string, kind FeedKind, ps []netip.Prefix) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.setListLocked(name, kind, ps)
}

func (g *Guard) setListLocked(name string, kind FeedKind, ps []netip.Prefix) error {
	good := make([]netip.Prefix, 0, len(ps))
	for _, p := range ps {
		if p, err := bannable(p); err == nil || kind == FeedAllow {
			good = append(good, p)
		}
	}
	if g.closed {
		return ErrClosed
	}
	f := g.feeds[name]
	if f != nil && f.kind != kind {
		if err := g.endListLocked(name); err != nil {
			return err
		}
		f = nil
	}
	if f == nil {
		l, ok := g.freeListLocked()
		if !ok {
			return fmt.Errorf("list %s: there are %d lists, and no more can be", name, maxFeeds)
		}
		f = &feed{list: l, kind: kind}
		g.feeds[name] = f
	}
	if err := g.fillLocked(name, f, good); err != nil {
		return fmt.Errorf("list %s: %w", name, err)
	}
	f.entries, f.refused, f.at = len(good), len(ps)-len(good), g.clock()
	g.log.Info("list is in force", "list", name, "entries", f.entries, "refused", f.refused)
	return nil
}

func (g *Guard) fillLocked(name string, f *feed, ps []netip.Prefix) error {
	if f.kind == FeedAllow {
		ps, err := allowable(ps)
		if err != nil {
			return err
		}
		g.groups[groupFeed(name)] = ps
		return g.applyAllowLocked()
	}
	if err := g.set.SetMonitored(g.monitoredListsLocked()); err != nil {
		return err
	}
	return g.set.SetList(f.list, ps)
}

// EndList ends a list. That there is none is no error.
func (g *Guard) EndList(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	return g.endListLocked(name)
}

func (g *Guard) endListLocked(name string) error {
	f := g.feeds[name]
	if f == nil {
		return nil
	}
	delete(g.feeds, name)
	if f.kind == FeedAllow {
		delete(g.groups, groupFeed(name))
		return g.applyAllowLocked()
	}
	return g.set.SetList(f.list, nil)
}

func (g *Guard) feedStatsLocked() []FeedStats {
	var all []FeedStats
	for _, name := range slices.Sorted(maps.Keys(g.feeds)) {
		f := g.feeds[name]
		does := map[FeedKind]string{FeedBans: "ban", FeedMonitor: "monitor", FeedAllow: "allow"}[f.kind]
		all = append(all, FeedStats{Name: name, Does: does, Entries: f.entries, Refused: f.refused, At: f.at})
	}
	return all
}

func (g *Guard) freeListLocked() (table.List, bool) {
	taken := map[table.List]bool{}
	for _, f := range g.feeds {
		taken[f.list] = true
	}
	for l := listFeeds; l < table.Lists; l++ {
		if !taken[l] {
			return l, true
		}
	}
	return 0, false
}

// monitoredListsLocked are the lists of the tables that only count, a bit each.
func (g *Guard) monitoredListsLocked() uint64 {
	if g.cfg.XDP.Monitor {
		return ^uint64(0)
	}
	var bits uint64
	for _, f := range g.feeds {
		if f.kind == FeedMonitor {
			bits |= 1 << f.list
		}
	}
	return bits
}
