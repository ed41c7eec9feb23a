package relay

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"brickhouse/sbc/internal/media/keying"
)

// fakeKernel remembers what it was told to send on.
type fakeKernel struct {
	mu      sync.Mutex
	full    bool
	streams []*fakeStream
}

type fakeStream struct {
	k              *fakeKernel
	now            Stream
	on, closed     bool
	packets, bytes uint64
	begun          int
}

func (k *fakeKernel) Stream() (KernelStream, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.full {
		return nil, errors.New("full")
	}
	s := &fakeStream{k: k}
	k.streams = append(k.streams, s)
	return s, nil
}

func (s *fakeStream) Forward(w Stream) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.now, s.on = w, true
	s.begun++
}

func (s *fakeStream) Stop() {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.on = false
}

func (s *fakeStream) Counted() (packets, bytes uint64) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return s.packets, s.bytes
}

func (s *fakeStream) InForce() bool {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return s.on
}

func (s *fakeStream) Close() {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.on, s.closed = false, true
}

// from returns the stream in force that comes to a port.
func (k *fakeKernel) from(port uint16) (Stream, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.streams {
		if s.on && s.now.Local.Port() == port {
			return s.now, true
		}
	}
	return Stream{}, false
}

func (k *fakeKernel) inForce() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.streams {
		if s.on {
			n++
		}
	}
	return n
}

// openKernel is a session between two peers whose readers have a kernel.
func openKernel(t *testing.T, lo uint16) (*bench, *fakeKernel) {
	t.Helper()
	k := &fakeKernel{}
	r := readers(t)
	r.UseKernel(k)
	return openIn(t, r, lo), k
}

// speak has both sides send a packet, which latches them.
func (x *bench) speak(t *testing.T) {
	t.Helper()
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, "to b"))
	x.b.receive(x.b.rtp)
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(9, "to a"))
	x.a.receive(x.a.rtp)
}

func (x *bench) local(side int) netip.AddrPort { return netip.AddrPortFrom(loopback, x.s.Port(side)) }

func TestKernelGetsALatchedPlainCall(t *testing.T) {
	x, k := openKernel(t, 13000)
	x.s.Set(x.rule)
	if n := k.inForce(); n != 0 {
		t.Errorf("%d streams before anything was latched", n)
	}
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, "to b"))
	x.b.receive(x.b.rtp)
	until(t, "the latched side is handed over", func() bool { return k.inForce() == 1 })
	if got, _ := k.from(x.s.Port(0)); got != (Stream{x.local(0), at(x.a.rtp), x.local(1), at(x.b.rtp), x.rule[0].Types}) {
		t.Errorf("%+v", got)
	}
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(1, "to a"))
	x.a.receive(x.a.rtp)
	until(t, "the other side is handed over", func() bool { return k.inForce() == 2 })
	if got, _ := k.from(x.s.Port(1)); got != (Stream{x.local(1), at(x.b.rtp), x.local(0), at(x.a.rtp), x.rule[1].Types}) {
		t.Errorf("%+v", got)
	}
}

// When a side's packets come from elsewhere than SDP said, both directions follow.
func TestKernelFollowsTheLatch(t *testing.T) {
	x, k := openKernel(t, 13100)
	x.rule[0].RTP = netip.AddrPortFrom(loopback, 9) // nobody sends from there
	x.s.Set(x.rule)
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(9, "to nobody"))
	until(t, "b is handed over", func() bool { return k.inForce() == 1 })
	if got, _ := k.from(x.s.Port(1)); got.Target != x.rule[0].RTP {
		t.Errorf("before the latch: %+v", got)
	}
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, "to b"))
	until(t, "both follow", func() bool {
		ab, _ := k.from(x.s.Port(0))
		ba, _ := k.from(x.s.Port(1))
		return ab.From == at(x.a.rtp) && ba.Target == at(x.a.rtp)
	})
}

// Whatever is more than passing packets on takes them back, before the rule is in force; then user space relays as it did.
func TestKernelGivesBack(t *testing.T) {
	x, k := openKernel(t, 13200)
	x.s.Set(x.rule)
	x.speak(t)
	until(t, "handed over", func() bool { return k.inForce() == 2 })
	secured := x.rule
	_, secured[0].Receiver = halves(t, key(t, keying.AEADAES256GCM))
	moved := x.rule
	moved[0].RTP = netip.AddrPortFrom(loopback, 9)
	held := x.rule
	held[1].Muted = true
	for _, c := range []struct {
		name string
		rule Rule
		left int
	}{
		{"the same again", x.rule, 2}, {"b on hold", held, 1}, {"off hold", x.rule, 2}, {"no rule", Rule{}, 0}, {"back, latches gone", x.rule, 0},
	} {
		x.s.Set(c.rule)
		if n := k.inForce(); n != c.left {
			t.Errorf("%s: %d streams", c.name, n)
		}
	}
	x.speak(t)
	until(t, "handed over again", func() bool { return k.inForce() == 2 })
	x.s.Set(moved)
	if got, on := k.from(x.s.Port(0)); on {
		t.Errorf("a moved, and the kernel still takes its packets: %+v", got)
	}
	if got, on := k.from(x.s.Port(1)); !on || got.Target != moved[0].RTP {
		t.Errorf("a moved, and b's packets go to %+v", got)
	}
	x.s.Set(x.rule)
	x.speak(t)
	x.s.Set(secured)
	if n := k.inForce(); n != 1 {
		t.Errorf("a sends SRTP: %d streams", n)
	}
	if _, on := k.from(x.s.Port(0)); on {
		t.Error("the kernel takes SRTP for plain")
	}
	secured[0].Sender, _ = halves(t, key(t, keying.AEADAES256GCM))
	x.s.Set(secured)
	if n := k.inForce(); n != 0 {
		t.Errorf("a wants SRTP: %d streams", n)
	}
	linked, pending := x.rule, x.rule
	linked[0].Link, pending[0].Pending = &listener{}, true
	for _, keyless := range []Rule{linked, pending} {
		x.s.Set(x.rule)
		x.speak(t)
		until(t, "handed over again", func() bool { return k.inForce() == 2 })
		x.s.Set(keyless)
		if n := k.inForce(); n != 0 {
			t.Errorf("a has no keys yet: %d streams", n)
		}
	}
}

func TestKernelsPacketsAreCounted(t *testing.T) {
	x, k := openKernel(t, 13300)
	x.s.Set(x.rule)
	x.speak(t)
	until(t, "handed over", func() bool { return k.inForce() == 2 })
	heard := x.s.Heard()
	k.mu.Lock()
	for _, s := range k.streams {
		s.packets, s.bytes = 100, 17200
	}
	k.mu.Unlock()
	if n := x.s.Heard(); n != heard+200 {
		t.Errorf("heard %d packets, and then %d", heard, n)
	}
	check := func(inKernel bool) {
		t.Helper()
		for i, st := range x.s.Stats() {
			if st.PacketsIn != 101 || st.PacketsOut != 101 || st.BytesIn != 17216 || st.BytesOut != 17216 || st.InKernel != inKernel || inKernel && st.ByKernel != 100 {
				t.Errorf("side %d: %+v", i, st)
			}
		}
	}
	check(true)
	x.s.Close(0)
	check(false)
	for _, s := range k.streams {
		if !s.closed || s.on {
			t.Errorf("left in the kernel: %+v", s.now)
		}
	}
}

func TestFullKernelLeavesTheCallToUs(t *testing.T) {
	x, k := openKernel(t, 13400)
	k.full = true
	x.s.Set(x.rule)
	x.speak(t)
	x.speak(t)
	if st := x.s.Stats(); st[0].PacketsIn != 2 || st[0].InKernel || k.inForce() != 0 {
		t.Errorf("%+v", st)
	}
}
