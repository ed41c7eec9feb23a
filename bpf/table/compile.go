package table

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
)

// errNoRoom tells that a table of buckets must be made anew, larger.
var errNoRoom = errors.New("no room in a table of hosts")

// builder fills a generation: a new one, or, for single changes, the one in force.
type builder struct {
	s                 *Set
	g                 *generation
	dir4, dir6, dir6w *filter
	deep              map[netip.Prefix]Meta
}

// all are the claims that come one by one.
func (s *Set) all() []*claims { return []*claims{s.allow, s.bans, s.limited, s.known} }

// sizes are how many entries the tables of hosts will have at most, and how many of IPv4 are from lists.
func (s *Set) sizes() (n4, inLists, n6 int) {
	for _, c := range s.all() {
		for bits, n := range c.lengths[0][:33] {
			if bits > 24 {
				n4 += n << (32 - bits)
			}
		}
		for bits, n := range c.lengths[1] {
			n6 += n * copies6(bits)
		}
	}
	for _, l := range s.lists {
		if l == nil {
			continue
		}
		inLists += len(l.hosts)
		for _, n := range l.nets {
			if n.bits > 24 {
				inLists += 1 << (32 - n.bits)
			}
		}
		for _, p := range l.six {
			n6 += copies6(p.Bits())
		}
	}
	return n4 + inLists, inLists, n6 + len(s.inside)
}

// shortest6 is the shortest IPv6 prefix that stands as entries of its /32s. Shorter ones, and those of /65 to /127, stand in a trie.
const shortest6 = 20

func six(p netip.Prefix) bool { return p.Addr().Is6() }

func inTrie(bits int) bool { return bits < shortest6 || bits > 64 && bits < 128 }

// hasNets4 reports whether there are IPv4 networks of /24 and shorter.
func (s *Set) hasNets4() bool {
	for _, c := range s.all() {
		if len(c.nets4) > 0 {
			return true
		}
	}
	for _, l := range s.lists {
		if l != nil && slices.ContainsFunc(l.nets, func(n net4) bool { return n.bits <= 24 }) {
			return true
		}
	}
	return false
}

// copies6 is as how many entries of the table an IPv6 prefix stands.
func copies6(bits int) int {
	switch {
	case bits == 128:
		return 1
	case inTrie(bits):
		return 0
	}
	return 1 << (level(bits) - bits)
}

// update brings the tables in force up to date about everything that the claim of p touches.
func (s *Set) update(p netip.Prefix) error {
	g := s.gen.Load()
	if g == nil {
		return nil
	}
	b := &builder{s: s, g: g, dir4: s.dir4, dir6: s.dir6, dir6w: s.dir6w}
	err := b.prefix(p)
	if errors.Is(err, errNoRoom) || errors.Is(err, ErrRules) || s.garbage > 1<<20 {
		return s.Rebuild()
	}
	return err
}

func (b *builder) prefix(p netip.Prefix) error {
	switch {
	case p.Addr().Is4() && p.Bits() <= 24:
		if b.g.nets.empty() {
			return errNoRoom
		}
		return b.repaint(p)
	case p.Addr().Is4():
		return b.hosts4(p)
	}
	return b.prefix6(p)
}

// hosts4 writes the hosts of a prefix longer than /24.
func (b *builder) hosts4(p netip.Prefix) error {
	first := addr4(p.Addr())
	for i := range uint32(1) << (32 - p.Bits()) {
		a := first + i
		if a == 0 {
			continue
		}
		h := netip.PrefixFrom(from4(a), 32)
		m := b.s.best(h, 25, 32)
		if m.List() != Allow && b.s.allowed(h, 24) {
			m = 0
		}
		if err := b.host4(a, m); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) host4(a uint32, m Meta) error {
	k := key4(a)
	if m == 0 {
		b.g.remove4(k)
		b.s.garbage++
		return nil
	}
	b.dir4.mark4(a, dirHosts)
	if !b.g.put4(k, m) {
		return errNoRoom
	}
	return nil
}

// best is the claim of the lengths from to to that wins for all of p.
func (s *Set) best(p netip.Prefix, from, to int) Meta {
	var best Meta
	for _, c := range s.all() {
		c.covering(p, from, to, func(_ int, m Meta) {
			if s.better(m, best) {
				best = m
			}
		})
	}
	for l, c := range s.lists {
		if c == nil {
			continue
		}
		if bits, ok := c.covers(p); ok && bits >= from && bits <= to {
			if m := NewMeta(List(l), Forever); s.better(m, best) {
				best = m
			}
		}
	}
	return best
}

// allowed reports whether a never-ban entry of at most that length covers all of p.
func (s *Set) allowed(p netip.Prefix, longest int) bool {
	found := false
	s.allow.covering(p, 1, longest, func(int, Meta) { found = true })
	return found
}

// stroke is a network that is painted.
type stroke struct {
	net4
	m Meta
}

// bestLast sorts strokes so that what is painted later wins.
func (s *Set) bestLast(strokes []stroke) {
	slices.SortStableFunc(strokes, func(x, y stroke) int {
		switch {
		case s.better(y.m, x.m):
			return -1
		case s.better(x.m, y.m):
			return 1
		}
		return 0
	})
}

// repaint paints the /24s of p anew.
func (b *builder) repaint(p netip.Prefix) error {
	s, first, last := b.s, addr4(p.Addr()), net4{addr4(p.Addr()), uint8(p.Bits())}.last()
	var strokes []stroke
	for _, c := range s.all() {
		c.covering(p, 1, p.Bits(), func(bits int, m Meta) { strokes = append(strokes, stroke{net4{first, uint8(p.Bits())}, m}) })
		for q, m := range c.nets4 {
			if q.Bits() > p.Bits() && p.Contains(q.Addr()) {
				strokes = append(strokes, stroke{net4{addr4(q.Addr()), uint8(q.Bits())}, m})
			}
		}
	}
	for l, c := range s.lists {
		if c == nil {
			continue
		}
		for _, n := range c.netsIn(first, last) {
			if n.bits <= 24 {
				strokes = append(strokes, stroke{net4{max(n.addr, first), max(n.bits, uint8(p.Bits()))}, NewMeta(List(l), Forever)})
			}
		}
	}
	// A /24 that is not painted over must not lose its entry for a moment, so the final picture is found before any is written.
	if len(strokes) == 0 {
		b.g.nets.paint(first, p.Bits(), 0)
		return nil
	}
	return b.paint(strokes, first, last)
}

// paint writes the strokes that overlap, the best on top, and clears what none covers between first and last.
func (b *builder) paint(strokes []stroke, first, last uint32) error {
	b.s.bestLast(strokes)
	picture := make([]uint16, last>>8-first>>8+1)
	for _, st := range strokes {
		r, err := b.g.nets.rule(st.m)
		if err != nil {
			return err
		}
		from := st.addr>>8 - first>>8
		for i := range uint32(1) << (24 - st.bits) {
			picture[from+i] = r
		}
		b.dir4.markNets4(st.addr, int(st.bits))
	}
	for i, r := range picture {
		b.g.nets.paint(first+uint32(i)<<8, 24, r)
	}
	return nil
}

// prefix6 writes the entries of an IPv6 prefix.
func (b *builder) prefix6(p netip.Prefix) error {
	if p.Bits() < shortest6 {
		return b.trie(p)
	}
	if p.Bits() > 64 {
		if err := b.inside6(p); err != nil {
			return err
		}
		p, _ = p.Addr().Prefix(64)
	}
	l := level(p.Bits())
	first, step := highOf(p.Addr()), uint64(1)<<(64-l)
	for i := range uint64(copies6(p.Bits())) {
		if err := b.entry6(first+i*step, l); err != nil {
			return err
		}
	}
	return nil
}

// entry6 writes the entry of one prefix of a level.
func (b *builder) entry6(high uint64, l int) error {
	if high == 0 {
		return nil
	}
	from := l - 3
	if l == 32 {
		from = shortest6
	}
	q := prefix6(high, l)
	m := b.s.best(q, from, l)
	if m.List() != Allow && b.s.allowed(q, l) {
		m = 0
	}
	more := l == 64 && b.s.inside[q] > 0
	k := slot{high, uint32(l)}
	if m == 0 && !more {
		b.g.hosts6.remove(k)
		b.s.garbage++
		return nil
	}
	if l > 48 {
		b.dir6.mark6(at48(high))
	} else {
		b.dir6w.mark6(at32(high))
	}
	if l < 64 {
		if err := b.level(l); err != nil {
			return err
		}
	}
	if !b.g.hosts6.put(k, m, more) {
		return errNoRoom
	}
	return nil
}

// level notes that there are entries of a length.
func (b *builder) level(l int) error {
	levels, bit := &b.g.hosts6.lines[0][headLevels], uint64(1)<<((l-32)/4)
	if *levels&bit != 0 {
		return nil
	}
	atomic.StoreUint64(levels, *levels|bit)
	if b.deep != nil { // a new generation: Flip's caller tells it
		return nil
	}
	b.s.levels |= bit
	return b.s.mem.Levels(b.s.levels)
}

func prefix6(high uint64, bits int) netip.Prefix {
	var a [16]byte
	for i := range 8 {
		a[i] = byte(high >> (56 - 8*i))
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), bits)
}

// inside6 writes the entry of an IPv6 prefix longer than /64.
func (b *builder) inside6(p netip.Prefix) error {
	if p.Bits() < 128 {
		return b.trie(p)
	}
	m := b.s.best(p, 128, 128)
	if m.List() != Allow && b.s.allowed(p, 128) {
		m = 0
	}
	k := hostSlot(b.g.hosts6.lines[0][headSeed], p.Addr())
	if m == 0 {
		b.g.hosts6.remove(k)
		return nil
	}
	if !b.g.hosts6.put(k, m, false) {
		return errNoRoom
	}
	return nil
}

// fill writes everything into a new generation.
func (b *builder) fill() error {
	b.deep = map[netip.Prefix]Meta{}
	if err := b.fillNets4(); err != nil {
		return err
	}
	for l, c := range b.s.lists {
		if c != nil {
			if err := b.fillList(c, NewMeta(List(l), Forever)); err != nil {
				return err
			}
		}
	}
	for _, c := range b.s.all() {
		for p := range c.m {
			if p.Addr().Is4() && p.Bits() <= 24 {
				continue
			}
			if err := b.prefix(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillNets4 paints all networks of IPv4, the best on top.
func (b *builder) fillNets4() error {
	var strokes []stroke
	for _, c := range b.s.all() {
		for p, m := range c.nets4 {
			strokes = append(strokes, stroke{net4{addr4(p.Addr()), uint8(p.Bits())}, m})
		}
	}
	for l, c := range b.s.lists {
		if c == nil {
			continue
		}
		for _, n := range c.nets {
			if n.bits <= 24 {
				strokes = append(strokes, stroke{n, NewMeta(List(l), Forever)})
			}
		}
	}
	b.s.bestLast(strokes)
	for _, st := range strokes {
		r, err := b.g.nets.rule(st.m)
		if err != nil {
			return err
		}
		b.g.nets.paint(st.addr, int(st.bits), r)
		b.dir4.markNets4(st.addr, int(st.bits))
	}
	return nil
}

// fillList writes the hosts and IPv6 prefixes of one list, unless what stands there already is better.
func (b *builder) fillList(c *compact, m Meta) error {
	exempt := len(b.s.allow.nets4) > 0
	put := func(a uint32) error {
		if exempt && b.g.nets.get(a).List() == Allow {
			return nil
		}
		b.dir4.mark4(a, dirHosts)
		if !b.g.offer4(key4(a), m, b.s.better) {
			return errNoRoom
		}
		return nil
	}
	for _, a := range c.hosts {
		if err := put(a); err != nil {
			return err
		}
	}
	for _, n := range c.nets {
		if n.bits <= 24 {
			continue
		}
		for a, left := n.addr, 1<<(32-n.bits); left > 0; a, left = a+1, left-1 {
			if err := put(a); err != nil {
				return err
			}
		}
	}
	for _, p := range c.six {
		if err := b.prefix6(p); err != nil {
			return err
		}
	}
	return nil
}
