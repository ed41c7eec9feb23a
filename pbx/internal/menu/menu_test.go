package menu

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/prompt"
)

// fakeLine is a caller. Each word of its script is what it presses at one prompt: the first key during it, the others after it; _ stands for
// nothing, and ! before a word that it does not wait until it is asked. After the last word it hangs up.
type fakeLine struct {
	words  []string
	rest   string
	heard  []string
	cancel context.CancelFunc
}

func (l *fakeLine) Play(_ context.Context, sound io.Reader) (byte, error) {
	b, err := io.ReadAll(sound)
	if err != nil {
		return 0, err
	}
	l.heard = append(l.heard, strings.TrimSpace(string(b)))
	if early := len(l.words) > 0 && strings.HasPrefix(l.words[0], "!"); !early && slices.Contains([]string{"menu-invalid ", "menu-unreachable ", "vm-goodbye "}, string(b)) {
		return 0, nil
	}
	if len(l.words) == 0 {
		l.cancel()
		return 0, context.Canceled
	}
	l.rest, l.words = strings.Trim(l.words[0], "_!"), l.words[1:]
	return l.Key(context.Background(), 0)
}

func (l *fakeLine) Key(context.Context, time.Duration) (byte, error) {
	if l.rest == "" {
		return 0, nil
	}
	k := l.rest[0]
	l.rest = l.rest[1:]
	return k, nil
}

var people = []Person{
	{"1001", "Anna Müller"}, {"1002", "Boris Godunov"}, {"1003", "Mulder"}, {"15", "Çelik"}, {"1500", "Zoë O'Hara"}, {"77", ""}, {"78", "李"},
}

// TestScripts goes through menus as callers do.
func TestScripts(t *testing.T) {
	plain := dialplan.Menu{Say: []string{"hello", "choose"}, Keys: map[string]string{"1": "1500", "2": "030123", "23": "1600", "*": "1700"}, Tries: 2, Wait: time.Second}
	open := plain
	open.Extensions, open.Names, open.Then = true, "9", "1009"
	for name, c := range map[string]struct {
		menu  dialplan.Menu
		does  string
		codes map[string]int // of numbers that do not answer
		heard string
		calls string
	}{
		"a key":                          {plain, "1", nil, "hello choose", "1500"},
		"star":                           {plain, "*", nil, "hello choose", "1700"},
		"two keys":                       {plain, "23", nil, "hello choose", "1600"},
		"the shorter of two, then time":  {plain, "2", nil, "hello choose", "030123"},
		"the shorter of two, then pound": {plain, "2#", nil, "hello choose", "030123"},
		"nothing":                        {plain, "_ _", nil, "hello choose|hello choose|vm-goodbye", ""},
		"nothing, then a key":            {plain, "_ 1", nil, "hello choose|hello choose", "1500"},
		"wrong":                          {plain, "5 1", nil, "hello choose|menu-invalid|hello choose", "1500"},
		"wrong until the end":            {plain, "7 ##", nil, "hello choose|menu-invalid|hello choose|menu-invalid|vm-goodbye", ""},
		"an extension, where it is none": {plain, "1001", nil, "hello choose", "1500"}, // 1 decides
		"nobody answers":                 {plain, "1 *", map[string]int{"1500": 486}, "hello choose|menu-unreachable|hello choose", "1500 1700"},
		"early":                          {plain, "7 !1", nil, "hello choose|menu-invalid", "1500"},
		"hangs up":                       {plain, "_", nil, "hello choose|hello choose", ""},

		"an extension":                     {open, "1002", nil, "hello choose", "1002"},
		"a key that extensions begin with": {open, "1", nil, "hello choose", "1500"},
		"the shorter of two extensions":    {open, "15", nil, "hello choose", "15"},
		"the longer of two extensions":     {open, "1500", nil, "hello choose", "1500"},
		"an extension that is none":        {open, "1999 _", nil, "hello choose|menu-invalid|hello choose", "1009"},
		"then":                             {open, "_ _", nil, "hello choose|hello choose", "1009"},
		"then does not answer":             {open, "_ _", map[string]int{"1009": 480}, "hello choose|hello choose|vm-goodbye", "1009"},
		"one name":                         {open, "9 267", nil, "hello choose|menu-name", "1002"},
		"with a mark":                      {open, "9 235", nil, "hello choose|menu-name", "15"},
		"with an apostrophe":               {open, "9 642", nil, "hello choose|menu-name", "1500"},
		"several names":                    {open, "9 685 2", nil, "hello choose|menu-name|menu-for 1 0 0 1 menu-press 1 menu-for 1 0 0 3 menu-press 2", "1003"},
		"several names, none of them":      {open, "9 685 3 1", nil, "hello choose|menu-name|menu-for 1 0 0 1 menu-press 1 menu-for 1 0 0 3 menu-press 2|menu-invalid|hello choose", "1500"},
		"a name that nobody has":           {open, "9 999 1002", nil, "hello choose|menu-name|menu-invalid|hello choose", "1002"},
		"a name that was not finished":     {open, "9 68 1002", nil, "hello choose|menu-name|menu-invalid|hello choose", "1002"},
		"more keys than any number has":    {open, "10000000000000000000 _", map[string]int{"1009": 480}, "hello choose|menu-invalid|hello choose|vm-goodbye", "1009"},
	} {
		t.Run(name, func(t *testing.T) {
			sounds, err := prompt.English()
			if err != nil {
				t.Fatal(err)
			}
			for n := range sounds {
				sounds[n] = []byte(n + " ")
			}
			sounds["hello"], sounds["choose"] = []byte("hello "), []byte("choose ")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l := &fakeLine{words: strings.Fields(c.does), cancel: cancel}
			var calls []string
			s := Script{Menu: c.menu, Prompts: prompt.NewLibrary(sounds), People: func() []Person { return people }, Call: func(_ context.Context, number string) int {
				calls = append(calls, number)
				if code := c.codes[number]; code != 0 {
					return code
				}
				return 200
			}}
			s.Run(ctx, l)
			if got := strings.Join(l.heard, "|"); got != c.heard {
				t.Errorf("heard %q, want %q", got, c.heard)
			}
			if got := strings.Join(calls, " "); got != c.calls {
				t.Errorf("called %q, want %q", got, c.calls)
			}
		})
	}
}

// A fault of the line ends the script, wherever it is.
func TestFaults(t *testing.T) {
	gone := errors.New("gone")
	for n := range 4 {
		l := &broken{left: n, fault: gone}
		s := Script{Menu: dialplan.Menu{Say: []string{"hello"}, Names: "9", Tries: 3}, Prompts: prompt.NewLibrary(prompt.Set{}), People: func() []Person { return people },
			Call: func(context.Context, string) int { return 480 }}
		s.Run(t.Context(), l)
		if l.left != 0 || l.more {
			t.Errorf("after %d steps: %d left, goes on: %v", n, l.left, l.more)
		}
	}
}

// broken breaks after some steps. It presses 9 at each.
type broken struct {
	left  int
	fault error
	gone  bool
	more  bool // it was asked after it had broken
}

func (b *broken) step() (byte, error) {
	b.more = b.gone
	if b.left == 0 {
		b.gone = true
		return 0, b.fault
	}
	b.left--
	return '9', nil
}

func (b *broken) Play(context.Context, io.Reader) (byte, error)    { return b.step() }
func (b *broken) Key(context.Context, time.Duration) (byte, error) { return b.step() }

func FuzzSpells(f *testing.F) {
	f.Add("Anna Müller", "685")
	f.Add("\xff", "")
	f.Fuzz(func(t *testing.T, name, keys string) {
		if got := pressed(name); strings.Trim(got, "0123456789") != "" {
			t.Errorf("%q is pressed as %q", name, got)
		}
		spells(name, keys)
	})
}
