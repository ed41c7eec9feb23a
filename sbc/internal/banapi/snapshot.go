package banapi

import (
	"net/netip"
	"slices"
	"time"

	"brickhouse/sbc/internal/guard"
)

// entry is what a decision tells of a ban, kept small: there may be 200,000.
type entry struct {
	prefix   netip.Prefix
	until    time.Time // zero: until it is lifted
	origin   string
	scenario string
}

func entryOf(b guard.Ban) entry { return entry{b.Prefix, b.Until, origin(b), scenario(b)} }

// snapshot is the guard's bans at one time. It is a constant but for made.
type snapshot struct {
	at   time.Time
	bans []entry        // in the order of their networks
	made map[string]int // bans by origin: those of the snapshot, and those made through us since; guarded by Server.mu
}

// snapshotAge is how old a snapshot may be: reading all bans costs the guard some milliseconds, and so do impatient pollers.
const snapshotAge = time.Second

// current returns the guard's bans, at most snapshotAge old, and never older than our own last change.
func (s *Server) current() *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.currentLocked(!s.dirty)
}

// currentLocked returns the last snapshot if it is usable and young enough, else a new one.
func (s *Server) currentLocked(usable bool) *snapshot {
	now := s.now()
	if age := now.Sub(s.snap.at); usable && age >= 0 && age < snapshotAge {
		return s.snap
	}
	s.dirty = false
	list := s.guard.List()
	snap := &snapshot{at: now, bans: make([]entry, 0, len(list)), made: map[string]int{}}
	for _, b := range list {
		e := entryOf(b)
		snap.bans = append(snap.bans, e)
		snap.made[e.origin]++
	}
	slices.SortFunc(snap.bans, func(a, b entry) int { return a.prefix.Compare(b.prefix) })
	s.snap = snap
	return snap
}

// take counts one more ban for h, unless it has its share already.
func (s *Server) take(h *holder) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.currentLocked(true)
	if snap.made[h.by()] >= h.MaxBans {
		return false
	}
	snap.made[h.by()]++
	return true
}

// changed tells that the snapshot is not what the guard holds any more.
func (s *Server) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = true
}

// news is what is new and what has ended between two snapshots. A ban that was changed is new.
func news(old, now []entry) (added, ended []entry) {
	if len(old) == 0 {
		return now, nil // no copy: it may be long
	}
	for len(old) > 0 && len(now) > 0 {
		switch c := old[0].prefix.Compare(now[0].prefix); {
		case c < 0:
			ended, old = append(ended, old[0]), old[1:]
		case c > 0:
			added, now = append(added, now[0]), now[1:]
		default:
			if old[0] != now[0] {
				added = append(added, now[0])
			}
			old, now = old[1:], now[1:]
		}
	}
	return append(added, now...), append(ended, old...)
}
