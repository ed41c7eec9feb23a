package guard

import (
	"net/netip"
	"sync/atomic"
	"time"

	"brickhouse/shared/verdict"
)

// view is what is asked about each packet and connection: read without a lock, changed by whoever holds Guard.mu.
type view struct {
	clock   func() time.Time
	hosts   *ends[netip.Prefix] // hosts, and IPv6 /64s
	nets    atomic.Pointer[networks[time.Time]]
	allow   atomic.Pointer[networks[string]]
	holds   *ends[netip.AddrPort]
	monitor atomic.Bool
	counts  [len(userReasons)][2][len(userActions)]atomic.Uint64 // by reason, IPv4 or IPv6, action
	sampler sampler
}

// What user space counts, in the order of view.counts.
var (
	userReasons = [...]verdict.Reason{verdict.HostBanned, verdict.NetworkBanned, verdict.SourceHeld}
	userActions = [...]string{"drop", "monitor", "allow"}
)

func newView(clock func() time.Time) *view {
	v := &view{clock: clock, hosts: newPrefixEnds(), holds: newPortEnds()}
	v.nets.Store(newNetworks(map[netip.Prefix]time.Time{}))
	v.allow.Store(newNetworks(map[netip.Prefix]string{}))
	v.sampler.init()
	return v
}

// plain is an address without what does not belong to a sender: an IPv4 address wrapped in IPv6, a zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// site is the network by which an address is scored and banned: an IPv4 host; an IPv6 /64, since its lower bits cost a sender
// nothing (RFC 6177 §2). ::/64 is no site: it holds the loopback address.
func site(a netip.Addr) netip.Prefix {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil && !p.Addr().IsUnspecified() {
			return p
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// isHost reports whether bans of p are kept with the hosts, as the kernel does it.
func isHost(p netip.Prefix) bool {
	return p.Bits() == p.Addr().BitLen() || (p.Addr().Is6() && p.Bits() == 64)
}

// in reports whether something that ends at t still is; the zero time stands for never.
func in(t, now time.Time) bool { return t.IsZero() || t.After(now) }

// Admit decides about a source by its address: for a new connection, and for a datagram of a flow that a living registration came
// over. It takes no lock, allocates nothing and answers Passed or Dropped.
func (g *Guard) Admit(src netip.Addr) verdict.Verdict {
	v := g.view
	src = plain(src)
	i, banned := v.banned(src)
	if !banned {
		return verdict.Passed
	}
	return v.drop(i, netip.AddrPortFrom(src, 0))
}

// AdmitDatagram decides about a UDP datagram: like Admit, and then whether its address and port are on hold. The border uses Admit
// instead for flows that a living registration came over, so that forged datagrams can't silence a phone.
func (g *Guard) AdmitDatagram(src netip.AddrPort) verdict.Verdict {
	v := g.view
	src = netip.AddrPortFrom(plain(src.Addr()), src.Port())
	if i, banned := v.banned(src.Addr()); banned {
		return v.drop(i, src)
	}
	if t, ok := v.holds.get(src); ok && t.After(v.clock()) {
		return v.drop(2, src)
	}
	return verdict.Passed
}

// banned returns the index of the reason, in userReasons.
func (v *view) banned(src netip.Addr) (int, bool) {
	if !src.IsValid() {
		return 0, false
	}
	t, ok := v.hosts.get(netip.PrefixFrom(src, src.BitLen()))
	if ok && in(t, v.clock()) {
		return 0, true
	}
	if src.Is6() {
		if t, ok := v.hosts.get(site(src)); ok && in(t, v.clock()) {
			return 0, true
		}
	}
	nets := v.nets.Load()
	if len(nets.m) == 0 {
		return 0, false
	}
	for _, bits := range nets.lengths(src) {
		p, _ := src.Prefix(bits)
		if t, ok := nets.m[p]; ok && in(t, v.clock()) {
			return 1, true
		}
	}
	return 0, false
}

// allowed returns the allow-list entry that covers a, and its group.
func (v *view) allowed(a netip.Addr) (netip.Prefix, string, bool) {
	return v.allow.Load().find(a, func(string) bool { return true })
}

// drop ends a packet for userReasons[i], unless the allow list or monitor mode lets it pass.
func (v *view) drop(i int, src netip.AddrPort) verdict.Verdict {
	family := 0
	if src.Addr().Is6() {
		family = 1
	}
	if _, _, ok := v.allowed(src.Addr()); ok {
		v.counts[i][family][2].Add(1)
		return verdict.Passed
	}
	monitor := v.monitor.Load()
	v.sampler.take(v.clock, Drop{Where: whereUser, Source: src.Addr(), Port: src.Port(), Reason: userReasons[i], Monitored: monitor})
	if monitor {
		v.counts[i][family][1].Add(1)
		return verdict.Passed
	}
	v.counts[i][family][0].Add(1)
	return verdict.Dropped(userReasons[i])
}

// Where something was counted or sampled.
const (
	whereKernel = "kernel"
	whereUser   = "user-space"
)

// sampler passes some of the drops in user space on to watchers, never waiting for them.
type sampler struct {
	limit  atomic.Int64 // samples a second; 0 if nobody watches
	second atomic.Int64
	used   atomic.Int64
	out    chan Drop
}

func (s *sampler) init() { s.out = make(chan Drop, 256) }

func (s *sampler) take(clock func() time.Time, d Drop) {
	limit := s.limit.Load()
	if limit == 0 {
		return
	}
	if sec := clock().Unix(); s.second.Swap(sec) != sec {
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
