package media

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"brickhouse/shared/tone"
)

// singer is a party that sings a tone into its seat.
type singer struct {
	*Seat
	sine *tone.Sine
	pcm  [roomFrame]int16
}

func (s *singer) sing() {
	s.sine.Read(s.pcm[:])
	s.hear(s.pcm[:])
}

// hears returns what comes out of a seat in a frame.
func (s *singer) hears(pcm []int16) []int16 {
	var frame [roomFrame]int16
	s.out.read(frame[:])
	return append(pcm, frame[:]...)
}

// quietRoom is a room whose clock the test is.
func quietRoom(hertz ...float64) (*Room, []*singer) {
	r := NewRoom()
	r.running = true
	var all []*singer
	for _, hz := range hertz {
		all = append(all, &singer{Seat: r.Sit(), sine: tone.NewSine(hz, -20)})
	}
	return r, all
}

// TestMix: each hears all others, and not itself.
func TestMix(t *testing.T) {
	hz := []float64{400, 700, 1100}
	r, all := quietRoom(hz...)
	heard := make([][]int16, 3)
	for range 100 {
		for _, s := range all {
			s.sing()
		}
		r.tick()
		for i, s := range all {
			heard[i] = s.hears(heard[i])
		}
	}
	for i, pcm := range heard {
		for j, f := range hz {
			got := tone.Power(pcm[tone.Rate/2:], f)
			if loud := got > -21 && got < -19; loud != (i != j) || i == j && got > -60 {
				t.Errorf("%.0f Hz hears %.0f Hz at %.1f dBm0", hz[i], f, got)
			}
		}
		if !all[i].Talks() {
			t.Errorf("%.0f Hz does not talk", hz[i])
		}
	}
}

func TestMute(t *testing.T) {
	r, all := quietRoom(400, 700)
	level := func() (pcm []int16) {
		for range 25 {
			all[0].sing()
			r.tick()
			pcm = all[1].hears(pcm)
		}
		return pcm[5*roomFrame:]
	}
	if got := tone.Level(level()); got < -21 {
		t.Errorf("heard at %.1f dBm0", got)
	}
	all[0].Mute(true)
	if got := tone.Level(level()); got > -60 || all[0].Talks() || !all[0].Muted() {
		t.Errorf("muted, and heard at %.1f dBm0", got)
	}
	all[0].Mute(false)
	if got := tone.Level(level()); got < -21 {
		t.Errorf("heard again at %.1f dBm0", got)
	}
	all[0].Stand()
	all[0].Stand()
	if got := tone.Level(level()); got > -60 {
		t.Errorf("gone, and heard at %.1f dBm0", got)
	}
	all[1].Stand()
	if r.tick() || r.running {
		t.Error("an empty room goes on")
	}
}

// What comes too fast is dropped, the oldest first; what does not come is silence; loud ones together are cut off, and do not wrap.
func TestRoomBounds(t *testing.T) {
	r, all := quietRoom(400, 700, 1000)
	loud := make([]int16, roomFrame)
	for i := range loud {
		loud[i] = 30000
	}
	for range 50 {
		all[0].hear(loud)
		all[1].hear(loud)
	}
	if got := all[0].in.len(); got != inMost {
		t.Errorf("%d samples wait", got)
	}
	r.tick()
	for _, v := range all[2].hears(nil) {
		if v != math.MaxInt16 {
			t.Fatalf("two loud ones make %d", v)
		}
	}
	for range 20 {
		r.tick()
	}
	if got := all[2].out.len(); got > outMost {
		t.Errorf("%d samples wait for one who does not hear", got)
	}
	if got := tone.Level(all[2].hears(nil)); got > -60 {
		t.Errorf("nobody speaks, at %.1f dBm0", got)
	}
}

func TestChime(t *testing.T) {
	r, all := quietRoom(400)
	for range 2 * maxChimes {
		r.Chime(880)
	}
	var pcm []int16
	for range 60 {
		r.tick()
		pcm = all[0].hears(pcm)
	}
	for second, want := range map[int]bool{0: true, maxChimes * chimeTime / roomFrame: false} {
		if got := tone.Power(pcm[second*roomFrame:][:5*roomFrame], 880) > -30; got != want {
			t.Errorf("at frame %d the tone is heard: %v", second, got)
		}
	}
}

// The room keeps its time while somebody is there, and ends with the last.
func TestRoomClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoom()
		for range 2 {
			s := &singer{Seat: r.Sit(), sine: tone.NewSine(400, -20)}
			other := &singer{Seat: r.Sit()}
			var pcm []int16
			for range 50 {
				s.sing()
				time.Sleep(frameTime)
				pcm = other.hears(pcm)
			}
			if got := tone.Level(pcm[10*roomFrame:]); got < -21 {
				t.Errorf("heard at %.1f dBm0", got)
			}
			s.Stand()
			other.Stand()
			time.Sleep(time.Second)
		}
	})
}

// BenchmarkRoom is one frame of a room: how many parties of which how many talk.
func BenchmarkRoom(b *testing.B) {
	for _, x := range []struct{ seats, talk int }{{10, 2}, {10, 10}, {100, 5}, {100, 100}} {
		b.Run(fmt.Sprintf("%dof%d", x.talk, x.seats), func(b *testing.B) {
			r, all := quietRoom(make([]float64, x.seats)...)
			pcm := make([]int16, roomFrame)
			tone.NewSine(400, -20).Read(pcm)
			b.ReportAllocs()
			for b.Loop() {
				for _, s := range all[:x.talk] {
					s.hear(pcm)
				}
				r.tick()
			}
		})
	}
}
