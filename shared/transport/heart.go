package transport

import (
	"time"

	"brickhouse/shared/verdict"
)

// heart says when a WebSocket is pinged. A browser sends no ping of its own, and its network may vanish without a word; one
// that answers nothing until the next ping is gone. Pure: time is passed in.
type heart struct {
	every time.Duration // zero: never
	at    time.Time     // the next ping
	sent  time.Time     // the last one
}

func newHeart(every time.Duration, now time.Time) heart {
	return heart{every: every, at: now.Add(every)}
}

// due is when the next ping is to be sent; zero: never. A stranger is not waited for so long.
func (h *heart) due(trusted bool) time.Time {
	if !trusted || h.every <= 0 {
		return time.Time{}
	}
	return h.at
}

// beat decides at now, when the last byte came at heard: whether to ping, or that nobody is there.
func (h *heart) beat(now, heard time.Time) (ping, gone bool) {
	if h.every <= 0 || now.Before(h.at) {
		return false, false
	}
	if !h.sent.IsZero() && heard.Before(h.sent) {
		return false, true
	}
	h.sent, h.at = now, now.Add(h.every)
	return true, false
}

// beat pings the peer if that is due.
func (s *stream) beat(now, heard time.Time) verdict.Reason {
	if !s.trusted.Load() {
		return verdict.None
	}
	ping, gone := s.heart.beat(now, heard)
	switch {
	case gone:
		return verdict.IdleTimeout
	case ping:
		_ = s.enqueue(wsFrame(wsPing, nil)) // a failure ends the connection by itself
	}
	return verdict.None
}

// sooner is the earlier of two times, of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
