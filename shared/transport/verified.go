package transport

import (
	"net/netip"
	"sync"
	"time"
)

// verifiedTable remembers for a while which UDP sources have proven that they receive what is sent to them. It holds two
// generations: when the young one is full or older than life, it becomes the old one and the old one is forgotten. So it
// is bounded and needs no sweeping. Only Flow.MarkVerified adds to it; a datagram alone never does.
type verifiedTable struct {
	max  int
	life time.Duration

	mu    sync.Mutex // guards all below
	young map[netip.AddrPort]time.Time
	old   map[netip.AddrPort]time.Time
	since time.Time // when young began
}

func newVerifiedTable(limit int, life time.Duration) *verifiedTable {
	return &verifiedTable{max: max(1, limit/2), life: life, young: make(map[netip.AddrPort]time.Time)}
}

// add remembers a for the table's life.
func (t *verifiedTable) add(a netip.AddrPort) { t.addAt(a, time.Now()) }

// has reports whether a was added within the table's life.
func (t *verifiedTable) has(a netip.AddrPort) bool { return t.hasAt(a, time.Now()) }

func (t *verifiedTable) addAt(a netip.AddrPort, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there := t.young[a]; !there && (len(t.young) >= t.max || now.Sub(t.since) > t.life) {
		t.old, t.young, t.since = t.young, make(map[netip.AddrPort]time.Time), now
	}
	t.young[a] = now
}

func (t *verifiedTable) hasAt(a netip.AddrPort, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.young[a]
	if !ok {
		at, ok = t.old[a]
	}
	return ok && now.Sub(at) < t.life
}

// size is the number of entries held.
func (t *verifiedTable) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.young) + len(t.old)
}
