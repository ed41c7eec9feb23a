package media

import (
	"sync"

	"github.com/pion/rtp"

	"brickhouse/shared/tone"
)

// keyQueue bounds the keys that wait for a script; who presses more loses them.
const keyQueue = 32

// keyNames are the events of RFC 4733 §3.2 that are keys.
const keyNames = "0123456789*#ABCD"

// pressed takes an event of RFC 4733: a key counts once, at the first packet of it that comes.
func (s *Session) pressed(p *rtp.Packet) {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(keyNames) {
		return
	}
	if s.event.known && s.event.stamp == p.Timestamp && s.event.ssrc == p.SSRC {
		return
	}
	// The last packet of an event comes three times, and late ones may come after the next event has begun.
	if s.event.known && s.event.ssrc == p.SSRC && int32(p.Timestamp-s.event.stamp) < 0 {
		return
	}
	s.event.known, s.event.stamp, s.event.ssrc = true, p.Timestamp, p.SSRC
	s.Key(keyNames[p.Payload[0]])
}

// event is the last key that was pressed.
type event struct {
	known bool
	stamp uint32
	ssrc  uint32
}

// Key hands a key to the session's script, if there is one; also those that came by another way than its media.
func (s *Session) Key(k byte) {
	select {
	case s.keys <- k:
	default:
	}
}

// ear gathers what is heard for a script that records, or for a seat in a room. It never waits for the script: what the script does not take
// in time is lost, and counted.
type ear struct {
	seat    *Seat // nil: a script
	mu      sync.Mutex
	playout playout
	heard   []int16       // not taken yet
	lost    int           // samples
	more    chan struct{} // has a token when there is more
}

// maxHeard bounds what waits for the script, in samples.
const maxHeard = 10 * tone.Rate

func newEar() *ear { return &ear{more: make(chan struct{}, 1)} }

// hear takes a packet of the codec that was agreed on.
func (e *ear) hear(law tone.Law, p *rtp.Packet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.playout.law = law
	if e.seat != nil {
		e.playout.push(p.SSRC, p.SequenceNumber, p.Timestamp, p.Payload, e.seat.hear)
		return
	}
	e.playout.push(p.SSRC, p.SequenceNumber, p.Timestamp, p.Payload, func(pcm []int16) {
		fits := min(len(pcm), maxHeard-len(e.heard))
		e.heard = append(e.heard, pcm[:fits]...)
		e.lost += len(pcm) - fits
	})
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// take returns what was heard since the last time, in place of spare, and how much was lost so far.
func (e *ear) take(spare []int16) (heard []int16, lost int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard, e.heard = e.heard, spare[:0]
	return heard, e.lost
}

// isEvent reports whether a packet is of the payload type that was agreed on for keys.
func (n *negotiated) isEvent(p *rtp.Packet) bool {
	return n.event != "" && p.PayloadType == n.eventType
}
