package voicemail

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
)

// How long a menu waits, and how often it asks.
const (
	keyWait  = 5 * time.Second
	maxAsked = 3
)

// errEnough ends a call that has been asked often enough, or wants to end.
var errEnough = errors.New("enough")

// Menu lets the owner of a mailbox hear its messages. mailbox is that of the extension that calls; empty: it is asked for. A mailbox without a
// PIN opens to its own phones only.
func (b *Boxes) Menu(ctx context.Context, l Line, mailbox string) {
	t := &talk{Boxes: b, Line: l, ctx: ctx}
	t.end(mailbox, t.enter(mailbox, true))
}

// enter asks who it is, and opens the mailbox: one that is known already, or the one that is asked for. trusted says that it is its owner's
// phone.
func (t *talk) enter(known string, trusted bool) error {
	for range maxAsked {
		mailbox := known
		if known == "" {
			var err error
			if mailbox, err = t.ask("vm-mailbox", 64); err != nil {
				return err
			}
		} else if trusted && Fits(known) && t.opt.Owner(known) {
			has, err := t.pins.Has(t.ctx, known)
			if err != nil {
				return err
			}
			if !has {
				return t.menu(known)
			}
		}
		code, err := t.ask("vm-pin", pin.MaxSize)
		if err != nil {
			return err
		}
		ok, err := t.pins.Opens(t.ctx, mailbox, code)
		if err != nil {
			return err
		}
		if ok {
			return t.menu(mailbox)
		}
		if err := t.tell("vm-wrong"); err != nil {
			return err
		}
	}
	return errEnough
}

// ask says a prompt and gathers digits.
func (t *talk) ask(name string, most int) (string, error) {
	key, err := t.say(name)
	if err != nil {
		return "", err
	}
	return t.Digits(t.ctx, key, most, keyWait)
}

// choose says prompts until a key is pressed, three times.
func (t *talk) choose(names ...string) (byte, error) {
	for range maxAsked {
		key, err := t.say(names...)
		if err != nil {
			return 0, err
		}
		if key == 0 {
			key, err = t.Key(t.ctx, keyWait)
		}
		if key != 0 || err != nil {
			return key, err
		}
	}
	return 0, errEnough
}

// invalid answers a key that means nothing.
func (t *talk) invalid() error {
	return t.tell("vm-invalid")
}

func (t *talk) menu(mailbox string) error {
	first := true
	for {
		var names []string
		if first {
			list, err := t.List(t.ctx, mailbox)
			if err != nil {
				return err
			}
			names, first = summary(list), false
		}
		key, err := t.choose(append(names, "vm-menu")...)
		switch {
		case err != nil:
		case key == '1':
			err = t.listen(mailbox)
		case key == '0':
			err = t.options(mailbox)
		case key == '#':
			return errEnough
		default:
			err = t.invalid()
		}
		if err != nil {
			return err
		}
	}
}

// summary says how many messages there are.
func summary(list []Message) []string {
	fresh, old := 0, 0
	for _, m := range list {
		if m.Folder == New {
			fresh++
		} else {
			old++
		}
	}
	noun := func(n int) string {
		if n == 1 {
			return "vm-message"
		}
		return "vm-messages"
	}
	count := func(n int, what string) []string { return append(prompt.Number(n), what, noun(n)) }
	names := []string{"vm-have"}
	switch {
	case fresh == 0 && old == 0:
		return append(names, "no", "vm-messages")
	case old == 0:
		return append(names, count(fresh, "vm-new")...)
	case fresh == 0:
		return append(names, count(old, "vm-saved-messages")...)
	}
	return append(append(append(names, count(fresh, "vm-new")...), "and"), count(old, "vm-saved-messages")...)
}

// listen goes through the messages.
func (t *talk) listen(mailbox string) error {
	list, err := t.List(t.ctx, mailbox)
	if err != nil {
		return err
	}
	for i := 0; i < len(list); {
		key, err := t.message(mailbox, list[i])
		if errors.Is(err, ErrNoMessage) { // deleted meanwhile, at another phone
			i++
			continue
		}
		if err != nil {
			return err
		}
		switch key {
		case '4':
			i = max(i-1, 0)
		case '5':
		case '6':
			i++
		case '7':
			if err = t.Delete(mailbox, list[i].ID); err == nil {
				err = t.tell("vm-deleted")
			}
			list = append(list[:i], list[i+1:]...)
		case '8':
			err = t.pass(mailbox, list[i])
		case '9':
			err = t.tell("vm-saved")
			i++
		case '*':
			return nil
		case '#':
			return errEnough
		default:
			err = t.invalid()
		}
		if err != nil && !errors.Is(err, ErrNoMessage) {
			return err
		}
	}
	return t.tell("vm-nomore")
}

// message says one with its envelope, and returns the key that is pressed.
func (t *talk) message(mailbox string, m Message) (byte, error) {
	sound, err := t.Sound(t.ctx, mailbox, m.ID)
	if err != nil {
		return 0, err
	}
	defer sound.Close()
	envelope := []string{"vm-message", "vm-from"}
	if caller := prompt.Digits(m.Caller); len(caller) > 0 {
		envelope = append(envelope, caller...)
	} else {
		envelope = append(envelope, "vm-unknown-caller")
	}
	envelope = append(append(envelope, "vm-received"), prompt.Moment(m.At, t.opt.Now())...)
	key, err := t.say(envelope...)
	if key != 0 || err != nil {
		return key, err
	}
	if m.Folder == New {
		if err := t.Heard(mailbox, m.ID); err != nil {
			return 0, err
		}
	}
	if key, err = t.Play(t.ctx, sound); key != 0 || err != nil {
		return key, err
	}
	return t.choose("vm-after")
}

// pass gives a message to another mailbox.
func (t *talk) pass(mailbox string, m Message) error {
	to, err := t.ask("vm-to", 64)
	if err != nil || to == "" {
		return err
	}
	switch err = t.Copy(mailbox, m.ID, to); {
	case errors.Is(err, ErrNoMailbox):
		err = t.tell("vm-unknown-box")
	case errors.Is(err, ErrFull):
		err = t.tell("vm-full")
	case err == nil:
		err = t.tell("vm-forwarded")
	}
	return err
}

// options are greeting and PIN.
func (t *talk) options(mailbox string) error {
	for {
		key, err := t.choose("vm-options")
		switch {
		case err != nil:
		case key == '1':
			err = t.newGreeting(mailbox)
		case key == '2':
			if err = t.DropGreeting(mailbox); err == nil {
				err = t.tell("vm-greeting-gone")
			}
		case key == '5':
			err = t.newPIN(mailbox)
		case key == '*':
			return nil
		case key == '#':
			return errEnough
		default:
			err = t.invalid()
		}
		if err != nil {
			return err
		}
	}
}

// DropGreeting lets callers hear the standard greeting.
func (b *Boxes) DropGreeting(mailbox string) error {
	dir, err := b.dir(mailbox)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, greeting+".sound")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// newGreeting records one until its owner is content. The old one is in force until then.
func (t *talk) newGreeting(mailbox string) error {
	dir, err := t.dir(mailbox)
	if err != nil {
		return err
	}
	master, err := t.key(t.ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	half, err := os.CreateTemp(dir, greeting+".*.half")
	if err != nil {
		return err
	}
	half.Close()
	defer os.Remove(half.Name())
	for again := true; again; {
		if err := t.record(half.Name(), master, mailbox); err != nil {
			return err
		}
		if again, err = t.review(half.Name(), master, dir); err != nil {
			return err
		}
	}
	return nil
}

// review lets the owner hear the greeting; it reports whether he wants to speak again.
func (t *talk) review(half string, master []byte, dir string) (again bool, err error) {
	for {
		key, err := t.choose("vm-review")
		if err != nil {
			return false, err
		}
		switch key {
		case '1':
			if err := errors.Join(os.Rename(half, filepath.Join(dir, greeting+".sound")), syncDir(dir)); err != nil {
				return false, err
			}
			err = t.tell("vm-greeting-kept")
			return false, err
		case '2':
			o, err := open(half, master)
			if err != nil {
				return false, err
			}
			_, err = t.Play(t.ctx, o)
			o.Close()
			if err != nil {
				return false, err
			}
		case '3':
			return true, nil
		case '*':
			return false, nil
		default:
			if err := t.invalid(); err != nil {
				return false, err
			}
		}
	}
}

// record writes what is said after the tone to a file.
func (t *talk) record(path string, master []byte, mailbox string) error {
	if err := t.tell("vm-speak"); err != nil {
		return err
	}
	t.early = 0 // it only means: get on
	if err := os.Remove(path); err != nil {
		return err
	}
	f, err := create(path, master, Header{Mailbox: mailbox, At: t.opt.Now()})
	if err != nil {
		return err
	}
	r := &recording{b: t.Boxes, file: f}
	if err := t.Beep(t.ctx, beepTone, beepTime); err != nil {
		return errors.Join(err, f.finish())
	}
	t.Forget()
	_, _, err = t.Line.Record(t.ctx, media.Take{Most: t.opt.MaxLength, Quiet: t.opt.Silence, Into: r.Write})
	return errors.Join(err, r.flush(), f.finish())
}

func (t *talk) newPIN(mailbox string) error {
	code, err := t.ask("vm-new-pin", pin.MaxSize)
	if err != nil {
		return err
	}
	if pin.Weak(mailbox, code) {
		return t.tell("vm-weak")
	}
	again, err := t.ask("vm-again", pin.MaxSize)
	if err != nil {
		return err
	}
	if again != code {
		return t.tell("vm-mismatch")
	}
	if err := t.SetPIN(t.ctx, mailbox, code); err != nil {
		return err
	}
	return t.tell("vm-pin-kept")
}
