package media

import (
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"brickhouse/shared/tone"
)

// sender is our RTP stream: one SSRC, numbers without gaps, timestamps in samples.
type sender struct {
	mu        sync.Mutex // RTP of an echo and RTCP come from two goroutines
	ssrc      uint32
	seq       uint16
	timestamp uint32 // of the last packet sent
	next      uint32 // timestamp of a packet that follows without a pause
	packets   uint32
	octets    uint32

	source uint32 // whom an echo follows
	offset uint32 // our timestamp minus the source's
	knows  bool
}

// follow sets the timestamp for an echo of a packet: the same distances as the source's, going on where another source starts.
func (o *sender) follow(ssrc, timestamp, samples uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.knows || o.source != ssrc {
		o.knows, o.source, o.offset = true, ssrc, o.next-timestamp
	}
	o.timestamp = timestamp + o.offset
	o.next = o.timestamp + samples
}

// maxFrame is the longest that is negotiated, in samples.
const maxFrame = tone.Rate / 1000 * 40

// frame is room for one frame on its way out. It belongs to the goroutine that sends: of an echo the one that hears, else the one that
// speaks.
type frame struct {
	pcm    [maxFrame]int16
	codes  [maxFrame]byte
	packet [maxPacket]byte
}

// send writes one packet at the stream's timestamp.
func (s *Session) send(n *negotiated, payload []byte, marker bool) {
	s.out.mu.Lock()
	p := rtp.Packet{Header: rtp.Header{
		Version: 2, Marker: marker, PayloadType: n.payload,
		SequenceNumber: s.out.seq, Timestamp: s.out.timestamp, SSRC: s.out.ssrc,
	}, Payload: payload}
	s.out.seq++
	s.out.packets++
	s.out.octets += uint32(len(payload))
	s.out.mu.Unlock()
	size, err := p.MarshalTo(s.frame.packet[:])
	if err != nil {
		return
	}
	if _, err := s.pair.RTP.WriteToUDPAddrPort(s.frame.packet[:size], n.remote); err == nil {
		s.count.packetsOut.Add(1)
		s.count.bytesOut.Add(uint64(size))
	}
}

// Times of the session's own clock.
const (
	frameTime    = 20 * time.Millisecond // RFC 3551 §4.2
	tooLate      = 10 * frameTime        // after a pause of the machine we go on instead of catching up
	rtcpInterval = 5 * time.Second       // RFC 3550 §6.2
)

// speak keeps the session's time until it is closed: what it says, RTCP, and the watch for silence. Each frame has its place on an absolute
// clock, so that no error adds up.
func (s *Session) speak() {
	next, report := time.Now(), time.Now().Add(rtcpInterval/2)
	quiet := silence{since: time.Now()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-timer.C:
			n := s.now.Load()
			step := time.Duration(n.ptime) * time.Millisecond
			if now.Sub(next) > tooLate {
				next = now
			}
			for !next.After(now) {
				s.say(n)
				next = next.Add(step)
			}
			if now.After(report) {
				s.sendRTCP(false)
				report = now.Add(rtcpInterval)
			}
			s.watch(n, &quiet, now)
			timer.Reset(time.Until(next))
		}
	}
}

// say sends one frame of the voice, or of silence: who sends nothing is taken for dead. On hold the timestamp runs on, as the time does,
// and what a script says waits.
func (s *Session) say(n *negotiated) {
	if s.echoes {
		return
	}
	samples := tone.Rate / 1000 * n.ptime
	s.out.mu.Lock()
	s.out.timestamp = s.out.next
	s.out.next += uint32(samples)
	s.out.mu.Unlock()
	if !n.sends {
		s.spurt = false
		return
	}
	pcm := s.frame.pcm[:samples]
	if v := s.voice.Load(); v != nil {
		v.read(pcm)
	} else {
		clear(pcm)
	}
	s.send(n, n.law.Encode(s.frame.codes[:0], pcm), !s.spurt)
	s.spurt = true
}

// silence is what the session knows of how long nothing was heard.
type silence struct {
	heard    uint64
	since    time.Time
	reported bool
}

func (s *Session) watch(n *negotiated, q *silence, now time.Time) {
	heard := s.count.packetsIn.Load() + s.count.rtcpIn.Load()
	if n.held || heard != q.heard {
		q.heard, q.since = heard, now
		return
	}
	limit := s.engine.cfg.Silence
	if limit == 0 || q.reported || now.Sub(q.since) < limit {
		return
	}
	q.reported = true
	if s.onTimeout != nil {
		s.running.Add(1)
		go s.guarded(s.onTimeout) // it may close us
	}
}

// sendRTCP sends a report with our name in it (RFC 3550 §6.1); the last one says goodbye.
func (s *Session) sendRTCP(last bool) {
	n := s.now.Load()
	if !n.rtcp.IsValid() || n.rtcp.Port() == 0 || n.rtcp.Addr().IsUnspecified() {
		return
	}
	s.out.mu.Lock()
	o := struct{ ssrc, timestamp, packets, octets uint32 }{s.out.ssrc, s.out.timestamp, s.out.packets, s.out.octets}
	s.out.mu.Unlock()
	var report rtcp.Packet = &rtcp.ReceiverReport{SSRC: o.ssrc}
	if o.packets > 0 {
		report = &rtcp.SenderReport{SSRC: o.ssrc, NTPTime: ntp(time.Now()), RTPTime: o.timestamp, PacketCount: o.packets, OctetCount: o.octets}
	}
	packets := []rtcp.Packet{report, rtcp.NewCNAMESourceDescription(o.ssrc, s.cname)}
	if last {
		packets = append(packets, &rtcp.Goodbye{Sources: []uint32{o.ssrc}})
	}
	b, err := rtcp.Marshal(packets)
	if err != nil {
		return
	}
	_, _ = s.pair.RTCP.WriteToUDPAddrPort(b, n.rtcp)
}

// ntp is a time as RFC 3550 §4 writes it: seconds since 1900 and their fraction.
func ntp(t time.Time) uint64 {
	const from1900to1970 = 2208988800
	seconds := uint64(t.Unix() + from1900to1970)
	return seconds<<32 | uint64(t.Nanosecond())<<32/1e9
}
