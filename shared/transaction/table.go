package transaction

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"brickhouse/shared/transport"
)

const shardCount = 32

// table is a map in shards, so that readers of different flows seldom wait for each other. A shard's lock is held for the
// map operation only.
type table[K comparable, V comparable] struct {
	seed   maphash.Seed
	count  atomic.Int64
	shards [shardCount]shard[K, V]
}

type shard[K comparable, V comparable] struct {
	mu sync.Mutex // guards m
	m  map[K]V
}

func newTable[K comparable, V comparable]() *table[K, V] {
	t := &table[K, V]{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].m = make(map[K]V)
	}
	return t
}

func (t *table[K, V]) shard(k K) *shard[K, V] {
	return &t.shards[maphash.Comparable(t.seed, k)%shardCount]
}

// get returns the value under k.
func (t *table[K, V]) get(k K) (v V, ok bool) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok = s.m[k]
	return v, ok
}

// add puts v under k; if there is one already, it stays and is returned.
func (t *table[K, V]) add(k K, v V) (there V, added bool) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if there, ok := s.m[k]; ok {
		return there, false
	}
	s.m[k] = v
	t.count.Add(1)
	return v, true
}

// remove takes v away from under k, if it is the one there.
func (t *table[K, V]) remove(k K, v V) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[k] == v {
		delete(s.m, k)
		t.count.Add(-1)
	}
}

// len is the number of entries.
func (t *table[K, V]) len() int { return int(t.count.Load()) }

// all returns a copy of the values.
func (t *table[K, V]) all() []V {
	var vs []V
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, v := range s.m {
			vs = append(vs, v)
		}
		s.mu.Unlock()
	}
	return vs
}

// failer is a transaction that wants to know when its connection ends.
type failer interface{ flowClosed() }

// flowIndex finds the transactions of a connection. UDP flows are not in it: they don't end.
type flowIndex struct {
	mu sync.Mutex // guards m
	m  map[*transport.Flow]map[failer]struct{}
}

func newFlowIndex() *flowIndex {
	return &flowIndex{m: make(map[*transport.Flow]map[failer]struct{})}
}

func (x *flowIndex) add(f *transport.Flow, t failer) {
	if f.Closed() == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	set := x.m[f]
	if set == nil {
		set = make(map[failer]struct{})
		x.m[f] = set
	}
	set[t] = struct{}{}
}

func (x *flowIndex) remove(f *transport.Flow, t failer) {
	if f.Closed() == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	set := x.m[f]
	delete(set, t)
	if len(set) == 0 {
		delete(x.m, f)
	}
}

// take returns the transactions of f and forgets them.
func (x *flowIndex) take(f *transport.Flow) []failer {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]failer, 0, len(x.m[f]))
	for t := range x.m[f] {
		all = append(all, t)
	}
	delete(x.m, f)
	return all
}
