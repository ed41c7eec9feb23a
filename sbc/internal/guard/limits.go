package guard

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"brickhouse/bpf"
	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// limits hold sources to their rates where the kernel filter does not, by the same rules (bpf/xdp/service.h): a cell for each hash of a
// source and what it does, which says when its next packet is due (GCRA).
type limits struct {
	rates     Rates
	seed      uint64
	cells     []atomic.Int64
	strangers atomic.Int64
}

const userCells = 1 << 16

func newLimits(r Rates) *limits {
	return &limits{rates: r, seed: rand.Uint64(), cells: make([]atomic.Int64, userCells)}
}

// What a source does.
const (
	doesDatagram = iota
	doesConnection
)

func (l *limits) cell(a netip.Addr, does uint64) *atomic.Int64 {
	return &l.cells[mix(l.seed, site(a).Addr(), does)%userCells]
}

// due is when a cell's next packet is, and how far ahead of that it may come.
func (r Rate) due(cell *atomic.Int64, now time.Duration) (gap, from, slack int64) {
	gap = max(1, int64(float64(time.Second)/r.Rate))
	return gap, max(cell.Load(), int64(now)), gap * int64(max(1, r.Burst)-1)
}

// full reports whether a cell has no room.
func (r Rate) full(cell *atomic.Int64, now time.Duration) bool {
	if r.Rate <= 0 {
		return false
	}
	_, from, slack := r.due(cell, now)
	return from-int64(now) > slack
}

// take takes one packet's room of a cell; false if there is none. Two at once may take one's room for two, a packet too many.
func (r Rate) take(cell *atomic.Int64, now time.Duration) bool {
	if r.Rate <= 0 {
		return true
	}
	gap, from, slack := r.due(cell, now)
	if from-int64(now) > slack {
		return false
	}
	cell.Store(from + gap)
	return true
}

// datagram says what speaks against one more SIP datagram.
func (l *limits) datagram(a netip.Addr, class table.List, now time.Duration) verdict.Reason {
	r := l.rates.Source
	switch class {
	case table.Known:
		r = l.rates.Known
	case table.Limited:
		r = l.rates.Limited
	}
	if class != table.Known && l.rates.Strangers.full(&l.strangers, now) {
		return verdict.StrangersRate
	}
	if !r.take(l.cell(a, doesDatagram), now) {
		return verdict.SourceRate
	}
	if class != table.Known {
		l.rates.Strangers.take(&l.strangers, now)
	}
	return verdict.None
}

// connection reports whether one more connection is within the limit.
func (l *limits) connection(a netip.Addr, class table.List, now time.Duration) bool {
	r := l.rates.Connections
	switch class {
	case table.Known:
		r = l.rates.Known
	case table.Limited:
		r = l.rates.Limited
	}
	return r.take(l.cell(a, doesConnection), now)
}

// raw is r for the kernel filter.
func (r Rate) raw() bpf.Rate { return bpf.Rate{PerSecond: r.Rate, Burst: r.Burst} }
