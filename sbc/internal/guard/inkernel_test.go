package guard

import (
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// Lists that Load gives are in force before the first packet is judged, also where the filter of a guard before goes on with its own.
func TestRootListsOverRestart(t *testing.T) {
	w := newWire(t)
	dir, cfg := t.TempDir(), onWire(w.bpffs)
	load := func(name string, kind FeedKind, ps ...string) func(SetList) {
		return func(set SetList) { must(t, set(name, kind, prefixes(ps...))) }
	}
	g := open(t, cfg, Options{Dir: dir, Load: load("a", FeedBans, "10.99.0.2/32")})
	w.expect(t, "10.99.0.2", false)
	must(t, g.Close())
	w.expect(t, "10.99.0.2", false) // nobody runs
	g = open(t, cfg, Options{Dir: dir, Load: func(set SetList) {
		w.expect(t, "10.99.0.2", false) // the one before is in force until all is
		load("a", FeedBans, "10.99.0.3/32")(set)
		load("b", FeedMonitor, "10.99.0.2/32")(set)
	}})
	w.expect(t, "10.99.0.2", true)
	w.expect(t, "10.99.0.3", false)
	if l := g.List(); len(l) != 0 {
		t.Errorf("a list's entries were adopted as bans: %v", l)
	}
	s, err := g.Stats()
	must(t, err)
	names := map[string]ListCount{}
	for _, c := range s.Lists {
		names[c.Name] = c
	}
	if names["list a"].Dropped == 0 || names["list b"].Monitored == 0 {
		t.Errorf("%+v", s.Lists)
	}
	must(t, g.Detach())
}

// Known and limited sources reach the kernel: while the breaker is open, a source is held to the strict rate there.
func TestRootLimited(t *testing.T) {
	w := newWire(t)
	cfg := onWire(w.bpffs)
	cfg.Rates = Rates{Source: Rate{0.001, 100}, Known: Rate{0.001, 7}, Limited: Rate{0.001, 3}}
	h := newHand()
	g := open(t, cfg, Options{Ports: Ports{SIPUDP: []uint16{5060}}, Clock: h.now})
	defer g.Detach()
	g.mu.Lock()
	g.limitLocked(prefix("10.99.0.2/32"), h.now().Add(time.Hour))
	g.mu.Unlock()
	g.Known(addr("10.99.0.3"), "100@example.com", h.now().Add(time.Hour))
	heard := func(src string) (n int) {
		for range 12 {
			if w.hears(t, src) {
				n++
			}
		}
		return n
	}
	if n := heard("10.99.0.2"); n != 3 {
		t.Errorf("%d of a limited source are heard", n)
	}
	if n := heard("10.99.0.3"); n != 7 {
		t.Errorf("%d of a known source are heard", n)
	}
	if n := kernelDrops(t, g, verdict.SourceRate); n != 9+5 {
		t.Errorf("%d drops counted", n)
	}
}

// A ban that has just ended is not taken for one that the journal does not know, though the kernel still has it for a tick.
func TestRootJustEnded(t *testing.T) {
	w := newWire(t)
	dir, cfg := t.TempDir(), onWire(w.bpffs)
	for range 3 { // one of the ticks may end between
		g := open(t, cfg, Options{Dir: dir})
		must(t, g.Ban(prefix("10.99.0.2/32"), time.Millisecond, "ann", ""))
		must(t, g.Close())
		g = open(t, cfg, Options{Dir: dir})
		if l := g.List(); len(l) != 0 {
			t.Errorf("%+v", l)
		}
		w.expect(t, "10.99.0.2", true)
		must(t, g.Close())
	}
	must(t, Remove(cfg.XDP))
}
