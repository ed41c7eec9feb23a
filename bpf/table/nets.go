package table

import (
	"errors"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// Sizes of the fixed tables, in lines, as bpf/xdp/maps.h has them.
const (
	Dir4Lines   = 1 << 16
	Dir6Lines   = 1 << 16
	Dir6wLines  = 1 << 12
	nets4Lines  = 1 << 24 / 32
	rules4Lines = maxRules / 16
)

const maxRules = 1 << 16

// ErrRules tells that there are more different ends and lists among networks than the table can tell apart. No caller sees it: Rebuild
// then rounds the ends up.
var ErrRules = errors.New("too many different network rules")

// nets4 is DIR-24: for each IPv4 /24 the number of a rule, and for each rule its value.
type nets4 struct {
	nets, rules []Line
	numbers     map[Meta]uint16
	next        uint32
	coarse      int // ends are rounded up to 2^coarse ticks, so that there are fewer rules
}

// maxCoarse leaves 16 different ends.
const maxCoarse = 22

func newNets4(nets, rules []Line, coarse int) *nets4 {
	return &nets4{nets: nets, rules: rules, coarse: coarse, numbers: map[Meta]uint16{}, next: 1}
}

// rule returns the number of a value, 0 for none.
func (n *nets4) rule(m Meta) (uint16, error) {
	if m == 0 {
		return 0, nil
	}
	if u := m.Until(); n.coarse > 0 && u != Forever {
		u = min((u+1<<n.coarse-1)>>n.coarse<<n.coarse, Forever-1)
		m = NewMeta(m.List(), u)
	}
	if r, ok := n.numbers[m]; ok {
		return r, nil
	}
	if n.next == maxRules {
		return 0, ErrRules
	}
	r := uint16(n.next)
	n.next++
	n.numbers[m] = r
	atomic.StoreUint32(n.ruleWord(r), uint32(m))
	return r, nil
}

func (n *nets4) ruleWord(r uint16) *uint32 {
	return &(*[16]uint32)(unsafe.Pointer(&n.rules[r>>4]))[r&15]
}

// paint gives all /24s of a prefix that is no longer than that the rule r. addr is in host byte order.
func (n *nets4) paint(addr uint32, bits int, r uint16) {
	for block, left := addr>>8, 1<<(24-bits); left > 0; {
		l := &n.nets[block>>5]
		if block&31 == 0 && left >= 32 {
			w := uint64(r) * 0x0001000100010001
			for i := range l {
				atomic.StoreUint64(&l[i], w)
			}
			block, left = block+32, left-32
			continue
		}
		i, shift := block>>2&7, block&3*16
		w := l[i]&^(0xffff<<shift) | uint64(r)<<shift
		atomic.StoreUint64(&l[i], w)
		block, left = block+1, left-1
	}
}

// empty reports whether there is room for networks at all: a generation that begins without any has none.
func (n *nets4) empty() bool { return len(n.nets) < nets4Lines }

// get returns the value for an address in host byte order.
func (n *nets4) get(addr uint32) Meta {
	if n.empty() {
		return 0
	}
	block := addr >> 8
	w := atomic.LoadUint64(&n.nets[block>>5][block>>2&7])
	r := uint16(w >> (block & 3 * 16))
	if r == 0 {
		return 0
	}
	return Meta(atomic.LoadUint32(n.ruleWord(r)))
}

// The presence of hosts and networks in a /24, two bits in dir4.
const (
	dirHosts = 1
	dirNets  = 2
)

func dir4At(addr uint32) (line, word, shift uint32) {
	return addr >> 16, addr >> 13 & 7, addr >> 7 & 62
}

// filter is a presence filter: bits that spare a look-up where they are clear. It remembers which of its lines may have some.
type filter struct {
	lines []Line
	dirty []uint64 // a bit for each line
}

// newFilter takes lines over as they are found.
func newFilter(lines []Line) *filter {
	f := blankFilter(lines)
	for i := range f.dirty {
		f.dirty[i] = ^uint64(0)
	}
	return f
}

// blankFilter takes lines that are all zero.
func blankFilter(lines []Line) *filter { return &filter{lines, make([]uint64, len(lines)/64)} }

// draft makes a filter of n lines that nobody reads yet. It has memory only once something is set.
func draft(n int) *filter { return &filter{nil, make([]uint64, n/64)} }

func (f *filter) set(line, word, bits uint64) {
	if f.lines == nil {
		f.lines = make([]Line, 64*len(f.dirty))
	}
	f.dirty[line/64] |= 1 << (line % 64)
	if w := &f.lines[line][word]; *w&bits != bits {
		atomic.StoreUint64(w, *w|bits)
	}
}

// include sets all bits of next, too.
func (f *filter) include(next *filter) {
	next.eachDirty(func(line uint64) {
		for word, w := range next.lines[line] {
			if w != 0 {
				f.set(line, uint64(word), w)
			}
		}
	})
}

// become makes f equal to next.
func (f *filter) become(next *filter) {
	f.eachDirty(func(line uint64) {
		var want Line
		if next.lines != nil {
			want = next.lines[line]
		}
		for word, w := range want {
			if f.lines[line][word] != w {
				atomic.StoreUint64(&f.lines[line][word], w)
			}
		}
	})
	copy(f.dirty, next.dirty)
}

func (f *filter) eachDirty(do func(line uint64)) {
	for i, w := range f.dirty {
		for ; w != 0; w &= w - 1 {
			do(uint64(i*64 + bits.TrailingZeros64(w)))
		}
	}
}

func (f *filter) present4(addr uint32) uint64 {
	line, word, shift := dir4At(addr)
	return atomic.LoadUint64(&f.lines[line][word]) >> shift & 3
}

func (f *filter) mark4(addr uint32, bits uint64) {
	line, word, shift := dir4At(addr)
	f.set(uint64(line), uint64(word), bits<<shift)
}

// markNets4 marks all /24s of a prefix.
func (f *filter) markNets4(addr uint32, bits int) {
	for block, left := addr>>8, 1<<(24-bits); left > 0; {
		if block&31 == 0 && left >= 32 {
			line, word, _ := dir4At(block << 8)
			f.set(uint64(line), uint64(word), 0xaaaaaaaaaaaaaaaa)
			block, left = block+32, left-32
			continue
		}
		f.mark4(block<<8, dirNets)
		block, left = block+1, left-1
	}
}

func dir6At(prefix uint64, lines int) (line, word, shift uint64) {
	h := prefix * 0x9e3779b97f4a7c15
	h ^= h >> 32
	h *= 0xbf58476d1ce4e5b9
	return h >> 48 & uint64(lines-1), h >> 32 & 7, h >> 35 & 63
}

func (f *filter) present6(prefix uint64) bool {
	line, word, shift := dir6At(prefix, len(f.lines))
	return atomic.LoadUint64(&f.lines[line][word])>>shift&1 == 1
}

func (f *filter) mark6(prefix uint64) {
	line, word, shift := dir6At(prefix, 64*len(f.dirty))
	f.set(line, word, 1<<shift)
}

// Upper halves, cut at the lengths that the presence filters of IPv6 know.
func at48(high uint64) uint64 { return high &^ (1<<16 - 1) }
func at32(high uint64) uint64 { return high &^ (1<<32 - 1) }

// level is the length, a multiple of 4 from 32 to 64, that a prefix of at most 64 bits is rounded up to.
func level(bits int) int { return max(32, (bits+3)&^3) }

func highOf(a netip.Addr) uint64 {
	b := a.As16()
	return be64(b[:8])
}

func be64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32 | uint64(b[4])<<24 | uint64(b[5])<<16 | uint64(b[6])<<8 | uint64(b[7])
}

// hostSlot is where an IPv6 host stands: by a hash of both halves with a secret multiplier, and a check of 23 bits beside it.
func hostSlot(seed uint64, a netip.Addr) slot {
	b := a.As16()
	high, low := be64(b[:8]), be64(b[8:])
	x, y := high*seed, low*(seed^0x9e3779b97f4a7c14)
	x ^= x >> 32
	y ^= y >> 29
	x = (x + y) * 0x94d049bb133111eb
	x ^= x >> 31
	if x == 0 {
		x = 1
	}
	z := (high + (low<<17 | low>>47)) * 0xff51afd7ed558ccd
	return slot{x, tagHost | uint32(z>>41)<<checkShift}
}
