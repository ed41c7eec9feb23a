package score

import (
	"net/netip"
	"time"
)

// History remembers which sites were banned before: what makes a repeater. Over its limit, the ban that was told first is forgotten.
type History struct {
	limit  int
	next   int // where the next one goes, once the ring is full
	ring   []served
	bySite map[netip.Prefix][]time.Time // in the order in which they were told
}

// served is a ban that ended by itself.
type served struct {
	site  netip.Prefix
	ended time.Time
}

// NewHistory remembers up to limit bans.
func NewHistory(limit int) *History {
	return &History{limit: max(limit, 1), bySite: map[netip.Prefix][]time.Time{}}
}

// Add tells that a ban of p ended by itself. A ban of a network is that of none of its sites.
func (h *History) Add(p netip.Prefix, ended time.Time) {
	site := Site(p.Addr())
	if p.Bits() < site.Bits() {
		return
	}
	if len(h.ring) < h.limit {
		h.ring = append(h.ring, served{site, ended})
	} else {
		old := h.ring[h.next].site
		if h.bySite[old] = h.bySite[old][1:]; len(h.bySite[old]) == 0 {
			delete(h.bySite, old)
		}
		h.ring[h.next] = served{site, ended}
		h.next = (h.next + 1) % h.limit
	}
	h.bySite[site] = append(h.bySite[site], ended)
}

// Count is how many bans of p, or of hosts within it, ended since then.
func (h *History) Count(p netip.Prefix, since time.Time) int {
	n := 0
	for _, t := range h.bySite[Site(p.Addr())] {
		if !t.Before(since) {
			n++
		}
	}
	return n
}
