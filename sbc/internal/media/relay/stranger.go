package relay

import (
	"net/netip"
	"time"
)

// strangerEvery is how often a socket's reader tells of a stranger, so that a flood costs no more than its packets.
const strangerEvery = time.Second

// OnStranger sets who is told that packets to a side's ports come from a host that is not the side's: refused as
// verdict.MediaStranger or, with SRTP, as not authentic. It is told at most once a second for each of the side's two sockets, on
// the goroutine that reads it, and must not block.
func (s *Session) OnStranger(tell func(side int, src netip.AddrPort)) { s.stranger.Store(&tell) }

// answerTime is how long an offer may wait for its answer (RFC 3261 §17.1.1.2, timer B).
const answerTime = 32 * time.Second

// Asked says that an offer went to a side. Until its answer, media may come from where the answer will say: of another phone, to which the
// call is being transferred (RFC 3264 §5.1). They are dropped, but no stranger's.
func (s *Session) Asked(side int) { s.asked[side].Store(time.Now().Add(answerTime).UnixNano()) }

// Answered says that a side has answered, or need not.
func (s *Session) Answered(side int) { s.asked[side].Store(0) }

// strange is why a packet of another source than the side's is dropped.
func (s *Session) strange(side int, e *end, src netip.AddrPort) dropReason {
	if src.Addr() == e.gone {
		return dropLate
	}
	if until := s.asked[side].Load(); until != 0 && time.Now().UnixNano() < until {
		return dropEarly
	}
	return dropStranger
}

// refused looks at the source of a packet that was not forwarded.
func (r *reader) refused(why dropReason, src netip.AddrPort) {
	if why != dropStranger && why != dropAuth {
		return
	}
	tell, rule := r.s.stranger.Load(), r.s.rule.Load()
	if tell == nil || rule == nil || !rule.ends[r.side].foreign(src.Addr()) {
		return
	}
	now := time.Now()
	if now.Sub(r.told) < strangerEvery {
		return
	}
	r.told = now
	(*tell)(r.side, src)
}

// foreign reports whether host is none that the side is known by. A phone whose NAT gave it another port is no stranger, nor is
// one of which nothing is known yet.
func (e *end) foreign(host netip.Addr) bool {
	if host == e.RTP.Addr() || host == e.RTCP.Addr() || host == e.gone {
		return false
	}
	if at := e.latches.rtp.at.Load(); at != nil {
		return host != at.Addr()
	}
	return e.Receiver == nil && e.Latching == FromHost
}
