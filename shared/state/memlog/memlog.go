// Package memlog is the change log in memory, for tests: the same contract as natslog, and faults on demand.
package memlog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"brickhouse/shared/state"
)

// Disk is what outlives a Log: open it again to see what was kept. The zero value is not ready; use NewDisk.
type Disk struct {
	mu     sync.Mutex
	open   bool
	rows   map[state.Key]state.Change
	rev    map[string]uint64 // by table
	leases map[string]claim
}

type claim struct {
	epoch  uint64
	holder state.NodeID
	until  time.Time
}

// NewDisk returns an empty disk.
func NewDisk() *Disk {
	return &Disk{rows: map[state.Key]state.Change{}, rev: map[string]uint64{}, leases: map[string]claim{}}
}

// Log is a state.Log over a Disk.
type Log struct {
	disk   *Disk
	node   state.NodeID
	tables []string
	tell   *caller

	mu        sync.Mutex // before Disk.mu
	held      bool
	closed    bool
	waiting   map[state.Key]*waiting
	followers map[*follower]bool
	count     state.Stats
}

type waiting struct {
	state.Change
	acks  []func(uint64, error)
	since time.Time
}

var _ state.Log = (*Log)(nil)

// Open opens the disk as a node. It is state.ErrLocked while another Log has it open.
func (d *Disk) Open(node state.NodeID, tables ...string) (*Log, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return nil, fmt.Errorf("opening memory log: %w", state.ErrLocked)
	}
	d.open = true
	l := &Log{
		disk: d, node: node, tables: tables, tell: newCaller(),
		waiting: map[state.Key]*waiting{}, followers: map[*follower]bool{},
	}
	return l, nil
}

// Hold makes the log unable to write, as if the disk were away, until Release: changes wait.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// Release ends a Hold and writes what waits.
func (l *Log) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	for _, k := range slices.SortedFunc(maps.Keys(l.waiting), func(a, b state.Key) int { // a seed's run must be repeatable
		return slices.Compare([]byte(a.String()), []byte(b.String()))
	}) {
		w := l.waiting[k]
		delete(l.waiting, k)
		l.writeLocked(w.Change, w.acks)
	}
}

// Append implements state.Log.
func (l *Log) Append(c state.Change, acked func(uint64, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.Appended++
	var acks []func(uint64, error)
	if acked != nil {
		acks = append(acks, acked)
	}
	if err := l.checkLocked(c); err != nil {
		l.failLocked(acks, err)
		return
	}
	if !l.held {
		l.writeLocked(c, acks)
		return
	}
	w := l.waiting[c.Key]
	if w == nil {
		l.waiting[c.Key] = &waiting{Change: c, acks: acks, since: time.Now()}
		return
	}
	w.acks = append(w.acks, acks...)
	if !c.Ver.Less(w.Ver) {
		w.Change = c
	}
}

func (l *Log) checkLocked(c state.Change) error {
	if l.closed {
		return state.ErrClosed
	}
	if err := c.Key.Validate(); err != nil {
		return err
	}
	if !slices.Contains(l.tables, c.Table) {
		return fmt.Errorf("%w: unknown table %q", state.ErrBadKey, c.Table)
	}
	if len(c.Val) > state.MaxValue {
		return fmt.Errorf("%w: %d bytes for %s", state.ErrTooLarge, len(c.Val), c.Key)
	}
	return nil
}

func (l *Log) failLocked(acks []func(uint64, error), err error) {
	l.count.Failed++
	for _, f := range acks {
		l.tell.add(func() { f(0, err) })
	}
}

// writeLocked makes a change durable and tells everybody.
func (l *Log) writeLocked(c state.Change, acks []func(uint64, error)) {
	l.disk.mu.Lock()
	old, exists := l.disk.rows[c.Key]
	if exists && c.Ver.Less(old.Ver) {
		l.disk.mu.Unlock()
		l.failLocked(acks, fmt.Errorf("%w: %s", state.ErrSuperseded, c.Key))
		return
	}
	fresh := !exists || old.Ver != c.Ver
	if fresh {
		l.disk.rev[c.Table]++
		c.Rev = l.disk.rev[c.Table]
		if c.Del {
			c.Val = nil
		}
		l.disk.rows[c.Key] = c
	} else {
		c = old
	}
	l.disk.mu.Unlock()
	l.count.Acked++
	for _, f := range acks {
		l.tell.add(func() { f(c.Rev, nil) })
	}
	for f := range l.followers {
		if fresh && f.wants(c) {
			f.add(c)
		}
	}
}

// Flush implements state.Log.
func (l *Log) Flush(ctx context.Context) error {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		l.mu.Lock()
		closed, n := l.closed, len(l.waiting)
		l.mu.Unlock()
		switch {
		case closed:
			return state.ErrClosed
		case n == 0:
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("%d state changes are not durable yet: %w", n, ctx.Err())
		}
	}
}

// Stats implements state.Log.
func (l *Log) Stats() state.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.count
	for _, w := range l.waiting {
		s.Waiting += max(1, len(w.acks))
		s.Oldest = max(s.Oldest, time.Since(w.since))
	}
	return s
}

// Close implements state.Log. What is held is lost, as it would be on a dead disk.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	for _, w := range l.waiting {
		l.failLocked(w.acks, state.ErrClosed)
	}
	l.closed = true
	for f := range l.followers {
		f.end()
	}
	l.mu.Unlock()
	l.tell.close()
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	l.disk.open = false
	return nil
}
