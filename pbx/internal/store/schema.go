package store

import (
	"errors"
	"time"

	"github.com/hashicorp/go-memdb"
)

// Names of tables and of their indexes.
const (
	tableExtensions = "extensions"
	tableBindings   = "bindings"
	tableTrunks     = "trunks"
	tableCalls      = "calls"
	tableTolls      = "tolls"
	tableStandings  = "standings"
	tableWaiting    = "waiting"
	tableServices   = "services"
	tableSwitches   = "switches"

	tableSubscriptions = "subscriptions" // in memory only
	tableParked        = "parked"        // in memory only

	indexID    = "id"    // primary, of every table
	indexAOR   = "aor"   // of bindings
	indexTrunk = "trunk" // of calls
)

// shard of all rows while one node owns everything.
const shard = "0"

// schema has at most two indexes on each table: an index costs as much as the row.
func schema() *memdb.DBSchema {
	id := func(i memdb.Indexer) *memdb.IndexSchema {
		return &memdb.IndexSchema{Name: indexID, Unique: true, Indexer: i}
	}
	table := func(name string, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
		t := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
		for _, i := range indexes {
			t.Indexes[i.Name] = i
		}
		return t
	}
	return &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		tableExtensions: table(tableExtensions, id(text[Extension](func(e *Extension) string { return e.Number }))),
		tableBindings: table(tableBindings, id(text[Binding](func(b *Binding) string { return b.ID })),
			&memdb.IndexSchema{Name: indexAOR, Indexer: text[Binding](func(b *Binding) string { return b.AOR })}),
		tableTrunks: table(tableTrunks, id(text[Trunk](func(t *Trunk) string { return t.Name }))),
		tableCalls: table(tableCalls, id(text[Call](func(c *Call) string { return c.ID })),
			&memdb.IndexSchema{Name: indexTrunk, AllowMissing: true, Indexer: text[Call](func(c *Call) string { return c.Trunk })}),
		tableTolls:         table(tableTolls, id(text[Toll](func(t *Toll) string { return t.ID }))),
		tableWaiting:       table(tableWaiting, id(text[Waiting](func(w *Waiting) string { return w.Number }))),
		tableSubscriptions: table(tableSubscriptions, id(text[Subscription](func(s *Subscription) string { return s.ID }))),
		tableParked:        table(tableParked, id(text[Parked](func(p *Parked) string { return p.Slot }))),
		tableStandings:     table(tableStandings, id(text[Standing](func(s *Standing) string { return s.Extension }))),
		tableServices:      table(tableServices, id(text[Services](func(s *Services) string { return s.Extension }))),
		tableSwitches:      table(tableSwitches, id(text[Switch](func(s *Switch) string { return s.Name }))),
	}}
}

// text indexes rows of one type by a field, without the reflection of memdb's own indexers.
type text[T any] func(*T) string

var errIndex = errors.New("store index: wrong type")

// FromObject implements memdb.SingleIndexer.
func (f text[T]) FromObject(obj any) (bool, []byte, error) {
	row, ok := obj.(*T)
	if !ok {
		return false, nil, errIndex
	}
	s := f(row)
	return s != "", terminated(s), nil
}

// FromArgs implements memdb.Indexer.
func (f text[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if s, ok := args[0].(string); ok {
			return terminated(s), nil
		}
	}
	return nil, errIndex
}

// terminated ends the key with a NUL, so that no key is the beginning of another; check keeps NULs out of keys.
func terminated(s string) []byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return b
}

// Tables are those that the change log must hold.
func Tables() []string {
	return []string{tableExtensions, tableBindings, tableCalls, tableTolls, tableStandings, tableWaiting, tableServices, tableSwitches}
}

// Linger is how long a row must last before the change log need write it. Calls that a crash cuts are told of by their records
// (shared/cdr); their rows are for commands and for other nodes.
func Linger() map[string]time.Duration { return map[string]time.Duration{tableCalls: 5 * time.Second} }
