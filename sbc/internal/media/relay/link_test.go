package relay

import (
	"net/netip"
	"testing"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/verdict"
)

// listener is a Link that counts, and takes what comes from one source.
type listener struct {
	from       netip.AddrPort
	stun, dtls int
}

func (l *listener) STUN(_ []byte, src netip.AddrPort) bool { l.stun++; return src == l.from }
func (l *listener) DTLS(_ []byte, src netip.AddrPort) bool { l.dtls++; return src == l.from }

// TestDemultiplexing holds RFC 7983 §7: what goes to the Link, what to the relay, and what to nobody.
func TestDemultiplexing(t *testing.T) {
	r, _, rule := handFed(t)
	l := &listener{from: source}
	rule[0].Link = l
	r.s.Set(rule)
	stunPacket := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	for first := range 256 {
		before := *l
		pkt := make([]byte, 40)
		pkt[0] = byte(first)
		why := r.packet(pkt, source)
		if dtls := first >= 20 && first <= 63; dtls != (l.dtls > before.dtls) || dtls && why != dropNone {
			t.Errorf("first byte %d: DTLS %v, %v", first, l.dtls > before.dtls, why.reason())
		}
		if l.stun != before.stun {
			t.Errorf("first byte %d is STUN without its cookie", first)
		}
	}
	if why := r.packet(stunPacket, source); why != dropNone || l.stun != 1 {
		t.Errorf("STUN: %v, %d", why.reason(), l.stun)
	}
	other := netip.MustParseAddrPort("127.0.0.1:9998")
	if why := r.packet(stunPacket, other); why.reason() != verdict.MediaSTUN {
		t.Errorf("STUN that the link refuses: %v", why.reason())
	}
	if why := r.packet([]byte{22, 0, 0}, other); why.reason() != verdict.MediaDTLS {
		t.Errorf("DTLS that the link refuses: %v", why.reason())
	}
	before := *l
	r.rtcp = true
	if why := r.packet([]byte{22, 0, 0}, source); why != dropDTLS || *l != before {
		t.Errorf("DTLS on the RTCP port: %v", why.reason())
	}
	r.rtcp, rule[0].Link = false, nil
	r.s.Set(rule)
	if why := r.packet([]byte{22, 0, 0}, source); why != dropDTLS {
		t.Errorf("DTLS without a link: %v", why.reason())
	}
}

// TestPending: before the keys nothing passes, in neither direction, not even in clear.
func TestPending(t *testing.T) {
	r, _, rule := handFed(t)
	rule[0].Receiver, rule[0].Sender, rule[0].Pending, rule[0].Mux = nil, nil, true, true
	r.s.Set(rule)
	for _, pkt := range [][]byte{rtpPacket(1, "x"), {0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if why := r.packet(append(make([]byte, 0, 200), pkt...), rule[0].RTP); why != dropEarly {
			t.Errorf("taken from the side: %v", why.reason())
		}
	}
	r.side = 1
	if why := r.packet(append(make([]byte, 0, 200), rtpPacket(1, "x")...), source); why != dropUnwanted {
		t.Errorf("sent to the side: %v", why.reason())
	}
}

// TestLinked: only Latch moves the latch, it is kept while the link is the same, and forwarding allocates nothing.
func TestLinked(t *testing.T) {
	for _, suite := range []keying.Suite{keying.AESCM128HMACSHA180, keying.AEADAES128GCM} {
		r, phone, rule := handFedSuite(t, suite)
		rule[0].RTP, rule[0].RTCP = netip.AddrPort{}, netip.AddrPort{}
		rule[0].Link, rule[0].Latching = &listener{}, Linked
		r.s.Set(rule)
		seq := uint16(0)
		step := func() {
			seq++
			pkt := r.buf[:172]
			clear(pkt[:12])
			pkt[0], pkt[2], pkt[3] = 0x80, byte(seq>>8), byte(seq)
			sealed, err := phone.SealRTP(pkt)
			if err != nil {
				t.Fatal(err)
			}
			if why := r.packet(r.buf[:len(sealed)], source); why != dropNone {
				t.Fatal(why.reason())
			}
		}
		step()
		if st := r.s.Stats()[0]; st.Latched || st.Remote.IsValid() {
			t.Errorf("an authentic packet latched: %+v", st)
		}
		chosen := netip.MustParseAddrPort("127.0.0.1:9997")
		r.s.Latch(0, chosen)
		r.s.Set(rule)
		if n := testing.AllocsPerRun(200, step); n > allocsAllowed {
			t.Errorf("%v: %v allocations a packet", suite, n)
		}
		if st := r.s.Stats()[0]; st.Remote != chosen || st.LatchMoves != 0 {
			t.Errorf("%+v", st)
		}
		rule[0].Link = &listener{}
		r.s.Set(rule)
		if st := r.s.Stats()[0]; st.Latched {
			t.Errorf("another link inherits the latch: %+v", st)
		}
	}
}
