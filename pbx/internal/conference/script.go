package conference

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
)

// Line is what the script does with a call (media.Dialogue).
type Line interface {
	Play(ctx context.Context, sound io.Reader) (key byte, err error)
	Key(ctx context.Context, within time.Duration) (byte, error)
	Digits(ctx context.Context, first byte, most int, within time.Duration) (string, error)
	Mix(ctx context.Context, seat *media.Seat) (key byte, err error)
}

// PINs are those of rooms, by number (pin.Keeper).
type PINs interface {
	Has(ctx context.Context, number string) (bool, error)
	Opens(ctx context.Context, number, code string) (bool, error)
}

// Script is how one party meets others.
type Script struct {
	Room    dialplan.Room
	Name    string // of the room
	Rooms   *Rooms
	Party   PINs // of a room
	Leader  PINs // of its moderators
	Prompts *prompt.Library
	Music   func() io.Reader
	Log     *slog.Logger
}

// Times of the script, and how often a PIN may be wrong.
const (
	pinWait = 8 * time.Second
	keyWait = 3 * time.Second
	maxPINs = 3
)

// Keys in a room, after a *.
const (
	keyMute   = '6'
	keyCount  = '0'
	keyLock   = '5' // this and what follows is for moderators
	keyMutes  = '7'
	keyFinish = '9'
)

// Run lets a party meet others until it is sent away or hangs up. Who is a moderator already is asked for no PIN.
func (s *Script) Run(ctx context.Context, l Line, p *Party) {
	if !p.Moderator {
		ok, err := s.identify(ctx, l, p)
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("a conference room is not entered", "room", s.Name, "number", p.Number, "error", err)
		}
		switch {
		case errors.Is(err, pin.ErrLocked):
			s.say(ctx, l, "conf-pins-locked")
			return
		case err != nil:
			s.say(ctx, l, "conf-failed")
			return
		case !ok:
			s.say(ctx, l, "vm-goodbye")
			return
		}
	}
	here, err := s.Rooms.enter(ctx, s.Name, &s.Room, p)
	switch {
	case errors.Is(err, ErrFull):
		s.say(ctx, l, "conf-full")
		return
	case err != nil:
		s.say(ctx, l, "conf-locked")
		return
	}
	s.meet(here, l, p)
	p.leave(&s.Room)
	s.say(ctx, l, "conf-over") // not heard by who hung up
}

// say says something and waits until it is over.
func (s *Script) say(ctx context.Context, l Line, names ...string) {
	_, _ = l.Play(ctx, s.Prompts.Say(names...))
}

// identify asks for a PIN where the room has one. It reports whether the party may come in.
func (s *Script) identify(ctx context.Context, l Line, p *Party) (bool, error) {
	number := s.Room.Number
	closed, err := s.Party.Has(ctx, number)
	if err != nil {
		return false, err
	}
	led, err := s.Leader.Has(ctx, number)
	if err != nil || !closed && !led {
		return err == nil, err
	}
	ask := "conf-pin"
	if !closed {
		ask = "conf-leader" // or # alone
	}
	for range maxPINs {
		key, err := l.Play(ctx, s.Prompts.Say(ask))
		if err != nil {
			return false, err
		}
		code, err := l.Digits(ctx, key, pin.MaxSize, pinWait)
		if err != nil {
			return false, err
		}
		if code == "" && !closed {
			return true, nil
		}
		if ok, err := s.opens(ctx, code, closed, led, p); ok || err != nil {
			return ok, err
		}
		s.say(ctx, l, "vm-wrong")
	}
	return false, nil
}

// opens tries a PIN as that of the moderators, and as that of the room. A keeper's lock counts only where the other does not open either.
func (s *Script) opens(ctx context.Context, code string, closed, led bool, p *Party) (bool, error) {
	var locked error
	if led {
		ok, err := s.Leader.Opens(ctx, s.Room.Number, code)
		if p.Moderator = ok; ok {
			return true, nil
		}
		locked = err
	}
	if closed {
		ok, err := s.Party.Opens(ctx, s.Room.Number, code)
		if ok {
			return true, nil
		}
		locked = err
	}
	return false, locked
}

// meet lets a party hear and speak, or wait for a moderator, until ctx ends.
func (s *Script) meet(ctx context.Context, l Line, p *Party) {
	told := ""
	tell := func(name string) {
		if told != name {
			told = name
			s.say(ctx, l, name)
		}
	}
	music := s.Music()
	for ctx.Err() == nil {
		seat, others, changed := p.sit(&s.Room)
		switch {
		case seat == nil:
			tell("conf-wait")
		case others == 0:
			tell("conf-alone")
		default:
			told = ""
		}
		turn, stop := context.WithCancel(ctx)
		go func() {
			defer stop()
			select {
			case <-changed:
			case <-turn.Done():
			}
		}()
		var key byte
		var err error
		if seat == nil {
			key, err = l.Play(turn, music)
		} else {
			key, err = l.Mix(turn, seat)
		}
		gone := turn.Err() == nil // no change of the room ended it
		stop()
		switch {
		case err == nil && key == '*':
			s.command(ctx, l, p)
		case err != nil && gone:
			return
		}
	}
}

// command does what a key after * says.
func (s *Script) command(ctx context.Context, l Line, p *Party) {
	key, err := l.Key(ctx, keyWait)
	if err != nil || key == 0 {
		return
	}
	either := func(on bool, yes, no string) {
		if on {
			s.say(ctx, l, yes)
		} else {
			s.say(ctx, l, no)
		}
	}
	switch {
	case key == keyMute:
		either(p.toggle(), "conf-muted", "conf-heard")
	case key == keyCount:
		s.say(ctx, l, append(append([]string{"conf-there"}, prompt.Number(p.count())...), "conf-people")...)
	case key == keyLock && p.Moderator:
		either(p.toggleLock(), "conf-locks", "conf-opens")
	case key == keyMutes && p.Moderator:
		p.muteOthers()
		s.say(ctx, l, "conf-mutes")
	case key == keyFinish && p.Moderator:
		p.end()
	default:
		s.say(ctx, l, "menu-invalid")
	}
}
