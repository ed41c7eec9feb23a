package relay

import (
	"net/netip"
	"sync/atomic"

	"brickhouse/shared/verdict"
)

// dropReason indexes the counters of what was not forwarded.
type dropReason uint8

const (
	dropNone dropReason = iota
	dropEarly
	dropLate
	dropStranger
	dropMalformed
	dropSTUN
	dropDTLS
	dropType
	dropAuth
	dropReplayed
	dropRepeated
	dropUnwanted
	dropSendFailed
	dropInternal
	dropReasons // how many there are
)

// reason is the word in the common vocabulary.
func (d dropReason) reason() verdict.Reason {
	switch d {
	case dropEarly:
		return verdict.MediaEarly
	case dropLate:
		return verdict.MediaLate
	case dropStranger:
		return verdict.MediaStranger
	case dropMalformed:
		return verdict.MediaMalformed
	case dropSTUN:
		return verdict.MediaSTUN
	case dropDTLS:
		return verdict.MediaDTLS
	case dropType:
		return verdict.MediaType
	case dropAuth:
		return verdict.MediaAuthFailed
	case dropReplayed:
		return verdict.MediaReplayed
	case dropRepeated:
		return verdict.MediaRepeated
	case dropUnwanted:
		return verdict.MediaUnwanted
	case dropSendFailed:
		return verdict.MediaSendFailed
	}
	return verdict.Internal
}

// flow counts packets and bytes of UDP payload.
type flow struct {
	packets, bytes atomic.Uint64
}

func (f *flow) add(n int) {
	f.packets.Add(1)
	f.bytes.Add(uint64(n))
}

// counters are those of the packets that come from one side.
type counters struct {
	rtpIn, rtcpIn   flow // valid, plain size
	rtpOut, rtcpOut flow // sent on to the other side
	drops           [dropReasons]atomic.Uint64
}

func (c *counters) received(n int) { c.rtpIn.add(n) }

// keep adds what others have relayed.
func (c *counters) keep(packets, bytes uint64) {
	for _, f := range []*flow{&c.rtpIn, &c.rtpOut} {
		f.packets.Add(packets)
		f.bytes.Add(bytes)
	}
}

func (c *counters) drop(d dropReason) { c.drops[d].Add(1) }

// SideStats is a snapshot of one side.
type SideStats struct {
	Remote             netip.AddrPort // where RTP for it goes
	Latched            bool
	LatchMoves         uint64
	PacketsIn, BytesIn uint64 // valid RTP from it, after decryption
	PacketsOut         uint64 // RTP sent to it
	BytesOut           uint64
	RTCPIn, RTCPOut    uint64
	ByKernel           uint64                    // of PacketsIn, what the kernel sent on
	InKernel           bool                      // it does so now
	Dropped            map[verdict.Reason]uint64 // from it, not forwarded
	Quality            Quality                   // as it hears the other side
}

// Stats returns a snapshot of both sides. RTP does not wait for it.
func (s *Session) Stats() [2]SideStats {
	var all [2]SideStats
	rule := s.rule.Load()
	for i := range all {
		from, to := &s.counts[i], &s.counts[i^1]
		st := SideStats{
			PacketsIn: from.rtpIn.packets.Load(), BytesIn: from.rtpIn.bytes.Load(),
			PacketsOut: to.rtpOut.packets.Load(), BytesOut: to.rtpOut.bytes.Load(),
			RTCPIn: from.rtcpIn.packets.Load(), RTCPOut: to.rtcpOut.packets.Load(),
			Dropped: make(map[verdict.Reason]uint64), Quality: s.hearing[i].quality(),
		}
		for d := dropNone + 1; d < dropReasons; d++ {
			if n := from.drops[d].Load(); n > 0 {
				st.Dropped[d.reason()] = n
			}
		}
		packets, bytes, now := s.byKernel(i)
		st.PacketsIn, st.BytesIn, st.InKernel = st.PacketsIn+packets, st.BytesIn+bytes, now
		st.ByKernel = packets
		packets, bytes, _ = s.byKernel(i ^ 1)
		st.PacketsOut, st.BytesOut = st.PacketsOut+packets, st.BytesOut+bytes
		if rule != nil {
			e := &rule.ends[i]
			st.Remote, _ = e.target()
			st.Latched = e.latches.rtp.at.Load() != nil
			st.LatchMoves = e.latches.rtp.moves.Load()
		}
		all[i] = st
	}
	return all
}

// Heard returns how many valid packets came from both sides. Whoever watches for silence compares two calls.
func (s *Session) Heard() uint64 {
	var n uint64
	for i := range s.counts {
		packets, _, _ := s.byKernel(i)
		n += s.counts[i].rtpIn.packets.Load() + s.counts[i].rtcpIn.packets.Load() + packets
	}
	return n
}
