package guard

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// shards is how many parts the table of holds has; a change copies one part.
const shards = 256

// holdTable maps addresses with their ports to the time when their hold ends. Reading takes no lock and allocates nothing; changes are
// made by one writer at a time.
type holdTable struct {
	seed  uint64
	parts [shards]atomic.Pointer[map[netip.AddrPort]time.Time]
	size  int
}

func newHoldTable() *holdTable { return &holdTable{seed: rand.Uint64()} }

func (h *holdTable) part(k netip.AddrPort) *atomic.Pointer[map[netip.AddrPort]time.Time] {
	return &h.parts[mix(h.seed, k.Addr(), uint64(k.Port()))%shards]
}

// get returns when the hold of k ends.
func (h *holdTable) get(k netip.AddrPort) (time.Time, bool) {
	m := h.part(k).Load()
	if m == nil {
		return time.Time{}, false
	}
	t, ok := (*m)[k]
	return t, ok
}

func (h *holdTable) set(k netip.AddrPort, t time.Time) {
	p := h.part(k)
	next := map[netip.AddrPort]time.Time{}
	if m := p.Load(); m != nil {
		next = maps.Clone(*m)
	}
	before := len(next)
	next[k] = t
	h.size += len(next) - before
	p.Store(&next)
}

func (h *holdTable) delete(k netip.AddrPort) {
	p := h.part(k)
	m := p.Load()
	if m == nil {
		return
	}
	next := maps.Clone(*m)
	delete(next, k)
	h.size += len(next) - len(*m)
	p.Store(&next)
}

// mix spreads addresses, which strangers choose, over the parts; the seed is not known to them.
func mix(seed uint64, a netip.Addr, more uint64) uint64 {
	b := a.As16()
	h := seed ^ more
	for i := 0; i < 16; i += 8 {
		h ^= binary.LittleEndian.Uint64(b[i:])
		h *= 0xff51afd7ed558ccd // MurmurHash3's finalizer
		h ^= h >> 33
		h *= 0xc4ceb9fe1a85ec53
		h ^= h >> 33
	}
	return h
}

// networks maps prefixes of any length to values. It is never changed after it is made.
type networks[V any] struct {
	lengths4, lengths6 []int // those that occur, longest first
	m                  map[netip.Prefix]V
}

func newNetworks[V any](m map[netip.Prefix]V) *networks[V] {
	n := &networks[V]{m: m}
	for p := range m {
		l := &n.lengths6
		if p.Addr().Is4() {
			l = &n.lengths4
		}
		if !slices.Contains(*l, p.Bits()) {
			*l = append(*l, p.Bits())
		}
	}
	for _, l := range [][]int{n.lengths4, n.lengths6} {
		slices.SortFunc(l, func(a, b int) int { return b - a })
	}
	return n
}

func (n *networks[V]) lengths(a netip.Addr) []int {
	if a.Is4() {
		return n.lengths4
	}
	return n.lengths6
}

// find returns the most specific entry that covers a and that accept takes.
func (n *networks[V]) find(a netip.Addr, accept func(V) bool) (p netip.Prefix, v V, ok bool) {
	for _, bits := range n.lengths(a) {
		p, _ := a.Prefix(bits)
		if v, ok := n.m[p]; ok && accept(v) {
			return p, v, true
		}
	}
	return p, v, false
}
