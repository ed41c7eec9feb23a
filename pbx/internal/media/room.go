package media

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/tone"
)

// Room mixes what its seats say: each hears all others. It has a clock of its own while anybody sits there.
type Room struct {
	mu      sync.Mutex
	seats   []*Seat
	chimes  []tone.Sine // that all hear, one after the other
	chime   int         // samples that are left of the first
	running bool
	mix     mix
}

// mix is room for one frame of all.
type mix struct {
	sum [roomFrame]int32
	all [roomFrame]int16
	own [roomFrame]int16
}

// roomFrame is how much is mixed at a time, in samples: 20 ms.
const roomFrame = tone.Rate / 50

// Sizes of what waits on its way through a room, in samples.
const (
	inDepth  = 2 * roomFrame // is gathered before a seat is heard: packets come unevenly
	inMost   = 6 * roomFrame
	outMost  = 4 * roomFrame
	ringSize = 10 * roomFrame
)

// Talk detection: a frame is talk above this level, and for a while after.
const (
	talkLevel = -40 // dBm0
	talkHang  = 15  // frames
)

// NewRoom returns an empty room.
func NewRoom() *Room { return &Room{} }

// Seat is one party's place in a room.
type Seat struct {
	room   *Room
	muted  atomic.Bool
	talks  atomic.Bool
	in     ring
	out    ring
	ready  bool // enough was gathered
	heard  bool // frame has sound
	frame  [roomFrame]int16
	silent int // frames since it talked
}

// Sit gives a party a seat. Stand gives it back.
func (r *Room) Sit() *Seat {
	s := &Seat{room: r, silent: talkHang}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seats = append(r.seats, s)
	if !r.running {
		r.running = true
		go r.run()
	}
	return s
}

// Stand ends the seat; a second time does nothing.
func (s *Seat) Stand() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.seats = slices.DeleteFunc(s.room.seats, func(o *Seat) bool { return o == s })
}

// Mute has nobody hear the seat, or has it heard again.
func (s *Seat) Mute(on bool) { s.muted.Store(on) }

// Muted reports whether nobody hears the seat.
func (s *Seat) Muted() bool { return s.muted.Load() }

// Talks reports whether the seat talks now.
func (s *Seat) Talks() bool { return s.talks.Load() }

// maxChimes bounds the tones that wait.
const maxChimes = 4

// Chime has all hear a tone for a fifth of a second.
func (r *Room) Chime(hertz float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.chimes) < maxChimes {
		r.chimes = append(r.chimes, *tone.NewSine(hertz, chimeLevel))
	}
}

const (
	chimeLevel = -22 // dBm0
	chimeTime  = tone.Rate / 5
)

// run mixes until nobody sits there. Each frame has its place on an absolute clock.
func (r *Room) run() {
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for now := range timer.C {
		if now.Sub(next) > tooLate {
			next = now
		}
		for !next.After(now) {
			if !r.tick() {
				return
			}
			next = next.Add(frameTime)
		}
		timer.Reset(time.Until(next))
	}
}

// tick mixes one frame. It reports whether anybody is left.
func (r *Room) tick() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running = len(r.seats) > 0; !r.running {
		return false
	}
	m := &r.mix
	clear(m.sum[:])
	for _, s := range r.seats {
		if s.listen(); s.heard {
			for i, v := range s.frame {
				m.sum[i] += int32(v)
			}
		}
	}
	r.ringLocked()
	for i, v := range m.sum {
		m.all[i] = clip(v)
	}
	for _, s := range r.seats {
		if !s.heard {
			s.out.write(m.all[:], outMost)
			continue
		}
		for i, v := range m.sum {
			m.own[i] = clip(v - int32(s.frame[i]))
		}
		s.out.write(m.own[:], outMost)
	}
	return true
}

// ringLocked adds the tone that all hear.
func (r *Room) ringLocked() {
	if len(r.chimes) == 0 {
		return
	}
	r.chimes[0].Read(r.mix.own[:])
	for i, v := range r.mix.own {
		r.mix.sum[i] += int32(v)
	}
	if r.chime += roomFrame; r.chime >= chimeTime {
		r.chime = 0
		r.chimes = slices.Delete(r.chimes, 0, 1)
	}
}

func clip(v int32) int16 { return int16(max(-32768, min(32767, v))) }

// hear takes what the party says.
func (s *Seat) hear(pcm []int16) { s.in.write(pcm, inMost) }

// listen takes the seat's next frame.
func (s *Seat) listen() {
	got := s.in.len()
	if s.ready = s.ready && got >= roomFrame || got >= inDepth; !s.ready {
		s.heard = false
	} else {
		s.in.read(s.frame[:])
		s.heard = !s.muted.Load()
	}
	if s.heard && tone.Level(s.frame[:]) > talkLevel {
		s.silent = 0
	} else {
		s.silent = min(s.silent+1, talkHang)
	}
	s.talks.Store(s.silent < talkHang)
}

// ring is sound on its way from one goroutine to another, the oldest first.
type ring struct {
	mu  sync.Mutex
	buf [ringSize]int16
	at  int // of the oldest
	n   int
}

// write adds sound. Above most samples the oldest are lost.
func (r *ring) write(pcm []int16, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pcm = pcm[max(0, len(pcm)-most):]
	if over := r.n + len(pcm) - most; over > 0 {
		r.at, r.n = (r.at+over)%len(r.buf), r.n-over
	}
	for _, v := range pcm {
		r.buf[(r.at+r.n)%len(r.buf)] = v
		r.n++
	}
}

// read takes sound; what is missing is silence.
func (r *ring) read(pcm []int16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(r.n, len(pcm))
	for i := range n {
		pcm[i] = r.buf[(r.at+i)%len(r.buf)]
	}
	clear(pcm[n:])
	r.at, r.n = (r.at+n)%len(r.buf), r.n-n
}

func (r *ring) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}
