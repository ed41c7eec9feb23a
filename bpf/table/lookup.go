package table

import (
	"net/netip"
	"runtime"
	"sync/atomic"
)

// Found is what the tables say about a source.
type Found struct {
	Class   List // Allow, Known or Limited; None for a stranger
	Ban     Meta // the ban that decides; 0: none
	Network bool // it is a network's
	Noted   Meta // a ban in monitor mode that would have decided
	NotedIn bool // that is a network's
}

// apply takes an entry into account, as the kernel program does; true if it decides.
func (f *Found) apply(m Meta, network bool, now Tick, monitored uint64) bool {
	if !m.InForce(now) {
		return false
	}
	l := m.List()
	switch {
	case l == Allow:
		f.Class = l
		return true
	case l < FirstBan:
		f.Class = max(f.Class, l) // a limit wins over a good registration
		return false
	case monitored>>l&1 == 1:
		if f.Noted == 0 {
			f.Noted, f.NotedIn = m, network
		}
		return false
	}
	f.Ban, f.Network = m, network
	return true
}

// Lookup tells what the tables say about a source at the time now. It takes no lock and allocates nothing.
func (s *Set) Lookup(a netip.Addr, now Tick) (f Found) {
	g := s.gen.Load()
	if g == nil {
		return f
	}
	defer runtime.KeepAlive(g)
	if a = a.Unmap(); a.Is4() {
		s.lookup4(g, addr4(a), now, &f)
	} else if a.Is6() {
		s.lookup6(g, a, now, &f)
	}
	return f
}

func (s *Set) lookup4(g *generation, a uint32, now Tick, f *Found) {
	here := s.dir4.present4(a)
	if a == 0 || here == 0 {
		return
	}
	monitored := g.monitored
	if here&dirHosts != 0 {
		if f.apply(g.get4(key4(a)), false, now, monitored) {
			return
		}
	}
	if here&dirNets != 0 {
		f.apply(g.nets.get(a), true, now, monitored)
	}
}

func (s *Set) lookup6(g *generation, a netip.Addr, now Tick, f *Found) {
	high := highOf(a)
	if high == 0 {
		return
	}
	monitored := g.monitored
	inside, wide := s.dir6.present6(at48(high)), s.dir6w.present6(at32(high))
	if inside {
		m, more := g.hosts6.get(slot{high, tagSite})
		if more && s.lookupInside(g, a, now, monitored, f) || f.apply(m, false, now, monitored) {
			return
		}
	}
	levels := atomic.LoadUint64(&g.hosts6.lines[0][headLevels])
	for bits := 60; bits >= 32 && (inside || wide); bits -= 4 {
		if levels>>((bits-32)/4)&1 == 0 || (bits > 48 && !inside) || (bits <= 48 && !wide) {
			continue
		}
		if m, _ := g.hosts6.get(slot{high & (^uint64(0) << (64 - bits)), uint32(bits)}); f.apply(m, true, now, monitored) {
			return
		}
	}
	if g.short.Load() {
		f.apply(g.inTrie(a, 0), true, now, monitored)
	}
}

func (s *Set) lookupInside(g *generation, a netip.Addr, now Tick, monitored uint64, f *Found) bool {
	if m, _ := g.hosts6.get(hostSlot(g.hosts6.lines[0][headSeed], a)); f.apply(m, false, now, monitored) {
		return true
	}
	return f.apply(g.inTrie(a, 64), true, now, monitored)
}

// inTrie is the entry of the longest prefix in the trie that covers a and is longer than that.
func (g *generation) inTrie(a netip.Addr, than int) Meta {
	deep := *g.deep.Load()
	for bits := 127; bits > than && len(deep) > 0; bits-- {
		if bits == 64 {
			bits = shortest6 - 1
		}
		p, _ := a.Prefix(bits)
		if m, ok := deep[p]; ok {
			return m
		}
	}
	return 0
}

// Bans tells the bans of IPv4 hosts and IPv6 /64s that stand in tables of a generation as it is found in memory.
func Bans(tables [Tables][]Line, do func(p netip.Prefix, l List, until Tick)) {
	each := func(lines []Line, six bool, prefix func(slot) (netip.Prefix, bool)) {
		if len(lines) < 2 {
			return
		}
		(&buckets{lines: lines, six: six}).each(func(s slot, m Meta, _ bool) {
			if p, ok := prefix(s); ok && m.List() >= FirstBan {
				do(p, m.List(), m.Until())
			}
		})
	}
	if lines := tables[Listed4]; len(lines) > 1 {
		(&listed{lines: lines}).each(func(key uint32, l List) {
			if l >= FirstBan {
				do(netip.PrefixFrom(from4(uint32(key4(key).key)), 32), l, Forever)
			}
		})
	}
	each(tables[Hosts4], false, func(s slot) (netip.Prefix, bool) {
		return netip.PrefixFrom(from4(uint32(key4(uint32(s.key)).key)), 32), true
	})
	each(tables[Hosts6], true, func(s slot) (netip.Prefix, bool) {
		var b [16]byte
		for i := range 8 {
			b[i] = byte(s.key >> (56 - 8*i))
		}
		return netip.PrefixFrom(netip.AddrFrom16(b), 64), s.tag == tagSite
	})
}
