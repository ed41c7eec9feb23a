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
		if s.kind == Echo {
			s.echo(&p)
		}
	}
}

// echo sends back what was heard, as our own stream. Keys pressed (telephone-event) and anything not negotiated are not sound.
func (s *Session) echo(p *rtp.Packet) {
	n := s.now.Load()
	if p.PayloadType != n.payload || !n.sends || len(p.Payload) == 0 {
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
