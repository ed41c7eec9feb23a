package relay

import (
	"encoding/binary"
	"net/netip"
)

// Link speaks on a side's RTP port what is neither RTP nor RTCP: STUN and DTLS (RFC 7983). Its methods are called on the goroutine that
// reads the port; they must not wait and must not keep pkt. False says that the packet was of no use: it is counted.
type Link interface {
	STUN(pkt []byte, src netip.AddrPort) bool
	DTLS(pkt []byte, src netip.AddrPort) bool
}

// link hands a packet to the side's Link, if it is for one. False leaves it to the relay.
func (r *reader) link(in *end, pkt []byte, src netip.AddrPort) (dropReason, bool) {
	var speak func(Link, []byte, netip.AddrPort) bool
	why := dropNone
	switch {
	case looksLikeSTUN(pkt):
		speak, why = Link.STUN, dropSTUN
	case looksLikeDTLS(pkt):
		speak, why = Link.DTLS, dropDTLS
	default:
		return dropNone, false
	}
	if in.Link == nil || r.rtcp || !speak(in.Link, pkt, src) {
		return why, true
	}
	return dropNone, true
}

// Send sends a packet of a Link from a side's RTP port. It may be called from any goroutine.
func (s *Session) Send(side int, pkt []byte, to netip.AddrPort) {
	if !s.closed.Load() {
		_ = s.pairs[side].RTP.Send(pkt, to) // lost, as any datagram may be
	}
}

// Latch sends a side's media to a source that its Link has proved. With Linked nothing else moves the latch.
func (s *Session) Latch(side int, src netip.AddrPort) {
	if rule := s.rule.Load(); rule != nil {
		rule.ends[side].latches.rtp.move(src)
	}
}

// looksLikeSTUN tells STUN from everything else on a media port (RFC 8489 §5, RFC 7983 §7). Linphone sends it in each call.
func looksLikeSTUN(b []byte) bool {
	const header, cookie = 20, 0x2112A442
	return len(b) >= header && b[0] < 4 && binary.BigEndian.Uint32(b[4:]) == cookie
}

// looksLikeDTLS does it for DTLS.
func looksLikeDTLS(b []byte) bool { return len(b) > 0 && b[0] >= 20 && b[0] <= 63 }
