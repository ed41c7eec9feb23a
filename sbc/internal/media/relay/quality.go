package relay

import (
	"encoding/binary"
	"sync"
	"time"
)

// Quality is how a side hears the other one, by its own reports (RFC 3550 §6.4). The zero value: it reported nothing.
type Quality struct {
	Reports   uint64
	Loss      float64       // mean share of packets that it missed, 0 to 1
	Jitter    float64       // mean, in timestamp units
	RoundTrip time.Duration // between us and the side, as last seen; 0: not known
}

// Sizes of RTCP's parts in bytes (RFC 3550 §6.4.1).
const (
	headerSR    = 28
	headerRR    = 8
	reportBlock = 24
)

// maxRoundTrip is what can be believed.
const maxRoundTrip = 10 * time.Second

// hearing gathers what one side reports.
type hearing struct {
	mu           sync.Mutex // the loop writes, Stats reads
	reports      uint64
	loss, jitter float64 // sums over the reports
	roundTrip    time.Duration
	sent         [4]senderReport // the last that went to the side, a ring
	next         int
}

// senderReport is one that we passed on: the middle 32 bits of its NTP time, by which a report answers it.
type senderReport struct {
	mid uint32
	at  time.Time
}

func (h *hearing) quality() Quality {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reports == 0 {
		return Quality{}
	}
	n := float64(h.reports)
	return Quality{Reports: h.reports, Loss: h.loss / n, Jitter: h.jitter / n, RoundTrip: h.roundTrip}
}

// learn reads what a side reports in a compound packet that rebuildRTCP wrote.
func (s *Session) learn(side int, compound []byte, now time.Time) {
	for len(compound) >= 4 {
		size := 4 * (int(binary.BigEndian.Uint16(compound[2:])) + 1)
		p := compound[:size]
		compound = compound[size:]
		switch p[1] {
		case typeSR:
			s.hearing[side^1].passed(binary.BigEndian.Uint32(p[10:]), now)
			s.hearing[side].reported(p[headerSR:], now)
		case typeRR:
			s.hearing[side].reported(p[headerRR:], now)
		}
	}
}

// passed notes a sender report that goes to the side.
func (h *hearing) passed(mid uint32, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent[h.next] = senderReport{mid, now}
	h.next = (h.next + 1) % len(h.sent)
}

// reported takes the report blocks of the side.
func (h *hearing) reported(blocks []byte, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ; len(blocks) >= reportBlock; blocks = blocks[reportBlock:] {
		h.reports++
		h.loss += float64(blocks[4]) / 256
		h.jitter += float64(binary.BigEndian.Uint32(blocks[12:]))
		lsr, dlsr := binary.BigEndian.Uint32(blocks[16:]), binary.BigEndian.Uint32(blocks[20:])
		for _, sr := range h.sent {
			if lsr == 0 || sr.mid != lsr || sr.at.IsZero() {
				continue
			}
			held := time.Duration(dlsr) * time.Second >> 16
			if rt := now.Sub(sr.at) - held; rt >= 0 && rt <= maxRoundTrip {
				h.roundTrip = rt
			}
		}
	}
}
