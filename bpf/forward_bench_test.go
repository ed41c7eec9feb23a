package bpf

import (
	"net/netip"
	"testing"
	"time"
)

// ring makes streams of which each one's packets become the next one's, and the last one's the first one's: a test run with repeats, which
// gives the program its own packet back, goes round and meets all of them, as calls do.
func ring(t testing.TB, f *Filter, n int, six bool) Stream {
	t.Helper()
	host := func(i int, us bool) netip.Addr {
		a := [16]byte{0: 0x20, 1: 1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
		if us {
			a[2] = 1
		}
		if six {
			return netip.AddrFrom16(a)
		}
		return netip.AddrFrom4([4]byte{10 + a[2], a[13], a[14], a[15]})
	}
	at := func(i int) Stream {
		i %= n
		return Stream{Local: netip.AddrPortFrom(host(i, true), uint16(16384+i%16384)), From: netip.AddrPortFrom(host(i, false), uint16(1024+i))}
	}
	for i := range n {
		s, next := at(i), at(i+1)
		s.Source, s.Target, s.Types, s.Hop = next.From, next.Local, [2]uint64{1}, stream4.Hop
		w, err := f.NewFlow()
		must(t, err)
		must(t, w.Forward(s))
	}
	return at(0)
}

// BenchmarkForward is what the program takes for a packet that it sends on, 20 ms of G.711, beside one that it lets pass up.
func BenchmarkForward(b *testing.B) {
	const calls, repeat = 2000, 2_000_000
	for name, six := range map[string]bool{"IPv4": false, "IPv6": true} {
		b.Run(name, func(b *testing.B) {
			f := unattached(b)
			f.SetPorts(Ports{MediaFirst: 16384, MediaLast: 32767})
			in := streamFrame(ring(b, f, 2*calls, six), rtp(172)).bytes()
			for p := 16384; p < 32768; p++ {
				f.OpenPort(uint16(p), true)
			}
			measure := func(until time.Duration, want uint32) time.Duration {
				must(b, f.ForwardUntil(until))
				ret, took, err := f.Program().Benchmark(in, repeat, nil)
				must(b, err)
				if ret != want {
					b.Fatalf("the program returned %d, want %d", ret, want)
				}
				return took
			}
			for b.Loop() {
				b.ReportMetric(float64(measure(now(b)+time.Hour, xdpRedirect)), "ns/forwarded")
				b.ReportMetric(float64(measure(0, xdpPass)), "ns/passed")
			}
		})
	}
}

// The benchmark's packets meet every stream of the ring.
func TestRootForwardRing(t *testing.T) {
	f := unattached(t)
	f.SetPorts(Ports{})
	in := streamFrame(ring(t, f, 100, false), rtp(172)).bytes()
	must(t, f.ForwardUntil(now(t)+time.Hour))
	if _, _, err := f.Program().Benchmark(in, 1000, nil); err != nil {
		t.Fatal(err)
	}
	c, _ := counts(t, f)
	if n := c[fate{FamilyIPv4, ReasonNone, ActionForward, 0}].Packets; n != 1000 {
		t.Errorf("%d of 1000 packets were sent on", n)
	}
}
