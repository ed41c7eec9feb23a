package media

import (
	"encoding/binary"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// maxPacket is the largest datagram taken.
const maxPacket = 2000

// hear reads RTP until the session is closed.
func (s *Session) hear() {
	buf := make([]byte, maxPacket+1)
	var p rtp.Packet
	for {
		n, src, ok := read(s.pair.RTP, buf)
		if !ok {
			return
		}
		if n > maxPacket || p.Unmarshal(buf[:n]) != nil || p.Version != 2 || p.PayloadType >= 64 && p.PayloadType <= 95 {
			s.count.malformed.Add(1)
			continue
		}
		if !s.admit(src) {
			s.count.strangers.Add(1)
			continue
		}
		s.count.packetsIn.Add(1)
		s.count.bytesIn.Add(uint64(n))
		s.take(&p, s.now.Load())
	}
}

// take hands a packet to whom it is for. What was not negotiated is nothing.
func (s *Session) take(p *rtp.Packet, n *negotiated) {
	switch {
	case n.isEvent(p):
		s.pressed(p)
	case p.PayloadType != n.payload || len(p.Payload) == 0:
	case s.echoes:
		s.echo(p, n)
	default:
		if n.event == "" && s.keys != nil {
			s.heard = n.law.Decode(s.heard[:0], p.Payload)
			s.inband.hear(s.heard, s.Key)
		}
		if e := s.ear.Load(); e != nil {
			e.hear(n.law, p)
		}
	}
}

// echo sends back what was heard, as our own stream.
func (s *Session) echo(p *rtp.Packet, n *negotiated) {
	if !n.sends {
		return
	}
	s.out.follow(p.SSRC, p.Timestamp, uint32(len(p.Payload)))
	s.send(n, p.Payload, p.Marker)
}

// hearRTCP reads RTCP until the session is closed. It only counts that the far side lives: a BYE ends nothing, SIP does.
func (s *Session) hearRTCP() {
	buf := make([]byte, maxPacket+1)
	for {
		n, src, ok := read(s.pair.RTCP, buf)
		if !ok {
			return
		}
		var h rtcp.Header
		if n < 8 || n > maxPacket || h.Unmarshal(buf[:n]) != nil || int(binary.BigEndian.Uint16(buf[2:])) > n/4-1 {
			s.count.malformed.Add(1)
			continue
		}
		if src.Addr() != s.now.Load().remote.Addr() {
			s.count.strangers.Add(1)
			continue
		}
		s.count.rtcpIn.Add(1)
	}
}
