package store

import (
	"context"
	"time"
)

// Subscription is one watcher of an extension (RFC 6665), as commands show it. Subscriptions live in memory only: after a restart
// phones subscribe again.
type Subscription struct {
	ID       string // its identity
	Watcher  string // number of who watches
	Resource string // number of who is watched
	Event    string // package
	Outside  bool   // through the border
	Remote   string // where its notifications go, of a phone inside
	Since    time.Time
	Expires  time.Time
}

// Subscriptions returns all subscriptions, ordered by ID.
func (s *Store) Subscriptions() []*Subscription {
	rows, _ := list[Subscription](s.db.Txn(false), tableSubscriptions, indexID)
	return rows
}

// PutSubscriptionSoon adds a subscription or replaces it. row belongs to the store afterwards; failed, which must not block, is
// told of an error. Puts and deletes of one caller happen in the order of its calls.
func (s *Store) PutSubscriptionSoon(row *Subscription, failed func(error)) {
	s.later(func(t *txn) error {
		if err := check("subscription", row.ID); err != nil {
			return err
		}
		_, exists := first[Subscription](t.Txn, tableSubscriptions, row.ID)
		return t.insert(tableSubscriptions, row, exists)
	}, failed)
}

// DeleteSubscriptionSoon takes a subscription out. One that is gone already is no error.
func (s *Store) DeleteSubscriptionSoon(id string, failed func(error)) {
	s.later(func(t *txn) error {
		old, exists := first[Subscription](t.Txn, tableSubscriptions, id)
		if !exists {
			return nil
		}
		return t.remove(tableSubscriptions, old)
	}, failed)
}

// Waiting is how many messages wait for an extension, as an outside system says.
type Waiting struct {
	Number string `json:"number"`
	New    int    `json:"new"`
	Old    int    `json:"old"`

	row
}

func (w *Waiting) key() string          { return w.Number }
func (w *Waiting) meta() *row           { return &w.row }
func (w *Waiting) table() string        { return tableWaiting }
func (w *Waiting) limit(o *Options) int { return o.MaxExtensions }
func (w *Waiting) expires() time.Time   { return time.Time{} }
func (w *Waiting) noted(wr *writer, in bool) {
	wr.changed = append(wr.changed, Changed{Waiting: w, Gone: !in})
}

// Waiting returns how many messages wait for an extension; none if nobody has said so.
func (s *Store) Waiting(number string) Waiting {
	if w, ok := get[Waiting](s.db, tableWaiting, number); ok {
		return *w
	}
	return Waiting{Number: number}
}

// PutWaiting sets how many messages wait for an extension. Errors as PutExtension; ErrBadRow where there is no such extension.
func (s *Store) PutWaiting(ctx context.Context, w *Waiting) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error {
		if _, ok := first[Extension](t.Txn, tableExtensions, w.Number); !ok {
			return ErrBadRow
		}
		return put(t, w)
	})
}

// Changed is a row that came in, was replaced or went; one of the pointers is set.
type Changed struct {
	Call      *Call
	Binding   *Binding
	Extension *Extension
	Waiting   *Waiting
	Gone      bool
}

// Observe sets who is told of changes of calls, bindings, extensions and waiting messages, after each transaction and in its
// order. observe runs on the store's writer: it must be quick, and must not put anything. It may keep the rows, not the slice.
func (s *Store) Observe(observe func([]Changed)) { s.observer.Store(&observe) }
