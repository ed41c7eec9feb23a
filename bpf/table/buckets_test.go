package table

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

func randomSlot(r *rand.Rand, six bool) slot {
	if six {
		return slot{1 + uint64(r.IntN(1<<12)), []uint32{tagSite, 48, tagHost | 7<<checkShift}[r.IntN(3)]}
	}
	return slot{key: 1 + uint64(r.IntN(1<<12))}
}

// sound checks what the program relies on: each entry once, in one of its two lines, in the second only if the first was full; the
// zeros of a line that never was full are all at its end.
func (b *buckets) sound(t *testing.T, want map[slot]Meta) {
	t.Helper()
	seen := map[slot]bool{}
	for line := 1; line < len(b.lines); line++ {
		ended := false
		for i := range b.places() {
			s, m, _, free := b.read(line, i)
			if free && m == 0 {
				ended = true
				continue
			}
			if ended && !b.wasFull(line) {
				t.Fatalf("line %d: place %d is used behind one that never was", line, i)
			}
			if free {
				continue
			}
			first, second := b.home(s)
			if seen[s] || (line != first && line != second) || (line != first && !b.wasFull(first)) {
				t.Fatalf("%v in line %d, at home in %d and %d; twice: %v", s, line, first, second, seen[s])
			}
			if seen[s] = true; want[s] != m {
				t.Fatalf("%v has %x, want %x", s, m, want[s])
			}
		}
	}
	if len(seen) != len(want) || b.used != len(want) {
		t.Fatalf("%d entries, %d counted, want %d", len(seen), b.used, len(want))
	}
}

// Up to 85 % full, all entries are found after any puts and removals, and places that became free are used again.
func TestBuckets(t *testing.T) {
	for _, six := range []bool{false, true} {
		r := rand.New(rand.NewPCG(7, 7))
		lines := 41
		b := newBuckets(make([]Line, lines), six, r.Uint64()|1)
		most, want, refused := (lines*b.places()*85-1)/100, map[slot]Meta{}, 0
		var order []slot
		for i := range 60_000 {
			s := randomSlot(r, six)
			if len(want) > 0 && (len(want) >= most || i/5000%2 == 1 && r.IntN(2) == 0) {
				j, last := r.IntN(len(order)), len(order)-1
				s, order[j] = order[j], order[last]
				order = order[:last]
				b.remove(s)
				delete(want, s)
			} else if m := NewMeta(FirstBan, Tick(i)); b.put(s, m, false) {
				if want[s] == 0 {
					order = append(order, s)
				}
				want[s] = m
			} else {
				refused++
			}
			if i%50 == 0 {
				b.sound(t, want)
			}
		}
		for s, m := range want {
			if got, _ := b.get(s); got != m {
				t.Errorf("%v: %x, want %x", s, got, m)
			}
		}
		if refused > 3000 { // four moves do not always do, so near to what makes a table be made anew
			t.Errorf("six %v: %d of 60,000 were refused", six, refused)
		}
		t.Logf("six %v: %d entries in %d places, %d refused", six, b.used, lines*b.places(), refused)
	}
}

// Two that hash alike are told apart by the check beside the hash.
func TestHostSlot(t *testing.T) {
	a, b := from6(0x20010db800000000, 1), from6(0x20010db800000000, 2)
	x, y := hostSlot(3, a), hostSlot(3, b)
	if x == y || x.tag&tagInside != 0 || x.tag&0xff != tagHost {
		t.Errorf("%v %v", x, y)
	}
}

// FuzzBans reads tables that anybody may have written.
func FuzzBans(f *testing.F) {
	f.Add([]byte{}, []byte{1}, []byte{})
	f.Add(make([]byte, 300), make([]byte, 129), bytes.Repeat([]byte{0, 1, 255}, 99))
	f.Fuzz(func(t *testing.T, four, six, list []byte) {
		Bans([Tables][]Line{Hosts4: linesOf(four), Hosts6: linesOf(six), Listed4: linesOf(list)}, func(p netip.Prefix, l List, _ Tick) {
			if !p.IsValid() || l < FirstBan || l >= Lists {
				t.Error(p, l)
			}
		})
	})
}

func linesOf(b []byte) []Line {
	lines := make([]Line, (len(b)+63)/64)
	for i, c := range b {
		lines[i/64][i%64/8] |= uint64(c) << (i % 8 * 8)
	}
	return lines
}

// crowd is a small table with some entries that stay.
type crowd struct {
	b       *buckets
	lasting []slot
}

func newCrowd(t *testing.T, r *rand.Rand, six bool) *crowd {
	t.Helper()
	c := &crowd{b: newBuckets(make([]Line, 9), six, r.Uint64()|1)}
	for i := range 8 {
		s := slot{key: uint64(1<<13 + i)}
		if six {
			s.tag = tagSite
		}
		if !c.b.put(s, NewMeta(FirstBan, Tick(i)), false) {
			t.Fatal("no room")
		}
		c.lasting = append(c.lasting, s)
	}
	return c
}

// Entries that stay are found at any moment while others come and push them from line to line. An entry moves once in its life, so
// it takes many tables.
func TestBucketsNeverMissed(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds = 2000
	}
	for _, six := range []bool{false, true} {
		r := rand.New(rand.NewPCG(3, 3))
		var now atomic.Pointer[crowd]
		now.Store(newCrowd(t, r, six))
		var stop atomic.Bool
		var reader sync.WaitGroup
		reader.Go(func() {
			for !stop.Load() {
				c := now.Load()
				for i, s := range c.lasting {
					if m, _ := c.b.get(s); m != NewMeta(FirstBan, Tick(i)) {
						t.Errorf("six %v: %v is %x", six, s, m)
						return
					}
				}
			}
		})
		for range rounds {
			c := newCrowd(t, r, six)
			now.Store(c)
			for c.b.room(2) {
				c.b.put(randomSlot(r, six), NewMeta(Known, 7), false)
			}
		}
		stop.Store(true)
		reader.Wait()
	}
}
