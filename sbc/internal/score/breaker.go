package score

import (
	"fmt"
	"net/netip"
	"time"
)

// maxHits is how many banned sources with living registrations are remembered for the circuit breaker.
const maxHits = 4096

// BreakerState is the circuit breaker as others see it.
type BreakerState struct {
	Open  bool      `json:"open"`            // rules limit instead of banning
	Until time.Time `json:"until,omitzero"`  // when it closes, if it is open
	Cause string    `json:"cause,omitempty"` // why it opened last
	Trips uint64    `json:"trips"`           // how often it opened, since start
	Bans  int       `json:"bans"`            // bans that rules made within the last minute
	Hits  int       `json:"hits"`            // sources with living registrations that rules have banned now
}

// hit is a ban that a rule made of a source with living registrations.
type hit struct {
	prefix netip.Prefix
	until  time.Time
}

// breaker counts the bans that rules make, and opens when they are too many.
type breaker struct {
	cfg     Breaker
	seconds [60]struct {
		second int64 // since the engine's base
		bans   int
	}
	hits  []hit
	until time.Time
	cause string
	trips uint64
}

// open reports whether rules must not ban now. A clock that was set back, or a shorter cooldown, keeps it open no longer than that.
func (b *breaker) open(now time.Time) bool {
	if limit := now.Add(b.cfg.Cooldown); b.until.After(limit) {
		b.until = limit
	}
	return b.until.After(now)
}

// lastMinute is how many bans rules made within the last 60 seconds.
func (b *breaker) lastMinute(second int64) int {
	n := 0
	for _, s := range b.seconds {
		if s.second > second-60 && s.second <= second {
			n += s.bans
		}
	}
	return n
}

// admit decides about one more ban, of a source that has so many living registrations. It is true if the ban may be made, and is
// counted then.
func (b *breaker) admit(p netip.Prefix, length time.Duration, registrations int, second int64, now time.Time, env Env) bool {
	if n := b.lastMinute(second); n >= b.cfg.Bans {
		b.trip(now, fmt.Sprintf("rules banned %d sources within a minute", n))
		return false
	}
	if registrations > 0 {
		b.current(now)
		hits, all := len(b.hits)+1, env.KnownTotal()
		for _, h := range b.hits {
			if env.Known(h.prefix) == 0 { // banned so long that its registrations ended
				all++
			}
		}
		if hits > b.cfg.Least && float64(hits) > b.cfg.Share*float64(all) {
			b.trip(now, fmt.Sprintf("%d of %d sources with living registrations would be banned", hits, all))
			return false
		}
		if len(b.hits) < maxHits {
			b.hits = append(b.hits, hit{p, now.Add(length)})
		}
	}
	s := &b.seconds[(second%60+60)%60]
	if s.second != second {
		s.second, s.bans = second, 0
	}
	s.bans++
	return true
}

func (b *breaker) trip(now time.Time, cause string) {
	b.until, b.cause = now.Add(b.cfg.Cooldown), cause
	b.trips++
}

// current leaves out the bans that have ended.
func (b *breaker) current(now time.Time) {
	kept := b.hits[:0]
	for _, h := range b.hits {
		if h.until.After(now) {
			kept = append(kept, h)
		}
	}
	b.hits = kept
}

// lifted takes a ban out of the count.
func (b *breaker) lifted(p netip.Prefix) {
	kept := b.hits[:0]
	for _, h := range b.hits {
		if h.prefix != p {
			kept = append(kept, h)
		}
	}
	b.hits = kept
}

func (b *breaker) state(second int64, now time.Time) BreakerState {
	b.current(now)
	s := BreakerState{Open: b.open(now), Cause: b.cause, Trips: b.trips, Bans: b.lastMinute(second), Hits: len(b.hits)}
	if s.Open {
		s.Until = b.until
	}
	return s
}
