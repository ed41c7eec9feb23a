package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-memdb"

	"brickhouse/shared/state"
)

// Errors that callers may act on. They come wrapped.
var (
	ErrClosed = errors.New("store is closed")
	ErrFull   = errors.New("table is full")
	ErrBadRow = errors.New("bad row")
)

// Options are the store's limits and its name. Zero fields take the defaults of DefaultOptions.
type Options struct {
	Node          state.NodeID  // writes changes under this name
	MaxExtensions int           // rows
	MaxBindings   int           // rows, over all addresses of record
	MaxCalls      int           // rows
	MaxTolls      int           // rows: external calls of a day
	Flush         time.Duration // how long Close waits for the log
	Log           *slog.Logger
}

// DefaultOptions are meant for one machine with up to 100,000 phones.
func DefaultOptions() Options {
	return Options{
		Node: "solo", MaxExtensions: 200_000, MaxBindings: 400_000, MaxCalls: 50_000, MaxTolls: 1_000_000,
		Flush: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

func (o Options) withDefaults() Options {
	d := DefaultOptions()
	if o.Node == "" {
		o.Node = d.Node
	}
	for _, f := range []struct{ v, def *int }{
		{&o.MaxExtensions, &d.MaxExtensions}, {&o.MaxBindings, &d.MaxBindings}, {&o.MaxCalls, &d.MaxCalls}, {&o.MaxTolls, &d.MaxTolls},
	} {
		if *f.v <= 0 {
			*f.v = *f.def
		}
	}
	if o.Flush <= 0 {
		o.Flush = d.Flush
	}
	if o.Log == nil {
		o.Log = d.Log
	}
	return o
}

// Store is the exchange's view of its state. All methods may be called from any goroutine.
type Store struct {
	db    *memdb.MemDB
	log   state.Log
	opts  Options
	lease state.Lease

	ops    chan *op           // to the writer goroutine
	cancel context.CancelFunc // ends writer and followers
	ended  context.Context    // its Done channel closes when the store does
	wg     sync.WaitGroup     // writer and followers
	once   sync.Once          // Close

	written chan struct{} // closed by the writer goroutine when it ends

	observer atomic.Pointer[func([]Changed)]

	w writer // touched by the writer goroutine alone
}

// Open reads the log into memory and returns when all of it is there. The store closes the log when it is closed, and
// also when Open fails. Errors: the log can't be read, is held by another node, or has a row that can't be understood.
func Open(ctx context.Context, log state.Log, opts Options) (*Store, error) {
	s := &Store{log: log, opts: opts.withDefaults(), ops: make(chan *op, maxBatch), written: make(chan struct{})}
	var err error
	if s.db, err = memdb.NewMemDB(schema()); err != nil {
		return nil, errors.Join(fmt.Errorf("building store schema: %w", err), log.Close())
	}
	s.lease, err = log.Claim(ctx, string(s.opts.Node), leaseTime)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("claiming node %q: %w", s.opts.Node, err), log.Close())
	}
	s.w = newWriter(s.lease.Epoch())
	s.ended, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.write)
	if err := s.follow(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// leaseTime of the node's name. On one machine the directory's lock is what keeps a second writer out.
const leaseTime = 10 * time.Second

// Close makes what was put durable (as far as Options.Flush allows), gives back the node's name and closes the log.
// Puts that are still on their way fail with ErrClosed.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.cancel()
		s.wg.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.Flush)
		defer cancel()
		if e := s.log.Flush(ctx); e != nil {
			err = fmt.Errorf("flushing state log: %w", e)
		}
		err = errors.Join(err, s.lease.Release(ctx), s.log.Close())
	})
	return err
}

// Flush waits until everything that was put before is durable.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.log.Flush(ctx); err != nil {
		return fmt.Errorf("flushing state log: %w", err)
	}
	return nil
}

// Stats tells how far durability is behind.
func (s *Store) Stats() state.Stats { return s.log.Stats() }

// check keeps what can't be a key out of the tables.
func check(what, key string) error {
	if key == "" || len(key) > state.MaxID || strings.IndexByte(key, 0) >= 0 {
		return fmt.Errorf("%w: %s %.40q", ErrBadRow, what, key)
	}
	return nil
}

// Unsaved is how many changes are not on disk yet, or never will be.
func (s *Store) Unsaved() int {
	st := s.log.Stats()
	return st.Waiting + int(st.Failed)
}

// get returns the row of that primary key.
func get[T any](db *memdb.MemDB, table, key string) (*T, bool) {
	return first[T](db.Txn(false), table, key)
}

func first[T any](tx *memdb.Txn, table, key string) (*T, bool) {
	obj, err := tx.First(table, indexID, key)
	if err != nil || obj == nil { // the only error is a schema that does not fit, which the tests would show
		return nil, false
	}
	row, ok := obj.(*T)
	return row, ok
}

// list returns the rows that an index holds for args, in the order of the key; no args mean all rows. watch closes when
// that set changes.
func list[T any](tx *memdb.Txn, table, index string, args ...any) (rows []*T, watch <-chan struct{}) {
	it, err := tx.Get(table, index, args...)
	if err != nil { // as in first
		return nil, nil
	}
	for obj := it.Next(); obj != nil; obj = it.Next() {
		if row, ok := obj.(*T); ok {
			rows = append(rows, row)
		}
	}
	return rows, it.WatchCh()
}
