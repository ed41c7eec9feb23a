package guard

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"brickhouse/bpf/table"
)

// feed is a list from a file or feed, in force. It never changes.
type feed struct {
	list     table.List // in the tables; 0: it is on the never-ban list
	kind     FeedKind
	imported bool // a person handed it over; else the configuration names it
	entries  int
	refused  int // entries that can't be banned
	at       time.Time
}

// FeedKind says what a list does.
type FeedKind uint8

// The kinds.
const (
	FeedBans    FeedKind = iota // its entries are banned
	FeedMonitor                 // what it would drop is counted
	FeedAllow                   // its entries are never banned
)

// ErrManyLists tells that no more lists can be.
var ErrManyLists = errors.New("too many lists")

// ErrNoRoom tells that the tables can't hold a list's entries.
var ErrNoRoom = table.ErrDeep

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
	return g.putListLocked(name, feed{kind: kind}, ps)
}

// putListLocked puts a list into force. If it fails, the one of that name stays as it was.
func (g *Guard) putListLocked(name string, f feed, ps []netip.Prefix) error {
	if g.closed {
		return ErrClosed
	}
	usable := bannable
	if f.kind == FeedAllow {
		usable = allowableOne
	}
	good := make([]netip.Prefix, 0, len(ps))
	for _, p := range ps {
		if p, err := usable(p); err == nil {
			good = append(good, p)
		}
	}
	f.entries, f.refused, f.at = len(good), len(ps)-len(good), g.clock()
	old := g.feeds[name]
	switch {
	case f.kind == FeedAllow:
	case old != nil && old.kind != FeedAllow:
		f.list = old.list
	default:
		l, ok := g.freeListLocked()
		if !ok {
			return fmt.Errorf("list %s: %w: there are %d", name, ErrManyLists, maxFeeds)
		}
		f.list = l
	}
	g.feeds[name] = &f
	if err := g.fillLocked(name, f, good); err != nil {
		if delete(g.feeds, name); old != nil {
			g.feeds[name] = old
		}
		return fmt.Errorf("list %s: %w", name, errors.Join(err, g.set.SetMonitored(g.monitoredListsLocked())))
	}
	if old != nil && (old.kind == FeedAllow) != (f.kind == FeedAllow) {
		if err := g.emptyLocked(name, *old); err != nil {
			return fmt.Errorf("list %s, as it was: %w", name, err)
		}
	}
	if old != nil && old.imported && !f.imported {
		g.log.Warn("an imported list gives way to the configuration's of the same name", "list", name)
	}
	g.log.Info("list is in force", "list", name, "entries", f.entries, "refused", f.refused)
	return nil
}

// fillLocked puts the entries of a list into force. No entry that only is to count is enforced meanwhile.
func (g *Guard) fillLocked(name string, f feed, ps []netip.Prefix) error {
	if f.kind == FeedAllow {
		return g.setGroupLocked(groupFeed(name), ps)
	}
	if f.kind == FeedMonitor {
		if err := g.set.SetMonitored(g.monitoredListsLocked()); err != nil {
			return err
		}
	}
	if err := g.set.SetList(f.list, ps); err != nil {
		return err
	}
	return g.set.SetMonitored(g.monitoredListsLocked())
}

// emptyLocked ends what a list has in force.
func (g *Guard) emptyLocked(name string, f feed) error {
	if f.kind == FeedAllow {
		return g.setGroupLocked(groupFeed(name), nil)
	}
	return g.set.SetList(f.list, nil)
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
	return g.emptyLocked(name, *f)
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
