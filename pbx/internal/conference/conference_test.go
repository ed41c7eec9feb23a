package conference

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
)

// caller is one who meets others: what it presses, and what it hears. "music" and "mix" are what it hears without an end.
type caller struct {
	*Party
	t    *testing.T
	keys chan byte
	gone context.CancelFunc

	mu    sync.Mutex
	heard []string
}

func (c *caller) hear(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heard) == 0 || what != "mix" || c.heard[len(c.heard)-1] != "mix" {
		c.heard = append(c.heard, what)
	}
}

func (c *caller) wait(ctx context.Context) (byte, error) {
	select {
	case k := <-c.keys:
		return k, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *caller) Play(ctx context.Context, sound io.Reader) (byte, error) {
	b, err := io.ReadAll(sound)
	if err != nil || ctx.Err() != nil {
		return 0, errors.Join(err, ctx.Err())
	}
	c.hear(strings.TrimSpace(string(b)))
	if string(b) == "music" {
		return c.wait(ctx)
	}
	return 0, nil
}

func (c *caller) Mix(ctx context.Context, _ *media.Seat) (byte, error) {
	c.hear("mix")
	return c.wait(ctx)
}

func (c *caller) Key(ctx context.Context, within time.Duration) (byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	k, err := c.wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return k, err
}

func (c *caller) Digits(ctx context.Context, _ byte, most int, within time.Duration) (string, error) {
	out := ""
	for len(out) < most {
		k, err := c.Key(ctx, within)
		if err != nil || k == 0 || k == '#' {
			return out, err
		}
		out += string(k)
	}
	return out, nil
}

// presses presses keys, and lets everybody go on.
func (c *caller) presses(keys string) {
	c.t.Helper()
	for _, k := range []byte(keys) {
		c.keys <- k
		synctest.Wait()
	}
}

// hears wants a caller to have heard that since the last time.
func (c *caller) hears(want ...string) {
	c.t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.heard, want) {
		c.t.Errorf("%s heard %q, want %q", c.Number, c.heard, want)
	}
	c.heard = nil
}

// pins are PINs without a store; those of the kind "!" can't be reached.
type pins string

func (p pins) Has(context.Context, string) (bool, error) {
	if p == "!" {
		return false, errors.New("the secret store is away")
	}
	return p != "", nil
}

func (p pins) Opens(_ context.Context, _, code string) (bool, error) {
	if code == "9999" {
		return false, pin.ErrLocked
	}
	return code == string(p), nil
}

// building is one room.
type building struct {
	*Rooms
	t            *testing.T
	room         dialplan.Room
	party, leads pins
}

func inRoom(t *testing.T, change func(b *building), do func(b *building)) {
	synctest.Test(t, func(t *testing.T) {
		b := &building{Rooms: NewRooms(time.Now), t: t, room: dialplan.Room{Number: "1800"}}
		b.room.SetDefaults()
		if change != nil {
			change(b)
		}
		do(b)
		synctest.Wait()
		_ = b.End("board")
		time.Sleep(time.Minute)
		if left := b.Status("board", &b.room).Parties; len(left) != 0 {
			t.Errorf("left in the end: %+v", left)
		}
	})
}

// band plays without an end. A Play reads it up to its EOF.
type band struct{ played bool }

func (b *band) Read(p []byte) (int, error) {
	if b.played = !b.played; b.played {
		return copy(p, "music"), nil
	}
	return 0, io.EOF
}

// enters has a caller call the room.
func (b *building) enters(number string, moderator bool) *caller {
	b.t.Helper()
	sounds, err := prompt.English()
	if err != nil {
		b.t.Fatal(err)
	}
	for name := range sounds {
		sounds[name] = []byte(name + " ")
	}
	c := &caller{Party: &Party{Call: "call-" + number, Number: number, Moderator: moderator}, t: b.t, keys: make(chan byte)}
	s := &Script{
		Room: b.room, Name: "board", Rooms: b.Rooms, Party: b.party, Leader: b.leads, Prompts: prompt.NewLibrary(sounds),
		Music: func() io.Reader { return new(band) }, Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	c.gone = cancel
	go s.Run(ctx, c, c.Party)
	synctest.Wait()
	return c
}

func TestMeeting(t *testing.T) {
	inRoom(t, nil, func(b *building) {
		x := b.enters("1", false)
		x.hears("conf-alone", "mix")
		y := b.enters("2", false)
		y.hears("mix")
		x.presses("*0")
		x.hears("mix", "conf-there 2 conf-people", "mix")
		x.presses("*6")
		x.hears("conf-muted", "mix")
		if s := b.Status("board", &b.room); len(s.Parties) != 2 || !s.Parties[0].Muted || s.Parties[1].Muted || s.Number != "1800" {
			t.Errorf("%+v", s)
		}
		x.presses("*6")
		x.hears("conf-heard", "mix")
		x.presses("*5")
		x.hears("menu-invalid", "mix") // is no moderator
		x.presses("5")
		x.hears("mix")
		x.presses("*")
		time.Sleep(keyWait)
		x.hears("mix")
		y.gone()
		x.hears("conf-alone", "mix")
		y.hears()
	})
}

func TestModerator(t *testing.T) {
	inRoom(t, func(b *building) { b.room.Wait = true }, func(b *building) {
		x, y := b.enters("1", false), b.enters("2", false)
		x.hears("conf-wait", "music", "music")
		if s := b.Status("board", &b.room); !s.Parties[0].Waiting {
			t.Errorf("%+v", s)
		}
		m := b.enters("3", true)
		x.hears("mix")
		m.hears("mix")
		m.presses("*5")
		m.hears("conf-locks", "mix")
		b.enters("4", false).hears("conf-locked")
		other := b.enters("5", true)
		other.hears("mix")
		m.presses("*5*7")
		m.hears("mix", "conf-opens", "mix", "conf-mutes", "mix")
		for _, p := range b.Status("board", &b.room).Parties {
			if p.Muted == p.Moderator {
				t.Errorf("%+v", p)
			}
		}
		m.gone()
		x.hears("mix")
		other.gone()
		x.hears("conf-wait", "music") // again
		b.enters("6", true).presses("*9")
		x.hears("mix", "conf-over")
		y.hears("conf-wait", "music", "mix", "conf-wait", "music", "mix", "conf-over")
	})
	inRoom(t, func(b *building) { b.room.Ends = true }, func(b *building) {
		x, m := b.enters("1", false), b.enters("2", true)
		m.gone()
		x.hears("conf-alone", "mix", "conf-over")
	})
}

func TestPINs(t *testing.T) {
	type try struct{ presses, hears string }
	for name, c := range map[string]struct {
		party, leads pins
		tries        []try
		moderator    bool
	}{
		"the room's":             {"2580", "", []try{{"", "conf-pin"}, {"2580#", "conf-alone mix"}}, false},
		"the moderators'":        {"2580", "1379", []try{{"", "conf-pin"}, {"1379#", "conf-alone mix"}}, true},
		"moderators alone":       {"", "1379", []try{{"", "conf-leader"}, {"#", "conf-alone mix"}}, false},
		"moderators alone, with": {"", "1379", []try{{"", "conf-leader"}, {"1379#", "conf-alone mix"}}, true},
		"wrong":                  {"2580", "1379", []try{{"1#", "conf-pin vm-wrong conf-pin"}, {"2#", "vm-wrong conf-pin"}, {"3#", "vm-wrong vm-goodbye"}}, false},
		"locked":                 {"2580", "", []try{{"9999#", "conf-pin conf-pins-locked"}}, false},
		"away":                   {"!", "", []try{{"", "conf-failed"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inRoom(t, func(b *building) { b.party, b.leads = c.party, c.leads }, func(b *building) {
				x := b.enters("1", false)
				for _, y := range c.tries {
					x.presses(y.presses)
					x.hears(strings.Fields(y.hears)...)
				}
				if x.Moderator != c.moderator {
					t.Errorf("moderator: %v", x.Moderator)
				}
				b.enters("2", true).gone() // needs none
				x.gone()
			})
		})
	}
}

func TestFullAndFaults(t *testing.T) {
	inRoom(t, func(b *building) { b.room.Parties = 2 }, func(b *building) {
		for name, err := range map[string]error{
			"lock": b.Lock("board", true), "mute": b.Mute("board", "x", true), "end": b.End("board"),
		} {
			if !errors.Is(err, ErrNoRoom) {
				t.Errorf("%s of an empty room: %v", name, err)
			}
		}
		b.enters("1", false)
		b.enters("2", false)
		b.enters("3", true).hears("conf-full")
		if err := b.Mute("board", "call-9", true); !errors.Is(err, ErrNobody) {
			t.Error(err)
		}
		if err := errors.Join(b.Mute("board", "call-1", true), b.Lock("board", true)); err != nil || !b.Status("board", &b.room).Parties[0].Muted {
			t.Error(err)
		}
	})
}
