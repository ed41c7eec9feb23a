package callcontrol

import (
	"context"
	"io"
	"time"

	"brickhouse/pbx/internal/media"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// line is what the scripts of waiting do with a call (media.Dialogue).
type line interface {
	Play(ctx context.Context, sound io.Reader) (key byte, err error)
	Beep(ctx context.Context, hertz float64, long time.Duration) error
	Key(ctx context.Context, within time.Duration) (byte, error)
}

// denyTone tells that something could not be done.
const denyTone = 425 // Hz

// entertain plays sound without an end until ctx ends. Keys mean nothing.
func entertain(ctx context.Context, d line, sound io.Reader) {
	for ctx.Err() == nil {
		if _, err := d.Play(ctx, sound); err != nil {
			return
		}
	}
}

// passOn has the party of a script's call call somebody else, and plays sound without an end until that is decided. It returns the last status code; at 200
// the script's call is about to end.
func (a *attempt) passOn(ctx context.Context, d line, sound io.Reader, plan func(b2bua.Refer) (b2bua.Plan, error)) int {
	return a.await(ctx, d, sound, func(tell func(int)) bool { return a.c.cfg.Engine.PassOn(a.id, plan, tell) })
}

// party is who is in a script's call, as the caller of another one.
func (a *attempt) party(w b2bua.Refer) Caller {
	who := a.onBehalf(w)
	if w.Partner == a.caller.account() {
		who.Number, who.Name = a.caller.Number, a.caller.Name
	}
	return who
}

// join has the party of a script's call take a place in another one.
func (a *attempt) join(ctx context.Context, d line, call string) int {
	return a.await(ctx, d, nil, func(tell func(int)) bool { return a.c.cfg.Engine.Join(a.id, call, tell) })
}

// await begins something and waits for its final status code; meanwhile sound is played, if there is one.
func (a *attempt) await(ctx context.Context, d line, sound io.Reader, begin func(tell func(int)) bool) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	final := make(chan int, 1)
	if !begin(func(code int) {
		if code >= 200 {
			select {
			case final <- code:
			default: // it was decided before
			}
			cancel()
		}
	}) {
		return 481
	}
	if sound != nil {
		entertain(ctx, d, sound)
	}
	<-ctx.Done()
	select {
	case code := <-final:
		return code
	default:
		return 487
	}
}

// sorry tells the caller that it could not be done.
func sorry(ctx context.Context, d line) { _ = d.Beep(ctx, denyTone, confirmTime) }

// silently answers a call with a script that says nothing by itself; when it is over, so is the call.
func (a *attempt) silently(do func(ctx context.Context, d line)) b2bua.Turn {
	return b2bua.Turn{Local: a.script(func(ctx context.Context, d *media.Dialogue) { do(ctx, d) })}
}

var notHere = verdict.Rejected(404, verdict.UnknownNumber)
