package guard

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

func manyBans(t testing.TB) *Guard {
	t.Helper()
	g := open(t, userSpace(), Options{Allow: map[string][]netip.Prefix{"trunks": {prefix("198.51.100.0/24")}}})
	now := time.Now()
	until := g.base.tick(now.Add(time.Hour))
	for i := range 100_000 {
		must(t, g.set.Ban(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), listPersons, until))
		must(t, g.set.Ban(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}), 64), listPersons, until))
	}
	must(t, g.Ban(prefix("172.16.0.0/12"), time.Hour, "ann", ""))
	must(t, g.Ban(prefix("2001:db8::/32"), time.Hour, "ann", ""))
	return g
}

var admitCases = []struct {
	name string
	src  string
	want verdict.Verdict
}{
	{"pass-v4", "192.0.2.7", verdict.Passed},
	{"pass-v6", "2a00::7", verdict.Passed},
	{"allowed", "198.51.100.7", verdict.Passed},
	{"banned-v4", "10.0.100.7", hostBanned},
	{"banned-v6-site", "2001:0:1:64::7", hostBanned},
	{"banned-net-v4", "172.20.1.1", verdict.Dropped(verdict.NetworkBanned)},
	{"banned-net-v6", "2001:db8::7", verdict.Dropped(verdict.NetworkBanned)},
}

// Admit makes no garbage, whatever it answers, also while somebody watches.
func TestAdmitAllocates(t *testing.T) {
	g := manyBans(t)
	ch := g.Watch(t.Context())
	defer func() {
		for len(ch) > 0 {
			<-ch
		}
	}()
	for _, tc := range admitCases {
		a := addr(tc.src)
		ap := netip.AddrPortFrom(a, 5060)
		n := testing.AllocsPerRun(1000, func() {
			if v := g.Admit(a); v != tc.want {
				t.Fatalf("%s: %v, want %v", tc.name, v, tc.want)
			}
			if v := g.AdmitDatagram(ap); v != tc.want {
				t.Fatalf("%s: %v, want %v", tc.name, v, tc.want)
			}
		})
		if n >= 1 { // the forwarder of samples allocates beside us, a bounded number
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}

// Readers see bans come and go without a lock; the race detector looks on.
func TestAdmitConcurrent(t *testing.T) {
	g := open(t, userSpace(), Options{})
	must(t, g.Ban(prefix("192.0.2.1/32"), time.Hour, "ann", ""))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if g.Admit(addr("192.0.2.1")).OK() {
					t.Error("a ban was missed while others changed")
					return
				}
				g.AdmitDatagram(netip.MustParseAddrPort("192.0.2.9:5060"))
			}
		})
	}
	for i := range 500 {
		src := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		fail(g, src.String(), 5)
		g.Offence(Offence{Source: netip.AddrPortFrom(src, uint16(i)), Reason: verdict.UnknownUser})
		if i%50 == 0 {
			must(t, g.Ban(prefix("172.16.0.0/12"), time.Hour, "ann", ""))
			must(t, g.SetAllow("trunks", []netip.Prefix{prefix("198.51.100.0/24")}))
			g.sweep()
			_, _ = g.Stats()
			g.Why(src)
			must(t, g.Unban(prefix("172.16.0.0/12"), "ann", ""))
		}
	}
	close(stop)
	readers.Wait()
}

func TestAdmitCounts(t *testing.T) {
	g := manyBans(t)
	g.Admit(netip.Addr{})
	if v := g.AdmitDatagram(netip.AddrPort{}); !v.OK() {
		t.Error(v)
	}
	must(t, g.SetAllow("core", []netip.Prefix{prefix("10.0.0.0/24")}))
	for _, s := range []string{"10.0.1.1", "10.0.1.2", "10.0.0.1", "2001:db8::1", "192.0.2.1"} {
		g.Admit(addr(s))
	}
	s, err := g.Stats()
	must(t, err)
	want := map[Count]bool{
		{"user-space", "ipv4", verdict.HostBanned, "drop", 2, 0}:    true,
		{"user-space", "ipv6", verdict.NetworkBanned, "drop", 1, 0}: true,
	}
	for _, c := range s.Counts {
		if !want[c] {
			t.Errorf("unexpected: %+v", c)
		}
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("missing: %+v", want)
	}
}

func BenchmarkAdmit(b *testing.B) {
	g := manyBans(b)
	for _, bc := range admitCases {
		b.Run(bc.name, func(b *testing.B) {
			a := netip.AddrPortFrom(addr(bc.src), 5060)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					g.AdmitDatagram(a)
				}
			})
		})
	}
}

func BenchmarkOffence(b *testing.B) {
	g := open(b, userSpace(), Options{})
	o := Offence{Verified: true, Reason: verdict.BadCredentials, AOR: "100@example.com"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 18), byte(i >> 10), byte(i >> 2)}), 1)
		g.Offence(o)
	}
}
