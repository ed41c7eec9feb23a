package bpf

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// BenchmarkFilter gives the cost of one packet as the kernel's own test run measures it, in kernel-ns/packet: one source, so warm
// caches. ns/op is the same with the system call. Compare within one run only.
func BenchmarkFilter(b *testing.B) {
	f := unattached(b)
	for i := range uint32(100_000) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|i)
		must(b, f.Ban(Ban{netip.PrefixFrom(netip.AddrFrom4(a), 32), Never}))
		s := [16]byte{0x20, 1, 0xd, 0xb8}
		binary.BigEndian.PutUint32(s[4:], i+1)
		must(b, f.Ban(Ban{netip.PrefixFrom(netip.AddrFrom16(s), 64), Never}))
	}
	for i := range uint32(1000) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 172<<24|i<<8)
		must(b, f.Ban(Ban{netip.PrefixFrom(netip.AddrFrom4(a), 24), Never}))
	}
	must(b, f.SetAllowed([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:ffff::/48")}))
	for _, bc := range []struct {
		name string
		in   frame
		want uint32
	}{
		{"pass-v4", frame{src: "198.51.100.7"}, xdpPass},
		{"pass-v6", frame{src: "2001:db9::7"}, xdpPass},
		{"pass-arp", frame{src: "198.51.100.7", proto: etherARP}, xdpPass},
		{"banned-v4", frame{src: "10.0.100.7"}, xdpDrop},
		{"banned-v4-qinq", frame{src: "10.0.100.7", tags: []uint16{etherQinQ, etherVLAN}}, xdpDrop},
		{"banned-v4-net", frame{src: "172.0.100.7"}, xdpDrop},
		{"banned-v6-site", frame{src: "2001:db8:0:8000::7"}, xdpDrop},
	} {
		b.Run(bc.name, func(b *testing.B) {
			o := ebpf.RunOptions{Data: bc.in.bytes()}
			if ret, err := f.Program().Run(&o); err != nil || ret != bc.want {
				b.Fatalf("%d %v, want %d", ret, err, bc.want)
			}
			b.ResetTimer()
			ret, took, err := f.Program().Benchmark(o.Data, b.N, b.ResetTimer)
			if err != nil || ret != bc.want {
				b.Fatalf("%d %v, want %d", ret, err, bc.want)
			}
			b.ReportMetric(float64(took.Nanoseconds()), "kernel-ns/packet")
		})
	}
}
