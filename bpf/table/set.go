package table

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

// The tables of a generation, in the order of bpf/xdp/maps.h.
const (
	Hosts4 = iota
	Hosts6
	Nets4
	Rules4
	Listed4
	Tables
)

// Memory is where tables stand.
type Memory interface {
	// Fixed returns the presence filters: Dir4Lines, Dir6Lines and Dir6wLines long; blank says that all of them is zero.
	Fixed() (dir4, dir6, dir6w []Line, blank bool)
	// Next returns zeroed memory for the tables of the next generation. keep is held as long as anybody may read there.
	Next(lines [Tables]int) (tables [Tables][]Line, keep any, err error)
	// Flip lets readers see what Next returned last, and tells them how entries are spread there, and which lists only count.
	Flip(g Geometries, monitored uint64) error
	// Levels says which lengths of IPv6 prefixes there are entries of: bit i stands for 32 + 4 i.
	Levels(uint64) error
	// Deep returns the entries that the trie begins with.
	Deep() map[netip.Prefix]Meta
	// Trie changes the entry of an IPv6 prefix that is shorter than /20 or longer than /64; m 0 removes it.
	Trie(p netip.Prefix, m Meta) error
	// Short says whether there are such shorter than /20, to look for at all.
	Short(bool) error
}

// MaxDeep is how many IPv6 prefixes of /65 to /127 and of less than /20 there can be.
const MaxDeep = 65536

// Errors.
var (
	ErrPrefix = errors.New("no prefix that the filter can hold")
	ErrDeep   = errors.New("too many IPv6 networks longer than /64 or shorter than /20")
)

// generation is what Lookup reads.
type generation struct {
	hosts4, hosts6 *buckets
	listed         *listed
	nets           *nets4
	monitored      uint64
	deep           atomic.Pointer[map[netip.Prefix]Meta] // what is in the trie; never changed once it is stored
	short          atomic.Bool                           // there are IPv6 prefixes in it that are shorter than shortest6
	keep           any
}

// Set is all that the filter knows about sources. Changes are made by one goroutine at a time; Lookup may run in any at any time.
// Before the first Rebuild nothing is in force and changes are only remembered.
type Set struct {
	mem               Memory
	dir4, dir6, dir6w *filter
	gen               atomic.Pointer[generation]

	monitored uint64
	levels    uint64 // as the memory was told
	allow     *claims
	bans      *claims
	limited   *claims
	known     *claims
	lists     [Lists]*compact
	trie      map[netip.Prefix]Meta // what stands in the memory's trie
	inside    map[netip.Prefix]int  // how many claims longer than /64 there are in an IPv6 /64
	garbage   int                   // entries removed since the last Rebuild, whose presence bits may be stale
}

// New makes an empty set.
func New(mem Memory) *Set {
	s := &Set{mem: mem, allow: newClaims(), bans: newClaims(), limited: newClaims(), known: newClaims(), inside: map[netip.Prefix]int{}}
	s.takeFixed()
	s.trie = mem.Deep()
	return s
}

func (s *Set) takeFixed() {
	dir4, dir6, dir6w, blank := s.mem.Fixed()
	make := newFilter
	if blank {
		make = blankFilter
	}
	s.dir4, s.dir6, s.dir6w = make(dir4), make(dir6), make(dir6w)
}

func check(p netip.Prefix) error {
	if a := p.Addr(); p.Bits() == 32 && a.Is4() && !a.IsUnspecified() { // most of what lists hold
		return nil
	}
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Bits() == 0 ||
		(p.Addr().IsUnspecified() && p.Addr().Is4()) {
		return fmt.Errorf("%w: %s", ErrPrefix, p)
	}
	if p.Addr().Is6() && p.Bits() >= shortest6 && highOf(p.Addr()) == 0 { // the program does not look there: ::/64 is no site
		return fmt.Errorf("%w: %s", ErrPrefix, p)
	}
	return nil
}

// Ban puts a ban into force, or changes the one of the same prefix.
func (s *Set) Ban(p netip.Prefix, l List, until Tick) error {
	if l < FirstBan || l >= Lists {
		return fmt.Errorf("banning %s: list %d is none that bans", p, l)
	}
	return s.claim(s.bans, p, NewMeta(l, until))
}

// Unban ends the ban of exactly p; none is no error.
func (s *Set) Unban(p netip.Prefix) error { return s.drop(s.bans, p) }

// Limit holds a source to a strict rate.
func (s *Set) Limit(p netip.Prefix, until Tick) error {
	return s.claim(s.limited, p, NewMeta(Limited, until))
}

// Unlimit ends that.
func (s *Set) Unlimit(p netip.Prefix) error { return s.drop(s.limited, p) }

// Know marks a source behind which a good registration lives.
func (s *Set) Know(p netip.Prefix, until Tick) error {
	return s.claim(s.known, p, NewMeta(Known, until))
}

// Unknow ends that.
func (s *Set) Unknow(p netip.Prefix) error { return s.drop(s.known, p) }

func (s *Set) claim(c *claims, p netip.Prefix, m Meta) error {
	if err := check(p); err != nil {
		return err
	}
	if c.m[p] == m {
		return nil
	}
	if _, there := c.m[p]; !there {
		if six(p) && inTrie(p.Bits()) && s.deepClaims() >= MaxDeep {
			return ErrDeep
		}
		s.countInside(p, 1)
	}
	c.set(p, m)
	return s.update(p)
}

func (s *Set) drop(c *claims, p netip.Prefix) error {
	if !c.delete(p) {
		return nil
	}
	s.countInside(p, -1)
	return s.update(p)
}

// countInside keeps count of the claims longer than /64 in each /64.
func (s *Set) countInside(p netip.Prefix, n int) {
	if p.Addr().Is4() || p.Bits() <= 64 {
		return
	}
	site, _ := p.Addr().Prefix(64)
	if s.inside[site] += n; s.inside[site] <= 0 {
		delete(s.inside, site)
	}
}

// SetAllow makes the never-ban list exactly ps, with all tables, in one step.
func (s *Set) SetAllow(ps []netip.Prefix) error {
	next := newClaims()
	for _, p := range ps {
		if p.Addr().Is6() && !p.Addr().Is4In6() && highOf(p.Addr()) == 0 && p.Bits() >= 64 {
			continue // the loopback address and its like: nothing is looked up there, so it passes
		}
		if err := check(p); err != nil {
			return err
		}
		next.set(p, NewMeta(Allow, Forever))
	}
	if n := next.deep(); n > 0 && s.deepClaims()-s.allow.deep()+n > MaxDeep {
		return ErrDeep
	}
	for p := range s.allow.m {
		s.countInside(p, -1)
	}
	s.allow = next
	for p := range next.m {
		s.countInside(p, 1)
	}
	return s.rebuilt()
}

// SetList makes the list l exactly ps; nil ends it. All tables change in one step.
func (s *Set) SetList(l List, ps []netip.Prefix) error {
	if l < FirstBan || l >= Lists {
		return fmt.Errorf("list %d is none that bans", l)
	}
	for _, p := range ps {
		if err := check(p); err != nil {
			return err
		}
	}
	old, next := s.lists[l], newCompact(ps)
	if s.lists[l] = nil; next.deep > 0 && s.deepClaims()+next.deep > MaxDeep {
		s.lists[l] = old
		return ErrDeep
	}
	if old != nil {
		for _, p := range old.six {
			s.countInside(p, -1)
		}
	}
	if next.len() > 0 {
		s.lists[l] = next
	}
	for _, p := range next.six {
		s.countInside(p, 1)
	}
	return s.rebuilt()
}

// List returns the entries of a list, those within others left out.
func (s *Set) List(l List) []netip.Prefix {
	c := s.lists[l]
	if c == nil {
		return nil
	}
	all := make([]netip.Prefix, 0, c.len())
	for _, h := range c.hosts {
		all = append(all, netip.PrefixFrom(from4(h), 32))
	}
	for _, n := range c.nets {
		all = append(all, netip.PrefixFrom(from4(n.addr), int(n.bits)))
	}
	return append(all, c.six...)
}

// SetMonitored says which lists, a bit each, only count. What is enforced wins over what is not, so all tables are made anew.
func (s *Set) SetMonitored(lists uint64) error {
	if lists == s.monitored {
		return nil
	}
	s.monitored = lists
	return s.rebuilt()
}

// rebuilt is Rebuild, once there is something in force.
func (s *Set) rebuilt() error {
	if s.gen.Load() == nil {
		return nil
	}
	return s.Rebuild()
}

// Len is how many entries the tables of hosts hold, IPv4 and IPv6, and how many bytes those have.
func (s *Set) Len() (hosts4, hosts6, bytes int) {
	g := s.gen.Load()
	if g == nil {
		return 0, 0, 0
	}
	return g.hosts4.used + g.listed.used, g.hosts6.used, 64 * (len(g.hosts4.lines) + len(g.listed.lines) + len(g.hosts6.lines))
}

// Geometry is how entries are spread over a table.
type Geometry struct{ Buckets, Seed uint64 }

// Geometries are those of the tables of hosts.
type Geometries struct{ Hosts4, Hosts6, Listed4 Geometry }

// MoveTo takes everything that is claimed to other memory and puts it into force there. It must not run beside Lookup.
func (s *Set) MoveTo(mem Memory) error {
	s.mem = mem
	s.takeFixed()
	s.trie, s.levels = mem.Deep(), 0
	return s.Rebuild()
}

// Rebuild makes all tables anew from what is claimed and changes over to them in one step.
func (s *Set) Rebuild() error {
	spare, coarse := 100, 0
	for {
		ok, err := s.rebuild(spare, coarse)
		if errors.Is(err, ErrRules) && coarse < maxCoarse {
			coarse += 2 // networks' ends are told apart less finely
			continue
		}
		if ok || err != nil {
			return err
		}
		spare += 25 // an unlucky seed, or a table more crowded than it was counted
		if spare > 300 {
			return errors.New("the tables of hosts can't be laid out")
		}
	}
}

// headroom is for how many single bans a new table has room beside, so that they need no other table soon.
const headroom = 4096

func (s *Set) rebuild(spare, coarse int) (ok bool, err error) {
	n4, inLists, n6 := s.sizes()
	list, left := listedLines(inLists * spare / 100)
	lines := [Tables]int{linesFor((n4-inLists+left)*spare/100+headroom, false), linesFor(n6*spare/100+headroom, true), 1, 1, list}
	if s.hasNets4() {
		lines[Nets4], lines[Rules4] = nets4Lines, rules4Lines
	}
	tables, keep, err := s.mem.Next(lines)
	if err != nil {
		return false, err
	}
	b := &builder{s: s, g: &generation{
		hosts4: newBuckets(tables[Hosts4], false, rand.Uint64()|1),
		hosts6: newBuckets(tables[Hosts6], true, rand.Uint64()|1),
		listed: newListed(tables[Listed4], rand.Uint64()|1),
		nets:   newNets4(tables[Nets4], tables[Rules4], coarse),
		keep:   keep, monitored: s.monitored,
	}, dir4: draft(Dir4Lines), dir6: draft(Dir6Lines), dir6w: draft(Dir6wLines)}
	if err := b.fill(); err != nil {
		if errors.Is(err, errNoRoom) {
			return false, nil
		}
		return false, err
	}
	if err := s.addDeep(b.g, b.deep); err != nil {
		return false, err
	}
	// What is new must be present before it is in force; what is gone stays present until then.
	s.dir4.include(b.dir4)
	s.dir6.include(b.dir6)
	s.dir6w.include(b.dir6w)
	now := b.g.hosts6.lines[0][headLevels]
	if err := s.mem.Levels(s.levels | now); err != nil {
		return false, err
	}
	if err := s.mem.Flip(Geometries{b.g.hosts4.geometry(), b.g.hosts6.geometry(), b.g.listed.geometry()}, s.monitored); err != nil {
		return false, err
	}
	s.gen.Store(b.g)
	s.levels = now
	if err := s.mem.Levels(now); err != nil {
		return false, err
	}
	if err := s.dropDeep(b.g); err != nil {
		return false, err
	}
	s.dir4.become(b.dir4)
	s.dir6.become(b.dir6)
	s.dir6w.become(b.dir6w)
	s.garbage = 0
	return true, nil
}
