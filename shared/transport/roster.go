package transport

import (
	"container/list"
	"net/netip"
	"sync"
)

// roster keeps the book of accepted connections: who is a stranger, who is trusted, how many of which source, and which
// stranger goes first: the oldest of those that have never sent a message, or else the oldest. T names a connection. It does
// no I/O; the caller closes whom it evicts.
type roster[T comparable] struct {
	max, maxStrangers       int
	perSource, trustedPerSo int

	mu        sync.Mutex // guards all below
	seats     map[T]*seat
	strangers queue[T]
	sources   map[netip.Addr]*source[T]
	trusted   int
}

// queue is the strangers in the order in which they go: those that have said nothing, then those that have; the oldest
// first.
type queue[T comparable] struct{ silent, heard *list.List }

func newQueue[T comparable]() queue[T] { return queue[T]{list.New(), list.New()} }

func (q queue[T]) len() int { return q.silent.Len() + q.heard.Len() }

// first is who goes first; false if there is nobody.
func (q queue[T]) first() (c T, ok bool) {
	for _, l := range []*list.List{q.silent, q.heard} {
		if e := l.Front(); e != nil {
			return e.Value.(T), true
		}
	}
	return c, false
}

// remove takes out an element of either list.
func (q queue[T]) remove(e *list.Element) {
	q.silent.Remove(e) // does nothing if it is the other's
	q.heard.Remove(e)
}

// spoke moves an element behind those that have said nothing.
func (q queue[T]) spoke(e *list.Element) *list.Element {
	q.silent.Remove(e)
	return q.heard.PushBack(e.Value)
}

// seat is one connection's place in the book.
type seat struct {
	source   netip.Addr
	inAll    *list.Element // nil once trusted
	inSource *list.Element
	heard    bool
}

// eviction says whose connection makes room for a newcomer.
type eviction uint8

const (
	nobody   eviction = iota
	ofSource          // a stranger of the newcomer's own source, which has too many
	ofAll             // a stranger of all
)

// source is the book of one IPv4 address or one IPv6 /64.
type source[T comparable] struct {
	strangers queue[T]
	trusted   int
}

func newRoster[T comparable](l Limits) *roster[T] {
	return &roster[T]{
		max: l.MaxConnections, maxStrangers: min(l.MaxStrangers, l.MaxConnections),
		perSource: l.MaxPerSource, trustedPerSo: l.MaxTrustedPerSource,
		seats: make(map[T]*seat), strangers: newQueue[T](), sources: make(map[netip.Addr]*source[T]),
	}
}

// sourceOf is what counts as one source: an IPv6 subscriber has a whole /64.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// admit enters c as a stranger. If a cap is reached, the first of the strangers of the same source, else of all, is
// taken out of the book and returned: the caller closes it. If there is none to evict, ok is false.
func (r *roster[T]) admit(c T, addr netip.Addr) (victim T, evicted eviction, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	src := sourceOf(addr)
	from := r.sources[src]
	switch {
	case from != nil && from.strangers.len() >= r.perSource:
		victim, _ = from.strangers.first()
		evicted = ofSource
	case r.strangers.len() >= r.maxStrangers || len(r.seats) >= r.max:
		if victim, ok = r.strangers.first(); !ok {
			return victim, nobody, false
		}
		evicted = ofAll
	}
	if evicted != nobody {
		r.removeLocked(victim)
	}
	from = r.sources[src]
	if from == nil {
		from = &source[T]{strangers: newQueue[T]()}
		r.sources[src] = from
	}
	r.seats[c] = &seat{source: src, inAll: r.strangers.silent.PushBack(c), inSource: from.strangers.silent.PushBack(c)}
	return victim, evicted, true
}

// spoke tells that c has sent a message: it goes after those that have not.
func (r *roster[T]) spoke(c T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[c]
	if s == nil || s.inAll == nil || s.heard {
		return
	}
	s.heard = true
	s.inAll, s.inSource = r.strangers.spoke(s.inAll), r.sources[s.source].strangers.spoke(s.inSource)
}

// oldest takes the stranger that goes first out of the book.
func (r *roster[T]) oldest() (victim T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if victim, ok = r.strangers.first(); ok {
		r.removeLocked(victim)
	}
	return victim, ok
}

// trust moves a stranger to the trusted ones; false if there is no room or c is not in the book.
func (r *roster[T]) trust(c T) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[c]
	if s == nil {
		return false
	}
	if s.inAll == nil {
		return true
	}
	from := r.sources[s.source]
	// The strangers' share stays theirs, or a newcomer could not even authenticate.
	if r.trusted >= max(1, r.max-r.maxStrangers) || from.trusted >= r.trustedPerSo {
		return false
	}
	r.strangers.remove(s.inAll)
	from.strangers.remove(s.inSource)
	s.inAll, s.inSource = nil, nil
	from.trusted++
	r.trusted++
	return true
}

// remove takes c out of the book, if it is there.
func (r *roster[T]) remove(c T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeLocked(c)
}

func (r *roster[T]) removeLocked(c T) {
	s := r.seats[c]
	if s == nil {
		return
	}
	delete(r.seats, c)
	from := r.sources[s.source]
	if s.inAll != nil {
		r.strangers.remove(s.inAll)
		from.strangers.remove(s.inSource)
	} else {
		from.trusted--
		r.trusted--
	}
	if from.trusted == 0 && from.strangers.len() == 0 {
		delete(r.sources, s.source)
	}
}

// list returns all connections in the book.
func (r *roster[T]) list() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]T, 0, len(r.seats))
	for c := range r.seats {
		all = append(all, c)
	}
	return all
}

// counts returns how many are trusted and how many are strangers.
func (r *roster[T]) counts() (trusted, strangers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trusted, r.strangers.len()
}
