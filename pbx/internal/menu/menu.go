// Package menu has the script by which a caller chooses where it goes: by keys, by the number of an extension, or by a name.
package menu

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/prompt"
)

// Line is what the script does with a call (media.Dialogue).
type Line interface {
	Play(ctx context.Context, sound io.Reader) (key byte, err error)
	Key(ctx context.Context, within time.Duration) (byte, error)
}

// Person is an extension that can be found by its name.
type Person struct{ Number, Name string }

// Script is one menu.
type Script struct {
	dialplan.Menu
	Prompts *prompt.Library
	People  func() []Person // all extensions
	// Call has the caller called on to a number, and returns the last status code: below 300 it has left.
	Call func(ctx context.Context, number string) int
}

// How long another key is waited for, and how many keys there may be.
const (
	nextKey = 2500 * time.Millisecond
	maxKeys = 16
)

// errNothing says that the caller chose nothing, or nothing that there is.
var (
	errNothing = errors.New("nothing was chosen")
	errInvalid = errors.New("there is no such choice")
)

// Run leads a caller on. It returns when the caller has left, or is to be hung up on.
func (m *Script) Run(ctx context.Context, l Line) {
	var early byte // key that was pressed while something was said that asks for none
	for range m.Tries {
		number, err := m.choose(ctx, l, early)
		early = 0
		switch {
		case errors.Is(err, errNothing):
			continue
		case errors.Is(err, errInvalid):
			early, err = m.tell(ctx, l, "menu-invalid")
		case err == nil:
			if m.Call(ctx, number) < 300 {
				return
			}
			early, err = m.tell(ctx, l, "menu-unreachable")
		}
		if err != nil {
			return
		}
	}
	if m.Then != "" && m.Call(ctx, m.Then) < 300 {
		return
	}
	_, _ = m.tell(ctx, l, "vm-goodbye")
}

func (m *Script) tell(ctx context.Context, l Line, name string) (byte, error) {
	return l.Play(ctx, m.Prompts.Say(name))
}

// choose says the menu, unless a key was pressed already, and returns the number that was chosen.
func (m *Script) choose(ctx context.Context, l Line, early byte) (string, error) {
	keys, err := m.keys(ctx, l, early, m.complete, m.Say...)
	switch to, ok := m.Keys[keys]; {
	case err != nil:
		return "", err
	case keys == "":
		return "", errNothing
	case ok:
		return to, nil
	case keys == m.Names:
		return m.find(ctx, l)
	case m.Extensions && m.isExtension(keys):
		return keys, nil
	}
	return "", errInvalid
}

// keys says prompts and gathers keys, after the first, until they are complete, or no more come. # alone is a key; after others it ends them.
func (m *Script) keys(ctx context.Context, l Line, key byte, complete func(keys string) bool, say ...string) (string, error) {
	var err error
	if key == 0 {
		key, err = l.Play(ctx, m.Prompts.Say(say...))
	}
	if key == 0 && err == nil {
		key, err = l.Key(ctx, m.Wait)
	}
	keys := ""
	for ; err == nil && key != 0; key, err = l.Key(ctx, nextKey) {
		if key == '#' && keys != "" && m.Keys[keys+"#"] == "" {
			break
		}
		if keys += string(key); len(keys) == maxKeys || complete(keys) {
			break
		}
	}
	return keys, err
}

// complete reports whether no other choice begins with these keys.
func (m *Script) complete(keys string) bool {
	longer := func(choice string) bool { return len(choice) > len(keys) && strings.HasPrefix(choice, keys) }
	if longer(m.Names) || slices.ContainsFunc(slices.Collect(maps.Keys(m.Keys)), longer) {
		return false
	}
	return !m.Extensions || !slices.ContainsFunc(m.People(), func(p Person) bool { return longer(p.Number) })
}

func (m *Script) isExtension(number string) bool {
	return slices.ContainsFunc(m.People(), func(p Person) bool { return p.Number == number })
}

// Bounds of a search by name.
const (
	letters  = 3
	maxFound = 9
)

// find asks for a name and returns the extension.
func (m *Script) find(ctx context.Context, l Line) (string, error) {
	keys, err := m.keys(ctx, l, 0, func(keys string) bool { return len(keys) == letters }, "menu-name")
	if err != nil {
		return "", err
	}
	var found []Person
	for _, p := range m.People() {
		if len(keys) == letters && len(found) < maxFound && spells(p.Name, keys) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return "", errInvalid
	case 1:
		return found[0].Number, nil
	}
	var say []string
	for i, p := range found {
		say = append(append(append(say, "menu-for"), prompt.Digits(p.Number)...), "menu-press")
		say = append(say, prompt.Number(i+1)...)
	}
	key, err := m.keys(ctx, l, 0, func(string) bool { return true }, say...)
	switch {
	case err != nil:
		return "", err
	case key == "":
		return "", errNothing
	case key < "1" || int(key[0]-'1') >= len(found):
		return "", errInvalid
	}
	return found[key[0]-'1'].Number, nil
}
