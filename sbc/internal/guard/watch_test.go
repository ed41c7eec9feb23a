package guard

import (
	"context"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

func next(t *testing.T, ch <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-ch:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	return Event{}
}

func TestWatch(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	ctx, cancel := context.WithCancel(t.Context())
	ch := g.Watch(ctx)
	fail(g, "192.0.2.7", 5)
	if e := next(t, ch); e.Kind != EventBan || e.Ban.Prefix != prefix("192.0.2.7/32") || len(e.Ban.Evidence) != 5 || !e.At.Equal(h.now()) {
		t.Errorf("%+v", e)
	}
	g.Admit(addr("192.0.2.7"))
	if e := next(t, ch); e.Kind != EventDrop || e.Drop.Source != addr("192.0.2.7") || e.Drop.Where != "user-space" || e.Drop.Reason != verdict.HostBanned || e.Drop.Monitored {
		t.Errorf("%+v", e.Drop)
	}
	must(t, g.Unban(prefix("192.0.2.7/32"), "bob", "why not"))
	if e := next(t, ch); e.Kind != EventUnban || e.By != "bob" || e.Note != "why not" || e.Ban.Prefix != prefix("192.0.2.7/32") {
		t.Errorf("%+v", e)
	}
	must(t, g.Ban(prefix("192.0.2.7/32"), time.Minute, "ann", ""))
	next(t, ch)
	h.move(time.Minute)
	g.sweep()
	if e := next(t, ch); e.Kind != EventExpire || e.Ban.By != "ann" {
		t.Errorf("%+v", e)
	}
	for range 5 {
		g.Offence(Offence{Source: Held{}.Source, Reason: verdict.UnknownUser})
		g.Offence(Offence{Source: addrPort("192.0.2.7:5060"), Reason: verdict.UnknownUser})
	}
	if e := next(t, ch); e.Kind != EventHold || e.Held.Source != addrPort("192.0.2.7:5060") || e.Held.Reason != verdict.UnknownUser {
		t.Errorf("%+v", e)
	}
	cancel()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the channel is not closed")
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}

// A watcher that does not read holds nobody up, and is told what it missed; another one misses nothing.
func TestWatchSlow(t *testing.T) {
	g := open(t, userSpace(), Options{})
	slow, quick := g.Watch(t.Context()), g.Watch(t.Context())
	for range watchBuffer + 10 {
		must(t, g.SetAllow("trunks", nil))
		g.watch.publish(Event{Kind: EventBan})
		if e := next(t, quick); e.Lost != 0 {
			t.Fatalf("the quick one lost %d", e.Lost)
		}
	}
	for range watchBuffer {
		if e := next(t, slow); e.Lost != 0 {
			t.Fatalf("lost %d too early", e.Lost)
		}
	}
	g.watch.publish(Event{Kind: EventUnban})
	if e := next(t, slow); e.Kind != EventUnban || e.Lost != 10 {
		t.Errorf("%+v, want 10 lost", e)
	}
	must(t, g.Close())
	next(t, quick)
	if _, open := <-quick; open {
		t.Error("still open after Close")
	}
}

// Samples in user space keep to their limit.
func TestSampler(t *testing.T) {
	h := newHand()
	cfg := userSpace()
	cfg.XDP.Samples = 3
	g := open(t, cfg, Options{Clock: h.now})
	fail(g, "192.0.2.7", 5)
	ch := g.Watch(t.Context())
	for range 2 {
		for range 10 {
			g.Admit(addr("192.0.2.7"))
		}
		for range 3 {
			next(t, ch)
		}
		if len(ch) != 0 || len(g.view.sampler.out) != 0 {
			t.Error("more samples than allowed")
		}
		h.move(time.Second)
	}
}
