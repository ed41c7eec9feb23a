package table

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// manyHosts crowd a table of lists, so that many find no place there.
const manyHosts = 300_000

// A million hosts of a list are all found, nobody else is, and what stands in the tables can be read back, whether or not a host has
// found a place among those of lists.
func TestListed(t *testing.T) {
	s := built(t)
	hosts := randomHosts(manyHosts)
	must(t, s.SetList(FirstBan+3, hosts))
	g := s.gen.Load()
	if g.listed.used < manyHosts*9/10 || g.hosts4.used == 0 {
		t.Fatalf("%d hosts among those of lists, %d in buckets", g.listed.used, g.hosts4.used)
	}
	if n, _, bytes := s.Len(); n != len(s.lists[FirstBan+3].hosts) || bytes > 7*n {
		t.Errorf("%d hosts, %d bytes", n, bytes)
	}
	for _, p := range hosts {
		if f := s.Lookup(p.Addr(), 1); f.Ban != NewMeta(FirstBan+3, Forever) {
			t.Fatalf("%s: %+v", p, f)
		}
	}
	in := map[netip.Prefix]bool{}
	for _, p := range hosts {
		in[p] = true
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range manyHosts {
		p := hosts[r.IntN(len(hosts))]
		q := netip.PrefixFrom(from4(addr4(p.Addr())^1<<r.IntN(8)), 32) // in the same /24, so that the tables are asked
		if f := s.Lookup(q.Addr(), 1); (f.Ban != 0) != in[q] {
			t.Fatalf("%s: %+v", q, f)
		}
	}
	Bans([Tables][]Line{Hosts4: g.hosts4.lines, Hosts6: g.hosts6.lines, Listed4: g.listed.lines}, func(p netip.Prefix, l List, until Tick) {
		if !in[p] || l != FirstBan+3 || until != Forever {
			t.Fatalf("read %s, list %d until %d", p, l, until)
		}
		delete(in, p)
	})
	if len(in) > 0 {
		t.Errorf("%d hosts could not be read back", len(in))
	}
}

// What speaks of single hosts wins over lists and gives way to them again as the model says, while most hosts stand among those of lists.
func TestListedModel(t *testing.T) {
	s, m := built(t), &model{}
	must(t, s.SetList(FirstBan+9, randomHosts(leastListed+100)))
	r := rand.New(rand.NewPCG(9, 9))
	host := func() netip.Prefix { return netip.PrefixFrom(from4(0x7f000000|r.Uint32N(40)), 32) }
	for range 3000 {
		p, until := host(), []Tick{Forever, 5, 50}[r.IntN(3)]
		switch r.IntN(60) {
		case 0, 1:
			l, ps := FirstBan+List(r.IntN(3)), []netip.Prefix{host(), host(), host(), host(), host(), host()}
			must(t, s.SetList(l, ps))
			m.drop("list"+string('0'+rune(l)), netip.Prefix{})
			m.set("list"+string('0'+rune(l)), NewMeta(l, Forever), ps...)
		case 2:
			must(t, s.SetAllow([]netip.Prefix{p}))
			m.drop("allow", netip.Prefix{})
			m.set("allow", NewMeta(Allow, Forever), p)
		case 3:
			m.monitored = uint64(r.IntN(8)) << FirstBan
			must(t, s.SetMonitored(m.monitored))
		case 4, 5, 6, 7, 8, 9, 10, 11, 12, 13:
			must(t, s.Ban(p, FirstBan+4, until))
			m.set("ban", NewMeta(FirstBan+4, until), p)
		case 14, 15, 16, 17, 18:
			must(t, s.Know(p, until))
			m.set("know", NewMeta(Known, until), p)
		case 19, 20, 21, 22, 23:
			must(t, s.Unknow(p))
			m.drop("know", p)
		default:
			must(t, s.Unban(p))
			m.drop("ban", p)
		}
		for i := range uint32(40) {
			a := from4(0x7f000000 | i)
			got, want := s.Lookup(a, 10), m.judge(a, 10)
			if (got.Class == Allow) != want.allow || !want.allow && (got.Ban != 0) != want.banned {
				t.Fatalf("%s: %+v, want %+v of %v", a, got, want, m.claims)
			}
		}
	}
}

// Listed hosts are found at any moment, also while bans of them come and go and the tables are made anew.
func TestListedNeverMissed(t *testing.T) {
	s := built(t)
	all := randomHosts(leastListed + 500)
	lasting := all[:200]
	must(t, s.SetList(FirstBan, all))
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				for _, p := range lasting {
					if f := s.Lookup(p.Addr(), 1); f.Ban == 0 {
						t.Errorf("%s was missed: %+v", p, f)
						return
					}
				}
			}
		})
	}
	for range 20 {
		for range 5 {
			for _, p := range lasting {
				must(t, s.Ban(p, FirstBan+1, Forever))
			}
			for _, p := range lasting {
				must(t, s.Unban(p))
			}
		}
		must(t, s.Rebuild())
	}
	stop.Store(true)
	readers.Wait()
}
