package store

import (
	"time"

	"brickhouse/shared/state"
)

// rowPtr is a pointer to a row type, with what the store must know about it.
type rowPtr[T any] interface {
	*T
	key() string         // primary key
	meta() *row          //
	table() string       // name
	limit(*Options) int  // rows in the table
	expires() time.Time  // zero: never
	noted(*writer, bool) // keeps the writer's own books: the row is in (true) or out
}

func (e *Extension) key() string          { return e.Number }
func (e *Extension) meta() *row           { return &e.row }
func (e *Extension) table() string        { return tableExtensions }
func (e *Extension) limit(o *Options) int { return o.MaxExtensions }
func (e *Extension) expires() time.Time   { return time.Time{} }
func (e *Extension) noted(w *writer, in bool) {
	w.changed = append(w.changed, Changed{Extension: e, Gone: !in})
}

func (b *Binding) key() string          { return b.ID }
func (b *Binding) meta() *row           { return &b.row }
func (b *Binding) table() string        { return tableBindings }
func (b *Binding) limit(o *Options) int { return o.MaxBindings }
func (b *Binding) expires() time.Time   { return b.Expires }

func (b *Binding) noted(w *writer, in bool) {
	w.changed = append(w.changed, Changed{Binding: b, Gone: !in})
	if in {
		w.expiring.set(b.ID, b.Expires)
	} else {
		w.expiring.drop(b.ID)
	}
}

func (c *Call) key() string          { return c.ID }
func (c *Call) meta() *row           { return &c.row }
func (c *Call) table() string        { return tableCalls }
func (c *Call) limit(o *Options) int { return o.MaxCalls }
func (c *Call) expires() time.Time   { return time.Time{} }
func (c *Call) noted(w *writer, in bool) {
	w.changed = append(w.changed, Changed{Call: c, Gone: !in})
}

func (t *Toll) key() string          { return t.ID }
func (t *Toll) meta() *row           { return &t.row }
func (t *Toll) table() string        { return tableTolls }
func (t *Toll) limit(o *Options) int { return o.MaxTolls }
func (t *Toll) expires() time.Time   { return time.Time{} }

func (t *Toll) noted(w *writer, in bool) {
	if in {
		w.tolls.note(t)
	} else {
		w.tolls.forget(t.ID)
	}
}

func (s *Standing) key() string          { return s.Extension }
func (s *Standing) meta() *row           { return &s.row }
func (s *Standing) table() string        { return tableStandings }
func (s *Standing) limit(o *Options) int { return o.MaxExtensions }
func (s *Standing) expires() time.Time   { return time.Time{} }
func (s *Standing) noted(*writer, bool)  {}

// put stores a copy of r as the newest version of its row and notes it for the log.
func put[T any, P rowPtr[T]](t *txn, r P) error {
	if err := check(r.table(), r.key()); err != nil {
		return err
	}
	_, exists := first[T](t.Txn, r.table(), r.key())
	if err := t.room(r.table(), exists, r.limit(t.opts)); err != nil {
		return err
	}
	c := P(new(T))
	*c = *r
	c.meta().ver = t.next()
	val, err := encode((*T)(c), c.meta())
	if err != nil {
		return err
	}
	if err := t.insert(c.table(), (*T)(c), exists); err != nil {
		return err
	}
	c.noted(t.w, true)
	t.record(state.Change{
		Key: state.Key{Table: c.table(), ID: c.key()}, Ver: c.meta().ver, Val: val, Expires: c.expires(),
	})
	return nil
}

// del takes the row of that key out and notes it for the log. It reports whether there was one.
func del[T any, P rowPtr[T]](t *txn, key string) (bool, error) {
	table := P(nil).table()
	old, exists := first[T](t.Txn, table, key)
	if !exists {
		return false, nil
	}
	if err := t.remove(table, old); err != nil {
		return false, err
	}
	P(old).noted(t.w, false)
	t.record(state.Change{Key: state.Key{Table: table, ID: key}, Ver: t.next(), Del: true})
	return true, nil
}

// apply takes a change from the log, if it is newer than what we have. It does not go back to the log.
func apply[T any, P rowPtr[T]](t *txn, c state.Change) error {
	table := P(nil).table()
	old, exists := first[T](t.Txn, table, c.ID)
	if exists && !P(old).meta().ver.Less(c.Ver) {
		return nil
	}
	if c.Del {
		if !exists {
			return nil
		}
		P(old).noted(t.w, false)
		return t.remove(table, old)
	}
	r, err := decode[T, P](c)
	if err != nil {
		return err
	}
	if err := check(table, r.key()); err != nil {
		return err
	}
	if err := t.insert(table, (*T)(r), exists); err != nil {
		return err
	}
	r.noted(t.w, true)
	return nil
}
