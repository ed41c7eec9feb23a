package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// class is what the tables know of a source that is not banned.
func class(g *Guard, src string) table.List {
	return g.set.Lookup(addr(src), table.Now(g.base.of(g.clock()))).Class
}

// A registration makes its source known to the tables as long as it lives; for IPv6 that is the /64.
func TestKnownInTables(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	expect := func(when, src string, want table.List) {
		t.Helper()
		g.sweep()
		if got := class(g, src); got != want {
			t.Errorf("%s: %s is %d, want %d", when, src, got, want)
		}
	}
	g.Known(addr("192.0.2.1"), "100@example.com", h.now().Add(time.Minute))
	g.Known(addr("::ffff:192.0.2.1"), "101@example.com", h.now().Add(time.Hour))
	g.Known(addr("2001:db8::1"), "102@example.com", h.now().Add(time.Minute))
	g.Known(addr("192.0.2.3"), "103@example.com", h.now()) // it has ended
	g.Known(netip.Addr{}, "104@example.com", h.now().Add(time.Hour))
	g.Known(addr("0.0.0.0"), "105@example.com", h.now().Add(time.Hour))
	expect("at first", "192.0.2.1", table.Known)
	expect("at first", "2001:db8::2", table.Known)
	expect("at first", "192.0.2.3", table.None)
	h.move(2 * time.Minute)
	expect("when one has ended", "192.0.2.1", table.Known)
	expect("when it has ended", "2001:db8::2", table.None)
	g.Known(addr("192.0.2.1"), "100@example.com", h.now().Add(time.Minute))
	g.Forget(addr("192.0.2.1"), "101@example.com") // the one that would have lasted longest
	expect("when one is forgotten", "192.0.2.1", table.Known)
	h.move(2 * time.Minute)
	expect("when the other has ended", "192.0.2.1", table.None)
	g.Known(addr("192.0.2.2"), "100@example.com", h.now().Add(time.Hour))
	g.Forget(addr("192.0.2.2"), "other@example.com")
	expect("when another is forgotten", "192.0.2.2", table.Known)
	g.Forget(addr("192.0.2.2"), "100@example.com")
	g.Forget(addr("192.0.2.2"), "100@example.com")
	expect("when it is forgotten", "192.0.2.2", table.None)
	if len(g.marked) != 0 {
		t.Errorf("%d marks are left", len(g.marked))
	}
}

// Over max_known the tables forget with the registry: a roaming phone leaves nothing behind.
func TestKnownBounded(t *testing.T) {
	cfg := userSpace()
	cfg.MaxKnown = 10
	h := newHand()
	g := open(t, cfg, Options{Clock: h.now})
	for i := range 500 {
		g.Known(nth(i), fmt.Sprintf("%d@example.com", i), h.now().Add(time.Hour+time.Duration(i)*time.Second))
	}
	g.sweep()
	s, err := g.Stats()
	must(t, err)
	if len(g.marked) != 10 || s.Known != 10 || s.KnownEvicted != 490 {
		t.Errorf("%d marks, %d known, %d evicted", len(g.marked), s.Known, s.KnownEvicted)
	}
	if class(g, nth(0).String()) != table.None || class(g, nth(499).String()) != table.Known {
		t.Error("the wrong ones are known")
	}
}

// tripping is a configuration whose circuit breaker opens at the third ban within a minute.
func tripping() Config {
	cfg := userSpace()
	cfg.Rates = Rates{Source: Rate{1, 50}, Limited: Rate{1, 2}, Connections: Rate{1, 50}}
	cfg.Breaker.Bans, cfg.Breaker.Cooldown = 2, 10*time.Minute
	return cfg
}

// While the breaker is open rules limit instead of banning; a person may ban all the same; limits end by themselves.
func TestLimitedWhileBreakerOpen(t *testing.T) {
	h := newHand()
	g := open(t, tripping(), Options{Clock: h.now})
	for i := range 6 {
		fail(g, fmt.Sprintf("192.0.2.%d", i+1), 5)
	}
	s, err := g.Stats()
	must(t, err)
	if !s.Breaker.Open || s.LimitedNow == 0 || s.Bans+s.LimitedNow != 6 || s.Limited != uint64(s.LimitedNow) {
		t.Fatalf("%+v, %d bans, %d limited", s.Breaker, s.Bans, s.LimitedNow)
	}
	last := "192.0.2.6"
	if class(g, last) != table.Limited {
		t.Fatalf("the last one is %d", class(g, last))
	}
	must(t, g.Unban(prefix("192.0.2.5/32"), "ann", "")) // a person lifts a limit as he lifts a ban
	if err := g.Unban(prefix("192.0.2.5/32"), "ann", ""); !errors.Is(err, ErrNoBan) || class(g, "192.0.2.5") != table.None {
		t.Errorf("%v, class %d", err, class(g, "192.0.2.5"))
	}
	expectAdmit(t, g, "192.0.2.1", hostBanned)
	expectPassed(t, g, last, 10, 2, verdict.SourceRate)
	if e, known := g.Why(addr(last)); !known || !e.Limited.After(h.now()) {
		t.Errorf("%v %+v", known, e)
	}
	if r := g.Test(addr(last), 0, false); r.Source != "limited" || r.Outcome != "pass" || !contains(r.Steps, "strict rate: 1 a second, 2 at once") {
		t.Errorf("%+v", r)
	}
	g.Known(addr(last), "100@example.com", h.now().Add(time.Hour)) // a login that succeeds does not lift it
	expectPassed(t, g, last, 10, 0, verdict.SourceRate)
	must(t, g.Ban(prefix(last+"/32"), time.Minute, "ann", ""))
	expectAdmit(t, g, last, hostBanned)
	h.move(24 * time.Hour)
	g.sweep()
	if class(g, last) != table.None || len(g.limited) != 0 {
		t.Errorf("after a day: %d, %d limited", class(g, last), len(g.limited))
	}
	expectPassed(t, g, last, 60, 50, verdict.SourceRate)
}

// There are no more limits at a time than max_bans.
func TestLimitedBounded(t *testing.T) {
	cfg := userSpace()
	cfg.MaxBans = 10
	h := newHand()
	g := open(t, cfg, Options{Clock: h.now})
	g.mu.Lock()
	for i := range 50 {
		g.limitLocked(netip.PrefixFrom(nth(i), 32), h.now().Add(time.Minute))
	}
	g.limitLocked(netip.PrefixFrom(nth(3), 32), h.now().Add(time.Hour))
	g.mu.Unlock()
	if len(g.limited) != 10 || class(g, nth(3).String()) != table.Limited || class(g, nth(20).String()) != table.None {
		t.Errorf("%d limited", len(g.limited))
	}
	h.move(2 * time.Minute)
	g.sweep()
	if len(g.limited) != 1 || class(g, nth(3).String()) != table.Limited {
		t.Errorf("%d limited after the first have ended", len(g.limited))
	}
}
