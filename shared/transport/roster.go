package transport

import (
	"container/list"
	"net/netip"
	"sync"
)

// roster keeps the book of accepted connections: who is a stranger, who is trusted, how many of which source, and which
// stranger has been here longest. T names a connection. It does no I/O; the caller closes whom it evicts.
type roster[T comparable] struct {
	max, maxStrangers       int
	perSource, trustedPerSo int

	mu        sync.Mutex // guards all below
	seats     map[T]*seat
	strangers *list.List // of T, the oldest first
	sources   map[netip.Addr]*source
	trusted   int
}

// seat is one connection's place in the book.
type seat struct {
	source   netip.Addr
	inAll    *list.Element // nil once trusted
	inSource *list.Element
}

// eviction says whose connection makes room for a newcomer.
type eviction uint8

const (
	nobody   eviction = iota
	ofSource          // the oldest stranger of the newcomer's own source, which has too many
	ofAll             // the oldest stranger of all
)

// source is the book of one IPv4 address or one IPv6 /64.
type source struct {
	strangers *list.List // of T, the oldest first
	trusted   int
}

func newRoster[T comparable](l Limits) *roster[T] {
	return &roster[T]{
		max: l.MaxConnections, maxStrangers: min(l.MaxStrangers, l.MaxConnections),
		perSource: l.MaxPerSource, trustedPerSo: l.MaxTrustedPerSource,
		seats: make(map[T]*seat), strangers: list.New(), sources: make(map[netip.Addr]*source),
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

// admit enters c as a stranger. If a cap is reached, the oldest stranger of the same source, else the oldest of all, is
// taken out of the book and returned: the caller closes it. If there is none to evict, ok is false.
func (r *roster[T]) admit(c T, addr netip.Addr) (victim T, evicted eviction, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	src := sourceOf(addr)
	from := r.sources[src]
	switch {
	case from != nil && from.strangers.Len() >= r.perSource:
		victim, evicted = from.strangers.Front().Value.(T), ofSource
	case r.strangers.Len() >= r.maxStrangers || len(r.seats) >= r.max:
		if r.strangers.Len() == 0 {
			return victim, nobody, false
		}
		victim, evicted = r.strangers.Front().Value.(T), ofAll
	}
	if evicted != nobody {
		r.removeLocked(victim)
	}
	from = r.sources[src]
	if from == nil {
		from = &source{strangers: list.New()}
		r.sources[src] = from
	}
	r.seats[c] = &seat{source: src, inAll: r.strangers.PushBack(c), inSource: from.strangers.PushBack(c)}
	return victim, evicted, true
}

// oldest takes the oldest stranger out of the book.
func (r *roster[T]) oldest() (victim T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.strangers.Front()
	if e == nil {
		return victim, false
	}
	victim = e.Value.(T)
	r.removeLocked(victim)
	return victim, true
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
	r.strangers.Remove(s.inAll)
	from.strangers.Remove(s.inSource)
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
		r.strangers.Remove(s.inAll)
		from.strangers.Remove(s.inSource)
	} else {
		from.trusted--
		r.trusted--
	}
	if from.trusted == 0 && from.strangers.Len() == 0 {
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
	return r.trusted, r.strangers.Len()
}
