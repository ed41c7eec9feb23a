package relay

import (
	"net/netip"
	"sync/atomic"
	"time"

	"brickhouse/sbc/internal/media/keying"
)

// Latching says whose packets a side takes.
type Latching uint8

// The ways to latch. With a Receiver only Linked matters: otherwise the source of each authentic packet is latched.
const (
	FromHost     Latching = iota // any port of the address that SDP named; then only the first one that came
	FromAnywhere                 // the source of the first packet of the right form, for phones behind NAT that have no SRTP
	Linked                       // only what the side's Link has proved and Session.Latch was told
)

// Rule is how both sides' packets are treated. It is given to Set and never changed after it.
type Rule [2]End

// End is one side of a Rule.
type End struct {
	RTP, RTCP netip.AddrPort // where the side's SDP wants media; what comes from there is the side's
	Mux       bool           // RTP and RTCP share the RTP port (RFC 5761)
	Muted     bool           // nothing is sent to this side
	Latching  Latching
	Types     PayloadTypes     // what the side may send
	Receiver  *keying.Receiver // nil: plain RTP comes from this side
	Sender    *keying.Sender   // nil: plain RTP goes to this side
	Pending   bool             // SRTP whose keys are not agreed on yet: nothing is taken and nothing sent
	Link      Link             // nil: the side speaks neither ICE nor DTLS

	Previous *keying.Receiver // the key before a change: taken until Until or the first packet with the new one
	Until    time.Time
}

// PayloadTypes is a set of RTP payload types.
type PayloadTypes [2]uint64

// Add puts a payload type of 0 to 127 into the set.
func (p *PayloadTypes) Add(pt uint8) { p[pt>>6&1] |= 1 << (pt & 63) }

// Has reports whether pt is in the set.
func (p *PayloadTypes) Has(pt uint8) bool { return p[pt>>6&1]>>(pt&63)&1 == 1 }

// rule is a Rule in force. Only the latches move.
type rule struct {
	ends [2]end
}

type end struct {
	End
	latches  *latches
	switched *atomic.Bool // the first packet with the new key came
	gone     netip.Addr   // host whose media were the side's before: what still comes from it is late, not a stranger's
}

// latches hold where one side's media really come from. Rules share them as long as the side's SDP address stays the same.
type latches struct {
	rtp, rtcp latch
}

type latch struct {
	at    atomic.Pointer[netip.AddrPort] // nil: not latched
	moves atomic.Uint64
}

func newRule(r Rule, old *rule) *rule {
	n := &rule{}
	for i := range r {
		e := end{End: r[i], latches: new(latches), switched: new(atomic.Bool)}
		if old != nil && sameSource(&old.ends[i].End, &r[i]) {
			e.latches = old.ends[i].latches
		}
		if old != nil && old.ends[i].Receiver == e.Receiver {
			e.switched = old.ends[i].switched
		}
		if old != nil {
			e.gone = old.ends[i].gone
			if host := old.ends[i].host(); e.latches != old.ends[i].latches && host != e.RTP.Addr() {
				e.gone = host
			}
		}
		n.ends[i] = e
	}
	return n
}

// host is where the side's media come from, or should.
func (e *end) host() netip.Addr {
	if at := e.latches.rtp.at.Load(); at != nil {
		return at.Addr()
	}
	return e.RTP.Addr()
}

// sameSource reports whether what was latched under a holds under b. Going from plain to SRTP it does not: nothing was proved.
func sameSource(a, b *End) bool {
	if a.Latching == Linked {
		return b.Latching == Linked && a.Link == b.Link
	}
	return a.RTP == b.RTP && a.RTCP == b.RTCP && a.Latching == b.Latching && (a.Receiver == nil) == (b.Receiver == nil)
}

// move latches src, which is proved.
func (l *latch) move(src netip.AddrPort) {
	at := l.at.Load()
	if at != nil && *at == src {
		return
	}
	if at != nil {
		l.moves.Add(1)
	}
	moved := new(netip.AddrPort) // only here src escapes: not once for each packet
	*moved = src
	l.at.Store(moved)
}

// is reports whether src is latched.
func (l *latch) is(src netip.AddrPort) bool {
	at := l.at.Load()
	return at != nil && *at == src
}

// admitRTP decides about a plain RTP packet of the right form, and latches; moved says whether the latch did.
func (e *end) admitRTP(src netip.AddrPort) (ok, moved bool) {
	l := &e.latches.rtp
	switch {
	case l.is(src):
		return true, false
	case src == e.RTP: // what SDP named has the first right, even when another port came first
	case l.at.Load() != nil:
		return false, false
	case e.Latching == FromHost && src.Addr() != e.RTP.Addr():
		return false, false
	}
	l.move(src)
	return true, true
}

// admitRTCP is admitRTP for RTCP on its own port. Behind NAT it must come from where RTP came from.
func (e *end) admitRTCP(src netip.AddrPort) bool {
	l := &e.latches.rtcp
	host := e.RTCP.Addr()
	if e.Latching == FromAnywhere {
		at := e.latches.rtp.at.Load()
		if at == nil {
			return false
		}
		host = at.Addr()
	}
	switch {
	case l.is(src):
		return true
	case src == e.RTCP && e.Latching == FromHost:
	case l.at.Load() != nil || src.Addr() != host:
		return false
	}
	l.move(src)
	return true
}

// target is where RTP for this side goes: the latched source, or else what SDP named.
func (e *end) target() (netip.AddrPort, bool) {
	to := e.latches.rtp.or(e.RTP)
	return to, !e.Muted && !e.Pending && to.IsValid()
}

// targetRTCP is target for RTCP.
func (e *end) targetRTCP() (netip.AddrPort, bool) {
	if e.Mux {
		return e.target()
	}
	return e.latches.rtcp.or(e.RTCP), !e.Muted && !e.Pending
}

func (l *latch) or(named netip.AddrPort) netip.AddrPort {
	if at := l.at.Load(); at != nil {
		return *at
	}
	return named
}
