package anchor

import (
	"maps"
	"net/netip"
	"time"

	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/verdict"
)

// SideStats is what one side sent and got.
type SideStats struct {
	Remote             netip.AddrPort // where media go: latched, or from SDP
	Latched            bool
	LatchMoves         uint64
	Suite              string // SDES name of the SRTP suite; empty: plain RTP
	PacketsIn, BytesIn uint64 // valid RTP from this side; bytes are UDP payload
	PacketsOut         uint64 // RTP sent to this side
	BytesOut           uint64
	RTCPIn, RTCPOut    uint64
	ByKernel           uint64                    // of PacketsIn, what the kernel sent on
	InKernel           bool                      // it does so now
	Dropped            map[verdict.Reason]uint64 // packets to this side's ports that were not relayed
	Quality            Quality
}

// Stats is a snapshot of a session's counters.
type Stats struct {
	Sides  [2]SideStats // by Side
	OnHold bool
}

// Stats returns a snapshot; nothing waits for it on the packet path. After Close it returns what was counted until then.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.final
	}
	return s.statsLocked()
}

func (s *Session) statsLocked() Stats {
	out := Stats{OnHold: s.held}
	if s.relay == nil {
		return out
	}
	for i, r := range s.relay.Stats() {
		out.Sides[i] = SideStats{
			Remote: r.Remote, Latched: r.Latched, LatchMoves: r.LatchMoves, Suite: s.legs[i].suite().String(),
			PacketsIn: r.PacketsIn, BytesIn: r.BytesIn, PacketsOut: r.PacketsOut, BytesOut: r.BytesOut,
			RTCPIn: r.RTCPIn, RTCPOut: r.RTCPOut, ByKernel: r.ByKernel, InKernel: r.InKernel, Dropped: r.Dropped,
			Quality: s.legs[i].quality(r.Quality),
		}
	}
	return out
}

// Dropped returns how many packets to our media ports were not relayed, by reason, of all calls so far; also those that
// came after a call's end.
func (a *Anchor) Dropped() map[verdict.Reason]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := maps.Clone(a.dropped)
	for r := range a.relays {
		addDropped(all, r)
	}
	return all
}

func addDropped(all map[verdict.Reason]uint64, r *relay.Session) {
	for _, side := range r.Stats() {
		for why, n := range side.Dropped {
			all[why] += n
		}
	}
}

// A silent call that was not answered yet may be a phone that rings without early media: it is given more time.
const ringingFactor = 3

// silence is what a session knows of how long nothing was heard.
type silence struct {
	heard    uint64
	since    time.Time
	reported bool
}

// watchFaults looks at all sessions, often enough to be late by a tenth.
func (a *Anchor) watchFaults() {
	defer a.done.Done()
	every := time.Second
	if a.cfg.Silence > 0 {
		every = min(max(a.cfg.Silence/10, 10*time.Millisecond), every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case now := <-tick.C:
			for _, s := range a.snapshot() {
				if why := s.fault(now, &a.cfg); why != verdict.None && s.events.OnFault != nil {
					s.events.OnFault(why)
				}
			}
		}
	}
}

func (a *Anchor) snapshot() []*Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	sessions := make([]*Session, 0, len(a.sessions))
	for s := range a.sessions {
		sessions = append(sessions, s)
	}
	return sessions
}

// fault tells once why the media failed.
func (s *Session) fault(now time.Time, cfg *Config) verdict.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.silence
	if s.closed || s.relay == nil || !s.answered || q.reported {
		if cfg.Silence > 0 {
			q.since = now
		}
		return verdict.None
	}
	if why := s.linkFaultLocked(now, cfg); why != verdict.None {
		q.reported = true
		return why
	}
	if !s.silentTooLongLocked(now, cfg.Silence) {
		return verdict.None
	}
	q.reported = true
	return verdict.MediaTimeout
}

func (s *Session) linkFaultLocked(now time.Time, cfg *Config) verdict.Reason {
	if s.established.IsZero() {
		return verdict.None
	}
	for i := range s.legs {
		if why := s.legs[i].link.failed(now, s.established, cfg); why != verdict.None {
			return why
		}
	}
	return verdict.None
}

func (s *Session) silentTooLongLocked(now time.Time, limit time.Duration) bool {
	q := &s.silence
	if limit <= 0 {
		return false
	}
	if s.held {
		q.since = now
		return false
	}
	if heard := s.relay.Heard(); heard != q.heard || q.since.IsZero() {
		q.heard, q.since = heard, now
		return false
	}
	if s.established.IsZero() {
		limit *= ringingFactor
	}
	return now.Sub(q.since) >= limit
}
