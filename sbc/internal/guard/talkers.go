package guard

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"sync"
	"time"

	"brickhouse/shared/verdict"
)

// talkerSlots is how many sources the sketch follows: one that sends more than a thousandth of the packets is among them.
const talkerSlots = 1000

// talkerHalf is how long it takes until a packet counts half.
const talkerHalf = time.Minute

// Talker is a source that sends much, as far as samples tell.
type Talker struct {
	Source  netip.Addr     `json:"source"`
	Packets uint64         `json:"packets"`          // in about the last two minutes, an estimate
	Error   uint64         `json:"error"`            // how much too high that may be
	Reason  verdict.Reason `json:"reason,omitempty"` // why the last sampled one was dropped
	Last    time.Time      `json:"last"`
}

// talkers are two sketches of fixed size (Space-Saving, Metwally et al. 2005), of what passed and of what was dropped.
type talkers struct {
	mu     sync.Mutex
	halved time.Time
	passed sketch
	drops  sketch
}

func (t *talkers) add(src netip.Addr, dropped bool, weight int, why verdict.Reason, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.age(at)
	s := &t.passed
	if dropped {
		s = &t.drops
	}
	s.add(src, uint64(weight), why, at)
}

// age halves all counts as often as is due at the time at.
func (t *talkers) age(at time.Time) {
	due := at.Sub(t.halved) / talkerHalf
	switch {
	case t.halved.IsZero(), due < 0: // the first, or the clock was set back
		t.halved = at
	case due >= 64: // no count outlives that
		t.passed, t.drops, t.halved = sketch{}, sketch{}, at
	default:
		for range due {
			t.passed.halve()
			t.drops.halve()
			t.halved = t.halved.Add(talkerHalf)
		}
	}
}

// top returns the heaviest at the time now, the heaviest first.
func (t *talkers) top(n int, now time.Time) (passed, dropped []Talker) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.age(now)
	return t.passed.top(n), t.drops.top(n)
}

// sketch counts the heaviest sources. Who is not followed takes the place, and the count, of the lightest that is.
type sketch struct {
	by    map[netip.Addr]*followed
	light lightest
}

type followed struct {
	Talker
	at int // in the heap
}

func (s *sketch) add(src netip.Addr, weight uint64, why verdict.Reason, at time.Time) {
	if s.by == nil {
		s.by = map[netip.Addr]*followed{}
	}
	f := s.by[src]
	switch {
	case f != nil:
	case len(s.light) < talkerSlots:
		f = &followed{Talker: Talker{Source: src}}
		s.by[src] = f
		heap.Push(&s.light, f)
	default:
		f = s.light[0]
		delete(s.by, f.Source)
		f.Source, f.Error = src, f.Packets
		s.by[src] = f
	}
	f.Packets += weight
	f.Reason, f.Last = why, at
	heap.Fix(&s.light, f.at)
}

// halve ages all counts; their order stays.
func (s *sketch) halve() {
	kept := s.light[:0]
	for _, f := range s.light {
		f.Packets, f.Error = f.Packets/2, f.Error/2
		if f.Packets == 0 {
			delete(s.by, f.Source)
			continue
		}
		kept = append(kept, f)
	}
	clear(s.light[len(kept):])
	s.light = kept
	for i, f := range s.light {
		f.at = i
	}
	heap.Init(&s.light)
}

func (s *sketch) top(n int) []Talker {
	all := make([]Talker, 0, len(s.light))
	for _, f := range s.light {
		all = append(all, f.Talker)
	}
	slices.SortFunc(all, func(a, b Talker) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Source.Compare(b.Source))
	})
	return all[:min(n, len(all))]
}

// lightest has the one with the fewest packets first (container/heap).
type lightest []*followed

func (l lightest) Len() int           { return len(l) }
func (l lightest) Less(i, j int) bool { return l[i].Packets < l[j].Packets }
func (l lightest) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].at, l[j].at = i, j
}

func (l *lightest) Push(x any) {
	f := x.(*followed)
	f.at = len(*l)
	*l = append(*l, f)
}

func (l *lightest) Pop() any {
	old := *l
	f := old[len(old)-1]
	*l = old[:len(old)-1]
	return f
}
