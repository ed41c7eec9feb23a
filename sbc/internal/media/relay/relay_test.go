package relay

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/mediaport"
	"brickhouse/shared/verdict"
)

var loopback = netip.MustParseAddr("127.0.0.1")

const patience = 5 * time.Second

// peer is a test party with its own RTP and RTCP sockets.
type peer struct {
	t         *testing.T
	rtp, rtcp *net.UDPConn
}

func newPeer(t *testing.T, host string) *peer {
	t.Helper()
	p := &peer{t: t}
	for _, c := range []**net.UDPConn{&p.rtp, &p.rtcp} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	return p
}

func at(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (p *peer) send(c *net.UDPConn, port uint16, b []byte) {
	p.t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, netip.AddrPortFrom(at(c).Addr(), port)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive(c *net.UDPConn) []byte {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 3000)
	n, err := c.Read(b)
	if err != nil {
		p.t.Fatalf("nothing came to %v: %v", at(c), err)
	}
	return b[:n]
}

func (p *peer) receivesNothing(c *net.UDPConn) {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	b := make([]byte, 3000)
	if n, err := c.Read(b); err == nil {
		p.t.Fatalf("%x came to %v", b[:n], at(c))
	}
}

func rtpPacket(seq uint16, payload string) []byte {
	b := make([]byte, 12, 12+len(payload)+keying.MaxOverhead)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], 0xabcd)
	return append(b, payload...)
}

func rrPacket(ssrc uint32) []byte {
	b := make([]byte, 8, 64)
	b[0], b[1], b[3] = 0x80, typeRR, 1
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return b
}

func types(pts ...uint8) (p PayloadTypes) {
	for _, pt := range pts {
		p.Add(pt)
	}
	return p
}

// bench is a session between two peers.
type bench struct {
	s    *Session
	a, b *peer
	rule Rule
}

func open(t *testing.T, lo uint16) *bench { return openIn(t, readers(t), lo) }

func openIn(t *testing.T, r *Readers, lo uint16) *bench {
	t.Helper()
	pool, err := mediaport.New(mediaport.Config{Min: lo, Max: lo + 99})
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Open(pool, [2]netip.Addr{loopback, loopback}, [2]string{"cname-for-a", "cname-for-b"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	x := &bench{s: s, a: newPeer(t, "127.0.0.1"), b: newPeer(t, "127.0.0.1")}
	for i, p := range []*peer{x.a, x.b} {
		x.rule[i] = End{RTP: at(p.rtp), RTCP: at(p.rtcp), Types: types(0, 8, 101)}
	}
	t.Cleanup(func() { s.Close(0); s.Wait() })
	return x
}

// until waits for a condition that packets in flight will bring about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func (x *bench) dropped(side int, why verdict.Reason) uint64 { return x.s.Stats()[side].Dropped[why] }

func key(t testing.TB, s keying.Suite) *keying.Key {
	t.Helper()
	k, err := keying.NewKey(s, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func halves(t testing.TB, k *keying.Key) (*keying.Sender, *keying.Receiver) {
	t.Helper()
	tx, err := keying.NewSender(k)
	if err != nil {
		t.Fatal(err)
	}
	rx, err := keying.NewReceiver(k)
	if err != nil {
		t.Fatal(err)
	}
	return tx, rx
}

func TestPlainBothWays(t *testing.T) {
	x := open(t, 12000)
	x.s.Set(x.rule)
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, "to b"))
	if got := x.b.receive(x.b.rtp); !bytes.Equal(got, rtpPacket(1, "to b")) {
		t.Errorf("%x", got)
	}
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(9, "to a"))
	if got := x.a.receive(x.a.rtp); !bytes.Equal(got, rtpPacket(9, "to a")) {
		t.Errorf("%x", got)
	}
	x.a.send(x.a.rtcp, x.s.Port(0)+1, rrPacket(7))
	if got := x.b.receive(x.b.rtcp); !bytes.Equal(got, rrPacket(7)) {
		t.Errorf("%x", got)
	}
	until(t, "all counted", func() bool { st := x.s.Stats(); return st[1].RTCPOut+st[0].PacketsOut+st[1].PacketsOut == 3 })
	st := x.s.Stats()
	if st[0].PacketsIn != 1 || st[1].PacketsOut != 1 || st[0].BytesIn != 16 || st[0].RTCPIn != 1 || st[1].RTCPOut != 1 || !st[0].Latched {
		t.Errorf("%+v", st)
	}
	if x.s.Heard() != 3 {
		t.Errorf("heard %d packets", x.s.Heard())
	}
}

func TestNothingBeforeTheAnswerNorAfterTheEnd(t *testing.T) {
	x := open(t, 12100)
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, "early"))
	until(t, "early packet counted", func() bool { return x.dropped(0, verdict.MediaEarly) == 1 })
	x.s.Set(x.rule)
	x.s.Close(time.Minute)
	x.s.Close(time.Minute)
	x.s.Set(x.rule) // an answer that comes too late does not open it again
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(2, "late"))
	until(t, "late packet counted", func() bool { return x.dropped(0, verdict.MediaLate) == 1 })
	x.b.receivesNothing(x.b.rtp)
}

func TestDrainGivesPortsBack(t *testing.T) {
	pool, err := mediaport.New(mediaport.Config{Min: 12200, Max: 12203})
	if err != nil {
		t.Fatal(err)
	}
	hosts := [2]netip.Addr{loopback, loopback}
	s, err := readers(t).Open(pool, hosts, [2]string{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readers(t).Open(pool, hosts, [2]string{}, slog.New(slog.DiscardHandler)); !errors.Is(err, mediaport.ErrExhausted) {
		t.Fatalf("a second session on two pairs: %v", err)
	}
	s.Close(20 * time.Millisecond)
	if _, used, _ := pool.Count(loopback); used != 2 {
		t.Errorf("%d pairs in use while draining", used)
	}
	s.Wait()
	s2, err := readers(t).Open(pool, hosts, [2]string{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("the next call: %v", err)
	}
	s2.Close(0)
	s2.Wait()
}

func TestHalfOpenedGivesThePairBack(t *testing.T) {
	pool, err := mediaport.New(mediaport.Config{Min: 12210, Max: 12211})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readers(t).Open(pool, [2]netip.Addr{loopback, loopback}, [2]string{}, slog.New(slog.DiscardHandler)); !errors.Is(err, mediaport.ErrExhausted) {
		t.Fatalf("%v", err)
	}
	if free, used, _ := pool.Count(loopback); free != 1 || used != 0 {
		t.Errorf("free %d, used %d", free, used)
	}
}

// secure makes side A SRTP and returns what the phone there sends and receives with.
func (x *bench) secure(t *testing.T, suite keying.Suite) (*keying.Sender, *keying.Receiver) {
	t.Helper()
	tx, relayRx := halves(t, key(t, suite))
	relayTx, rx := halves(t, key(t, suite))
	x.rule[0].Receiver, x.rule[0].Sender = relayRx, relayTx
	return tx, rx
}

func seal(t *testing.T, tx *keying.Sender, p []byte) []byte {
	t.Helper()
	b, err := tx.SealRTP(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSRTPBothWays(t *testing.T) {
	for i, suite := range []keying.Suite{keying.AESCM128HMACSHA180, keying.AEADAES256GCM} {
		x := open(t, 12300+100*uint16(i))
		tx, rx := x.secure(t, suite)
		x.s.Set(x.rule)
		x.a.send(x.a.rtp, x.s.Port(0), seal(t, tx, rtpPacket(1, "to b")))
		if got := x.b.receive(x.b.rtp); !bytes.Equal(got, rtpPacket(1, "to b")) {
			t.Errorf("%v: %x", suite, got)
		}
		x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(9, "to a"))
		got := x.a.receive(x.a.rtp)
		if bytes.Contains(got, []byte("to a")) {
			t.Errorf("%v: plain payload outside", suite)
		}
		if plain, err := rx.OpenRTP(got); err != nil || !bytes.Equal(plain, rtpPacket(9, "to a")) {
			t.Errorf("%v: %v %x", suite, err, plain)
		}
		rr, err := tx.SealRTCP(rrPacket(7))
		if err != nil {
			t.Fatal(err)
		}
		x.a.send(x.a.rtcp, x.s.Port(0)+1, rr)
		if got := x.b.receive(x.b.rtcp); !bytes.Equal(got, rrPacket(7)) {
			t.Errorf("%v: %x", suite, got)
		}
		x.b.send(x.b.rtcp, x.s.Port(1)+1, rrPacket(8))
		if plain, err := rx.OpenRTCP(x.a.receive(x.a.rtcp)); err != nil || !bytes.Equal(plain, rrPacket(8)) {
			t.Errorf("%v: %v %x", suite, err, plain)
		}
	}
}

func TestMux(t *testing.T) {
	x := open(t, 12500)
	tx, rx := x.secure(t, keying.AEADAES256GCM)
	x.rule[0].Mux, x.rule[0].RTCP = true, netip.AddrPort{}
	x.s.Set(x.rule)
	rr, err := tx.SealRTCP(rrPacket(7))
	if err != nil {
		t.Fatal(err)
	}
	x.a.send(x.a.rtp, x.s.Port(0), rr)
	if got := x.b.receive(x.b.rtcp); !bytes.Equal(got, rrPacket(7)) {
		t.Errorf("%x", got)
	}
	x.b.send(x.b.rtcp, x.s.Port(1)+1, rrPacket(8))
	if plain, err := rx.OpenRTCP(x.a.receive(x.a.rtp)); err != nil || !bytes.Equal(plain, rrPacket(8)) {
		t.Errorf("%v %x", err, plain)
	}
}

func TestPlainMuxNeedsTheLatchedSource(t *testing.T) {
	x := open(t, 12600)
	x.rule[0].Mux = true
	x.s.Set(x.rule)
	x.a.send(x.a.rtp, x.s.Port(0), rrPacket(7))
	until(t, "unlatched RTCP counted", func() bool { return x.dropped(0, verdict.MediaStranger) == 1 })
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, ""))
	x.b.receive(x.b.rtp)
	x.a.send(x.a.rtp, x.s.Port(0), rrPacket(7))
	x.b.receive(x.b.rtcp)
}

func TestRefusedPacketsAreNamed(t *testing.T) {
	x := open(t, 12700)
	tx, _ := x.secure(t, keying.AESCM128HMACSHA180)
	x.s.Set(x.rule)
	good := seal(t, tx, rtpPacket(1, "x"))
	forged := rtpPacket(2, "0123456789x")
	wrongType := rtpPacket(3, "x")
	wrongType[1] = 9
	unencrypted := rrPacket(1)
	stun := []byte("\x00\x01\x00\x00\x21\x12\xa4\x42transaction1") // as linphone's
	for _, c := range []struct {
		name string
		conn *net.UDPConn
		port uint16
		b    []byte
		why  verdict.Reason
	}{
		{"forged", x.a.rtp, 0, forged, verdict.MediaAuthFailed},
		{"replayed", x.a.rtp, 0, good, verdict.MediaReplayed},
		{"type", x.a.rtp, 0, wrongType, verdict.MediaType},
		{"empty", x.a.rtp, 0, nil, verdict.MediaMalformed},
		{"short", x.a.rtp, 0, []byte{0x80, 0, 0}, verdict.MediaMalformed},
		{"zeros", x.a.rtp, 0, make([]byte, 20), verdict.MediaMalformed},
		{"STUN", x.a.rtp, 0, stun, verdict.MediaSTUN},
		{"STUN for RTCP", x.a.rtcp, 1, stun, verdict.MediaSTUN},
		{"STUN cut short", x.a.rtp, 0, stun[:19], verdict.MediaMalformed},
		{"too long", x.a.rtp, 0, rtpPacket(4, string(make([]byte, maxPacket))), verdict.MediaMalformed},
		{"short RTCP", x.a.rtcp, 1, []byte{0x80, 201, 0, 0}, verdict.MediaMalformed},
		{"RTP on the RTCP port", x.a.rtcp, 1, rtpPacket(5, "x"), verdict.MediaMalformed},
		{"plain RTCP", x.a.rtcp, 1, unencrypted, verdict.MediaAuthFailed},
	} {
		if c.name == "replayed" {
			x.a.send(x.a.rtp, x.s.Port(0), good)
			x.b.receive(x.b.rtp)
		}
		before := x.dropped(0, c.why)
		x.a.send(c.conn, x.s.Port(0)+c.port, c.b)
		until(t, c.name, func() bool { return x.dropped(0, c.why) == before+1 })
	}
	x.b.receivesNothing(x.b.rtp)
	x.b.receivesNothing(x.b.rtcp)
}

func TestMutedSideGetsNothing(t *testing.T) {
	x := open(t, 12800)
	x.rule[1].Muted = true
	x.s.Set(x.rule)
	x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(1, "x"))
	x.a.send(x.a.rtcp, x.s.Port(0)+1, rrPacket(1))
	until(t, "both counted", func() bool { return x.dropped(0, verdict.MediaUnwanted) == 2 })
	x.b.receivesNothing(x.b.rtp)
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(1, "x")) // the muted side may still speak
	x.a.receive(x.a.rtp)
}

func TestIPv6ToIPv4(t *testing.T) {
	pool, err := mediaport.New(mediaport.Config{Min: 12900, Max: 12999})
	if err != nil {
		t.Fatal(err)
	}
	s, err := readers(t).Open(pool, [2]netip.Addr{netip.IPv6Loopback(), loopback}, [2]string{"a", "b"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(0); s.Wait() })
	a, b := newPeer(t, "::1"), newPeer(t, "127.0.0.1")
	s.Set(Rule{{RTP: at(a.rtp), RTCP: at(a.rtcp), Types: types(0)}, {RTP: at(b.rtp), RTCP: at(b.rtcp), Types: types(0)}})
	a.send(a.rtp, s.Port(0), rtpPacket(1, "to b"))
	b.receive(b.rtp)
	b.send(b.rtp, s.Port(1), rtpPacket(1, "to a"))
	a.receive(a.rtp)
}

// After a change of keys packets with the old key are still taken until the first with the new one.
func TestRekeyLosesNothing(t *testing.T) {
	for i, suite := range []keying.Suite{keying.AESCM128HMACSHA180, keying.AEADAES256GCM} {
		x := open(t, 13000+100*uint16(i))
		oldTx, _ := x.secure(t, suite)
		x.s.Set(x.rule)
		x.a.send(x.a.rtp, x.s.Port(0), seal(t, oldTx, rtpPacket(1, "old")))
		x.b.receive(x.b.rtp)
		previous := x.rule[0].Receiver
		newTx, _ := x.secure(t, suite)
		x.rule[0].Previous, x.rule[0].Until = previous, time.Now().Add(time.Minute)
		x.s.Set(x.rule)
		x.a.send(x.a.rtp, x.s.Port(0), seal(t, oldTx, rtpPacket(2, "still old")))
		if got := x.b.receive(x.b.rtp); string(got[12:]) != "still old" {
			t.Fatalf("%v: %q", suite, got)
		}
		rr, err := oldTx.SealRTCP(rrPacket(1))
		if err != nil {
			t.Fatal(err)
		}
		x.a.send(x.a.rtcp, x.s.Port(0)+1, rr)
		x.b.receive(x.b.rtcp)
		x.a.send(x.a.rtp, x.s.Port(0), seal(t, newTx, rtpPacket(3, "new")))
		x.b.receive(x.b.rtp)
		x.a.send(x.a.rtp, x.s.Port(0), seal(t, oldTx, rtpPacket(4, "too old")))
		until(t, "the old key is dead", func() bool { return x.dropped(0, verdict.MediaAuthFailed) == 1 })
	}
}

func TestOldKeyRunsOut(t *testing.T) {
	x := open(t, 13200)
	oldTx, _ := x.secure(t, keying.AEADAES256GCM)
	previous := x.rule[0].Receiver
	x.secure(t, keying.AEADAES256GCM)
	x.rule[0].Previous, x.rule[0].Until = previous, time.Now().Add(-time.Second)
	x.s.Set(x.rule)
	x.a.send(x.a.rtp, x.s.Port(0), seal(t, oldTx, rtpPacket(1, "old")))
	until(t, "refused", func() bool { return x.dropped(0, verdict.MediaAuthFailed) == 1 })
	x.b.receivesNothing(x.b.rtp)
}

// A doubled plain packet must not be encrypted twice.
func TestDoubledPacketIsSentOnce(t *testing.T) {
	x := open(t, 13300)
	_, rx := x.secure(t, keying.AEADAES256GCM)
	x.s.Set(x.rule)
	for range 2 {
		x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(1, "x"))
	}
	if _, err := rx.OpenRTP(x.a.receive(x.a.rtp)); err != nil {
		t.Fatal(err)
	}
	until(t, "counted", func() bool { return x.dropped(1, verdict.MediaRepeated) == 1 })
	x.a.receivesNothing(x.a.rtp)
}
