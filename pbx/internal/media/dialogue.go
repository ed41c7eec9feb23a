package media

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"brickhouse/shared/tone"
)

// Dialogue is a script's hand on its session. Its methods are for the script's goroutine, and return ctx's error once the session has ended.
type Dialogue struct{ s *Session }

// pieceSize is how much sound is handed over at a time, in bytes of µ-law: half a second.
const pieceSize = tone.Rate / 2

// Play says sound, µ-law at 8 kHz, until it is over or a key is pressed, and returns the key; 0: none was. While the far side is on
// hold it waits. An error of sound ends it.
func (d *Dialogue) Play(ctx context.Context, sound io.Reader) (byte, error) {
	select {
	case k := <-d.s.keys:
		return k, nil
	default:
	}
	v := &voice{pieces: make(chan []byte, 2), over: make(chan struct{})}
	d.s.voice.Store(v)
	defer d.s.voice.Store(nil)
	for {
		piece := make([]byte, pieceSize)
		n, err := io.ReadFull(sound, piece)
		if n > 0 {
			select {
			case v.pieces <- piece[:n]:
			case k := <-d.s.keys:
				return k, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return 0, err
		}
		close(v.pieces)
		select {
		case <-v.over:
			return 0, nil
		case k := <-d.s.keys:
			return k, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Beep says a tone for a while. Keys do not end it.
func (d *Dialogue) Beep(ctx context.Context, hertz float64, long time.Duration) error {
	d.s.voice.Store(&voice{sine: tone.NewSine(hertz, toneLevel)})
	defer d.s.voice.Store(nil)
	return sleep(ctx, long)
}

func sleep(ctx context.Context, long time.Duration) error {
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Key waits for a key; 0: none came in time.
func (d *Dialogue) Key(ctx context.Context, within time.Duration) (byte, error) {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case k := <-d.s.keys:
		return k, nil
	case <-t.C:
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Digits gathers keys after the first one, until #, or most of them, or none came for so long. 0 as the first: it waits for that, too.
func (d *Dialogue) Digits(ctx context.Context, first byte, most int, within time.Duration) (string, error) {
	var b strings.Builder
	for k := first; ; {
		if k == 0 {
			var err error
			if k, err = d.Key(ctx, within); err != nil || k == 0 {
				return b.String(), err
			}
		}
		if k == '#' {
			return b.String(), nil
		}
		if b.WriteByte(k); b.Len() == most {
			return b.String(), nil
		}
		k = 0
	}
}

// Mix lets the caller hear and speak from a seat until a key is pressed, which it returns.
func (d *Dialogue) Mix(ctx context.Context, seat *Seat) (byte, error) {
	e := newEar()
	e.seat = seat
	d.s.ear.Store(e)
	defer d.s.ear.Store(nil)
	d.s.voice.Store(&voice{seat: seat})
	defer d.s.voice.Store(nil)
	select {
	case k := <-d.s.keys:
		return k, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Forget drops the keys that were pressed and not asked for.
func (d *Dialogue) Forget() {
	for {
		select {
		case <-d.s.keys:
		default:
			return
		}
	}
}

// Take is how a recording goes.
type Take struct {
	Most  time.Duration // it ends then
	Quiet time.Duration // it ends when nothing was heard for so long
	Into  func(pcm []int16) error
}

// quietLevel is below what speech has, in dBm0.
const quietLevel = -45

// Record hears until a key is pressed, which it returns, or the take is over. lost is how much sound Into was too slow for, in samples.
func (d *Dialogue) Record(ctx context.Context, t Take) (key byte, lost int, err error) {
	e := newEar()
	d.s.ear.Store(e)
	defer d.s.ear.Store(nil)
	end := time.NewTimer(t.Most)
	defer end.Stop()
	quiet := time.NewTimer(t.Quiet)
	defer quiet.Stop()
	var pcm []int16
	for {
		select {
		case key = <-d.s.keys:
		case <-end.C:
		case <-quiet.C:
		case <-ctx.Done():
			err = ctx.Err()
		case <-e.more:
			if pcm, lost = e.take(pcm); len(pcm) == 0 {
				continue
			}
			if tone.Level(pcm) > quietLevel {
				quiet.Reset(t.Quiet)
			}
			if err := t.Into(pcm); err != nil {
				return 0, lost, err
			}
			continue
		}
		if pcm, lost = e.take(pcm); len(pcm) > 0 {
			if wrote := t.Into(pcm); wrote != nil {
				err = wrote
			}
		}
		return key, lost, err
	}
}
