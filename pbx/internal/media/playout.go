package media

import (
	"time"

	"brickhouse/shared/tone"
)

// playout puts the packets of a stream in order and fills what is missing: the last frame again, fainter each time, then silence.
// It waits for packets, not for time: a packet that is missing is given up when depth later ones are there.
type playout struct {
	law   tone.Law
	begun bool
	ssrc  uint32
	seq   uint16 // of the next packet
	stamp uint32 // of its first sample
	held  []early
	last  []int16
}

// early is a packet that came before its turn.
type early struct {
	seq   uint16
	stamp uint32
	data  []byte
}

const (
	playoutDepth = 5 // packets
	// maxGap bounds the silence that a pause of the sender makes.
	maxGap = 30 * time.Second
)

// push takes a packet. emit gets the samples that are next; it must not keep them.
func (p *playout) push(ssrc uint32, seq uint16, stamp uint32, payload []byte, emit func([]int16)) {
	if !p.begun || ssrc != p.ssrc {
		*p = playout{law: p.law, begun: true, ssrc: ssrc, seq: seq, stamp: stamp, held: p.held[:0], last: p.last[:0]}
	}
	ahead := int16(seq - p.seq)
	switch {
	case ahead < 0:
		return // too late, or a second time
	case ahead > 0:
		p.hold(seq, stamp, payload)
	default:
		p.say(stamp, payload, emit)
	}
	for {
		i := p.first()
		if i < 0 || p.held[i].seq != p.seq && len(p.held) < playoutDepth {
			return
		}
		e := p.held[i]
		p.held = append(p.held[:i], p.held[i+1:]...)
		p.seq = e.seq
		p.say(e.stamp, e.data, emit)
	}
}

func (p *playout) hold(seq uint16, stamp uint32, payload []byte) {
	for _, e := range p.held {
		if e.seq == seq {
			return
		}
	}
	p.held = append(p.held, early{seq, stamp, append([]byte(nil), payload...)})
}

// first is the index of the held packet whose turn is next; -1: none.
func (p *playout) first() int {
	at := -1
	for i, e := range p.held {
		if at < 0 || int16(e.seq-p.held[at].seq) < 0 {
			at = i
		}
	}
	return at
}

// say emits the packet of p.seq, and before it what is missing.
func (p *playout) say(stamp uint32, payload []byte, emit func([]int16)) {
	if gap := int32(stamp - p.stamp); gap > 0 {
		p.conceal(min(int(gap), int(maxGap.Seconds())*tone.Rate), emit)
	}
	p.last = p.law.Decode(p.last[:0], payload)
	p.seq++
	p.stamp = stamp + uint32(len(payload))
	emit(p.last)
}

func (p *playout) conceal(samples int, emit func([]int16)) {
	for n := len(p.last); samples > 0; samples -= n {
		if n == 0 {
			n = tone.Rate / 50
			p.last = append(p.last, make([]int16, n)...)
		}
		for i := range p.last {
			p.last[i] /= 2
		}
		emit(p.last[:min(n, samples)])
	}
}
