package bpf

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"brickhouse/bpf/table"
)

// Addresses of a small world, so that bans, the never-ban list and packets meet often.
func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		special := [][4]byte{{}, {255, 255, 255, 255}, {224, 0, 0, 1}, {127, 0, 0, 1}, {240, 0, 0, 1}}
		if i := r.IntN(40); i < len(special) {
			return netip.AddrFrom4(special[i])
		}
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(8))})
	}
	special := []string{"::", "::1", "ff02::1", "::ffff:10.0.0.1", "fe80::1", "2001:db9::1"}
	if i := r.IntN(40); i < len(special) {
		return netip.MustParseAddr(special[i])
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(r.IntN(2) << 4), byte(r.IntN(2)), 0, byte(r.IntN(3)), byte(r.IntN(2) << 7), 15: byte(r.IntN(4))})
}

// mapped are the addresses of IPv4 as IPv6 writes them: no prefix of the filter's reaches into them.
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

func randomPrefix(r *rand.Rand) netip.Prefix {
	for {
		a := randomAddr(r)
		bits := []int{15, 16, 20, 23, 24, 25, 29, 31, 32, 32, 32, 7 + r.IntN(26)}[r.IntN(12)]
		if a.Is6() {
			bits = []int{32, 33, 36, 47, 48, 56, 63, 64, 64, 65, 80, 127, 128, 128, 20 + r.IntN(109), 16}[r.IntN(16)]
		}
		if p, err := a.Prefix(bits); err == nil && !p.Addr().IsUnspecified() && !p.Overlaps(mapped) && p.Addr() != netip.IPv6LinkLocalAllNodes() && p != netip.PrefixFrom(netip.MustParseAddr("::1"), 128) {
			return p
		}
	}
}

func randomPayload(r *rand.Rand) (proto int, b []byte) {
	switch r.IntN(10) {
	case 0:
		return 6, tcp(portSIP, byte(r.Uint32()))
	case 1:
		return []int{1, 47, 50, 58, 59, 132}[r.IntN(6)], []byte("whatever it is")
	case 2:
		return 17, make([]byte, r.IntN(12))
	}
	port := []int{portSIP, portSIP, portSIP, portTLS, mediaFirst, mediaFirst + 1, mediaLast, mediaLast + 1, 9}[r.IntN(9)]
	s := []string{sipOptions, "SIP/2.0 200 OK\r\n", "\r\n\r\n", "", "\x00", "JUNK", "GET / HTTP/1.1", "\x80\x00rtp rtp rtp"}[r.IntN(8)]
	return 17, udp(port, s)
}

// randomChain is n extension headers before a transport protocol; first is the next header of what is before them.
func randomChain(r *rand.Rand, n, proto int) (first int, b []byte) {
	kinds := []byte{0, 43, 44, 51, 60, 60, 60, 135, 139, 140}
	next := byte(proto)
	for range n {
		k := kinds[r.IntN(len(kinds))]
		h := []byte{next, byte(r.IntN(2)), 0, 0, 0, 0, 0, 0}
		switch k {
		case 44:
			if h[1] = 0; r.IntN(3) == 0 {
				h[2], h[3] = byte(r.IntN(2)), byte(r.Uint32())
			}
		case 51:
			h = append(h, make([]byte, 4*(int(h[1])))...)
		default:
			h = append(h, make([]byte, 8*int(h[1]))...)
		}
		next, b = k, append(h, b...)
	}
	return int(next), b
}

func randomFrame(r *rand.Rand) []byte {
	a, b := randomAddr(r), randomAddr(r)
	for a.Is4() != b.Is4() {
		b = randomAddr(r)
	}
	f := frame{src: a.String(), dst: b.String(), options: 4 * r.IntN(4)}
	f.next, f.payload = randomPayload(r)
	if r.IntN(4) == 0 {
		f.flags = uint16(r.IntN(1 << 16))
	}
	if a.Is6() && r.IntN(2) == 0 {
		f.next, f.ext = randomChain(r, r.IntN(9), f.next)
	}
	if f.next == 0 {
		f.next = -1
	}
	for range []int{0, 0, 0, 1, 2, 3}[r.IntN(6)] {
		f.tags = append(f.tags, []uint16{etherVLAN, etherQinQ}[r.IntN(2)])
	}
	out := f.bytes()
	if r.IntN(6) == 0 { // hurt one byte
		out[12+r.IntN(len(out)-12)] = byte(r.Uint32())
	}
	if r.IntN(10) == 0 {
		out = out[:14+r.IntN(len(out)-13)]
	}
	return out
}

// The C program, the look-up in user space and the model decide the same about random frames, while the tables change.
func TestRootModel(t *testing.T) {
	f := unattached(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	frames := 1_000_000
	if testing.Short() {
		frames = 20_000
	}
	m := &model{}
	m.setPorts(f)
	must(t, f.Sources().SetList(listTwo+7, manyHosts())) // so that hosts of other lists stand as those of long lists do
	var o ebpf.RunOptions
	met := map[fate]int{}
	for i := range frames {
		if i%100 == 0 {
			m.change(t, r, f)
		}
		in := randomFrame(r)
		want := m.judge(in)
		o.Data = in
		got, err := f.Program().Run(&o)
		if err != nil || (got == xdpDrop) != (want.action == ActionDrop) {
			t.Fatalf("seed %d, frame %d: %d %v, the model says %v\n%x", seed, i, got, err, want, in)
		}
		if i%50 == 0 {
			_, got := run(t, f, in)
			if met[fate{got.family, got.reason, got.action, 0}]++; !want.holds(got) {
				t.Fatalf("seed %d, frame %d: %v, the model says %v\n%x\n%v", seed, i, got, want, in, m.claims)
			}
		}
	}
	if len(met) < 25 && !testing.Short() {
		t.Errorf("only %d fates were met: %v", len(met), met)
	}
}

// manyHosts are enough for a table of listed hosts, none of them in the world of the model.
func manyHosts() []netip.Prefix {
	var all []netip.Prefix
	for i := range 70_000 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{13, byte(100 + i>>16), byte(i >> 8), byte(i)}), 32))
	}
	return all
}

func (m *model) setPorts(f *Filter) {
	f.SetPorts(testPorts)
	m.sip, m.media = map[uint16]bool{portSIP: true}, map[uint16]bool{}
	for p := mediaFirst; p <= mediaLast; p++ {
		m.media[uint16(p)] = false
	}
}

// change makes one change of any kind to the filter and the model alike.
func (m *model) change(t *testing.T, r *rand.Rand, f *Filter) {
	s, p, l := f.Sources(), randomPrefix(r), listOne+table.List(r.IntN(3))
	drop := func(which func(claim) bool) { m.claims = slices.DeleteFunc(m.claims, which) }
	switch n := r.IntN(240); {
	case n == 0:
		ps := []netip.Prefix{p, randomPrefix(r)}[:r.IntN(3)]
		must(t, s.SetAllow(ps))
		drop(func(c claim) bool { return c.list == table.Allow })
		for _, p := range ps {
			m.claims = append(m.claims, claim{prefix: p, list: table.Allow})
		}
	case n == 1:
		ps := []netip.Prefix{p, randomPrefix(r), randomPrefix(r)}[:r.IntN(4)]
		must(t, s.SetList(l, ps))
		drop(func(c claim) bool { return c.list == l && !c.single })
		for _, p := range ps {
			if !slices.ContainsFunc(ps, func(q netip.Prefix) bool { return q.Bits() < p.Bits() && q.Overlaps(p) }) {
				m.claims = append(m.claims, claim{prefix: p, list: l})
			}
		}
	case n == 2:
		m.monitored = r.Uint64() & (7 << listOne)
		must(t, s.SetMonitored(m.monitored))
	case n == 3:
		m.fragments = Fragments(r.IntN(3))
		must(t, f.Set(Settings{Fragments: m.fragments}))
	case n < 8:
		m.own = []netip.Addr{randomAddr(r), randomAddr(r), randomAddr(r), randomAddr(r)}[:r.IntN(5)]
		must(t, f.SetOwn(m.own))
		for i, a := range m.own {
			m.own[i] = a.Unmap() // a mapped address is the IPv4 one
		}
	case n < 40:
		port := uint16(mediaFirst + r.IntN(2))
		m.media[port] = r.IntN(2) == 0
		f.OpenPort(port, m.media[port])
	case n < 140 && len(m.claims) < 12:
		drop(func(c claim) bool { return c.single && c.prefix == p })
		m.claims = append(m.claims, claim{p, l, true})
		must(t, s.Ban(p, l, table.Forever))
	default:
		for _, c := range m.claims {
			if c.single {
				must(t, s.Unban(c.prefix))
				drop(func(x claim) bool { return x == c })
				return
			}
		}
	}
}

// No packet of a source that is always banned passes, while others come and go around it, entries move and tables are made anew.
func TestRootNeverMissed(t *testing.T) {
	f := unattached(t)
	s := f.Sources()
	lasting := prefixes("10.9.0.0/16", "2001:db8:5::/48", "2001:db8:4000::/35", "2001:db9::/80", "2002::/16", "192.0.2.7/32", "198.51.100.0/25")
	for i := range 24 {
		a := [16]byte{0x20, 1, 0xd, 0xba, 7: byte(i / 8), 15: byte(i)}
		lasting = append(lasting, netip.PrefixFrom(netip.AddrFrom16(a), 128-i%2*64).Masked(), netip.PrefixFrom(netip.AddrFrom4([4]byte{11, 0, byte(i), 1}), 32))
	}
	var frames [][]byte
	for _, p := range lasting {
		must(t, s.Ban(p, listOne, table.Forever))
		frames = append(frames, frame{src: p.Addr().String()}.bytes())
	}
	frames = append(frames, frame{src: "2001:db8::1"}.bytes()) // on a list that moves between tables
	must(t, s.SetList(listTwo, prefixes("2001:db8::/80")))
	listed := manyHosts()
	for _, p := range listed[:30] {
		frames = append(frames, frame{src: p.Addr().String()}.bytes())
	}
	must(t, s.SetList(listTwo+7, listed))
	var stop atomic.Bool
	var runner sync.WaitGroup
	rounds := 0
	runner.Go(func() {
		var o ebpf.RunOptions
		for ; !stop.Load(); rounds++ {
			for i, b := range frames {
				o.Data = b
				if ret, err := f.Program().Run(&o); err != nil || ret != xdpDrop {
					t.Errorf("frame %d of a banned source: %d %v", i, ret, err)
					return
				}
			}
		}
	})
	moves := 60
	if testing.Short() {
		moves = 5
	}
	for range moves { // bans of listed hosts, which then stand elsewhere, and again not
		for _, p := range listed[:30] {
			must(t, s.Ban(p, listOne, table.Forever))
		}
		for _, p := range listed[:30] {
			must(t, s.Unban(p))
		}
		must(t, s.Rebuild())
	}
	push(t, s)
	churn(t, s)
	stop.Store(true)
	runner.Wait()
	t.Logf("%d packets", rounds*len(frames))
}

// push keeps the tables of hosts nearly full and changes entries, so that they push each other from line to line.
func push(t *testing.T, s *table.Set) {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 5))
	rounds := 200_000
	if testing.Short() {
		rounds = 20_000
	}
	var in []netip.Prefix
	for range rounds {
		a := netip.AddrFrom4([4]byte{12, byte(r.Uint32()), byte(r.Uint32()), 9})
		if r.IntN(2) == 0 {
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xbc, 6: byte(r.Uint32()), 7: byte(r.Uint32()), 15: 1})
		}
		p, _ := a.Prefix(a.BitLen() - a.BitLen()/128*64)
		must(t, s.Know(p, table.Forever))
		if in = append(in, p); len(in) > 260 {
			i := r.IntN(len(in))
			must(t, s.Unknow(in[i]))
			in[i] = in[len(in)-1]
			in = in[:len(in)-1]
		}
	}
	for _, p := range in {
		must(t, s.Unknow(p))
	}
}

func churn(t *testing.T, s *table.Set) {
	t.Helper()
	var others []netip.Prefix
	for i := range 4000 {
		a := [16]byte{0x20, 1, 0xd, 0xba, 7: byte(i / 8), 14: byte(i >> 8), 15: byte(i)}
		others = append(others, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 2}), 32), netip.PrefixFrom(netip.AddrFrom16(a), 128))
	}
	rounds := 4
	if testing.Short() {
		rounds = 3
	}
	moving := [][]netip.Prefix{prefixes("2001:db8::/64"), prefixes("2001:db8::/80"), prefixes("2001:db8::1/128"), prefixes("2001::/16")}
	for round := range rounds {
		for i, p := range others {
			if i%2 == 0 {
				must(t, s.Know(p, table.Forever))
			}
			must(t, s.Ban(p, listOne, table.Tick(i)))
		}
		must(t, s.Ban(netip.MustParsePrefix("10.0.0.0/12"), listTwo+1, table.Tick(round)))
		for range 5 {
			must(t, s.SetList(listTwo, moving[round%len(moving)]))
			must(t, s.SetMonitored(uint64(round%2)<<(listTwo+1)))
			must(t, s.Rebuild())
		}
		for _, p := range others {
			must(t, s.Unknow(p))
			must(t, s.Unban(p))
		}
		must(t, s.Unban(netip.MustParsePrefix("10.0.0.0/12")))
	}
}
