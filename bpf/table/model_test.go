package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// model is what the package says of itself, in the plainest form: a heap of claims that are all looked through.
type model struct {
	claims    []claimed
	monitored uint64
}

type claimed struct {
	p netip.Prefix
	m Meta
	c string // which call makes and ends it
}

func (m *model) drop(c string, p netip.Prefix) {
	kept := m.claims[:0]
	for _, x := range m.claims {
		if x.c != c || (p.IsValid() && x.p != p) {
			kept = append(kept, x)
		}
	}
	m.claims = kept
}

func (m *model) set(c string, meta Meta, ps ...netip.Prefix) {
	for _, p := range ps {
		m.drop(c, p)
		m.claims = append(m.claims, claimed{p, meta, c})
	}
}

func (m *model) rank(l List) int {
	switch {
	case l == Allow:
		return 5
	case l == Limited:
		return 3
	case l == Known:
		return 2
	case m.monitored>>l&1 == 1:
		return 1
	}
	return 4
}

func (m *model) better(a, b Meta) bool {
	ra, rb := m.rank(a.List()), m.rank(b.List())
	if b == 0 || ra != rb {
		return b == 0 || ra > rb
	}
	return a.Until() > b.Until() || a.Until() == b.Until() && a.List() < b.List()
}

// kind puts together the lengths of which one value stands for an address.
func kind(p netip.Prefix) int {
	switch bits := p.Bits(); {
	case p.Addr().Is4() && bits > 24, bits == 128:
		return 128
	case p.Addr().Is4():
		return 24
	case inTrie(bits):
		return 127
	default:
		return level(bits)
	}
}

func isNetwork(p netip.Prefix) bool {
	return kind(p) != 128 && (p.Addr().Is4() || kind(p) != 64 || p.Bits() > 64)
}

// verdict is what must be found about an address: never banned; or banned, by one of some; or what it is.
type verdict struct {
	allow  bool
	bans   map[string]bool // metas with Network
	banned bool
	class  List
	noted  bool
}

func name(m Meta, network bool) string { return fmt.Sprint(m.List(), m.Until(), network) }

func (m *model) judge(a netip.Addr, now Tick) verdict {
	best, v := map[int]claimed{}, verdict{bans: map[string]bool{}}
	for _, x := range m.claims {
		if !x.p.Contains(a) {
			continue
		}
		v.allow = v.allow || x.m.List() == Allow
		if m.rank(x.m.List()) == 4 && x.m.InForce(now) {
			v.banned = true
			v.bans[name(x.m, isNetwork(x.p))] = true
		}
		if k := kind(x.p); m.better(x.m, best[k].m) {
			best[k] = x
		}
	}
	if h, ok := best[128]; ok && a.Is4() && m.rank(h.m.List()) == 4 && h.m.InForce(now) { // the host decides before its network
		v.bans = map[string]bool{name(h.m, false): true}
	} else if n, ok := best[24]; ok && v.banned {
		v.bans = map[string]bool{name(n.m, true): true}
	}
	for _, x := range best {
		switch l := x.m.List(); {
		case !x.m.InForce(now):
		case l < FirstBan:
			v.class = max(v.class, l)
		default:
			v.noted = true
		}
	}
	return v
}

func (v verdict) differs(f Found) string {
	switch {
	case v.allow && (f.Class != Allow || f.Ban != 0 || f.Noted != 0):
		return "is on the never-ban list"
	case v.allow:
	case v.banned && (f.Ban == 0 || !v.bans[name(f.Ban, f.Network)]):
		return fmt.Sprintf("is banned: %v", v.bans)
	case !v.banned && f.Ban != 0:
		return "is not banned"
	case !v.banned && f.Class != v.class:
		return fmt.Sprintf("is of class %d", v.class)
	case !v.banned && (f.Noted != 0) != v.noted:
		return fmt.Sprintf("is noted: %v", v.noted)
	}
	return ""
}

// world is where claims and questions come from.
type world struct {
	r     *rand.Rand
	small bool
	six   bool
	hosts []netip.Addr // of earlier claims
}

func (w *world) addr() netip.Addr {
	r := w.r
	if len(w.hosts) > 0 && r.IntN(3) == 0 {
		return w.hosts[r.IntN(len(w.hosts))]
	}
	var b [16]byte
	switch {
	case w.six && w.small:
		b = [16]byte{0x20, 1, 0xd, byte(0xb8 + r.IntN(2)*8), byte(r.IntN(2) * 16), 0, byte(r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(2) * 128), 15: byte(r.IntN(4))}
	case w.six:
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case w.small:
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(8) * 9)})
	default:
		return from4(r.Uint32())
	}
	return netip.AddrFrom16(b)
}

func (w *world) prefix() netip.Prefix {
	for {
		a := w.addr()
		bits := []int{32, 32, 32, 24, 16, 20, 8 + w.r.IntN(25), 8 + w.r.IntN(25), 23, 25, 31}[w.r.IntN(11)]
		if w.six {
			bits = []int{128, 128, 64, 64, 48, 32, 33, 80, 1 + w.r.IntN(128), 20 + w.r.IntN(45), 29, 19, 65, 127}[w.r.IntN(14)]
		}
		if p, err := a.Prefix(bits); err == nil && check(p) == nil {
			w.hosts = append(w.hosts, a)
			if len(w.hosts) > 200 {
				w.hosts = w.hosts[100:]
			}
			return p
		}
	}
}

func (w *world) prefixes(n int) []netip.Prefix {
	ps := make([]netip.Prefix, w.r.IntN(n))
	for i := range ps {
		ps[i] = w.prefix()
	}
	return ps
}

// widest leaves out what is within others: a list is a set of addresses.
func widest(ps []netip.Prefix) (kept []netip.Prefix) {
	for _, p := range ps {
		if !slices.ContainsFunc(ps, func(q netip.Prefix) bool { return q.Bits() < p.Bits() && q.Overlaps(p) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// step changes the set and the model alike, by one of all the calls there are.
func (w *world) step(t *testing.T, s *Set, m *model, now Tick) {
	r, p, until := w.r, w.prefix(), now+Tick(1+w.r.IntN(40))
	if r.IntN(2) == 0 {
		until = Forever
	}
	if n := len(m.claims); n > 0 && r.IntN(2) == 0 {
		p = m.claims[r.IntN(n)].p
	}
	l := FirstBan + List(r.IntN(4))
	switch n := r.IntN(100); {
	case n < 40:
		must(t, s.Ban(p, l, until))
		m.set("ban", NewMeta(l, until), p)
	case n < 60:
		must(t, s.Unban(p))
		m.drop("ban", p)
	case n < 70:
		must(t, s.Limit(p, until))
		m.set("limit", NewMeta(Limited, until), p)
	case n < 76:
		must(t, s.Unlimit(p))
		m.drop("limit", p)
	case n < 86:
		must(t, s.Know(p, until))
		m.set("know", NewMeta(Known, until), p)
	case n < 92:
		must(t, s.Unknow(p))
		m.drop("know", p)
	case n < 94:
		ps := w.prefixes(5)
		must(t, s.SetAllow(ps))
		m.drop("allow", netip.Prefix{})
		m.set("allow", NewMeta(Allow, Forever), ps...)
	case n < 97:
		ps, call := w.prefixes(12), fmt.Sprint("list ", l)
		must(t, s.SetList(l, ps))
		m.drop(call, netip.Prefix{})
		m.set(call, NewMeta(l, Forever), widest(ps)...)
	default:
		m.monitored = r.Uint64() & (7 << FirstBan)
		must(t, s.SetMonitored(m.monitored))
	}
	if !w.small || len(m.claims) < 60 {
		return
	}
	for range 30 { // a small world must not fill up
		x := m.claims[r.IntN(len(m.claims))]
		switch x.c {
		case "ban":
			must(t, s.Unban(x.p))
		case "limit":
			must(t, s.Unlimit(x.p))
		case "know":
			must(t, s.Unknow(x.p))
		default:
			continue
		}
		m.drop(x.c, x.p)
	}
}

// After any changes the tables say what the plain model says, and Rebuild changes nothing about that.
func TestModel(t *testing.T) {
	steps := 1500
	if testing.Short() {
		steps = 150
	}
	for _, six := range []bool{false, true} {
		for _, small := range []bool{true, false} {
			t.Run(fmt.Sprintf("six %v small %v", six, small), func(t *testing.T) {
				seed := uint64(time.Now().UnixNano())
				t.Logf("seed %d", seed)
				w := &world{r: rand.New(rand.NewPCG(seed, 1)), small: small, six: six}
				s, m, now := New(Heap{}), &model{}, Tick(1)
				must(t, s.Rebuild())
				for i := range steps {
					w.step(t, s, m, now)
					if now += Tick(w.r.IntN(2)); i%100 == 99 {
						w.unchanged(t, s, now)
					}
					for range 30 {
						a := w.addr()
						if d := m.judge(a, now).differs(s.Lookup(a, now)); d != "" {
							t.Fatalf("seed %d, step %d: %s %s, but %+v\n%v", seed, i, a, d, s.Lookup(a, now), m.about(a))
						}
					}
				}
			})
		}
	}
}

func (m *model) about(a netip.Addr) (all []string) {
	for _, x := range m.claims {
		if x.p.Contains(a) {
			all = append(all, fmt.Sprintf("%s %s list %d until %d\n", x.c, x.p, x.m.List(), x.m.Until()))
		}
	}
	return append(all, fmt.Sprintf("monitored %b", m.monitored))
}

// unchanged checks that tables made anew say what those say that were changed piece by piece.
func (w *world) unchanged(t *testing.T, s *Set, now Tick) {
	t.Helper()
	var as []netip.Addr
	var had []Found
	for range 300 {
		a := w.addr()
		as, had = append(as, a), append(had, s.Lookup(a, now))
	}
	must(t, s.Rebuild())
	for i, a := range as {
		if got := s.Lookup(a, now); got != had[i] {
			t.Fatalf("%s: %+v after Rebuild, %+v before", a, got, had[i])
		}
	}
}
