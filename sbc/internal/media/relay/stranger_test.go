package relay

import (
	"net/netip"
	"testing"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/verdict"
)

// TestForeign: a stranger is a host that nothing of the call names, not a phone whose NAT moved it.
func TestForeign(t *testing.T) {
	const phone, rtcp, nat, other = "192.0.2.1", "192.0.2.2", "198.51.100.1", "203.0.113.1"
	named := End{RTP: netip.MustParseAddrPort(phone + ":4000"), RTCP: netip.MustParseAddrPort(rtcp + ":4001")}
	_, receiver := halves(t, key(t, keying.AESCM128HMACSHA180))
	for _, c := range []struct {
		name    string
		how     Latching
		srtp    bool
		latched string
		from    string
		want    bool
	}{
		{"plain, named host", FromHost, false, "", phone, false},
		{"plain, RTCP's host", FromHost, false, "", rtcp, false},
		{"plain, another host", FromHost, false, "", other, true},
		{"plain behind NAT, nothing known yet", FromAnywhere, false, "", other, false},
		{"plain behind NAT, the phone from another port", FromAnywhere, false, nat, nat, false},
		{"plain behind NAT, another host", FromAnywhere, false, nat, other, true},
		{"SRTP, nothing known yet", FromHost, true, "", other, false},
		{"SRTP, the phone", FromHost, true, nat, nat, false},
		{"SRTP, another host", FromHost, true, nat, other, true},
	} {
		end := named
		end.Latching = c.how
		if c.srtp {
			end.Receiver = receiver
		}
		e := newRule(Rule{end, {}}, nil).ends[0]
		if c.latched != "" {
			e.latches.rtp.move(netip.MustParseAddrPort(c.latched + ":9"))
		}
		if got := e.foreign(netip.MustParseAddr(c.from)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestStrangerIsTold, by host and port, for plain RTP and for SRTP; the phone itself never is.
func TestStrangerIsTold(t *testing.T) {
	for i, srtp := range []bool{false, true} {
		x := open(t, 12000+100*uint16(i))
		first := rtpPacket(1, "x")
		if srtp {
			tx, _ := x.secure(t, keying.AESCM128HMACSHA180)
			first = seal(t, tx, first)
		}
		x.s.Set(x.rule)
		told := make(chan netip.AddrPort, 100)
		x.s.OnStranger(func(side int, src netip.AddrPort) {
			if side != 0 {
				t.Errorf("side %d", side)
			}
			told <- src
		})
		x.a.send(x.a.rtp, x.s.Port(0), first)
		x.b.receive(x.b.rtp)
		x.a.send(x.a.rtp, x.s.Port(0), rtpPacket(2, "plain, from the phone"))
		x.a.send(x.a.rtcp, x.s.Port(0)+1, []byte("no RTCP at all"))
		stranger := newPeer(t, "127.203.12.9")
		to := netip.AddrPortFrom(loopback, x.s.Port(0))
		for range 3 {
			if _, err := stranger.rtp.WriteToUDPAddrPort(rtpPacket(3, "0123456789x"), to); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "strangers", func() bool {
			return x.dropped(0, verdict.MediaStranger)+x.dropped(0, verdict.MediaAuthFailed) >= 3
		})
		if got := <-told; got != at(stranger.rtp) {
			t.Errorf("SRTP %v: told of %v, want %v", srtp, got, at(stranger.rtp))
		}
	}
}

// TestStrangerIsToldSeldom: not more than once within a second, whatever comes.
func TestStrangerIsToldSeldom(t *testing.T) {
	r, _, rule := handFed(t)
	src := netip.MustParseAddrPort("203.0.113.1:7")
	rule[0].Receiver, rule[0].RTP = nil, netip.MustParseAddrPort("192.0.2.1:4000")
	r.s.Set(rule)
	n := 0
	r.refused(dropStranger, src) // nobody wants to know
	r.s.OnStranger(func(int, netip.AddrPort) { n++ })
	for _, why := range []dropReason{dropEarly, dropLate, dropMalformed, dropSTUN, dropType, dropReplayed} {
		r.refused(why, src)
	}
	if n != 0 {
		t.Errorf("told %d times of what is no stranger", n)
	}
	r.refused(dropStranger, src)
	if n != 1 {
		t.Errorf("told %d times", n)
	}
	r.told = time.Now().Add(time.Hour) // as if all of this came within the second
	r.refused(dropStranger, src)
	if n != 1 {
		t.Errorf("told %d times within a second", n)
	}
	r.told = time.Now().Add(-strangerEvery)
	r.refused(dropAuth, src)
	if n != 2 {
		t.Errorf("told %d times in two seconds", n)
	}
	allocs := testing.AllocsPerRun(100, func() { r.refused(dropStranger, src) })
	if allocs != 0 {
		t.Errorf("%v allocations for each packet of a flood", allocs)
	}
}

// TestPartyThatLeft: after a side has moved to another host, as by a transfer, what the one before still sends is late, and no stranger's;
// it is not relayed all the same.
func TestPartyThatLeft(t *testing.T) {
	before, after, other := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("192.0.2.2:4000"), netip.MustParseAddrPort("192.0.2.3:4000")
	first := newRule(Rule{{RTP: before}, {}}, nil)
	if ok, _ := first.ends[0].admitRTP(before); !ok {
		t.Fatal("the side is not let in")
	}
	same := newRule(Rule{{RTP: before, Muted: true}, {}}, first)
	moved := newRule(Rule{{RTP: after, Muted: true}, {}}, newRule(Rule{{RTP: after}, {}}, same))
	e := &moved.ends[0]
	s := &Session{}
	refused := func(src netip.AddrPort, want dropReason) {
		t.Helper()
		if ok, _ := e.admitRTP(src); ok || s.strange(0, e, src) != want {
			t.Errorf("%v: %v, %v", src, ok, s.strange(0, e, src))
		}
	}
	refused(before, dropLate)
	refused(other, dropStranger)
	s.Asked(1)
	refused(other, dropStranger)
	s.Asked(0) // who will answer may be there already
	refused(other, dropEarly)
	refused(before, dropLate)
	s.asked[0].Store(1) // the answer never came
	refused(other, dropStranger)
	s.Asked(0)
	s.Answered(0)
	refused(other, dropStranger)
	if e.foreign(before.Addr()) || !e.foreign(other.Addr()) || !same.ends[0].foreign(other.Addr()) {
		t.Error("strangers are told wrongly")
	}
}
