package relay

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/mediaport"
)

var source = netip.MustParseAddrPort("127.0.0.1:9999")

// handFed makes a session whose side 0 is SRTP and a reader that is fed by hand. Both sides' media go to ports that nobody has.
func handFed(t testing.TB) (*reader, *keying.Sender, Rule) {
	return handFedSuite(t, keying.AEADAES256GCM)
}

func handFedSuite(t testing.TB, suite keying.Suite) (*reader, *keying.Sender, Rule) {
	t.Helper()
	pool, err := mediaport.New(mediaport.Config{Min: 14000, Max: 14999})
	if err != nil {
		t.Fatal(err)
	}
	s, err := readers(t).Open(pool, [2]netip.Addr{loopback, loopback}, [2]string{"0123456789abcdef", "0123456789abcdef"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(0); s.Wait() })
	phone, rx := halves(t, key(t, suite))
	tx, _ := halves(t, key(t, suite))
	sink := netip.MustParseAddrPort("127.0.0.1:9")
	rule := Rule{
		{RTP: sink, RTCP: sink, Types: types(0), Receiver: rx, Sender: tx},
		{RTP: source, RTCP: source, Types: types(0)},
	}
	return &reader{s: s, side: 0, conn: s.pairs[0].RTP, buffers: new(buffers)}, phone, rule
}

func TestForwardingAllocatesNothing(t *testing.T) {
	for _, suite := range []keying.Suite{keying.AESCM128HMACSHA180, keying.AEADAES256GCM} {
		for side := range 2 {
			r, step := stepper(t, suite, side)
			step()
			if n := testing.AllocsPerRun(500, step); n > allocsAllowed {
				t.Errorf("%v from side %d: %v allocations a packet", suite, side, n)
			}
			if got := r.s.Stats()[side^1].PacketsOut; got < 500 {
				t.Errorf("%v from side %d: only %d packets were sent: %+v", suite, side, got, r.s.Stats())
			}
		}
	}
}

// stepper returns a function that makes the relay forward one 20 ms packet of G.711 from a side.
func stepper(t testing.TB, suite keying.Suite, side int) (*reader, func()) {
	r, phone, rule := handFedSuite(t, suite)
	rule[1].RTP = source
	r.side = side
	r.s.Set(rule)
	seq := uint16(0)
	return r, func() {
		seq++
		pkt := r.buf[:172]
		clear(pkt[:12])
		pkt[0] = 0x80
		binary.BigEndian.PutUint16(pkt[2:], seq)
		if side == 0 {
			sealed, err := phone.SealRTP(r.buf[:172])
			if err != nil {
				t.Fatal(err)
			}
			pkt = sealed
		}
		if why := r.packet(r.buf[:len(pkt)], source); why != dropNone {
			t.Fatal(why.reason())
		}
	}
}

func BenchmarkForward(b *testing.B) {
	for _, suite := range []keying.Suite{keying.AESCM128HMACSHA180, keying.AEADAES256GCM} {
		for side, name := range []string{"SRTP to RTP", "RTP to SRTP"} {
			b.Run(suite.String()+"/"+name, func(b *testing.B) {
				_, step := stepper(b, suite, side)
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
			})
		}
	}
}
