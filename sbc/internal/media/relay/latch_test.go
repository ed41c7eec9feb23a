package relay

import (
	"net/netip"
	"testing"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/verdict"
)

func TestPlainLatch(t *testing.T) {
	const sdp, samehost, nat, other = "192.0.2.1:4000", "192.0.2.1:5000", "198.51.100.1:6000", "203.0.113.1:7000"
	for _, c := range []struct {
		name string
		how  Latching
		from []string
		want []bool
		at   string
	}{
		{"the named one", FromHost, []string{sdp, sdp, samehost}, []bool{true, true, false}, sdp},
		{"another port first", FromHost, []string{samehost, samehost}, []bool{true, true}, samehost},
		{"the named one has the first right", FromHost, []string{samehost, sdp, samehost}, []bool{true, true, false}, sdp},
		{"another host never", FromHost, []string{nat, other, sdp}, []bool{false, false, true}, sdp},
		{"behind NAT", FromAnywhere, []string{nat, nat, other}, []bool{true, true, false}, nat},
		{"behind NAT, first wins", FromAnywhere, []string{other, nat}, []bool{true, false}, other},
	} {
		e := newRule(Rule{{RTP: netip.MustParseAddrPort(sdp), Latching: c.how}, {}}, nil).ends[0]
		for i, from := range c.from {
			if got, _ := e.admitRTP(netip.MustParseAddrPort(from)); got != c.want[i] {
				t.Errorf("%s: packet %d from %s: %v", c.name, i, from, got)
			}
		}
		if to, _ := e.target(); to.String() != c.at {
			t.Errorf("%s: media go to %v", c.name, to)
		}
	}
}

func TestPlainRTCPLatch(t *testing.T) {
	named := End{RTP: netip.MustParseAddrPort("192.0.2.1:4000"), RTCP: netip.MustParseAddrPort("192.0.2.1:4001")}
	e := newRule(Rule{named, {}}, nil).ends[0]
	for _, c := range []struct {
		from string
		want bool
	}{{"198.51.100.1:4001", false}, {"192.0.2.1:9", true}, {"192.0.2.1:10", false}, {"192.0.2.1:4001", true}, {"192.0.2.1:9", false}} {
		if got := e.admitRTCP(netip.MustParseAddrPort(c.from)); got != c.want {
			t.Errorf("%s: %v", c.from, got)
		}
	}
	named.Latching = FromAnywhere
	e = newRule(Rule{named, {}}, nil).ends[0]
	if e.admitRTCP(netip.MustParseAddrPort("198.51.100.1:7")) {
		t.Error("RTCP from anywhere before RTP")
	}
	e.admitRTP(netip.MustParseAddrPort("198.51.100.1:6"))
	if e.admitRTCP(netip.MustParseAddrPort("203.0.113.1:7")) || !e.admitRTCP(netip.MustParseAddrPort("198.51.100.1:7")) {
		t.Error("RTCP must come from where RTP came from")
	}
	if to, _ := e.targetRTCP(); to.String() != "198.51.100.1:7" {
		t.Errorf("RTCP goes to %v", to)
	}
}

func TestLatchOverRules(t *testing.T) {
	first := End{RTP: netip.MustParseAddrPort("192.0.2.1:4000")}
	r := newRule(Rule{first, first}, nil)
	r.ends[0].admitRTP(netip.MustParseAddrPort("192.0.2.1:5000"))
	same := newRule(Rule{first, first}, r)
	if to, _ := same.ends[0].target(); to.Port() != 5000 {
		t.Error("a re-offer with the same address lost the latch")
	}
	moved := first
	moved.RTP = netip.MustParseAddrPort("192.0.2.9:4000")
	if to, _ := newRule(Rule{moved, first}, r).ends[0].target(); to != moved.RTP {
		t.Errorf("after a re-offer with another address media go to %v", to)
	}
	secured := first
	_, secured.Receiver = halves(t, key(t, keying.AEADAES256GCM))
	if to, _ := newRule(Rule{secured, first}, r).ends[0].target(); to != first.RTP {
		t.Error("what was latched without proof holds with SRTP")
	}
}

func TestSRTPLatchFollowsProof(t *testing.T) {
	x := open(t, 13400)
	tx, _ := x.secure(t, keying.AEADAES256GCM)
	stranger := newPeer(t, "127.0.0.1")
	moved := newPeer(t, "127.0.0.1")
	x.rule[0].RTP = netip.MustParseAddrPort("127.0.0.1:9") // as behind NAT: SDP names what is not reachable
	x.s.Set(x.rule)

	stranger.send(stranger.rtp, x.s.Port(0), rtpPacket(1, "0123456789abcdef"))
	until(t, "stranger counted", func() bool { return x.dropped(0, verdict.MediaAuthFailed) == 1 })
	if x.s.Stats()[0].Latched {
		t.Fatal("latched to a stranger")
	}
	x.a.send(x.a.rtp, x.s.Port(0), seal(t, tx, rtpPacket(2, "phone")))
	x.b.receive(x.b.rtp)
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(1, "back"))
	x.a.receive(x.a.rtp)

	moved.send(moved.rtp, x.s.Port(0), seal(t, tx, rtpPacket(3, "phone")))
	x.b.receive(x.b.rtp)
	x.b.send(x.b.rtp, x.s.Port(1), rtpPacket(2, "back"))
	moved.receive(moved.rtp)
	if st := x.s.Stats()[0]; st.LatchMoves != 1 || st.Remote != at(moved.rtp) {
		t.Errorf("%+v", st)
	}
	stranger.receivesNothing(stranger.rtp)
}
