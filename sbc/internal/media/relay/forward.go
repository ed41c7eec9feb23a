package relay

import (
	"errors"
	"net/netip"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/datagram"
)

// sealer remembers with which key the goroutine sealed last.
type sealer struct{ last *keying.Sender }

// seal protects a packet if the side wants SRTP.
func (s *sealer) seal(to *keying.Sender, pkt []byte) ([]byte, dropReason) {
	if to == nil {
		s.last = nil
		return pkt, dropNone
	}
	if s.last != to {
		to.Inherit(s.last)
		s.last = to
	}
	sealed, err := to.SealRTP(pkt)
	if err != nil {
		return nil, sealFailure(err)
	}
	return sealed, dropNone
}

func sealFailure(err error) dropReason {
	if errors.Is(err, keying.ErrRepeated) {
		return dropRepeated
	}
	return dropSendFailed
}

// packet takes one datagram from the reader's socket and forwards it. pkt has room behind it.
func (r *reader) packet(pkt []byte, src netip.AddrPort) dropReason {
	rule := r.s.rule.Load()
	switch {
	case rule == nil && r.s.closed.Load():
		return dropLate
	case rule == nil:
		return dropEarly
	case len(pkt) > maxPacket || src.Port() == 0:
		return dropMalformed
	}
	in, out := &rule.ends[r.side], &rule.ends[r.side^1]
	if why, taken := r.link(in, pkt, src); taken {
		return why
	}
	if in.Pending {
		return dropEarly
	}
	if r.rtcp || in.Mux && looksLikeRTCP(pkt) {
		return r.forwardRTCP(in, out, pkt, src)
	}
	return r.forwardRTP(in, out, pkt, src)
}

func (r *reader) forwardRTP(in, out *end, pkt []byte, src netip.AddrPort) dropReason {
	h, ok := readRTP(pkt)
	if !ok {
		return dropMalformed
	}
	if !in.Types.Has(h.payloadType) {
		return dropType
	}
	plain, why := r.admitRTP(in, pkt, src)
	if why != dropNone {
		return why
	}
	if !h.validPadding(plain) {
		return dropMalformed
	}
	r.s.counts[r.side].received(len(plain))
	to, wanted := out.target()
	if !wanted {
		return dropUnwanted
	}
	sealed, why := r.sealer.seal(out.Sender, plain)
	if why != dropNone {
		return why
	}
	return r.send(r.s.pairs[r.side^1].RTP, sealed, to, &r.s.counts[r.side].rtpOut)
}

// admitRTP opens an SRTP packet and latches its source, or checks a plain one's source.
func (r *reader) admitRTP(in *end, pkt []byte, src netip.AddrPort) ([]byte, dropReason) {
	if in.Receiver == nil {
		ok, moved := in.admitRTP(src)
		if !ok {
			return nil, r.s.strange(r.side, in, src)
		}
		if moved {
			r.s.latchMoved()
		}
		return pkt, dropNone
	}
	plain, err := r.open(in, pkt)
	if err != nil {
		return nil, openFailure(err)
	}
	if in.Latching != Linked {
		in.latches.rtp.move(src)
	}
	return plain, dropNone
}

// open tries the key, and for a while after a change the one before it.
func (r *reader) open(in *end, pkt []byte) ([]byte, error) {
	if in.Previous == nil || in.switched.Load() {
		return in.Receiver.OpenRTP(pkt)
	}
	n := copy(r.spare[:], pkt) // a packet that does not open is destroyed
	plain, err := in.Receiver.OpenRTP(pkt)
	if err == nil {
		in.switched.Store(true)
		return plain, nil
	}
	if time.Now().After(in.Until) {
		return nil, err
	}
	return in.Previous.OpenRTP(r.spare[:n])
}

func openFailure(err error) dropReason {
	if errors.Is(err, keying.ErrReplay) {
		return dropReplayed
	}
	return dropAuth
}

func (r *reader) forwardRTCP(in, out *end, pkt []byte, src netip.AddrPort) dropReason {
	if !looksLikeRTCP(pkt) || len(pkt) < 8 {
		return dropMalformed
	}
	plain, why := r.admitRTCP(in, pkt, src)
	if why != dropNone {
		return why
	}
	rebuilt, ok := rebuildRTCP(r.spare[:0:maxPacket], plain, r.s.cname[r.side^1])
	if !ok {
		return dropMalformed
	}
	r.s.counts[r.side].rtcpIn.add(len(plain))
	r.s.learn(r.side, rebuilt, time.Now())
	to, wanted := out.targetRTCP()
	if !wanted || !to.IsValid() || to.Port() == 0 || len(rebuilt) == 0 {
		return dropUnwanted
	}
	if out.Sender != nil {
		sealed, err := out.Sender.SealRTCP(r.spare[:len(rebuilt)])
		if err != nil {
			return dropSendFailed
		}
		rebuilt = sealed
	}
	conn := r.s.pairs[r.side^1].RTCP
	if out.Mux {
		conn = r.s.pairs[r.side^1].RTP
	}
	return r.send(conn, rebuilt, to, &r.s.counts[r.side].rtcpOut)
}

func (r *reader) admitRTCP(in *end, pkt []byte, src netip.AddrPort) ([]byte, dropReason) {
	l := &in.latches.rtcp
	if !r.rtcp {
		l = &in.latches.rtp
	}
	if in.Receiver != nil {
		plain, err := r.openRTCP(in, pkt)
		if err != nil {
			return nil, openFailure(err)
		}
		if in.Latching != Linked {
			l.move(src)
		}
		return plain, dropNone
	}
	if !r.rtcp && !l.is(src) || r.rtcp && !in.admitRTCP(src) {
		return nil, r.s.strange(r.side, in, src)
	}
	return pkt, dropNone
}

// openRTCP is open for RTCP. It never decides that the key has changed: RTP does.
func (r *reader) openRTCP(in *end, pkt []byte) ([]byte, error) {
	if in.Previous == nil || in.switched.Load() {
		return in.Receiver.OpenRTCP(pkt)
	}
	n := copy(r.spare[:], pkt)
	plain, err := in.Receiver.OpenRTCP(pkt)
	if err == nil || time.Now().After(in.Until) {
		return plain, err
	}
	copy(pkt, r.spare[:n])
	return in.Previous.OpenRTCP(pkt[:n])
}

func (r *reader) send(conn *datagram.Socket, pkt []byte, to netip.AddrPort, c *flow) dropReason {
	if conn.Send(pkt, to) != nil {
		return dropSendFailed
	}
	c.add(len(pkt))
	return dropNone
}
