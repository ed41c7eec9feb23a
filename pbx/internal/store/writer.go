package store

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"

	"brickhouse/shared/state"
)

// maxBatch is how many operations share a transaction at most.
const maxBatch = 1000

// op is one change on its way to the writer goroutine. run sees all that was committed or batched before it; it must
// look first and write last, since a failed write fails its whole batch.
type op struct {
	run    func(*txn) error
	done   chan struct{} // closed by the writer; err, durable and changed are valid then. Nil: nobody waits
	failed func(error)   // where nobody waits

	err     error
	durable chan struct{} // closes when all changes of this operation are on disk
	from    int           // its changes are txn.changes[from:to]
	to      int
}

// writer is the state of the writer goroutine.
type writer struct {
	epoch    uint64
	seq      uint64
	count    map[string]int // rows by table
	expiring expiryHeap     // bindings by time of expiry
	tolls    ledger         // external calls by who answers for them
	changed  []Changed      // rows of this transaction, for the observer
}

func newWriter(epoch uint64) writer {
	return writer{epoch: epoch, count: map[string]int{}, expiring: newExpiryHeap(), tolls: newLedger()}
}

// txn is one memdb transaction and the changes that go to the log after it.
type txn struct {
	*memdb.Txn
	w       *writer
	opts    *Options
	node    state.NodeID
	changes []state.Change
}

// do hands an operation over and waits until it is committed. The channel closes when it is durable.
func (s *Store) do(ctx context.Context, run func(*txn) error) (durable <-chan struct{}, err error) {
	o := &op{run: run, done: make(chan struct{})}
	select {
	case s.ops <- o:
	case <-s.ended.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the store: %w", ctx.Err())
	}
	// Once handed over it is answered within one batch, so ctx is not asked again: the caller must know how it ended.
	select {
	case <-o.done:
		return o.durable, o.err
	case <-s.written:
	}
	select { // the writer is gone; was our batch before that?
	case <-o.done:
		return o.durable, o.err
	default:
		return nil, ErrClosed
	}
}

// later hands an operation over and does not wait for it. failed, which must not block, is told if it can't be done.
func (s *Store) later(run func(*txn) error, failed func(error)) {
	o := &op{run: run, failed: failed}
	select {
	case s.ops <- o:
	case <-s.ended.Done():
		failed(ErrClosed)
	}
}

// write is the writer goroutine.
func (s *Store) write() {
	defer close(s.written)
	batch := make([]*op, 0, maxBatch)
	for {
		select {
		case <-s.ended.Done():
			return
		case o := <-s.ops:
			batch = append(batch[:0], o)
		}
	more:
		for len(batch) < maxBatch {
			select {
			case o := <-s.ops:
				batch = append(batch, o)
			default:
				break more
			}
		}
		s.commit(batch)
	}
}

// commit runs a batch in one transaction, then gives its changes to the log.
func (s *Store) commit(batch []*op) {
	tx := &txn{Txn: s.db.Txn(true), w: &s.w, opts: &s.opts, node: s.opts.Node}
	for _, o := range batch {
		o.from = len(tx.changes)
		o.err = o.run(tx)
		o.to = len(tx.changes)
	}
	tx.Commit()
	s.tell()
	for _, o := range batch {
		if o.done == nil {
			if o.err != nil {
				o.failed(o.err)
			}
			s.append(tx.changes[o.from:o.to], nil)
			continue
		}
		o.durable = make(chan struct{})
		s.append(tx.changes[o.from:o.to], o.durable)
		close(o.done)
	}
}

// tell gives the observer what a transaction has changed.
func (s *Store) tell() {
	if observe := s.observer.Load(); observe != nil && len(s.w.changed) > 0 {
		(*observe)(s.w.changed)
	}
	clear(s.w.changed)
	s.w.changed = s.w.changed[:0]
}

// append hands changes to the log and closes durable, if there is one, when all of them are on disk. When one never will be, it is
// logged and durable stays open.
func (s *Store) append(changes []state.Change, durable chan struct{}) {
	if len(changes) == 0 && durable != nil {
		close(durable)
	}
	if len(changes) == 0 {
		return
	}
	var left atomic.Int64
	left.Store(int64(len(changes)))
	for _, c := range changes {
		s.log.Append(c, func(_ uint64, err error) {
			if err != nil {
				s.opts.Log.Error("state change is lost", "key", c.Key.String(), "error", err)
				return
			}
			if left.Add(-1) == 0 && durable != nil {
				close(durable)
			}
		})
	}
}

// next is the version of the next change.
func (t *txn) next() state.Ver {
	t.w.seq++
	return state.Ver{Epoch: t.w.epoch, Seq: t.w.seq}
}

// room fails when a table that has no row of that key is full.
func (t *txn) room(table string, exists bool, limit int) error {
	if !exists && t.w.count[table] >= limit {
		return fmt.Errorf("%w: %s has %d rows", ErrFull, table, limit)
	}
	return nil
}

// insert stores a row, new or newer.
func (t *txn) insert(table string, row any, exists bool) error {
	if err := t.Insert(table, row); err != nil {
		return fmt.Errorf("storing in %s: %w", table, err)
	}
	if !exists {
		t.w.count[table]++
	}
	return nil
}

// remove takes a row out that is known to be there.
func (t *txn) remove(table string, row any) error {
	if err := t.Delete(table, row); err != nil {
		return fmt.Errorf("deleting from %s: %w", table, err)
	}
	t.w.count[table]--
	return nil
}

// record notes a change for the log.
func (t *txn) record(c state.Change) {
	c.Shard, c.By = shard, t.node
	t.changes = append(t.changes, c)
}
