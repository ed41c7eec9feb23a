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

// shards is how many parts an ends table has; a change copies one part.
const shards = 256

// ends maps keys to the time when something about them ends. Reading takes no lock and allocates nothing; changes are made by one
// writer at a time.
type ends[K comparable] struct {
	hash  func(K) uint64
	parts [shards]atomic.Pointer[map[K]time.Time]
	size  int
}

func (e *ends[K]) part(k K) *atomic.Pointer[map[K]time.Time] { return &e.parts[e.hash(k)%shards] }

// get returns when k ends; the zero time stands for never.
func (e *ends[K]) get(k K) (time.Time, bool) {
	m := e.part(k).Load()
	if m == nil {
		return time.Time{}, false
	}
	t, ok := (*m)[k]
	return t, ok
}

func (e *ends[K]) set(k K, t time.Time) {
	p := e.part(k)
	next := map[K]time.Time{}
	if m := p.Load(); m != nil {
		next = maps.Clone(*m)
	}
	before := len(next)
	next[k] = t
	e.size += len(next) - before
	p.Store(&next)
}

func (e *ends[K]) delete(k K) {
	p := e.part(k)
	m := p.Load()
	if m == nil {
		return
	}
	next := maps.Clone(*m)
	delete(next, k)
	e.size += len(next) - len(*m)
	p.Store(&next)
}

// fill puts many keys into an empty table at once.
func (e *ends[K]) fill(all map[K]time.Time) {
	var parts [shards]map[K]time.Time
	for k, t := range all {
		i := e.hash(k) % shards
		if parts[i] == nil {
			parts[i] = map[K]time.Time{}
		}
		parts[i][k] = t
	}
	for i := range parts {
		if parts[i] != nil {
			e.parts[i].Store(&parts[i])
		}
	}
	e.size = len(all)
}

func newPrefixEnds() *ends[netip.Prefix] {
	seed := rand.Uint64()
	return &ends[netip.Prefix]{hash: func(p netip.Prefix) uint64 { return mix(seed, p.Addr(), uint64(p.Bits())) }}
}

func newPortEnds() *ends[netip.AddrPort] {
	seed := rand.Uint64()
	return &ends[netip.AddrPort]{hash: func(a netip.AddrPort) uint64 { return mix(seed, a.Addr(), uint64(a.Port())) }}
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
