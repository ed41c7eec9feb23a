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
