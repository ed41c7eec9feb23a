package guard

import (
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// rated is a guard in user space with the given rates, and everything else off.
func rated(t *testing.T, h *hand, r Rates, o Options) *Guard {
	t.Helper()
	cfg := userSpace()
	cfg.Rates, o.Clock = r, h.now
	return open(t, cfg, o)
}

// passed is how many of n datagrams of a source pass; the others must be dropped for want.
func passed(t *testing.T, g *Guard, src string, n int, want verdict.Reason) (count int) {
	t.Helper()
	for i := range n {
		switch v := g.AdmitDatagram(netip.AddrPortFrom(addr(src), uint16(5060+i))); v {
		case verdict.Passed:
			count++
		case verdict.Dropped(want):
		default:
			t.Fatalf("%s: %v", src, v)
		}
	}
	return count
}

func expectPassed(t *testing.T, g *Guard, src string, n, want int, reason verdict.Reason) {
	t.Helper()
	if got := passed(t, g, src, n, reason); got != want {
		t.Errorf("%s: %d of %d pass, want %d", src, got, n, want)
	}
}

// Exactly the burst passes, whatever port it comes from, then one for each gap; other sources have their own; an IPv6 /64 is one.
func TestSourceRate(t *testing.T) {
	h := newHand()
	g := rated(t, h, Rates{Source: Rate{10, 5}}, Options{})
	expectPassed(t, g, "192.0.2.1", 20, 5, verdict.SourceRate)
	expectPassed(t, g, "::ffff:192.0.2.1", 3, 0, verdict.SourceRate)
	expectPassed(t, g, "192.0.2.2", 5, 5, verdict.SourceRate)
	expectPassed(t, g, "2001:db8::1", 4, 4, verdict.SourceRate)
	expectPassed(t, g, "2001:db8::2", 4, 1, verdict.SourceRate)
	expectPassed(t, g, "2001:db8:0:1::1", 5, 5, verdict.SourceRate)
	h.move(100 * time.Millisecond)
	expectPassed(t, g, "192.0.2.1", 3, 1, verdict.SourceRate)
	h.move(250 * time.Millisecond)
	expectPassed(t, g, "192.0.2.1", 5, 2, verdict.SourceRate)
	h.move(time.Hour) // rest is not saved up beyond the burst
	expectPassed(t, g, "192.0.2.1", 20, 5, verdict.SourceRate)
	if n := userCount(t, g, verdict.SourceRate, "drop"); n != 15+3+3+2+3+15 {
		t.Errorf("%d counted", n)
	}
}

// A rate of 0 is no limit; a burst of 1 lets one through at a time.
func TestRateEdges(t *testing.T) {
	h := newHand()
	g := rated(t, h, Rates{Source: Rate{0.5, 1}}, Options{})
	expectPassed(t, g, "192.0.2.1", 3, 1, verdict.SourceRate)
	h.move(2*time.Second - 1)
	expectPassed(t, g, "192.0.2.1", 1, 0, verdict.SourceRate)
	h.move(1)
	expectPassed(t, g, "192.0.2.1", 2, 1, verdict.SourceRate)
	g = rated(t, h, Rates{}, Options{})
	expectPassed(t, g, "192.0.2.1", 5000, 5000, verdict.SourceRate)
}

// Known sources have a rate of their own and are no part of the strangers'; the never-ban list is not asked at all.
func TestStrangersRate(t *testing.T) {
	h := newHand()
	g := rated(t, h, Rates{Source: Rate{1, 10}, Known: Rate{1, 100}, Strangers: Rate{1, 25}}, Options{
		Allow: map[string][]netip.Prefix{"trunks": prefixes("198.51.100.0/24")}})
	g.Known(addr("192.0.2.9"), "100@example.com", h.now().Add(time.Hour))
	expectPassed(t, g, "192.0.2.9", 60, 60, verdict.SourceRate)
	expectPassed(t, g, "192.0.2.1", 20, 10, verdict.SourceRate)
	expectPassed(t, g, "192.0.2.2", 10, 10, verdict.SourceRate) // what was dropped used up no room of the others
	expectPassed(t, g, "192.0.2.3", 10, 5, verdict.StrangersRate)
	expectPassed(t, g, "192.0.2.4", 10, 0, verdict.StrangersRate)
	expectPassed(t, g, "192.0.2.9", 60, 40, verdict.SourceRate)
	expectPassed(t, g, "198.51.100.1", 300, 300, verdict.SourceRate)
	g.Forget(addr("192.0.2.9"), "100@example.com")
	expectPassed(t, g, "192.0.2.9", 10, 0, verdict.StrangersRate)
	if n := userCount(t, g, verdict.StrangersRate, "drop"); n != 25 {
		t.Errorf("%d counted", n)
	}
}

// Connections have a rate of their own; a limited source has the strict one for both; a ban comes first; monitor mode only counts.
func TestConnectionRate(t *testing.T) {
	h := newHand()
	rates := Rates{Source: Rate{1, 50}, Connections: Rate{1, 3}, Limited: Rate{1, 2}}
	g := rated(t, h, rates, Options{Allow: map[string][]netip.Prefix{"trunks": prefixes("198.51.100.0/24")}})
	connections := func(src string, n int, want verdict.Reason) (count int) {
		for range n {
			switch v := g.AdmitConnection(addr(src)); v {
			case verdict.Passed:
				count++
			case verdict.Dropped(want):
			default:
				t.Fatalf("%s: %v", src, v)
			}
		}
		return count
	}
	if n := connections("192.0.2.1", 10, verdict.ConnectionRate); n != 3 {
		t.Errorf("%d connections pass", n)
	}
	expectPassed(t, g, "192.0.2.1", 50, 50, verdict.SourceRate) // datagrams are counted apart
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)              // and what is no new connection is not held up
	if n := connections("198.51.100.1", 100, verdict.ConnectionRate); n != 100 {
		t.Errorf("%d connections of a source that is never banned", n)
	}
	g.mu.Lock()
	g.limitLocked(prefix("192.0.2.2/32"), h.now().Add(time.Minute))
	g.mu.Unlock()
	if n := connections("192.0.2.2", 10, verdict.ConnectionRate); n != 2 {
		t.Errorf("%d connections of a limited source", n)
	}
	expectPassed(t, g, "192.0.2.2", 10, 2, verdict.SourceRate)
	must(t, g.Ban(prefix("192.0.2.3/32"), time.Hour, "ann", ""))
	if n := connections("192.0.2.3", 5, verdict.HostBanned); n != 0 {
		t.Errorf("%d connections of a banned source", n)
	}
	cfg := userSpace()
	cfg.Rates, cfg.Monitor = rates, []verdict.Reason{verdict.ConnectionRate}
	must(t, g.Reload(cfg))
	if n := connections("192.0.2.1", 10, verdict.ConnectionRate); n != 10 {
		t.Errorf("%d connections pass in monitor mode", n)
	}
	if n := userCount(t, g, verdict.ConnectionRate, "monitor"); n != 10 {
		t.Errorf("%d counted", n)
	}
}

// What a source has used up is not given back because somebody captures or the configuration is read again; new rates begin anew.
func TestRatesKept(t *testing.T) {
	h := newHand()
	g := rated(t, h, Rates{Source: Rate{1, 5}}, Options{})
	expectPassed(t, g, "192.0.2.1", 9, 5, verdict.SourceRate)
	g.capturing()
	cfg := userSpace()
	cfg.Rates = Rates{Source: Rate{1, 5}}
	must(t, g.Reload(cfg))
	expectPassed(t, g, "192.0.2.1", 9, 0, verdict.SourceRate)
	cfg.Rates.Source.Burst = 7
	must(t, g.Reload(cfg))
	expectPassed(t, g, "192.0.2.1", 9, 7, verdict.SourceRate)
}
