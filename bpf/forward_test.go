package bpf

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

const xdpRedirect = 4 // linux/bpf.h

// The streams of the tests: what comes to local from the latched source leaves from source to target, by another interface, or by the
// one it came in by (1).
var (
	stream4 = Stream{
		Local: ap("198.51.100.1:20000"), From: ap("192.0.2.7:40000"), Source: ap("10.0.0.1:20004"), Target: ap("10.9.8.7:31000"), Types: [2]uint64{1 << 0, 1 << (101 - 64)},
		Hop: Hop{Interface: 7, MTU: 1500, NextHop: [6]byte{2, 9, 9, 9, 9, 1}, InterfaceMAC: [6]byte{2, 9, 9, 9, 9, 2}},
	}
	stream6 = Stream{
		Local: ap("[2001:db8:ffff::1]:20000"), From: ap("[2001:db8::7]:40000"), Source: ap("[fd00::1]:20006"), Target: ap("[fd00::77]:31002"), Types: [2]uint64{1 << 0},
		Hop: Hop{Interface: 1, MTU: 1500, NextHop: [6]byte{2, 9, 9, 9, 9, 3}, InterfaceMAC: [6]byte{2, 9, 9, 9, 9, 4}},
	}
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// forwarding is the filter with both streams in force.
func forwarding(t testing.TB) (*Filter, *Flow, *Flow) {
	t.Helper()
	f := unattached(t)
	f.SetPorts(testPorts)
	f.OpenPort(mediaFirst, true)
	var flows [2]*Flow
	for i, s := range []Stream{stream4, stream6} {
		var err error
		flows[i], err = f.NewFlow()
		must(t, err)
		must(t, flows[i].Forward(s))
	}
	must(t, f.ForwardUntil(now(t)+time.Hour))
	return f, flows[0], flows[1]
}

// rtp is an RTP packet of type 0 that begins with the given bytes instead.
func rtp(n int, first ...byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(3 * i)
	}
	copy(b, append([]byte{0x80, 0}, first...))
	if len(first) > 0 {
		copy(b, first)
	}
	return b
}

// datagram is the payload of an IP packet, with its checksum.
func datagram(s Stream, rtp []byte) []byte {
	b := make([]byte, 8, 8+len(rtp))
	binary.BigEndian.PutUint16(b, s.From.Port())
	binary.BigEndian.PutUint16(b[2:], s.Local.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(rtp)))
	b = append(b, rtp...)
	binary.BigEndian.PutUint16(b[6:], udpSum(s.From.Addr(), s.Local.Addr(), b))
	return b
}

// udpSum is the checksum of a datagram in full (RFC 768), whatever stands in its place.
func udpSum(from, to netip.Addr, u []byte) uint16 {
	b := append(append(append([]byte{}, from.AsSlice()...), to.AsSlice()...), 0, 17, byte(len(u)>>8), byte(len(u)))
	b = append(b, u...)
	at := len(b) - len(u) + 6
	b[at], b[at+1] = 0, 0
	if s := ^sum16(b); s != 0 {
		return s
	}
	return 0xffff
}

func sum16(b []byte) uint16 {
	var s uint32
	for i := range b {
		if i%2 == 0 {
			s += uint32(b[i]) << 8
		} else {
			s += uint32(b[i])
		}
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

func streamFrame(s Stream, rtp []byte) frame {
	return frame{src: s.From.Addr().String(), dst: s.Local.Addr().String(), payload: datagram(s, rtp)}
}

// sentOn is what must leave: written anew from the top, with all checksums in full.
func sentOn(s Stream, rtp []byte) []byte {
	out := Stream{From: s.Source, Local: s.Target}
	b := streamFrame(out, rtp).bytes()
	copy(b, append(append([]byte{}, s.Hop.NextHop[:]...), s.Hop.InterfaceMAC[:]...))
	if ip := b[14:]; s.Local.Addr().Is4() {
		ip[1], ip[6] = 0xb8, 0x40
		binary.BigEndian.PutUint16(ip[10:], ^sum16(ip[:20]))
	} else {
		ip[0], ip[1] = 0x6b, 0x80
	}
	return b
}

func test(t testing.TB, f *Filter, in []byte) (uint32, []byte) {
	t.Helper()
	o := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256)}
	ret, err := f.Program().Run(o)
	must(t, err)
	return ret, o.DataOut
}

// A stream's packets leave rewritten, with the right checksums, and are counted.
func TestRootForward(t *testing.T) {
	f, flow4, flow6 := forwarding(t)
	for name, b := range map[string][]byte{
		"20 ms of G.711": rtp(172), "with its mark": rtp(172, 0x80, 0x80), "no payload, filled up to 60 bytes": rtp(12), "odd length": rtp(173),
		"two sources": rtp(172, 0x82), "an extension": rtp(172, 0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1, 9, 9, 9, 9),
		"an extension to the end": rtp(20, 0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1, 9, 9, 9, 9), "1,400 bytes": rtp(1400),
	} {
		for _, c := range []struct {
			s Stream
			w *Flow
		}{{stream4, flow4}, {stream6, flow6}} {
			before := c.w.Counted()
			ret, out := test(t, f, streamFrame(c.s, b).bytes())
			if ret != xdpRedirect || !bytes.Equal(out, sentOn(c.s, b)) {
				t.Errorf("%s to %s: %d\n%x, want\n%x", name, c.s.Local, ret, out, sentOn(c.s, b))
			}
			got := c.w.Counted()
			want := Counted{before.Packets + 1, before.Bytes + uint64(len(b)), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint16(b[2:])}
			if got != want {
				t.Errorf("%s to %s: counted %+v, want %+v", name, c.s.Local, got, want)
			}
		}
	}
	c, _ := counts(t, f)
	if n := c[fate{FamilyIPv4, ReasonNone, ActionForward, 0}].Packets; n != 8 {
		t.Errorf("%d packets of IPv4 were counted as sent on, not 8", n)
	}
	in := streamFrame(stream4, rtp(172)).bytes()
	in[40], in[41] = 0, 0 // no checksum (RFC 768)
	want := sentOn(stream4, rtp(172))
	want[40], want[41] = 0, 0
	if ret, out := test(t, f, in); ret != xdpRedirect || !bytes.Equal(out, want) {
		t.Errorf("without a checksum: %d\n%x, want\n%x", ret, out, want)
	}
}

// goesUp lets a frame through the program, which must not change it, send it on or count it for a stream.
func goesUp(t *testing.T, f *Filter, name string, in []byte, want uint32) {
	t.Helper()
	before, _ := counts(t, f)
	if ret, out := test(t, f, in); ret != want || !bytes.Equal(out, in) {
		t.Errorf("%s: %d\n%x, want %d and\n%x", name, ret, out, want, in)
	}
	after, _ := counts(t, f)
	for _, family := range []Family{FamilyIPv4, FamilyIPv6} {
		if k := (fate{family, ReasonNone, ActionForward, 0}); after[k] != before[k] {
			t.Errorf("%s: counted as sent on", name)
		}
	}
}

// What is not exactly the stream goes up as it came.
func TestRootForwardNothingElse(t *testing.T) {
	f, flow4, flow6 := forwarding(t)
	all := []Stream{stream4, stream6}
	for name, b := range map[string][]byte{
		"another type": rtp(172, 0x80, 8), "RTCP": rtp(172, 0x80, 200), "STUN": rtp(172, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42), "DTLS": rtp(172, 22, 254, 253), "version 1": rtp(172, 0x40),
		"padded": rtp(172, 0xa0), "short": rtp(11), "empty": rtp(0), "cut sources": rtp(20, 0x83), "cut extension": rtp(15, 0x90),
		"an extension beyond the end": rtp(172, 0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0xff, 0xff), "longer than the MTU": rtp(1500),
		"an extension a word beyond": rtp(172, 0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 40),
	} {
		for _, s := range all {
			goesUp(t, f, name, streamFrame(s, b).bytes(), xdpPass)
		}
	}
	for name, change := range map[string]func(*frame){
		"another host":      func(in *frame) { in.src = netip.MustParseAddr(in.src).Next().String() },
		"another address":   func(in *frame) { in.dst = netip.MustParseAddr(in.dst).Next().String() },
		"another port":      func(in *frame) { in.payload[1]++ },
		"a port without":    func(in *frame) { in.payload[3]++ },
		"a VLAN":            func(in *frame) { in.tags = []uint16{etherVLAN} },
		"a longer datagram": func(in *frame) { in.payload[5]++ },
		"a shorter one":     func(in *frame) { in.payload[5]-- },
		"more behind it":    func(in *frame) { in.payload = append(in.payload, 0) },
		"IPv4 total":        func(in *frame) { in.total = 20 + len(in.payload) - 1 },
		"IPv4 options":      func(in *frame) { in.options = 4 },
		"a first fragment":  func(in *frame) { in.flags = 0x2000 },
		"a later fragment":  func(in *frame) { in.flags = 1 },
		"the reserved flag": func(in *frame) { in.flags = 0x8000 },
		"TCP":               func(in *frame) { in.next = 6 },
		"IPv6 options":      func(in *frame) { in.next, in.ext = 60, chain(1) },
	} {
		for _, s := range all {
			in := streamFrame(s, rtp(172))
			before := in
			before.payload = bytes.Clone(in.payload)
			change(&in)
			if bytes.Equal(in.bytes(), before.bytes()) {
				continue // not of this family
			}
			want := uint32(xdpPass)
			if ret, _ := test(t, f, in.bytes()); name == "a port without" {
				want = ret // it is closed
			}
			goesUp(t, f, name+" to "+s.Local.String(), in.bytes(), want)
		}
	}
	none := streamFrame(stream6, rtp(172)).bytes()
	none[60], none[61] = 0, 0
	goesUp(t, f, "IPv6 without a checksum", none, xdpPass)
	cut := streamFrame(stream4, rtp(172)).bytes()
	goesUp(t, f, "a cut frame", cut[:len(cut)-1], xdpPass)
	if flow4.Counted().Packets+flow6.Counted().Packets != 0 {
		t.Errorf("%+v %+v", flow4.Counted(), flow6.Counted())
	}
}

// A stream is in force from Forward to Stop while ForwardUntil holds; bans go before it, and the never-ban list does not go around it.
func TestRootForwardStates(t *testing.T) {
	f, flow, _ := forwarding(t)
	in := streamFrame(stream4, rtp(172)).bytes()
	expect := func(what string, want uint32) {
		t.Helper()
		if ret, _ := test(t, f, in); ret != want {
			t.Errorf("%s: %d, want %d", what, ret, want)
		}
	}
	expect("in force", xdpRedirect)
	must(t, f.ForwardUntil(now(t)-time.Second))
	expect("nobody there", xdpPass)
	must(t, f.ForwardUntil(0))
	expect("off", xdpPass)
	must(t, f.ForwardUntil(now(t)+time.Hour))
	expect("on again", xdpRedirect)
	must(t, f.Sources().SetAllow(prefixes("192.0.2.7/32")))
	expect("never banned", xdpRedirect)
	must(t, f.Sources().SetAllow(nil))
	ban(t, f, time.Hour, "192.0.2.7/32")
	expect("banned", xdpDrop)
	must(t, f.Sources().Unban(prefixes("192.0.2.7/32")[0]))
	expect("not banned any more", xdpRedirect)
	n := flow.Counted().Packets
	other := stream4
	other.Target = ap("10.9.8.8:32000")
	must(t, flow.Forward(other))
	if _, out := test(t, f, in); !bytes.Equal(out, sentOn(other, rtp(172))) {
		t.Errorf("to another target: %x", out)
	}
	if got := flow.Counted().Packets; got != n+1 {
		t.Errorf("%d packets after a change, want %d", got, n+1)
	}
	second, err := f.NewFlow()
	must(t, err)
	elsewhere := stream4
	elsewhere.Local = ap("198.51.100.2:20000") // the same port
	must(t, second.Forward(elsewhere))
	must(t, flow.Stop())
	expect("stopped", xdpPass)
	if _, out := test(t, f, streamFrame(elsewhere, rtp(172)).bytes()); !bytes.Equal(out, sentOn(elsewhere, rtp(172))) {
		t.Errorf("the stream at another address: %x", out)
	}
	must(t, flow.Stop())
	must(t, flow.Close())
	must(t, second.Close())
	must(t, f.Close())
}

// Streams of mixed families, of zones and without a port are refused, and room is bounded and comes back.
func TestRootForwardBounds(t *testing.T) {
	f := unattached(t)
	w, err := f.NewFlow()
	must(t, err)
	for _, change := range []func(*Stream){
		func(s *Stream) { s.Target = stream6.Target },
		func(s *Stream) { s.From = netip.AddrPort{} },
		func(s *Stream) { s.Local = ap("[::ffff:1.2.3.4]:5") },
	} {
		s := stream4
		change(&s)
		if w.Forward(s) == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	all := []*Flow{w}
	for range MaxStreams - 1 {
		w, err := f.NewFlow()
		must(t, err)
		all = append(all, w)
	}
	if _, err := f.NewFlow(); err != ErrStreams {
		t.Errorf("%v, want ErrStreams", err)
	}
	for _, w := range all[:3] {
		must(t, w.Close())
	}
	if w, err = f.NewFlow(); err != nil || w.slot != all[0].slot {
		t.Errorf("%v, %+v: not the place that rested longest", err, w)
	}
}

// However a packet of a stream is changed, it leaves exactly as it should, or goes up as it came, or is dropped.
func TestRootForwardProperty(t *testing.T) {
	f, _, _ := forwarding(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 3))
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	sent := 0
	for i := range n {
		s := []Stream{stream4, stream6}[r.IntN(2)]
		payload := rtp(r.IntN(300))
		for range r.IntN(4) {
			if len(payload) > 0 {
				payload[r.IntN(min(len(payload), 20))] = byte(r.Uint32())
			}
		}
		in := streamFrame(s, payload).bytes()
		clean := r.IntN(2) == 0
		if !clean {
			in[r.IntN(min(len(in), 70))] = byte(r.Uint32())
			in = in[:max(14, len(in)-r.IntN(2)*r.IntN(30))]
		}
		ret, out := test(t, f, in)
		switch ret {
		case xdpRedirect:
			sent++
			if clean && !bytes.Equal(out, sentOn(s, payload)) || !clean && !leavesRight(s, in, out) {
				t.Fatalf("seed %d, packet %d: %x became %x", seed, i, in, out)
			}
		default:
			if !bytes.Equal(in, out) {
				t.Fatalf("seed %d, packet %d: %x was changed to %x and returned %d", seed, i, in, out, ret)
			}
		}
	}
	if sent < n/20 {
		t.Errorf("only %d of %d packets were sent on", sent, n)
	}
}

// leavesRight reports whether out is in as the stream rewrites it, where only fields that the rewriting does not look at can be wrong.
func leavesRight(s Stream, in, out []byte) bool {
	header := 34
	if s.Local.Addr().Is6() {
		header = 54
	}
	payload := in[header+8:]
	if want := binary.BigEndian.Uint16(in[header+4:]); int(want)-8 < len(payload) {
		payload = payload[:want-8]
	}
	want := sentOn(s, payload)
	u := in[header : header+8+len(payload)]
	was := binary.BigEndian.Uint16(u[6:])
	right := was == udpSum(s.From.Addr(), s.Local.Addr(), u)
	if !right { // a wrong one stays wrong, and none is none
		now := binary.BigEndian.Uint16(out[header+6:])
		if now == binary.BigEndian.Uint16(want[header+6:]) || (was == 0) != (now == 0) {
			return false
		}
		copy(want[header+6:], out[header+6:header+8])
	}
	return bytes.Equal(out[:header+8+len(payload)], want[:header+8+len(payload)])
}
