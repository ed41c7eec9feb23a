package store

import (
	"context"
	"errors"
	"time"
)

// Parked is a call that waits in a slot until somebody fetches it. It lives in memory only, as the call does.
type Parked struct {
	Slot  string // its identity: the number that fetches it
	Call  string
	Party string // number of who waits; empty: nobody yet, who parks it is about to send somebody
	By    string // extension that parked it
	Since time.Time
}

// ErrTaken is the fault of a slot that is not free, or of slots that are all taken.
var ErrTaken = errors.New("taken")

// Park puts a call in the first of these slots that is free. Errors: ErrTaken, ErrBadRow, ErrClosed, or that ctx ended before it was begun.
func (s *Store) Park(ctx context.Context, p Parked, slots ...string) (slot string, err error) {
	_, err = s.do(ctx, func(t *txn) error {
		for _, name := range slots {
			if err := check("slot", name); err != nil {
				return err
			}
			if _, taken := first[Parked](t.Txn, tableParked, name); taken {
				continue
			}
			row := p
			row.Slot, slot = name, name
			return t.insert(tableParked, &row, false)
		}
		return ErrTaken
	})
	return slot, err
}

// Occupy notes who waits in a call's slot.
func (s *Store) Occupy(slot, call, party string, failed func(error)) {
	s.later(func(t *txn) error {
		old, ok := first[Parked](t.Txn, tableParked, slot)
		if !ok || old.Call != call {
			return nil
		}
		row := *old
		row.Party = party
		return t.insert(tableParked, &row, true)
	}, failed)
}

// Unpark frees a call's slot. One that is free, or another call's, is no error.
func (s *Store) Unpark(slot, call string, failed func(error)) {
	s.later(func(t *txn) error {
		old, ok := first[Parked](t.Txn, tableParked, slot)
		if !ok || old.Call != call {
			return nil
		}
		return t.remove(tableParked, old)
	}, failed)
}

// Parked returns the call in a slot.
func (s *Store) Parked(slot string) (*Parked, bool) { return get[Parked](s.db, tableParked, slot) }

// AllParked returns all parked calls, ordered by slot.
func (s *Store) AllParked() []*Parked {
	rows, _ := list[Parked](s.db.Txn(false), tableParked, indexID)
	return rows
}
