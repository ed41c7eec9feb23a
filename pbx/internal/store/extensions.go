package store

import "context"

// Extension returns the extension of that number.
func (s *Store) Extension(number string) (*Extension, bool) {
	return get[Extension](s.db, tableExtensions, number)
}

// Extensions returns all extensions, ordered by number.
func (s *Store) Extensions() []*Extension {
	rows, _ := list[Extension](s.db.Txn(false), tableExtensions, indexID)
	return rows
}

// WatchExtensions returns all extensions and a channel that closes when they change.
func (s *Store) WatchExtensions() ([]*Extension, <-chan struct{}) {
	return list[Extension](s.db.Txn(false), tableExtensions, indexID)
}

// PutExtension adds an extension or replaces it. When it returns, readers see it; when durable closes, it is on disk.
// Errors: ErrBadRow, ErrFull, ErrClosed, or that ctx ended before it was begun.
func (s *Store) PutExtension(ctx context.Context, e *Extension) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error { return put(t, e) })
}

// DeleteExtension takes an extension, all its bindings, its standing and its services out. It reports whether there was one.
func (s *Store) DeleteExtension(ctx context.Context, number string) (was bool, durable <-chan struct{}, err error) {
	durable, err = s.do(ctx, func(t *txn) error {
		bindings, _ := list[Binding](t.Txn, tableBindings, indexAOR, number)
		for _, b := range bindings {
			if _, err := del[Binding](t, b.ID); err != nil {
				return err
			}
		}
		if _, err := del[Standing](t, number); err != nil {
			return err
		}
		if _, err := del[Waiting](t, number); err != nil {
			return err
		}
		if _, err := del[Services](t, number); err != nil {
			return err
		}
		was, err = del[Extension](t, number)
		return err
	})
	return was && err == nil, durable, err
}
