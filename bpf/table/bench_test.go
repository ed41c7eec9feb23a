package table

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func randomHosts(n int) []netip.Prefix {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	ps := make([]netip.Prefix, 0, n)
	for len(ps) < n {
		if a := r.Uint32(); a>>24 != 0 && a>>28 != 14 {
			ps = append(ps, netip.PrefixFrom(from4(a), 32))
		}
	}
	return ps
}

// BenchmarkReplace gives the time to replace a list of a million IPv4 hosts by another, all tables in one step.
func BenchmarkReplace(b *testing.B) {
	s := New(Heap{})
	must(b, s.Rebuild())
	ps := randomHosts(1_000_000)
	for b.Loop() {
		must(b, s.SetList(FirstBan, ps))
	}
	n, _, bytes := s.Len()
	b.ReportMetric(float64(bytes)/float64(n), "B/ban")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "bans/s")
}

// BenchmarkRebuild is BenchmarkReplace without the sorting of what is new.
func BenchmarkRebuild(b *testing.B) {
	s := New(Heap{})
	must(b, s.SetList(FirstBan, randomHosts(1_000_000)))
	for b.Loop() {
		must(b, s.Rebuild())
	}
	b.ReportMetric(1e6*float64(b.N)/b.Elapsed().Seconds(), "bans/s")
}

func BenchmarkLookup(b *testing.B) {
	s := New(Heap{})
	must(b, s.Rebuild())
	hosts := randomHosts(1_000_000)
	must(b, s.SetList(FirstBan, hosts))
	for name, as := range map[string][]netip.Prefix{"banned": hosts, "stranger": randomHosts(999_999)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.Lookup(as[i].Addr(), 1)
				if i++; i == len(as) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkBan puts single bans into tables that hold 100,000.
func BenchmarkBan(b *testing.B) {
	s := New(Heap{})
	must(b, s.Rebuild())
	for _, p := range randomHosts(100_000) {
		must(b, s.Ban(p, FirstBan, Forever))
	}
	ps := randomHosts(1000)
	i := 0
	for b.Loop() {
		must(b, s.Ban(ps[i%1000], FirstBan, Tick(i)))
		i++
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
