package table

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// net4 is an IPv4 network shorter than /32, its address in host byte order.
type net4 struct {
	addr uint32
	bits uint8
}

func (n net4) last() uint32 { return n.addr | (1<<(32-n.bits) - 1) }

// compact is a list of prefixes that never changes: sorted, and no entry within another.
type compact struct {
	hosts []uint32 // IPv4 hosts in host byte order
	nets  []net4
	six   []netip.Prefix
	deep  int // how many of them stand in the trie
}

// newCompact takes prefixes in any order; they must be valid and masked.
func newCompact(ps []netip.Prefix) *compact {
	c := &compact{}
	for _, p := range ps {
		switch {
		case !p.Addr().Is4():
			c.six = append(c.six, p)
		case p.Bits() == 32:
			c.hosts = append(c.hosts, addr4(p.Addr()))
		default:
			c.nets = append(c.nets, net4{addr4(p.Addr()), uint8(p.Bits())})
		}
	}
	slices.SortFunc(c.nets, func(a, b net4) int {
		if a.addr != b.addr {
			return cmp32(a.addr, b.addr)
		}
		return int(a.bits) - int(b.bits)
	})
	c.nets = outermost(c.nets, func(a, b net4) bool { return b.addr <= a.last() })
	if !slices.IsSorted(c.hosts) {
		slices.Sort(c.hosts)
	}
	c.hosts = slices.Compact(c.hosts)
	if len(c.nets) > 0 {
		c.hosts = slices.DeleteFunc(c.hosts, func(h uint32) bool { _, ok := c.net(h); return ok })
	}
	slices.SortFunc(c.six, func(a, b netip.Prefix) int {
		if n := a.Addr().Compare(b.Addr()); n != 0 {
			return n
		}
		return a.Bits() - b.Bits()
	})
	c.six = outermost(c.six, func(a, b netip.Prefix) bool { return a.Contains(b.Addr()) })
	for _, p := range c.six {
		if inTrie(p.Bits()) {
			c.deep++
		}
	}
	return c
}

// outermost drops what is within an earlier entry of a sorted list.
func outermost[P any](ps []P, within func(a, b P) bool) []P {
	kept := ps[:0]
	for _, p := range ps {
		if n := len(kept); n == 0 || !within(kept[n-1], p) {
			kept = append(kept, p)
		}
	}
	return kept
}

func cmp32(a, b uint32) int {
	if a < b {
		return -1
	}
	return 1
}

// addr4 is an IPv4 address in host byte order.
func addr4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func from4(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a)))
}

// key4 is how the kernel reads an IPv4 address off the wire on a little-endian machine.
func key4(a uint32) slot {
	return slot{key: uint64(a>>24 | a>>8&0xff00 | a<<8&0xff0000 | a<<24)}
}

// net returns the network that covers a.
func (c *compact) net(a uint32) (net4, bool) {
	i := sort.Search(len(c.nets), func(i int) bool { return c.nets[i].addr > a }) - 1
	if i < 0 || a > c.nets[i].last() {
		return net4{}, false
	}
	return c.nets[i], true
}

// covers returns the length of the entry that covers all of p.
func (c *compact) covers(p netip.Prefix) (int, bool) {
	if p.Addr().Is4() {
		a := addr4(p.Addr())
		if p.Bits() == 32 {
			if _, ok := slices.BinarySearch(c.hosts, a); ok {
				return 32, true
			}
		}
		n, ok := c.net(a)
		return int(n.bits), ok && int(n.bits) <= p.Bits()
	}
	i := sort.Search(len(c.six), func(i int) bool { return c.six[i].Addr().Compare(p.Addr()) > 0 }) - 1
	if i < 0 || c.six[i].Bits() > p.Bits() || !c.six[i].Contains(p.Addr()) {
		return 0, false
	}
	return c.six[i].Bits(), true
}

// netsIn returns the networks that overlap the range of p.
func (c *compact) netsIn(first, last uint32) []net4 {
	from := sort.Search(len(c.nets), func(i int) bool { return c.nets[i].last() >= first })
	to := sort.Search(len(c.nets), func(i int) bool { return c.nets[i].addr > last })
	return c.nets[from:max(from, to)]
}

func (c *compact) len() int { return len(c.hosts) + len(c.nets) + len(c.six) }

// claims are prefixes that come and go one by one.
type claims struct {
	m       map[netip.Prefix]Meta
	nets4   map[netip.Prefix]Meta // those of IPv4 up to /24, again
	lengths [2][129]int           // how many there are of each length, IPv4 and IPv6
}

func newClaims() *claims { return &claims{m: map[netip.Prefix]Meta{}, nets4: map[netip.Prefix]Meta{}} }

func side(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

func (c *claims) set(p netip.Prefix, m Meta) {
	if _, ok := c.m[p]; !ok {
		c.lengths[side(p)][p.Bits()]++
	}
	c.m[p] = m
	if p.Addr().Is4() && p.Bits() <= 24 {
		c.nets4[p] = m
	}
}

// delete reports whether there was one.
func (c *claims) delete(p netip.Prefix) bool {
	if _, ok := c.m[p]; !ok {
		return false
	}
	c.lengths[side(p)][p.Bits()]--
	delete(c.m, p)
	delete(c.nets4, p)
	return true
}

// deep is how many of them stand in the trie.
func (c *claims) deep() int {
	n := 0
	for bits, k := range c.lengths[1] {
		if inTrie(bits) {
			n += k
		}
	}
	return n
}

// covering tells the claims of the lengths from to to that cover all of p.
func (c *claims) covering(p netip.Prefix, from, to int, do func(bits int, m Meta)) {
	lengths := &c.lengths[side(p)]
	for bits := from; bits <= min(to, p.Bits()); bits++ {
		if lengths[bits] == 0 {
			continue
		}
		q, _ := p.Addr().Prefix(bits)
		if m, ok := c.m[q]; ok {
			do(bits, m)
		}
	}
}
