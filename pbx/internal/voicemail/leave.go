package voicemail

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
)

// Line is what a script does with a call (media.Dialogue).
type Line interface {
	Play(ctx context.Context, sound io.Reader) (key byte, err error)
	Beep(ctx context.Context, hertz float64, long time.Duration) error
	Key(ctx context.Context, within time.Duration) (byte, error)
	Digits(ctx context.Context, first byte, most int, within time.Duration) (string, error)
	Record(ctx context.Context, t media.Take) (key byte, lost int, err error)
	Forget()
}

// greeting is the name of the file with a mailbox's own greeting, without what follows the point.
const greeting = "greeting"

// The tone after which a caller speaks.
const (
	beepTone = 880 // Hz
	beepTime = 400 * time.Millisecond
)

// talk is one call to voicemail.
type talk struct {
	*Boxes
	Line
	ctx   context.Context
	early byte // a key that was pressed while something was said that asks for none; 0: none
}

// say plays prompts until a key is pressed. One that was pressed early counts.
func (t *talk) say(names ...string) (byte, error) {
	if key := t.early; key != 0 {
		t.early = 0
		return key, nil
	}
	return t.Play(t.ctx, t.opt.Prompts.Say(names...))
}

// tell plays a prompt that asks for nothing. A key ends it, and counts for what comes next.
func (t *talk) tell(name string) (err error) {
	t.early, err = t.say(name)
	return err
}

// Leave takes a message. The caller may begin at once with #, and with * its owner comes to the menu.
func (b *Boxes) Leave(ctx context.Context, l Line, h Header) {
	t := &talk{Boxes: b, Line: l, ctx: ctx}
	t.end(h.Mailbox, t.leave(h))
}

// end says why a call to voicemail ends.
func (t *talk) end(mailbox string, err error) {
	switch {
	case err == nil, t.ctx.Err() != nil:
	case errors.Is(err, errEnough):
		_ = t.tell("vm-goodbye")
	case errors.Is(err, pin.ErrLocked):
		_ = t.tell("vm-locked")
	default:
		t.opt.Log.Error("voicemail failed", "mailbox", mailbox, "error", err)
		_ = t.tell("vm-failed")
	}
}

func (t *talk) leave(h Header) error {
	key, err := t.greet(h.Mailbox)
	if err != nil {
		return err
	}
	if key == '*' {
		return t.enter(h.Mailbox, false)
	}
	r, err := t.begin(t.ctx, h)
	if errors.Is(err, ErrFull) {
		return t.tell("vm-full")
	}
	if err != nil {
		return err
	}
	if err := t.Beep(t.ctx, beepTone, beepTime); err != nil {
		return errors.Join(err, r.Drop())
	}
	t.Forget()
	_, lost, err := t.Line.Record(t.ctx, media.Take{Most: t.opt.MaxLength, Quiet: t.opt.Silence, Into: r.Write})
	if lost > 0 {
		t.opt.Log.Error("the disk was too slow for a message", "mailbox", h.Mailbox, "trace", h.Trace, "lost_samples", lost)
	}
	if r.Length() < t.opt.MinLength {
		if dropped := r.Drop(); dropped != nil || err != nil {
			return cmp.Or(err, dropped)
		}
		return t.tell("vm-too-short")
	}
	if kept := r.Keep(); kept != nil { // also what a hangup or a full disk has cut
		t.opt.Log.Error("a message can't be kept; the next start tries again", "mailbox", h.Mailbox, "message", r.id, "trace", h.Trace, "error", kept)
		return cmp.Or(err, kept)
	}
	t.opt.Log.Info("a message was left", "mailbox", h.Mailbox, "message", r.id, "caller", h.Caller, "trace", h.Trace, "length", r.Length().Round(time.Second))
	if err != nil {
		return err
	}
	return t.tell("vm-thanks")
}

// greet says the owner's greeting, or the standard one.
func (t *talk) greet(mailbox string) (byte, error) {
	dir, err := t.dir(mailbox)
	if err != nil {
		return 0, err
	}
	key, err := t.key(t.ctx)
	if err != nil {
		return 0, err
	}
	own, err := open(filepath.Join(dir, greeting+".sound"), key)
	if err == nil {
		defer own.Close()
		return t.Play(t.ctx, own)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.opt.Log.Error("a greeting can't be read", "mailbox", mailbox, "error", err)
	}
	words := append([]string{"vm-extension"}, prompt.Digits(mailbox)...)
	return t.say(append(words, "vm-unavailable", "vm-leave")...)
}
