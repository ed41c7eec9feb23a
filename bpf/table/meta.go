package table

import "time"

// List names where an entry is from, at most Lists-1.
type List uint8

// The lists with a meaning of their own. From FirstBan on they are bans, and the caller says what each stands for.
const (
	None     List = iota // no entry
	Allow                // never banned, never limited
	Known                // a good registration lives behind it
	Limited              // not banned, but held to a strict rate
	FirstBan             // the first that bans
	Lists    = 64        // how many there can be
)

// Tick is a time on the kernel's CLOCK_MONOTONIC in units of 2^30 ns (1.07 s).
type Tick uint32

// Forever is the end of what lasts until it is removed.
const Forever Tick = 1<<26 - 1

const tickShift = 30

// TickOf rounds a time on CLOCK_MONOTONIC up, so that nothing ends before its time. A time beyond 2.2 years is Forever.
func TickOf(d time.Duration) Tick {
	t := (max(0, int64(d)) + 1<<tickShift - 1) >> tickShift
	return Tick(min(t, int64(Forever)))
}

// Duration is the time on CLOCK_MONOTONIC that t stands for.
func (t Tick) Duration() time.Duration { return time.Duration(t) << tickShift }

// Now is the tick that d, a time on CLOCK_MONOTONIC, is in.
func Now(d time.Duration) Tick { return Tick(min(max(0, int64(d))>>tickShift, int64(Forever)-1)) }

// Meta is an entry's value: its list, and when it ends.
type Meta uint32

const listBits = 6

// NewMeta makes the value of an entry.
func NewMeta(l List, until Tick) Meta { return Meta(until)<<listBits | Meta(l&(Lists-1)) }

// List says where the entry is from.
func (m Meta) List() List { return List(m & (Lists - 1)) }

// Until says when it ends.
func (m Meta) Until() Tick { return Tick(m >> listBits) }

// InForce reports whether it holds at the time now.
func (m Meta) InForce(now Tick) bool {
	return m.List() != None && (m.Until() == Forever || m.Until() > now)
}

// rank orders claims: a higher one wins.
func (s *Set) rank(m Meta) int {
	switch l := m.List(); {
	case l == None:
		return 0
	case l == Allow:
		return 5
	case l == Limited:
		return 3
	case l == Known:
		return 2
	case s.monitored>>l&1 == 1:
		return 1
	}
	return 4
}

// better reports whether a wins over b.
func (s *Set) better(a, b Meta) bool {
	if ra, rb := s.rank(a), s.rank(b); ra != rb {
		return ra > rb
	}
	if a.Until() != b.Until() {
		return a.Until() > b.Until()
	}
	return a.List() < b.List()
}
