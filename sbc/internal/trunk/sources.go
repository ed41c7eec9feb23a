package trunk

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of what is learned.
const (
	maxLearned = 4096
	learnedFor = 2 * time.Hour // longer than a call goes without a word of session timers
)

// Sources are addresses that a carrier has shown to be its own, beside those that the configuration names: where its
// names lead, where a call to our registered contact came from. What it sends from there within a call is heard.
type Sources struct {
	now func() time.Time

	mu sync.RWMutex
	by map[netip.Addr]learned
}

type learned struct {
	trunk string
	until time.Time
}

// NewSources returns what has learned nothing yet.
func NewSources(now func() time.Time) *Sources {
	return &Sources{now: now, by: map[netip.Addr]learned{}}
}

// Learn notes that an address is a trunk's.
func (s *Sources) Learn(a netip.Addr, trunk string) {
	a, now := a.Unmap().WithZone(""), s.now()
	s.mu.RLock()
	l, ok := s.by[a]
	s.mu.RUnlock()
	if ok && l.trunk == trunk && l.until.Sub(now) > learnedFor/2 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok && len(s.by) >= maxLearned {
		for old, l := range s.by {
			if now.After(l.until) || len(s.by) >= maxLearned {
				delete(s.by, old)
			}
		}
	}
	s.by[a] = learned{trunk, now.Add(learnedFor)}
}

// Trunk returns whose address it is.
func (s *Sources) Trunk(a netip.Addr) (string, bool) {
	s.mu.RLock()
	l, ok := s.by[a.Unmap().WithZone("")]
	s.mu.RUnlock()
	return l.trunk, ok && s.now().Before(l.until)
}
