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
