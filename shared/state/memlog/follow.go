package memlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"brickhouse/shared/state"
)

type follower struct {
	table  string
	shards []string

	mu    sync.Mutex
	queue []state.Change
	ended bool
	wake  chan struct{}
}

func (f *follower) wants(c state.Change) bool {
	return c.Table == f.table && (len(f.shards) == 0 || slices.Contains(f.shards, c.Shard))
}

func (f *follower) add(c state.Change) {
	f.mu.Lock()
	f.queue = append(f.queue, c)
	f.mu.Unlock()
	f.signal()
}

func (f *follower) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.signal()
}

func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) take() (batch []state.Change, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	batch, f.queue = f.queue, nil
	return batch, f.ended
}

// Follow implements state.Log.
func (l *Log) Follow(ctx context.Context, table string, shards []string, apply func([]state.Change), synced func()) error {
	if !slices.Contains(l.tables, table) {
		return fmt.Errorf("%w: unknown table %q", state.ErrBadKey, table)
	}
	f := &follower{table: table, shards: shards, wake: make(chan struct{}, 1)}
	snapshot, err := l.join(f)
	if err != nil {
		return err
	}
	defer l.leave(f)
	if len(snapshot) > 0 {
		apply(snapshot)
	}
	synced()
	for {
		batch, ended := f.take()
		if ctx.Err() != nil {
			return nil
		}
		if len(batch) > 0 {
			apply(batch)
		}
		if ended {
			return fmt.Errorf("following table %s: %w", table, state.ErrClosed)
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
}

// join adds a follower and returns the live rows as they are at that moment, in the order of Rev.
func (l *Log) join(f *follower) ([]state.Change, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, state.ErrClosed
	}
	l.followers[f] = true
	var rows []state.Change
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	for _, c := range l.disk.rows {
		if !c.Del && f.wants(c) {
			rows = append(rows, c)
		}
	}
	slices.SortFunc(rows, func(a, b state.Change) int { return cmp.Compare(a.Rev, b.Rev) })
	return rows, nil
}

func (l *Log) leave(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
}
