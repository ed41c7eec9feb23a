package table

import "sync/atomic"

// Line is a cache line, the unit of every table.
type Line [8]uint64

// Where an entry's tag says what it is; bpf/xdp/source.h has the same numbers.
const (
	tagSite    = 64
	tagHost    = 128
	tagInside  = 256
	checkShift = 9
)

// slot identifies an entry. IPv4: key is the address as the kernel reads it, tag 0. IPv6: key is a prefix's upper half in host byte
// order with its length as tag, or a host's hash.
type slot struct {
	key uint64
	tag uint32
}

// tombstone is the value of a place that was used in a bucket that has been full: its list is none.
const tombstone = Meta(1 << listBits)

// buckets is a table of cache lines: 8 IPv4 entries a line, address and value in one word, or 4 IPv6 entries, each a word for the key
// and one for value and tag. Line 0 is its head. A bucket's last place is 0 as long as it never was full; then none of its entries
// can stand in a second bucket.
//
// Entries move only from their first bucket to their second, copied before they are removed; a reader looks at the first, then at the
// second, and so misses none.
type buckets struct {
	lines []Line
	six   bool
	used  int // entries
}

const (
	headBuckets = iota
	headSeed
	headLevels
)

// newBuckets prepares zeroed lines; there must be at least 2. seed must be odd.
func newBuckets(lines []Line, six bool, seed uint64) *buckets {
	lines[0][headBuckets], lines[0][headSeed] = uint64(len(lines)-1), seed
	return &buckets{lines: lines, six: six}
}

func (b *buckets) geometry() Geometry { return Geometry{b.lines[0][headBuckets], b.lines[0][headSeed]} }

// linesFor is the size of a table that n entries fill to a bit over a half: 14.5 bytes an IPv4 entry.
func linesFor(n int, six bool) int {
	places := 8
	if six {
		places = 4
	}
	return 17 + n*100/(places*55)
}

// room reports whether n more entries leave the table short of where moves become dear.
func (b *buckets) room(n int) bool {
	places := 8
	if b.six {
		places = 4
	}
	return (b.used+n)*100 < len(b.lines)*places*85
}

func spread(h uint32, n uint64) int { return 1 + int(uint64(h)*n>>32) }

// home returns the two lines that may hold s, as bpf/xdp/source.h computes them.
func (b *buckets) home(s slot) (first, second int) {
	n, seed := b.lines[0][headBuckets], b.lines[0][headSeed]
	if !b.six {
		x := s.key * seed
		y := (x ^ x>>32) * 0xbf58476d1ce4e5b9
		return spread(uint32(x>>32), n), spread(uint32(y>>32), n)
	}
	x := (s.key ^ uint64(s.tag)<<7) * seed
	x ^= x >> 32
	x *= 0x94d049bb133111eb
	return spread(uint32(x>>32), n), spread(uint32(x), n)
}

func (b *buckets) places() int {
	if b.six {
		return 4
	}
	return 8
}

// read returns what stands at place i of a line, and whether that place is free to be used.
func (b *buckets) read(line, i int) (s slot, m Meta, inside, free bool) {
	l := &b.lines[line]
	if !b.six {
		w := atomic.LoadUint64(&l[i])
		return slot{key: uint64(uint32(w))}, Meta(w >> 32), false, uint32(w) == 0
	}
	key, v := atomic.LoadUint64(&l[2*i]), atomic.LoadUint64(&l[2*i+1])
	tag := uint32(v >> 32)
	return slot{key, tag &^ tagInside}, Meta(v), tag&tagInside != 0, key == 0
}

// write puts an entry at a place, which holds nothing that is still needed there.
func (b *buckets) write(line, i int, s slot, m Meta, inside bool) {
	l := &b.lines[line]
	if !b.six {
		atomic.StoreUint64(&l[i], s.key|uint64(m)<<32)
		return
	}
	v := uint64(m) | uint64(s.tag)<<32
	if inside {
		v |= tagInside << 32
	}
	if atomic.LoadUint64(&l[2*i]) != s.key { // never an old key with the new value
		atomic.StoreUint64(&l[2*i], 0)
	}
	atomic.StoreUint64(&l[2*i+1], v)
	atomic.StoreUint64(&l[2*i], s.key)
}

// find returns where s stands; line 0 if nowhere.
func (b *buckets) find(s slot) (line, i int, m Meta, inside bool) {
	first, second := b.home(s)
	if i, m, inside, ok := b.findIn(first, s); ok {
		return first, i, m, inside
	}
	if !b.wasFull(first) {
		return 0, 0, 0, false
	}
	if i, m, inside, ok := b.findIn(second, s); ok {
		return second, i, m, inside
	}
	return 0, 0, 0, false
}

func (b *buckets) findIn(line int, s slot) (int, Meta, bool, bool) {
	if !b.six { // the hot one
		l := &b.lines[line]
		for i := range l {
			if w := atomic.LoadUint64(&l[i]); uint32(w) == uint32(s.key) {
				return i, Meta(w >> 32), false, true
			}
		}
		return 0, 0, false, false
	}
	for i := range 4 {
		// Two words can't be read at once, so the key is read again: it is still the value's, unless the place was given away meanwhile.
		if got, m, inside, _ := b.read(line, i); got == s && atomic.LoadUint64(&b.lines[line][2*i]) == s.key {
			return i, m, inside, true
		}
	}
	return 0, 0, false, false
}

func (b *buckets) wasFull(line int) bool {
	l := &b.lines[line]
	if b.six {
		return atomic.LoadUint64(&l[6])|atomic.LoadUint64(&l[7]) != 0
	}
	return atomic.LoadUint64(&l[7]) != 0
}

// get returns the value of s, 0 if there is none.
func (b *buckets) get(s slot) (m Meta, inside bool) {
	_, _, m, inside = b.find(s)
	return m, inside
}

// put writes an entry, new or changed; false if there is no room, and the table must be made anew.
func (b *buckets) put(s slot, m Meta, inside bool) bool {
	if line, i, _, _ := b.find(s); line != 0 {
		b.write(line, i, s, m, inside)
		return true
	}
	if !b.room(1) {
		return false
	}
	first, second := b.home(s)
	for _, line := range [2]int{first, second} {
		if i, ok := b.freeIn(line); ok {
			b.write(line, i, s, m, inside)
			b.used++
			return true
		}
	}
	for depth := range maxMoves {
		for _, line := range [2]int{first, second} {
			if i, ok := b.makeRoom(line, depth, nil); ok {
				b.write(line, i, s, m, inside)
				b.used++
				return true
			}
		}
	}
	return false
}

// offer4 is put of an IPv4 entry, unless what stands there is as good. It is what a list of a million spends its time in.
func (b *buckets) offer4(s slot, m Meta, better func(a, b Meta) bool) bool {
	head := &b.lines[0]
	x := s.key * head[headSeed]
	l := &b.lines[spread(uint32(x>>32), head[headBuckets])]
	for i, w := range l {
		if w == 0 && b.room(1) {
			atomic.StoreUint64(&l[i], s.key|uint64(m)<<32)
			b.used++
			return true
		}
		if uint32(w) == uint32(s.key) {
			if better(m, Meta(w>>32)) {
				atomic.StoreUint64(&l[i], s.key|uint64(m)<<32)
			}
			return true
		}
	}
	if have, _ := b.get(s); have != 0 && !better(m, have) {
		return true
	}
	return b.put(s, m, false)
}

func (b *buckets) freeIn(line int) (int, bool) {
	if !b.six {
		l := &b.lines[line]
		for i := range l {
			if uint32(l[i]) == 0 {
				return i, true
			}
		}
		return 0, false
	}
	for i := range 4 {
		if b.lines[line][2*i] == 0 {
			return i, true
		}
	}
	return 0, false
}

// maxMoves is how many entries a new one may push on, one after the other.
const maxMoves = 4

// makeRoom copies one entry of a full line, and as many more as depth, to their second lines, and returns the place that may be
// overwritten. path are the lines on the way, which must not be touched again.
func (b *buckets) makeRoom(line, depth int, path []int) (int, bool) {
	path = append(path, line)
	for i := range b.places() {
		s, m, inside, _ := b.read(line, i)
		first, second := b.home(s)
		if first != line || contains(path, second) {
			continue
		}
		j, ok := b.freeIn(second)
		if !ok && depth > 0 {
			j, ok = b.makeRoom(second, depth-1, path)
		}
		if ok {
			b.write(second, j, s, m, inside)
			return i, true
		}
	}
	return 0, false
}

func contains(path []int, line int) bool {
	for _, l := range path {
		if l == line {
			return true
		}
	}
	return false
}

// remove ends an entry.
func (b *buckets) remove(s slot) {
	line, i, _, _ := b.find(s)
	if line == 0 {
		return
	}
	b.used--
	b.clear(line, i)
	if b.wasFull(line) {
		return
	}
	for i := b.places() - 1; i >= 0; i-- { // a bucket that never was full is empty from somewhere on
		if _, _, _, free := b.read(line, i); !free {
			return
		}
		l := &b.lines[line]
		if b.six {
			atomic.StoreUint64(&l[2*i+1], 0)
		} else {
			atomic.StoreUint64(&l[i], 0)
		}
	}
}

func (b *buckets) clear(line, i int) {
	l := &b.lines[line]
	if !b.six {
		atomic.StoreUint64(&l[i], uint64(tombstone)<<32)
		return
	}
	atomic.StoreUint64(&l[2*i], 0)
	atomic.StoreUint64(&l[2*i+1], uint64(tombstone))
}

// each tells all entries.
func (b *buckets) each(do func(s slot, m Meta, inside bool)) {
	for line := 1; line < len(b.lines); line++ {
		for i := range b.places() {
			if s, m, inside, free := b.read(line, i); !free {
				do(s, m, inside)
			}
		}
	}
}
