package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Condition is when an extension's calls are forwarded.
type Condition string

// The conditions.
const (
	Always      Condition = "always"
	Busy        Condition = "busy"
	NoAnswer    Condition = "no-answer"
	Unreachable Condition = "unreachable" // no phone of it is registered, or none can be reached
)

// Conditions returns all of them, in the order that commands show.
func Conditions() []Condition { return []Condition{Always, Busy, NoAnswer, Unreachable} }

// MaxBlocked bounds the callers that one extension blocks.
const MaxBlocked = 200

// Services is what an extension has set for the calls to it.
type Services struct {
	Extension      string               `json:"extension"`
	Forwards       map[Condition]string `json:"forwards,omitempty"`        // as its owner would dial it
	After          int                  `json:"after,omitempty"`           // seconds of ringing before no-answer; 0: as the dialplan says
	DND            bool                 `json:"dnd,omitempty"`             // do not disturb
	NoWaiting      bool                 `json:"no_waiting,omitempty"`      // busy while it is in a call
	Blocked        []string             `json:"blocked,omitempty"`         // callers, sorted
	BlockAnonymous bool                 `json:"block_anonymous,omitempty"` // callers without a number
	Voicemail      bool                 `json:"voicemail,omitempty"`       // its mailbox takes the calls that nothing else becomes of

	Email string `json:"email,omitempty"` // where its mailbox's messages are mailed to
	Agent string `json:"agent,omitempty"` // "in", "out" or "paused" at its queues; empty: as they say

	row
}

func (s *Services) key() string          { return s.Extension }
func (s *Services) meta() *row           { return &s.row }
func (s *Services) table() string        { return tableServices }
func (s *Services) limit(o *Options) int { return o.MaxExtensions }
func (s *Services) expires() time.Time   { return time.Time{} }
func (s *Services) noted(*writer, bool)  {}

// Forward returns where the calls of a condition go; empty: nowhere.
func (s *Services) Forward(when Condition) string { return s.Forwards[when] }

// SetForward sends the calls of a condition to a number; empty: nowhere.
func (s *Services) SetForward(when Condition, to string) {
	next := map[Condition]string{}
	for c, n := range s.Forwards { // the map may be another row's
		next[c] = n
	}
	next[when] = to
	if to == "" {
		delete(next, when)
	}
	s.Forwards = next
}

// Block adds a caller to those that are blocked, or takes it out. It reports false where there is no room.
func (s *Services) Block(number string, on bool) bool {
	i, found := slices.BinarySearch(s.Blocked, number)
	switch {
	case on == found:
		return true
	case on && len(s.Blocked) >= MaxBlocked:
		return false
	case on:
		s.Blocked = slices.Insert(slices.Clone(s.Blocked), i, number)
	default:
		s.Blocked = slices.Delete(slices.Clone(s.Blocked), i, i+1)
	}
	return true
}

// Blocks reports whether a caller is blocked; the empty number is that of an anonymous one.
func (s *Services) Blocks(number string) bool {
	if number == "" {
		return s.BlockAnonymous
	}
	_, found := slices.BinarySearch(s.Blocked, number)
	return found
}

// Services returns what an extension has set; nothing where it has set nothing.
func (s *Store) Services(extension string) *Services {
	if row, ok := get[Services](s.db, tableServices, extension); ok {
		return row
	}
	return &Services{Extension: extension}
}

// ChangeServices changes what an extension has set, in one transaction: of two changes at a time none is lost. Where change fails,
// nothing changes. Errors: that of change, ErrBadRow where there is no such extension, ErrFull, ErrClosed, or that ctx ended before
// it was begun.
func (s *Store) ChangeServices(ctx context.Context, extension string, change func(*Services) error) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error {
		if _, ok := first[Extension](t.Txn, tableExtensions, extension); !ok {
			return fmt.Errorf("%w: no extension %.40q", ErrBadRow, extension)
		}
		next := Services{Extension: extension}
		if old, ok := first[Services](t.Txn, tableServices, extension); ok {
			next = *old
		}
		if err := change(&next); err != nil {
			return err
		}
		return put(t, &next)
	})
}

// Switch is something that people turn by hand and that stays so.
type Switch struct {
	Name  string    `json:"name"`
	State string    `json:"state"`
	By    string    `json:"by,omitempty"` // extension that turned it; empty: an operator
	At    time.Time `json:"at"`

	row
}

// maxSwitches bounds the table. Their names are in the program.
const maxSwitches = 100

func (s *Switch) key() string         { return s.Name }
func (s *Switch) meta() *row          { return &s.row }
func (s *Switch) table() string       { return tableSwitches }
func (s *Switch) limit(*Options) int  { return maxSwitches }
func (s *Switch) expires() time.Time  { return time.Time{} }
func (s *Switch) noted(*writer, bool) {}

// Switch returns the switch of that name, if anybody ever turned it.
func (s *Store) Switch(name string) (*Switch, bool) { return get[Switch](s.db, tableSwitches, name) }

// Turn turns a switch.
func (s *Store) Turn(ctx context.Context, sw *Switch) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error { return put(t, sw) })
}
