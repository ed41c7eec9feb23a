package guard

import (
	"bytes"
	"context"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// While somebody captures, who watches sees no more of drops, and not more of them, than before; and whoever captures sees drops only.
func TestWatchBesideCapture(t *testing.T) {
	cfg := userSpace()
	cfg.XDP.Samples = 3
	g := open(t, cfg, Options{})
	watch, capture := g.Watch(t.Context()), g.Capture(t.Context())
	head, at := make([]byte, 1000), time.Unix(1000, 0)
	for i := range 10 {
		g.watch.publish(Event{At: at, Kind: EventDrop, Drop: &Drop{Where: whereKernel, Length: i, Head: head}})
	}
	g.watch.publish(Event{At: at, Kind: EventBan, Ban: &Ban{}})
	g.watch.publish(Event{At: at.Add(time.Second), Kind: EventDrop, Drop: &Drop{Where: whereKernel, Length: 10, Head: head}})
	for i := range 11 {
		if e := next(t, capture); e.Kind != EventDrop || e.Drop.Length != i || len(e.Drop.Head) != len(head) {
			t.Fatalf("number %d: %+v", i, e)
		}
	}
	for _, want := range []int{0, 1, 2, -1, 10} {
		e := next(t, watch)
		if want < 0 && e.Kind != EventBan || want >= 0 && (e.Drop == nil || e.Drop.Length != want || len(e.Drop.Head) != watchHead) {
			t.Errorf("want %d: %+v", want, e)
		}
	}
	if len(watch) != 0 {
		t.Errorf("%d more events", len(watch))
	}
}

// A capture has each dropped packet whole, with its reason and what is behind it; when it has ended, a watcher gets heads again.
func TestRootCapture(t *testing.T) {
	w := newWire(t)
	g := open(t, onWire(w.bpffs), Options{})
	defer g.Detach()
	must(t, g.SetList("scanners", FeedBans, prefixes("10.99.0.2/32")))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	capture := g.Capture(ctx)
	payload := bytes.Repeat([]byte("0123456789"), 120)
	send := func() {
		t.Helper()
		_, err := w.outside["10.99.0.2"].WriteToUDPAddrPort(payload, addrPort("10.99.0.1:5060"))
		must(t, err)
	}
	const frame = 14 + 20 + 8
	for range 20 {
		send()
	}
	for i := range 20 {
		e := next(t, capture)
		d := e.Drop
		if e.Kind != EventDrop || d == nil || d.Length != frame+len(payload) || len(d.Head) != d.Length || !bytes.Equal(d.Head[frame:], payload) ||
			d.Reason != verdict.HostBanned || d.List != "list scanners" || d.Interface != "bh0" || d.Source != addr("10.99.0.2") {
			t.Fatalf("number %d: %+v", i, d)
		}
	}
	stop()
	for range capture { // until it is closed
	}
	waitFor(t, "the capture has ended", func() bool { return !g.watch.capturing() })
	g.mu.Lock() // whoever ended it has changed the filter's settings by now, or is about to
	must(t, g.applySettingsLocked())
	g.mu.Unlock()
	watch := g.Watch(t.Context())
	send()
	if e := next(t, watch); e.Drop == nil || len(e.Drop.Head) != watchHead || e.Drop.Length != frame+len(payload) {
		t.Errorf("%+v", e.Drop)
	}
}

// Samples stand for more packets as more come, and for one each when it is quiet; the sources that send most are found by them.
func TestRootSamplesAdapt(t *testing.T) {
	w := newWire(t)
	cfg := onWire(w.bpffs)
	cfg.XDP.Samples = 10
	g := open(t, cfg, Options{})
	defer g.Detach()
	must(t, g.Ban(prefix("10.99.0.2/32"), time.Hour, "ann", ""))
	interval := func(packets int) int {
		t.Helper()
		for range packets {
			_, err := w.outside["10.99.0.2"].WriteToUDPAddrPort([]byte("flood"), addrPort("10.99.0.1:5060"))
			must(t, err)
		}
		w.expect(t, "10.99.0.4", true)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.adaptSamplesLocked()
		return g.kernel.interval
	}
	interval(1) // the first look only takes the count
	// The sweeper looks, too, so that less than all may be seen at a time.
	waitFor(t, "a sample stands for many packets", func() bool { return interval(1000) > 10 })
	waitFor(t, "a sample stands for one", func() bool { return interval(0) == 1 })
	waitFor(t, "the source is found", func() bool {
		_, dropped := g.Top(1)
		interval(10)
		return len(dropped) == 1 && dropped[0].Source == addr("10.99.0.2") && dropped[0].Reason == verdict.HostBanned && dropped[0].Packets > 10
	})
}

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
