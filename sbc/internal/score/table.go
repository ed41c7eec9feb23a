package score

import (
	"container/list"
	"net/netip"
	"time"
)

// scope is what of a source is scored.
type scope uint8

const (
	address scope = iota // a verified site without good registrations
	office               // a verified site behind which good registrations live
	flow                 // address and port
	account              // an account that was tried from a site
)

// source is who is scored.
type source struct {
	scope  scope
	prefix netip.Prefix // the site; of a flow its address
	port   uint16       // of a flow
	aor    string       // of an account
}

// mark is one offence, or a few of nearly the same time, as a rule counts them.
type mark struct {
	at        time.Duration // since the engine's base
	weight    int32
	signature int32 // weight of scanner signatures
}

// maxMarks is how many marks a rule keeps of a source before those that lie close together become one.
const maxMarks = 64

// maxWeight is where the weight of a mark stops to grow: above each threshold.
const maxWeight = 2 * maxThreshold * maxOffice

// tally is what one rule counts of one source.
type tally struct {
	marks    []mark
	reported bool          // by a rule in monitor mode
	muted    time.Duration // not counted until then, if reported
}

// add counts a mark and returns the sum within the window.
func (t *tally) add(m mark, r *Rule, limit int, now time.Duration) int {
	t.marks = fresh(t.marks, r.Window, now)
	if len(t.marks) >= maxMarks {
		t.marks = merged(t.marks, r.Window/(maxMarks/2))
	}
	t.marks = append(t.marks, m)
	return sum(t.marks, limit)
}

// fresh leaves out the marks that are older than the window.
func fresh(ms []mark, window, now time.Duration) []mark {
	kept := ms[:0]
	for _, m := range ms {
		if now-m.at < window {
			kept = append(kept, m)
		}
	}
	return kept
}

// merged makes marks that lie within one grain one, as old as the oldest of them: they may count too short, never too long.
func merged(ms []mark, grain time.Duration) []mark {
	kept := ms[:1]
	for _, m := range ms[1:] {
		last := &kept[len(kept)-1]
		if d := m.at - last.at; d >= grain || d <= -grain {
			kept = append(kept, m)
			continue
		}
		last.at = min(last.at, m.at)
		last.weight = min(last.weight+m.weight, maxWeight)
		last.signature = min(last.signature+m.signature, maxWeight)
	}
	if len(kept) >= maxMarks { // times out of order: the oldest is forgotten
		kept = append(kept[:0], kept[1:]...)
	}
	return kept
}

// sum adds marks up. Scanner signatures alone stay below the limit.
func sum(ms []mark, limit int) int {
	weight, signature := 0, 0
	for _, m := range ms {
		weight, signature = weight+int(m.weight), signature+int(m.signature)
	}
	return weight + min(signature, limit-1)
}

// scored is what a source has done lately.
type scored struct {
	source   source
	tallies  []tally // by rule
	evidence []Evidence
	last     time.Duration
}

func (s *scored) keep(e Evidence, limit int) {
	s.evidence = append(s.evidence, e)
	if over := len(s.evidence) - limit; over > 0 {
		s.evidence = append(s.evidence[:0], s.evidence[over:]...)
	}
}

// clear forgets what has been paid for.
func (s *scored) clear() {
	for i := range s.tallies {
		s.tallies[i].marks = nil
	}
}

// table holds the scored sources, up to a limit; over it, the one that was quiet longest is forgotten.
type table struct {
	limit   int
	entries map[source]*list.Element // of *scored
	order   *list.List               // quiet longest first
	evicted uint64
}

func newTable(limit int) *table {
	return &table{limit: limit, entries: map[source]*list.Element{}, order: list.New()}
}

func (t *table) get(s source) *scored {
	if e := t.entries[s]; e != nil {
		return e.Value.(*scored)
	}
	return nil
}

// touch returns the entry of s, made if it is new, as the one that was active last.
func (t *table) touch(s source, rules int, now time.Duration) *scored {
	e := t.entries[s]
	if e == nil {
		for t.order.Len() >= t.limit {
			t.remove(t.order.Front())
			t.evicted++
		}
		e = t.order.PushBack(&scored{source: s, tallies: make([]tally, rules)})
		t.entries[s] = e
	}
	t.order.MoveToBack(e)
	sc := e.Value.(*scored)
	sc.last = now
	return sc
}

func (t *table) remove(e *list.Element) {
	delete(t.entries, e.Value.(*scored).source)
	t.order.Remove(e)
}

// forget removes the sources that did nothing since before.
func (t *table) forget(before time.Duration) {
	for e := t.order.Front(); e != nil && e.Value.(*scored).last < before; e = t.order.Front() {
		t.remove(e)
	}
}
