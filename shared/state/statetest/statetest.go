// Package statetest is what every state.Log must do. Each implementation runs it from its own tests.
package statetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/state"
)

// Tables are those that the suite uses; an Opener's log must hold them.
func Tables() []string { return []string{"rows", "others"} }

// Opener opens the same storage as a node, each time it is called.
type Opener func(node state.NodeID) (state.Log, error)

// deadline of one test. It is long: the machine may be busy.
const deadline = time.Minute

// Run holds a log to its contract. fresh makes empty storage.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	tests := []struct {
		name string
		run  func(*suite)
	}{
		{"LastValueWins", lastValueWins},
		{"SnapshotThenLive", snapshotThenLive},
		{"KeptOverReopen", keptOverReopen},
		{"Delete", deletes},
		{"OddKeys", oddKeys},
		{"Bounds", bounds},
		{"OlderVersionIsRefused", olderIsRefused},
		{"SameVersionAgain", sameAgain},
		{"Shards", shards},
		{"TablesAreApart", tablesAreApart},
		{"Epochs", epochs},
		{"LeaseOfAnother", leaseOfAnother},
		{"LostLease", lostLease},
		{"OneProcess", oneProcess},
		{"Closed", closed},
		{"ManyWriters", manyWriters},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			s := &suite{T: t, ctx: ctx, opener: fresh(t)}
			s.open("a")
			defer func() { s.log.Close() }()
			tt.run(s)
		})
	}
}

type suite struct {
	*testing.T
	ctx    context.Context
	opener Opener
	log    state.Log
}

func (s *suite) open(node state.NodeID) {
	s.Helper()
	log, err := s.opener(node)
	if err != nil {
		s.Fatalf("open as %s: %v", node, err)
	}
	s.log = log
}

func (s *suite) reopen(node state.NodeID) {
	s.Helper()
	if err := s.log.Close(); err != nil {
		s.Fatalf("close: %v", err)
	}
	s.open(node)
}

func row(id string, seq uint64, val string) state.Change {
	return state.Change{
		Key: state.Key{Table: "rows", Shard: "0", ID: id}, Ver: state.Ver{Epoch: 1, Seq: seq}, Val: []byte(val), By: "a",
	}
}

func end(id string, seq uint64) state.Change {
	c := row(id, seq, "")
	c.Del, c.Val = true, nil
	return c
}

// put appends and waits until it is durable.
func (s *suite) put(c state.Change) (uint64, error) {
	s.Helper()
	type result struct {
		rev uint64
		err error
	}
	ch := make(chan result, 1)
	s.log.Append(c, func(rev uint64, err error) { ch <- result{rev, err} })
	select {
	case r := <-ch:
		return r.rev, r.err
	case <-s.ctx.Done():
		s.Fatalf("%s was not acknowledged", c.Key)
		return 0, nil
	}
}

func (s *suite) mustPut(c state.Change) uint64 {
	s.Helper()
	rev, err := s.put(c)
	if err != nil {
		s.Fatalf("append %s: %v", c.Key, err)
	}
	return rev
}

// view follows a table and remembers what it was told.
type view struct {
	mu     sync.Mutex
	live   map[string]state.Change
	all    []state.Change
	syncs  int
	synced chan struct{}
	ended  chan error
	stop   context.CancelFunc
}

func (s *suite) follow(table string, shards ...string) *view {
	s.Helper()
	ctx, stop := context.WithCancel(s.ctx)
	v := &view{live: map[string]state.Change{}, synced: make(chan struct{}), ended: make(chan error, 1), stop: stop}
	go func() {
		v.ended <- s.log.Follow(ctx, table, shards, v.apply, func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.syncs++; v.syncs == 1 {
				close(v.synced)
			}
		})
	}()
	s.Cleanup(stop)
	select {
	case <-v.synced:
	case err := <-v.ended:
		s.Fatalf("follow %s: %v", table, err)
	case <-s.ctx.Done():
		s.Fatalf("follow %s: never synced", table)
	}
	return v
}

func (v *view) apply(changes []state.Change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range changes {
		v.all = append(v.all, c)
		if old, ok := v.live[c.ID]; ok && !old.Ver.Less(c.Ver) {
			continue
		}
		if c.Del {
			delete(v.live, c.ID)
		} else {
			v.live[c.ID] = c
		}
	}
}

// values are the live rows as "id=value", for comparison.
func (v *view) values() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]string{}
	for id, c := range v.live {
		out[id] = string(c.Val)
	}
	return out
}

func (s *suite) eventually(what string, ok func() bool) {
	s.Helper()
	for !ok() {
		select {
		case <-s.ctx.Done():
			s.Fatalf("never: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *suite) same(got, want map[string]string) {
	s.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Fatalf("got %v, want %v", got, want)
	}
}
