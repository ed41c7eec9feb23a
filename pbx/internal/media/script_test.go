package media

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"brickhouse/shared/tone"
)

// sound is a tone in µ-law.
func sound(hertz float64, long time.Duration) []byte {
	pcm := make([]int16, int(long.Seconds()*tone.Rate))
	tone.NewSine(hertz, -10).Read(pcm)
	return tone.MuLaw.Encode(nil, pcm)
}

// press sends a key as phones do: the first packet lost, the last three times (RFC 4733 §2.5.1).
func (p *phone) press(key byte, stamp uint32) {
	p.t.Helper()
	for i, end := range []byte{0, 0, 0x80, 0x80, 0x80} {
		pkt := rtp.Packet{
			Header:  rtp.Header{Version: 2, PayloadType: 101, SequenceNumber: p.seq, Timestamp: stamp, SSRC: p.ssrc},
			Payload: []byte{key, end | 10, byte(i), 160},
		}
		p.seq++
		b, err := pkt.Marshal()
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := p.rtp.WriteToUDPAddrPort(b, p.remote); err != nil {
			p.t.Fatal(err)
		}
	}
}

// hears returns what comes for so many packets.
func (p *phone) hears(packets int) (pcm []int16) {
	p.t.Helper()
	for range packets {
		pcm = tone.MuLaw.Decode(pcm, p.packet().Payload)
	}
	return pcm
}

// script runs one on a session and returns what it was told in the end.
func script[T any](t *testing.T, p *phone, lo uint16, do func(ctx context.Context, d *Dialogue) T) (*Session, chan T) {
	t.Helper()
	done := make(chan T, 1)
	e := newEngine(t, lo, nil)
	answer, s, err := e.Answer(Script(func(ctx context.Context, d *Dialogue) { done <- do(ctx, d) }), p.offer(), loopback, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p.take(answer)
	return s, done
}

func receive[T any](t *testing.T, c chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("the script does not end")
		panic("unreachable")
	}
}

// What is played is heard whole and in order, and silence before and after it.
func TestPlay(t *testing.T) {
	p := newPhone(t, "127.0.0.1")
	_, done := script(t, p, 17200, func(ctx context.Context, d *Dialogue) error {
		k, err := d.Play(ctx, bytes.NewReader(slices.Concat(sound(500, 700*time.Millisecond), sound(900, 300*time.Millisecond))))
		if k != 0 {
			return errors.New("a key")
		}
		return err
	})
	var heard []int16
	for tone.Level(heard[max(0, len(heard)-160):]) < -20 {
		heard = p.hears(1)
	}
	heard = append(heard, p.hears(49)...)
	if low, high := tone.Measure(heard[400:5000]), tone.Measure(heard[6000:7600]); !low.Is(500) || !high.Is(900) {
		t.Errorf("heard %+v, then %+v", low, high)
	}
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
	p.hears(3)
	if l := tone.Level(p.hears(5)); l > -60 {
		t.Errorf("afterwards: %v dBm0", l)
	}
}

// A key ends what is played, counts once however often its packets come, and keys that follow wait for who asks.
func TestKeys(t *testing.T) {
	p := newPhone(t, "127.0.0.1")
	_, done := script(t, p, 17300, func(ctx context.Context, d *Dialogue) string {
		k, err := d.Play(ctx, bytes.NewReader(sound(500, time.Minute)))
		if err != nil {
			return err.Error()
		}
		more, err := d.Digits(ctx, k, 10, patience)
		if err != nil {
			return err.Error()
		}
		if k, err := d.Play(ctx, bytes.NewReader(sound(500, time.Minute))); k != '*' || err != nil {
			return "a key that was pressed before does not end what is played"
		}
		return more
	})
	p.hears(5)
	for i, key := range []byte{1, 0, 9, 11, 10} { // 109#*
		p.press(key, uint32(1000*i))
	}
	if got := receive(t, done); got != "109" {
		t.Errorf("pressed %q", got)
	}
}

// A recording has what was said, in order, and nothing of what a stranger sends; a key ends it.
func TestRecord(t *testing.T) {
	p := newPhone(t, "127.0.0.1")
	ready := make(chan struct{})
	_, done := script(t, p, 17400, func(ctx context.Context, d *Dialogue) []int16 {
		var got []int16
		close(ready)
		key, lost, err := d.Record(ctx, Take{Most: time.Minute, Quiet: patience, Into: func(pcm []int16) error { got = append(got, pcm...); return nil }})
		if key != '#' || lost != 0 || err != nil {
			t.Errorf("ended by %q, %d lost, %v", key, lost, err)
		}
		return got
	})
	<-ready
	p.hears(2)
	for range 100 {
		p.send(p.rtp, 0, p.frame(tone.MuLaw))
		time.Sleep(time.Millisecond)
	}
	p.press(11, 99_000)
	got := receive(t, done)
	if r := tone.Measure(got); len(got) != 16000 || !r.Is(440) || r.Level < -10.5 {
		t.Errorf("%d samples, %+v", len(got), r)
	}
}

func TestRecordEnds(t *testing.T) {
	p := newPhone(t, "127.0.0.1")
	into := func([]int16) error { return nil }
	_, done := script(t, p, 17500, func(ctx context.Context, d *Dialogue) []error {
		_, _, quiet := d.Record(ctx, Take{Most: time.Minute, Quiet: 30 * time.Millisecond, Into: into})
		_, _, most := d.Record(ctx, Take{Most: 30 * time.Millisecond, Quiet: time.Minute, Into: into})
		return []error{quiet, most}
	})
	if got := receive(t, done); got[0] != nil || got[1] != nil {
		t.Errorf("%v", got)
	}
	s, ended := script(t, newPhone(t, "127.0.0.1"), 17600, func(ctx context.Context, d *Dialogue) error {
		_, _, err := d.Record(ctx, Take{Most: time.Minute, Quiet: time.Minute, Into: into})
		return err
	})
	s.Close()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("hung up: %v", err)
	}
}

// While the caller holds the line, what is played waits.
func TestHoldWaits(t *testing.T) {
	p := newPhone(t, "127.0.0.1")
	s, done := script(t, p, 17700, func(ctx context.Context, d *Dialogue) error {
		_, err := d.Play(ctx, bytes.NewReader(sound(500, 400*time.Millisecond)))
		return err
	})
	p.hears(5)
	if _, err := s.Reoffer(p.offer("a=sendonly")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
		t.Fatal("it went on")
	case <-time.After(600 * time.Millisecond):
	}
	if _, err := s.Reoffer(p.offer()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

// stream pushes packets of one sample value each and returns the values that come out.
func stream(p *playout, order ...int) (out []int16) {
	for _, i := range order {
		payload := bytes.Repeat([]byte{tone.EncodeMuLaw(int16(1000 * (i + 1)))}, 160)
		p.push(7, uint16(65530+i), uint32(160*i), payload, func(pcm []int16) { out = append(out, pcm...) })
	}
	return out
}

// heard is the first sample of each frame, rounded.
func heard(pcm []int16) (out []int) {
	for i := 0; i < len(pcm); i += 160 {
		out = append(out, (int(pcm[i])+250)/500*500)
	}
	return out
}

func TestPlayout(t *testing.T) {
	for name, c := range map[string]struct{ order, want []int }{
		"in order":  {[]int{0, 1, 2}, []int{1000, 2000, 3000}},
		"swapped":   {[]int{0, 2, 1, 3}, []int{1000, 2000, 3000, 4000}},
		"twice":     {[]int{0, 1, 1, 0, 2, 4, 4, 3}, []int{1000, 2000, 3000, 4000, 5000}},
		"one lost":  {[]int{0, 2, 3, 4, 5, 6}, []int{1000, 500, 3000, 4000, 5000, 6000, 7000}},
		"too late":  {[]int{0, 2, 3, 4, 5, 6, 1, 7}, []int{1000, 500, 3000, 4000, 5000, 6000, 7000, 8000}},
		"still out": {[]int{0, 2, 3}, []int{1000}},
	} {
		if got := heard(stream(&playout{law: tone.MuLaw}, c.order...)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	p := &playout{law: tone.MuLaw}
	stream(p, 0)
	n := 0
	p.push(7, 65531, 1<<30, make([]byte, 160), func(pcm []int16) { n += len(pcm) })
	if most := int(maxGap.Seconds())*tone.Rate + 160; n != most {
		t.Errorf("a leap of the clock makes %d samples, want %d", n, most)
	}
}

// FuzzPlayout: whatever comes, what waits is bounded, and so is what one packet makes.
func FuzzPlayout(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 0, 2, 1, 200, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &playout{law: tone.ALaw}
		for ; len(b) >= 4; b = b[4:] {
			n := 0
			p.push(uint32(b[0]&1), uint16(b[1])<<8|uint16(b[2]), uint32(b[3])<<24|uint32(b[0])<<8, b[:min(len(b), 40)], func(pcm []int16) { n += len(pcm) })
			if len(p.held) >= playoutDepth || n > (playoutDepth+1)*(int(maxGap.Seconds())*tone.Rate+40) {
				t.Fatalf("%d held, %d samples", len(p.held), n)
			}
		}
	})
}

// BenchmarkSpeak is what one frame of a prompt costs on its way out, with the system's send.
func BenchmarkSpeak(b *testing.B) {
	e := newEngine(b, 17800, nil)
	p := newPhone(b, "127.0.0.1")
	answer, s, err := e.Answer(Script(func(ctx context.Context, _ *Dialogue) { <-ctx.Done() }), p.offer(), loopback, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	p.take(answer)
	s.Close() // its own clock stops; the socket is ours
	conn := newPhone(b, "127.0.0.1")
	s.pair.RTP = conn.rtp
	v := &voice{pieces: make(chan []byte), over: make(chan struct{}), piece: make([]byte, 160*b.N+160)}
	s.voice.Store(v)
	n := s.now.Load()
	b.ReportAllocs()
	for b.Loop() {
		if len(v.piece) < 160 {
			v.piece = make([]byte, 1<<20)
		}
		s.say(n)
	}
}
