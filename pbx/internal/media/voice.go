package media

import (
	"brickhouse/shared/tone"
)

// voice is what a session says: a tone without end, what a seat in a room hears, or sound that a script hands over piece by piece.
type voice struct {
	sine   *tone.Sine // nil: another
	seat   *Seat      // nil: another
	pieces chan []byte
	over   chan struct{} // closed when all pieces are said
	piece  []byte        // what is left of the one in hand, µ-law
	done   bool
}

// read fills a frame. What is missing is silence: the next piece is late, or there is none.
func (v *voice) read(pcm []int16) {
	switch {
	case v.sine != nil:
		v.sine.Read(pcm)
		return
	case v.seat != nil:
		v.seat.out.read(pcm)
		return
	}
	for i := range pcm {
		if len(v.piece) == 0 && !v.next() {
			clear(pcm[i:])
			return
		}
		pcm[i] = tone.DecodeMuLaw(v.piece[0])
		v.piece = v.piece[1:]
	}
}

// next takes the next piece in hand, if it is there.
func (v *voice) next() bool {
	for !v.done {
		select {
		case p, more := <-v.pieces:
			if !more {
				v.done = true
				close(v.over)
				return false
			}
			if v.piece = p; len(p) > 0 {
				return true
			}
		default:
			return false
		}
	}
	return false
}
