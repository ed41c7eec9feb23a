package anchor

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// sprayer sends packets to the media ports of a session from sources that are nobody's, and counts what comes back.
type sprayer struct {
	t     *testing.T
	conns []*net.UDPConn
	stop  chan struct{}
	done  sync.WaitGroup
}

// spray starts as an attacker does: RTP, RTCP, STUN, DTLS and noise, from several addresses, without pause. The addresses
// are nobody else's: a border that runs on this machine may have banned the usual ones in the kernel.
func spray(t *testing.T, ports ...uint16) *sprayer {
	t.Helper()
	s := &sprayer{t: t, stop: make(chan struct{})}
	for _, host := range []string{"127.0.0.1", "127.203.11.66", "127.203.11.77"} {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		s.conns = append(s.conns, c)
	}
	s.done.Add(1)
	go func() {
		defer s.done.Done()
		for seq := uint16(0); ; seq++ {
			select {
			case <-s.stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			for i, c := range s.conns {
				for _, port := range ports {
					_, _ = c.WriteToUDPAddrPort(evil(int(seq)+i, seq), netip.AddrPortFrom(loopback, port))
				}
			}
		}
	}()
	return s
}

func evil(kind int, seq uint16) []byte {
	b := make([]byte, 172)
	for i := range b {
		b[i] = 0x55 // silence would hide a leak less well than a pattern
	}
	b[0], b[1] = 0x80, 0
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], 0x1000) // the phones' SSRC, guessed
	switch kind % 5 {
	case 1: // BYE of that source
		return []byte{0x81, 203, 0, 1, 0, 0, 0x10, 0}
	case 2: // STUN binding request
		return []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	case 3: // DTLS client hello
		return append([]byte{22, 254, 253}, b[:60]...)
	case 4:
		return b[:4+kind%9]
	}
	return b
}

// end stops the spray and returns how many packets came back to the attacker.
func (s *sprayer) end() int {
	close(s.stop)
	s.done.Wait()
	back := 0
	for _, c := range s.conns {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		for {
			if _, err := c.Read(make([]byte, 2000)); err != nil {
				break
			}
			back++
		}
		c.Close()
	}
	return back
}

func ports(s *Session) []uint16 {
	a, b := s.legs[A].port, s.legs[B].port
	return []uint16{a, a + 1, b, b + 1}
}

// TestBleed sprays every port of a call from before its answer to its end (CVE-2017-14099, CVE-2025-53399): nothing comes back, nothing is
// injected, media go where they went, and no stranger moves a latch, not even before the phones' first packets.
func TestBleed(t *testing.T) {
	for i, suite := range []string{cm, gcm} {
		a := newAnchor(t, 18800+200*uint16(i), nil)
		out, in := newPhone(t, "127.0.0.1", suite), newPhone(t, "127.0.0.1", "")
		s := a.Open("x", outside(), insideAt("127.0.0.1"), Events{})
		offer, err := s.Offer(A, out.sdp())
		if err != nil {
			t.Fatal(err)
		}
		in.take(offer)
		attack := spray(t, ports(s)[:2]...)
		waitFor(t, "early strangers", func() bool { return s.Stats().Sides[A].Dropped[verdict.MediaEarly] > 100 })
		answer, err := s.Answer(B, in.sdp())
		if err != nil {
			t.Fatal(err)
		}
		out.take(answer)
		waitFor(t, "strangers before the first packet", func() bool { return s.Stats().Sides[A].Dropped[verdict.MediaAuthFailed] > 100 })
		if s.Stats().Sides[A].Latched {
			t.Fatalf("%s: latched before the phone sent anything", suite)
		}
		talk(t, out, in)
		talk(t, out, in)
		if back := attack.end(); back != 0 {
			t.Errorf("%s: %d packets came back to the attacker", suite, back)
		}
		waitFor(t, "all counted", func() bool { return s.Stats().Sides[B].PacketsOut >= 30 })
		st := s.Stats()
		if o := st.Sides[A]; o.LatchMoves != 0 || o.Remote != addr(out.rtp) || o.PacketsIn != 30 || o.RTCPIn != 0 {
			t.Errorf("%s: outside %+v", suite, o)
		}
		if st.Sides[B].PacketsOut != 30 || out.failures != 0 {
			t.Errorf("%s: something was injected: %+v", suite, st.Sides[B])
		}
		in.silent()
		out.silent()
		s.Close()
	}
}

func insideAt(host string) Endpoint {
	e := inside()
	e.Local = netip.MustParseAddr(host)
	return e
}

// TestBleedInside sprays the plain side from hosts that SDP did not name, before and during the call.
func TestBleedInside(t *testing.T) {
	a := newAnchor(t, 19200, nil)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.203.11.9", "")
	s := a.Open("x", outside(), inside(), Events{})
	offer, err := s.Offer(A, out.sdp())
	if err != nil {
		t.Fatal(err)
	}
	in.take(offer)
	attack := spray(t, ports(s)[2:]...)
	answer, err := s.Answer(B, in.sdp())
	if err != nil {
		t.Fatal(err)
	}
	out.take(answer)
	waitFor(t, "strangers", func() bool { return s.Stats().Sides[B].Dropped[verdict.MediaStranger] > 100 })
	talk(t, out, in)
	if back := attack.end(); back != 0 {
		t.Errorf("%d packets came back to the attacker", back)
	}
	if st := s.Stats().Sides[B]; st.PacketsIn != 15 || st.LatchMoves != 0 || st.Remote != addr(in.rtp) || st.RTCPIn != 0 {
		t.Errorf("%+v", st)
	}
	out.silent()
	s.Close()
}

// A packet of the phone, copied by someone on its way and sent again from elsewhere, moves nothing.
func TestReplayedPacketMovesNothing(t *testing.T) {
	a := newAnchor(t, 19400, nil)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	b := make([]byte, 172, 200)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], out.seq)
	binary.BigEndian.PutUint32(b[8:], out.ssrc)
	copied := out.protect(b)
	out.send(out.rtp, copied)
	in.listen(1)
	thief := newPhone(t, "127.203.11.66", "")
	thief.remote = out.remote
	thief.send(thief.rtp, copied)
	waitFor(t, "replay counted", func() bool { return s.Stats().Sides[A].Dropped[verdict.MediaReplayed] == 1 })
	in.play(1004, 3)
	out.listen(3)
	thief.silent()
	if st := s.Stats().Sides[A]; st.LatchMoves != 0 {
		t.Errorf("%+v", st)
	}
}

// After the end, late packets go nowhere, and neither do they keep the call's ports.
func TestNothingAfterTheEnd(t *testing.T) {
	a := newAnchor(t, 19600, func(c *Config) { c.Drain = 100 * time.Millisecond })
	out, in := newPhone(t, "127.0.0.1", cm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	s.Close()
	out.play(440, 5)
	in.play(1004, 5)
	in.silent()
	out.silent()
	waitFor(t, "the ports are closed", func() bool { _, used, _ := a.pool.Count(loopback); return used == 0 })
}

// A phone behind NAT names an address that is not reachable; with SRTP its first packet shows the right one, and when the NAT
// changes its mind, the next.
func TestPhoneBehindNAT(t *testing.T) {
	a := newAnchor(t, 19800, nil)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	hidden := replaceAddress(out.sdp(), "127.0.0.1", "127.9.9.9")
	offer, err := s.Offer(A, hidden)
	if err != nil {
		t.Fatal(err)
	}
	in.take(offer)
	answer, err := s.Answer(B, in.sdp())
	if err != nil {
		t.Fatal(err)
	}
	out.take(answer)
	talk(t, out, in)
	moved := newPhone(t, "127.203.11.5", "")
	out.playFrom(moved.rtp, 440, 1)
	in.listen(1)
	out.rtp = moved.rtp
	talk(t, out, in)
	// A hold with the same hidden address keeps what was latched.
	if _, err := s.Offer(A, append(hidden, "a=sendonly\r\n"...)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, in.sdp()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats().Sides[A]; st.Remote != addr(moved.rtp) || st.LatchMoves != 1 {
		t.Errorf("%+v", st)
	}
	in.play(1004, 2)
	out.listen(2)
	s.Close()
}

func replaceAddress(b []byte, from, to string) []byte {
	return bytes.ReplaceAll(b, []byte(from), []byte(to))
}

// What was dropped stays counted when its call is over, and what comes late is counted too.
func TestDroppedOfAllCalls(t *testing.T) {
	a := newAnchor(t, 14600, func(c *Config) { c.Drain = time.Minute })
	for i := range uint64(2) {
		out, in := newPhone(t, "127.0.0.1", ""), newPhone(t, "127.0.0.1", "")
		s := a.Open("x", Endpoint{Realm: Realm{Name: "lan", Secure: Never}, Local: loopback}, inside(), Events{})
		connect(t, s, out, in)
		out.play(440, 1)
		in.listen(1)
		s.Close()
		out.play(440, 3)
		waitFor(t, "late packets", func() bool { return a.Dropped()[verdict.MediaLate] == 3*(i+1) })
	}
	a.Close()
	if got := a.Dropped(); len(got) != 1 || got[verdict.MediaLate] != 6 {
		t.Errorf("dropped %v", got)
	}
}

// Plain phones behind NAT need the realm's word; without it nobody but SDP's host is heard.
func TestPlainNATOnlyByConfiguration(t *testing.T) {
	for i, nat := range []bool{false, true} {
		a := newAnchor(t, 14000+200*uint16(i), nil)
		e := Endpoint{Realm: Realm{Name: "lan", Secure: Never, NAT: nat}, Local: loopback}
		out, in := newPhone(t, "127.0.0.1", ""), newPhone(t, "127.0.0.1", "")
		s := a.Open("x", e, inside(), Events{})
		offer, err := s.Offer(A, replaceAddress(out.sdp(), "127.0.0.1", "127.9.9.9"))
		if err != nil {
			t.Fatal(err)
		}
		in.take(offer)
		answer, err := s.Answer(B, in.sdp())
		if err != nil {
			t.Fatal(err)
		}
		out.take(answer)
		if nat {
			out.play(440, 1)
			in.listen(1)
			talk(t, out, in)
		} else {
			out.play(440, 3)
			waitFor(t, "strangers", func() bool { return s.Stats().Sides[A].Dropped[verdict.MediaStranger] == 3 })
			in.silent()
		}
		s.Close()
	}
}
