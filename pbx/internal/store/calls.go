package store

import "context"

// Call returns the call of that ID.
func (s *Store) Call(id string) (*Call, bool) { return get[Call](s.db, tableCalls, id) }

// Calls returns all calls, ordered by ID.
func (s *Store) Calls() []*Call {
	rows, _ := list[Call](s.db.Txn(false), tableCalls, indexID)
	return rows
}

// WatchCalls returns all calls and a channel that closes when they change.
func (s *Store) WatchCalls() ([]*Call, <-chan struct{}) {
	return list[Call](s.db.Txn(false), tableCalls, indexID)
}

// CallsOfTrunk returns the calls that use the trunk.
func (s *Store) CallsOfTrunk(name string) []*Call {
	rows, _ := list[Call](s.db.Txn(false), tableCalls, indexTrunk, name)
	return rows
}

// PutCall adds a call or replaces it. When it returns, readers see it; when durable closes, it is on disk. Errors:
// ErrBadRow, ErrFull, ErrClosed, or that ctx ended before it was begun.
func (s *Store) PutCall(ctx context.Context, c *Call) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error { return put(t, c) })
}

// PutCallSoon is PutCall for who need not see it at once. Puts and deletes of one caller happen in the order of its calls; failed,
// which must not block, is told of an error. c belongs to the store afterwards.
func (s *Store) PutCallSoon(c *Call, failed func(error)) {
	s.later(func(t *txn) error { return put(t, c) }, failed)
}

// DeleteCallSoon is DeleteCall in the manner of PutCallSoon.
func (s *Store) DeleteCallSoon(id string, failed func(error)) {
	s.later(func(t *txn) error {
		_, err := del[Call](t, id)
		return err
	}, failed)
}

// DeleteCall takes a call out. One that is gone already is no error.
func (s *Store) DeleteCall(ctx context.Context, id string) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error {
		_, err := del[Call](t, id)
		return err
	})
}
