package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// BindingID is the primary key of a binding. With an instance and a reg-id the binding is that flow of that device,
// whatever its contact (RFC 5626 §6); else it is the contact (RFC 3261 §10.3).
func BindingID(aor, contactURI, instance string, regID int) string {
	if instance != "" && regID > 0 {
		return aor + " " + strconv.Itoa(regID) + " " + instance
	}
	return aor + " " + contactURI
}

// Bindings returns the bindings of an address of record that are live at now.
func (s *Store) Bindings(aor string, now time.Time) []*Binding {
	rows, _ := s.WatchBindings(aor, now)
	return rows
}

// WatchBindings returns the bindings of an address of record that are live at now, and a channel that closes when they
// change. When there are none it may close for a change of another one.
func (s *Store) WatchBindings(aor string, now time.Time) ([]*Binding, <-chan struct{}) {
	rows, watch := list[Binding](s.db.Txn(false), tableBindings, indexAOR, aor)
	return live(rows, now), watch
}

// AllBindings returns every binding that is live at now, ordered by address of record.
func (s *Store) AllBindings(now time.Time) []*Binding {
	rows, _ := list[Binding](s.db.Txn(false), tableBindings, indexID)
	return live(rows, now)
}

func live(rows []*Binding, now time.Time) []*Binding {
	out := rows[:0]
	for _, b := range rows {
		if b.Live(now) {
			out = append(out, b)
		}
	}
	return out
}

// PutBindings adds bindings or replaces them, all or none. When it returns, readers see them; when durable closes, they
// are on disk. Errors: ErrBadRow, ErrFull, ErrClosed, or that ctx ended before it was begun.
func (s *Store) PutBindings(ctx context.Context, rows ...*Binding) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error { return putBindings(t, rows) })
}

// UpdateBindings changes the bindings of one address of record in one step: nobody else changes them between what
// update sees and what it returns (RFC 3261 §10.3: all of a REGISTER or nothing, in its order). update gets all
// bindings, also expired ones, and returns which to put and which to delete; it runs on the store's writer, so it must be
// quick and must not call the store. Its error is returned as it is, and nothing is changed.
func (s *Store) UpdateBindings(ctx context.Context, aor string,
	update func(now []*Binding) (put, del []*Binding, err error),
) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error {
		rows, _ := list[Binding](t.Txn, tableBindings, indexAOR, aor)
		puts, dels, err := guarded(update, rows)
		if err != nil {
			return err
		}
		for _, b := range puts {
			if b.AOR != aor {
				return fmt.Errorf("%w: binding of %.40q in an update of %.40q", ErrBadRow, b.AOR, aor)
			}
		}
		if len(dels) == 0 {
			return putBindings(t, puts)
		}
		if err := checkBindings(t, puts); err != nil {
			return err
		}
		for _, b := range dels {
			if _, err := del[Binding](t, b.ID); err != nil {
				return err
			}
		}
		return putBindings(t, puts)
	})
}

var errPanic = errors.New("panic in an update of bindings")

// guarded runs update and turns a panic of it into an error: it works on what a stranger sent, on a goroutine that all
// depend on.
func guarded(update func([]*Binding) (put, del []*Binding, err error), rows []*Binding) (put, del []*Binding, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return update(rows)
}

// checkBindings makes sure that putting rows can't fail halfway.
func checkBindings(t *txn, rows []*Binding) error {
	fresh := 0
	for _, b := range rows {
		if err := errors.Join(check("binding", b.ID), check("address of record", b.AOR)); err != nil {
			return err
		}
		if _, exists := first[Binding](t.Txn, tableBindings, b.ID); !exists {
			fresh++
		}
	}
	if fresh > 0 && t.w.count[tableBindings]+fresh > t.opts.MaxBindings {
		return fmt.Errorf("%w: bindings has %d rows", ErrFull, t.opts.MaxBindings)
	}
	return nil
}

func putBindings(t *txn, rows []*Binding) error {
	if err := checkBindings(t, rows); err != nil {
		return err
	}
	for _, b := range rows {
		if err := put(t, b); err != nil {
			return err
		}
	}
	return nil
}

// DeleteBindings takes bindings out by their ID. Those that are gone already are no error.
func (s *Store) DeleteBindings(ctx context.Context, ids ...string) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error {
		for _, id := range ids {
			if _, err := del[Binding](t, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// maxExpire is how many rows of a table one operation of Expire takes out, so that others get their turn.
const maxExpire = 500

// Expire takes out all bindings that are not live at now, and external calls that count no more, and returns how many
// they were.
func (s *Store) Expire(ctx context.Context, now time.Time) (int, error) {
	for total := 0; ; {
		n := 0
		_, err := s.do(ctx, func(t *txn) error {
			for _, id := range t.w.expiring.due(now, maxExpire) {
				if _, err := del[Binding](t, id); err != nil {
					return err
				}
				n++
			}
			tolls, err := t.dropTolls(now, maxExpire)
			n += tolls
			return err
		})
		if err != nil {
			return total, fmt.Errorf("expiring bindings: %w", err)
		}
		if total += n; n < maxExpire {
			return total, nil
		}
	}
}
