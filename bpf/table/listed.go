package table

import (
	"math/bits"
	"sync/atomic"
)

// listed is a table of the IPv4 hosts of lists, which come by the million and have no end: 3.8 bytes each, a quarter of what they take
// in buckets, so that most of it stays in the processor's cache. Hosts are spread by a hash that is one to one. The line says the
// upper part of the hash, so a place only holds the rest of it, and the number of the list:
//
//	words 0 to 4        the lower 16 bits of the rest, 20 places; 0: free, or cleared
//	bytes 40 to 59      the list; in the upper two bits what is left of the rest
//	upper half, word 7  for which hosts to ask the table of buckets, too: a bit for each of 32 classes of them
//
// Once readers see it, places are only cleared, and bits set: whoever changes is written into the table of buckets, then its bit is
// set, then its place is cleared. Who finds no place when the table is made goes there, too.
type listed struct {
	lines []Line
	used  int
}

const (
	listedPlaces = 20
	leastListed  = 1 << 16 // fewer hosts are not worth a second table
	leastLines   = 1 << 14 // so that the rest of a hash fits
	listedLoad   = 85      // in per cent: one in thirty finds no place
)

// listedLines is the size of a table for n hosts, and how many of them are to be expected in the table of buckets all the same.
func listedLines(n int) (lines, left int) {
	if n < leastListed {
		return 1, n
	}
	return 1 + max(leastLines, n*100/(listedPlaces*listedLoad)), n / 24
}

// newListed prepares zeroed lines; a single one holds nobody. seed must be odd.
func newListed(lines []Line, seed uint64) *listed {
	lines[0][headBuckets], lines[0][headSeed] = uint64(len(lines)-1), seed&(1<<32-1)
	return &listed{lines: lines}
}

func (l *listed) geometry() Geometry { return Geometry{l.lines[0][headBuckets], l.lines[0][headSeed]} }

func (l *listed) empty() bool { return len(l.lines) == 1 }

const (
	listedMix = 0x85ebca6b
	lanes     = 0x0001000100010001
	laneHighs = 0x8000800080008000
)

// hash spreads an address, in network byte order, one to one, as bpf/xdp/source.h does.
func (l *listed) hash(key uint32) uint32 {
	x := (key ^ key>>16) * uint32(l.lines[0][headSeed])
	return (x ^ x>>15) * listedMix
}

// home is the line of a hash, and what of the hash it does not say.
func (l *listed) home(x uint32) (line *Line, rest uint32) {
	n := l.lines[0][headBuckets]
	at := uint64(x) * n
	return &l.lines[1+at>>32], uint32(at) >> (bits.Len64(n) - 1)
}

// zeroLanes marks the high bits of the 16-bit lanes of w that are zero; lanes above the first such one may be marked, too.
func zeroLanes(w uint64) uint64 { return (w - lanes) &^ w & laneHighs }

// offer puts a host on a list, unless it is on one already that is as good; false if it has no place here.
func (l *listed) offer(key uint32, list List, better func(a, b Meta) bool) bool {
	if l.empty() {
		return false
	}
	line, rest := l.home(l.hash(key))
	low := uint64(rest & 0xffff)
	if low == 0 {
		return false
	}
	for i, w := range line[:listedPlaces/4] {
		if same := zeroLanes(w ^ low*lanes); same != 0 {
			return listedByte(line, 4*i+bits.TrailingZeros64(same)/16).offer(rest, list, better)
		}
		if free := zeroLanes(w); free != 0 {
			lane := bits.TrailingZeros64(free) / 16
			line[i] = w | low<<(16*lane)
			listedByte(line, 4*i+lane).set(uint64(list) | uint64(rest>>16)<<listBits)
			l.used++
			return true
		}
	}
	return false
}

// placeByte is the byte of a place's list.
type placeByte struct {
	word  *uint64
	shift int
}

func listedByte(line *Line, place int) placeByte {
	at := 2*listedPlaces + place
	return placeByte{&line[at/8], at % 8 * 8}
}

func (b placeByte) get() uint64 { return atomic.LoadUint64(b.word) >> b.shift & 0xff }

func (b placeByte) set(v uint64) {
	atomic.StoreUint64(b.word, *b.word&^(0xff<<b.shift)|v<<b.shift)
}

// offer changes the list at a place if it is the host's and the new one is better; false if it is another's.
func (b placeByte) offer(rest uint32, list List, better func(a, b Meta) bool) bool {
	v := b.get()
	if v>>listBits != uint64(rest>>16) {
		return false
	}
	if better(NewMeta(list, Forever), NewMeta(List(v&(Lists-1)), Forever)) {
		b.set(uint64(list) | v&^(Lists-1))
	}
	return true
}

// find returns the place of a host; ok is false if it has none.
func (l *listed) find(key uint32) (b placeByte, ok bool) {
	if l.empty() {
		return b, false
	}
	line, rest := l.home(l.hash(key))
	low := uint64(rest & 0xffff)
	for i := range listedPlaces / 4 {
		same := zeroLanes(atomic.LoadUint64(&line[i]) ^ low*lanes)
		if same == 0 {
			continue
		}
		b = listedByte(line, 4*i+bits.TrailingZeros64(same)/16)
		v := b.get()
		return b, v>>listBits == uint64(rest>>16) && v&(Lists-1) != 0
	}
	return b, false
}

// get returns a host's value, or 0 and whether the table of buckets has to be asked.
func (l *listed) get(key uint32) (m Meta, ask bool) {
	if l.empty() {
		return 0, true
	}
	if b, ok := l.find(key); ok {
		if list := List(b.get() & (Lists - 1)); list != None { // not cleared meanwhile
			return NewMeta(list, Forever), false
		}
	}
	x := l.hash(key)
	line, _ := l.home(x)
	return 0, atomic.LoadUint64(&line[7])>>(32+x&31)&1 == 1
}

// leave has the table of buckets asked for a host, which stands there by now, and clears its place here.
func (l *listed) leave(key uint32) {
	if l.empty() {
		return
	}
	x := l.hash(key)
	line, _ := l.home(x)
	if w := line[7] | 1<<(32+x&31); w != line[7] {
		atomic.StoreUint64(&line[7], w)
	}
	l.clear(key)
}

// clear ends a host's place.
func (l *listed) clear(key uint32) {
	if b, ok := l.find(key); ok {
		b.set(b.get() &^ (Lists - 1))
		l.used--
	}
}

// each tells all hosts, in network byte order.
func (l *listed) each(do func(key uint32, list List)) {
	n := uint64(len(l.lines) - 1)
	unmix, unseed := inverse(listedMix), inverse(uint32(l.lines[0][headSeed]))
	for i := range l.lines[1:] {
		for place := range listedPlaces {
			low := l.lines[1+i][place/4] >> (place % 4 * 16) & 0xffff
			v := listedByte(&l.lines[1+i], place).get()
			if v&(Lists-1) == 0 {
				continue
			}
			from := uint64(i)<<32 | (v>>listBits<<16|low)<<(bits.Len64(n)-1)
			x := uint32((from+n-1)/n) * unmix // the one hash whose product begins like that
			x = (x ^ x>>15 ^ x>>30) * unseed
			do(x^x>>16, List(v&(Lists-1)))
		}
	}
}

// inverse is what undoes a multiplication by an odd number.
func inverse(a uint32) uint32 {
	x := a
	for range 4 {
		x *= 2 - a*x
	}
	return x
}

// get4 returns the value of an IPv4 host.
func (g *generation) get4(s slot) Meta {
	m, ask := g.listed.get(uint32(s.key))
	if ask {
		m, _ = g.hosts4.get(s)
	}
	return m
}

// put4 writes an IPv4 host, new or changed; false if there is no room.
func (g *generation) put4(s slot, m Meta) bool {
	if have, ask := g.listed.get(uint32(s.key)); !ask && have == m {
		return true
	}
	if !g.hosts4.put(s, m, false) {
		return false
	}
	g.listed.leave(uint32(s.key))
	return true
}

// offer4 is put4 in a new generation, unless what stands there is as good. m is a list's, without end.
func (g *generation) offer4(s slot, m Meta, better func(a, b Meta) bool) bool {
	if g.listed.offer(uint32(s.key), m.List(), better) {
		return true
	}
	if !g.hosts4.offer4(s, m, better) {
		return false
	}
	g.listed.leave(uint32(s.key))
	return true
}

// remove4 ends an IPv4 host.
func (g *generation) remove4(s slot) {
	g.listed.clear(uint32(s.key))
	g.hosts4.remove(s)
}
