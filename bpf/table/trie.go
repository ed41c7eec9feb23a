package table

import "net/netip"

// deepClaims is how many claims of prefixes there are that stand in the trie.
func (s *Set) deepClaims() int {
	n := 0
	for _, c := range s.all() {
		n += c.deep()
	}
	for _, l := range s.lists {
		if l != nil {
			n += l.deep
		}
	}
	return n
}

// addDeep puts all of next into the trie, for g. What is no longer wanted stays until dropDeep.
func (s *Set) addDeep(g *generation, next map[netip.Prefix]Meta) error {
	short := false
	for p, m := range next {
		short = short || p.Bits() < shortest6
		if s.trie[p] == m {
			continue
		}
		if err := s.mem.Trie(p, m); err != nil {
			return err
		}
		s.trie[p] = m
	}
	if short {
		if err := s.mem.Short(true); err != nil {
			return err
		}
	}
	g.deep.Store(&next)
	g.short.Store(short)
	return nil
}

// dropDeep takes out of the trie what g, which is in force, does not want.
func (s *Set) dropDeep(g *generation) error {
	next := *g.deep.Load()
	for p := range s.trie {
		if _, ok := next[p]; ok {
			continue
		}
		if err := s.mem.Trie(p, 0); err != nil {
			return err
		}
		delete(s.trie, p)
	}
	return s.mem.Short(g.short.Load())
}

// trie changes the entry of a prefix that stands in the trie, and of those within it: the longest one that covers a source decides
// there, so each says what is best of all of them that cover it.
func (b *builder) trie(p netip.Prefix) error {
	if b.deep != nil { // a new generation: all at once
		b.deep[p] = b.s.bestInTrie(p)
		return nil
	}
	next := map[netip.Prefix]Meta{}
	for q, m := range *b.g.deep.Load() {
		if p.Overlaps(q) && p.Bits() < q.Bits() {
			m = b.s.bestInTrie(q)
		}
		next[q] = m
	}
	delete(next, p)
	if b.s.claimed(p) {
		next[p] = b.s.bestInTrie(p)
	}
	if err := b.s.addDeep(b.g, next); err != nil {
		return err
	}
	return b.s.dropDeep(b.g)
}

func (s *Set) bestInTrie(p netip.Prefix) Meta {
	m, inside := s.best(p, 1, shortest6-1), s.best(p, 65, 127)
	if s.better(inside, m) {
		m = inside
	}
	if m.List() != Allow && s.allowed(p, p.Bits()) {
		m = NewMeta(Allow, Forever)
	}
	return m
}

// claimed reports whether anybody claims exactly p.
func (s *Set) claimed(p netip.Prefix) bool {
	for _, c := range s.all() {
		if _, ok := c.m[p]; ok {
			return true
		}
	}
	for _, c := range s.lists {
		if c == nil {
			continue
		}
		if bits, ok := c.covers(p); ok && bits == p.Bits() {
			return true
		}
	}
	return false
}
