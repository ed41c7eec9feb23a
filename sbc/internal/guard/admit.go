package guard

import (
	"net/netip"
	"sync/atomic"
	"time"

	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// view is what is asked about each packet and connection: read without a lock, changed by whoever holds Guard.mu.
type view struct {
	clock   func() time.Time
	base    timebase
	set     *table.Set
	allow   atomic.Pointer[networks[string]]
	holds   *holdTable
	monitor atomic.Pointer[map[verdict.Reason]bool] // what only counts
	limits  atomic.Pointer[limits]                  // nil: the kernel filter holds sources to their rates
	counts  [len(userReasons)][2][len(userActions)]atomic.Uint64
	sampler sampler
	asked   atomic.Uint64 // datagrams, for the samples of who sends the most
}

// What user space counts, in the order of view.counts.
var (
	userReasons = [...]verdict.Reason{
		verdict.HostBanned, verdict.NetworkBanned, verdict.SourceHeld, verdict.SourceRate, verdict.StrangersRate, verdict.ConnectionRate,
	}
	userActions = [...]string{"drop", "monitor"}
)

const (
	actionDrop = iota
	actionMonitor
)

func newView(clock func() time.Time, base timebase, set *table.Set) *view {
	v := &view{clock: clock, base: base, set: set, holds: newHoldTable()}
	v.allow.Store(newNetworks(map[netip.Prefix]string{}))
	v.monitor.Store(&map[verdict.Reason]bool{})
	v.sampler.init()
	return v
}

// userSample is how many datagrams one sample stands for in user space.
const userSample = 8

// isHost reports whether a ban of p is one of a single sender: a host, or an IPv6 /64.
func isHost(p netip.Prefix) bool {
	return p.Bits() == p.Addr().BitLen() || (p.Addr().Is6() && p.Bits() == 64)
}

// in reports whether something that ends at t still is; the zero time stands for never.
func in(t, now time.Time) bool { return t.IsZero() || t.After(now) }

// Admit decides about a source by its address. It takes no lock, allocates nothing and answers Passed or Dropped.
func (g *Guard) Admit(src netip.Addr) verdict.Verdict {
	src = plain(src)
	v, _ := g.view.source(netip.AddrPortFrom(src, 0), g.view.clock())
	return v
}

// AdmitConnection decides about a new connection: like Admit, and then whether its source makes too many. Where the kernel filter
// stands before us, that is asked there.
func (g *Guard) AdmitConnection(src netip.Addr) verdict.Verdict {
	view, now, from := g.view, g.view.clock(), netip.AddrPortFrom(plain(src), 0)
	v, class := view.source(from, now)
	if l := view.limits.Load(); v.OK() && l != nil && class != table.Allow && !l.connection(from.Addr(), class, view.base.of(now)) {
		return view.drop(verdict.ConnectionRate, from, now)
	}
	return v
}

// AdmitDatagram decides about a UDP datagram: like Admit, then whether its address and port are on hold, and whether its source sends
// too many. The border uses AdmitFlow instead for flows on hold that a living registration came over, so that forged datagrams can't
// silence a phone.
func (g *Guard) AdmitDatagram(src netip.AddrPort) verdict.Verdict {
	now := g.view.clock()
	src = netip.AddrPortFrom(plain(src.Addr()), src.Port())
	v := g.view.datagram(src, now)
	// Where the kernel filter stands before us it takes the samples.
	if g.view.limits.Load() != nil && g.view.asked.Add(1)%userSample == 0 && src.IsValid() {
		g.talkers.add(src.Addr(), !v.OK(), userSample, v.Reason, now)
	}
	return v
}

func (view *view) datagram(src netip.AddrPort, now time.Time) verdict.Verdict {
	v, class := view.source(src, now)
	if !v.OK() || class == table.Allow {
		return v
	}
	if t, ok := view.holds.get(src); ok && t.After(now) {
		return view.drop(verdict.SourceHeld, src, now)
	}
	if l := view.limits.Load(); l != nil {
		if why := l.datagram(src.Addr(), class, view.base.of(now)); why != verdict.None {
			return view.drop(why, src, now)
		}
	}
	return verdict.Passed
}

// source asks the tables about a source, and says what it is beside.
func (v *view) source(src netip.AddrPort, now time.Time) (verdict.Verdict, table.List) {
	f := v.set.Lookup(src.Addr(), table.Now(v.base.of(now)))
	switch {
	case f.Class == table.Allow:
		return verdict.Passed, table.Allow
	case f.Ban != 0:
		return v.drop(banReason(f.Network), src, now), f.Class
	case f.Noted != 0:
		v.count(banReason(f.NotedIn), src, now, actionMonitor)
	}
	return verdict.Passed, f.Class
}

// banned reports whether a source is banned, be it in monitor mode.
func (v *view) banned(src netip.Addr) bool {
	f := v.set.Lookup(src, table.Now(v.base.of(v.clock())))
	return f.Ban != 0 || f.Noted != 0
}

// allowed returns the allow-list entry that covers a, and its group.
func (v *view) allowed(a netip.Addr) (netip.Prefix, string, bool) {
	return v.allow.Load().find(a, func(string) bool { return true })
}

// drop ends a packet, unless monitor mode lets it pass.
func (v *view) drop(why verdict.Reason, src netip.AddrPort, now time.Time) verdict.Verdict {
	if (*v.monitor.Load())[why] {
		v.count(why, src, now, actionMonitor)
		return verdict.Passed
	}
	v.count(why, src, now, actionDrop)
	return verdict.Dropped(why)
}

func (v *view) count(why verdict.Reason, src netip.AddrPort, now time.Time, action int) {
	family := 0
	if src.Addr().Is6() {
		family = 1
	}
	for i, r := range userReasons {
		if r == why {
			v.counts[i][family][action].Add(1)
		}
	}
	v.sampler.take(now, Drop{Where: whereUser, Source: src.Addr(), Port: src.Port(), Reason: why, Monitored: action == actionMonitor})
}

// Where something was counted or sampled.
const (
	whereKernel = "kernel"
	whereUser   = "user-space"
)

// sampler passes some of the drops in user space on, never waiting for a reader.
type sampler struct {
	limit  atomic.Int64 // samples a second
	second atomic.Int64
	used   atomic.Int64
	out    chan Drop
}

func (s *sampler) init() { s.out = make(chan Drop, 256) }

func (s *sampler) take(now time.Time, d Drop) {
	limit := s.limit.Load()
	if limit == 0 {
		return
	}
	if sec := now.Unix(); s.second.Swap(sec) != sec {
		s.used.Store(0)
	}
	if s.used.Add(1) > limit {
		return
	}
	select {
	case s.out <- d:
	default:
	}
}
