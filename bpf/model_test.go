package bpf

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// model is the filter in plain Go, written from the documentation and not from the C.
type model struct {
	banned  map[netip.Prefix]bool
	allowed map[netip.Prefix]bool
}

func covers(set map[netip.Prefix]bool, a netip.Addr, accept func(bits int) bool) bool {
	for bits := a.BitLen(); bits >= 0; bits-- {
		if p, _ := a.Prefix(bits); set[p] && accept(bits) {
			return true
		}
	}
	return false
}

func (m model) judge(b []byte) (Family, Reason, Action) {
	if len(b) < 14 {
		return FamilyOther, ReasonBadPacket, ActionDrop
	}
	proto, at := binary.BigEndian.Uint16(b[12:]), 14
	for tags := 0; proto == etherVLAN || proto == etherQinQ; tags++ {
		if tags == 2 {
			return FamilyOther, ReasonTooManyTags, ActionDrop
		}
		if len(b) < at+4 {
			return FamilyOther, ReasonBadPacket, ActionDrop
		}
		proto, at = binary.BigEndian.Uint16(b[at+2:]), at+4
	}
	switch b = b[at:]; proto {
	case etherIPv4:
		r, a := m.ipv4(b)
		return FamilyIPv4, r, a
	case etherIPv6:
		r, a := m.ipv6(b)
		return FamilyIPv6, r, a
	}
	return FamilyOther, ReasonNone, ActionPass
}

func (m model) ipv4(b []byte) (Reason, Action) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return ReasonBadPacket, ActionDrop
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || header > len(b) || (total > 0 && total < header) {
		return ReasonBadPacket, ActionDrop
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case src.IsMulticast() || src == all:
		return ReasonMartianSource, ActionDrop
	case src.IsUnspecified() && !dst.IsMulticast() && dst != all:
		return ReasonMartianSource, ActionDrop
	case src.IsUnspecified():
		return ReasonNone, ActionPass
	}
	return m.source(src, func(bits int) bool { return bits == 32 })
}

func (m model) ipv6(b []byte) (Reason, Action) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return ReasonBadPacket, ActionDrop
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	switch {
	case src.IsMulticast() || src.Is4In6() || (src.IsUnspecified() && !dst.IsMulticast()):
		return ReasonMartianSource, ActionDrop
	case src.IsUnspecified():
		return ReasonNone, ActionPass
	}
	return m.source(src, func(bits int) bool { return bits == 128 || bits == 64 })
}

func (m model) source(src netip.Addr, host func(int) bool) (Reason, Action) {
	reason := ReasonNone
	switch {
	case covers(m.banned, src, host):
		reason = ReasonHostBanned
	case covers(m.banned, src, func(bits int) bool { return !host(bits) }):
		reason = ReasonNetworkBanned
	default:
		return ReasonNone, ActionPass
	}
	if covers(m.allowed, src, func(int) bool { return true }) {
		return reason, ActionAllow
	}
	return reason, ActionDrop
}

// Addresses of a small world, so that bans, the allow list and packets meet often.
func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		special := [][4]byte{{}, {255, 255, 255, 255}, {224, 0, 0, 1}, {127, 0, 0, 1}, {240, 0, 0, 1}}
		if i := r.IntN(40); i < len(special) {
			return netip.AddrFrom4(special[i])
		}
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(8))})
	}
	special := []string{"::", "::1", "ff02::1", "::ffff:10.0.0.1", "fe80::1"}
	if i := r.IntN(40); i < len(special) {
		return netip.MustParseAddr(special[i])
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(r.IntN(2)), 0, byte(r.IntN(3)), 15: byte(r.IntN(8))})
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	for {
		a := randomAddr(r)
		bits := []int{8, 15, 16, 23, 24, 29, 31, 32, 32, 32}[r.IntN(10)]
		if a.Is6() {
			bits = []int{32, 47, 48, 56, 63, 64, 64, 65, 127, 128, 128}[r.IntN(11)]
		}
		if p, err := a.Prefix(bits); err == nil && !p.Addr().IsUnspecified() && !p.Addr().Is4In6() {
			return p
		}
	}
}

func randomFrame(r *rand.Rand) []byte {
	a, b := randomAddr(r), randomAddr(r)
	for a.Is4() != b.Is4() {
		b = randomAddr(r)
	}
	f := frame{src: a.String(), dst: b.String(), options: 4 * r.IntN(4), flags: uint16(r.IntN(1 << 16)), ext: chain(r.IntN(3))}
	for range []int{0, 0, 0, 1, 2, 3}[r.IntN(6)] {
		f.tags = append(f.tags, []uint16{etherVLAN, etherQinQ}[r.IntN(2)])
	}
	out := f.bytes()
	if r.IntN(5) == 0 { // hurt one byte of the headers
		out[12+r.IntN(len(out)-12)] = byte(r.Uint32())
	}
	if r.IntN(10) == 0 {
		out = out[:14+r.IntN(len(out)-13)]
	}
	return out
}

// The C program and the model decide the same about random frames, while bans and the allow list change.
func TestRootModel(t *testing.T) {
	f := unattached(t)
	m := model{map[netip.Prefix]bool{}, map[netip.Prefix]bool{}}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	frames := 100_000
	if testing.Short() {
		frames = 5_000
	}
	var o ebpf.RunOptions
	for i := range frames {
		if i%50 == 0 {
			m.change(t, r, f)
		}
		in := randomFrame(r)
		fam, reason, action := m.judge(in)
		want := uint32(xdpPass)
		if action == ActionDrop {
			want = xdpDrop
		}
		o.Data = in
		if got, err := f.Program().Run(&o); err != nil || got != want {
			t.Fatalf("seed %d, frame %d: %d %v, the model says %v %v %v\n%x", seed, i, got, err, fam, reason, action, in)
		}
		if i%100 == 0 {
			if _, got := run(t, f, in); got != (fate{fam, reason, action}) {
				t.Fatalf("seed %d, frame %d: %v, the model says %v %v %v\n%x", seed, i, got, fam, reason, action, in)
			}
		}
	}
}

func (m model) change(t *testing.T, r *rand.Rand, f *Filter) {
	p := randomPrefix(r)
	switch {
	case r.IntN(4) == 0:
		if m.allowed[p] {
			delete(m.allowed, p)
		} else if len(m.allowed) < 8 {
			m.allowed[p] = true
		}
		var all []netip.Prefix
		for p := range m.allowed {
			all = append(all, p)
		}
		must(t, f.SetAllowed(all))
	case m.banned[p] || len(m.banned) > 12:
		for old := range m.banned {
			p = old
			break
		}
		delete(m.banned, p)
		must(t, f.Unban(p))
	default:
		m.banned[p] = true
		must(t, f.Ban(Ban{p, Never}))
	}
}
