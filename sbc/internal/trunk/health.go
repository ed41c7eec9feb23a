package trunk

import (
	"net/http"
	"time"
)

// State of a hop, a gateway or a trunk.
type State string

// The states.
const (
	Unknown  State = "unknown" // not asked yet; used like one that is up
	Up       State = "up"
	Down     State = "down"
	Disabled State = "disabled" // by a person
)

// trialAfter is how long a hop is left out before one call may try it, where nothing else asks it while it is well: a carrier
// may answer calls and no OPTIONS.
const trialAfter = time.Minute

// Result is what a probe or a call found out about a hop.
type Result struct {
	Code int           // final status code; 0: there was none
	Err  error         // why not
	RTT  time.Duration // until the answer
}

// Alive reports whether somebody is there who can take calls.
func (r Result) Alive() bool {
	return r.Code >= 200 && r.Code != http.StatusRequestTimeout && r.Code != http.StatusServiceUnavailable
}

// health is what is known of a hop. It has no clock and no lock of its own.
type health struct {
	state State
	row   int // results in a row that speak against the state
	last  Result
	at    time.Time // of last
	since time.Time // of state
	trial time.Time // when the last call tried it although it was down
	seen  time.Time // when a gateway's name last led here
}

func (h *health) usable() bool { return h.state != Down }

// take counts a result. It reports whether the state has changed.
func (h *health) take(r Result, c Health, now time.Time) bool {
	h.last, h.at = r, now
	alive := r.Alive()
	switch {
	case alive && h.state == Up, !alive && h.state == Down:
		h.row = 0
		return false
	case alive && h.state == Unknown:
		return h.become(Up, now)
	}
	h.row++
	switch {
	case alive && h.row >= max(c.Up, 1):
		return h.become(Up, now)
	case !alive && h.row >= max(c.Down, 1):
		return h.become(Down, now)
	}
	return false
}

func (h *health) become(s State, now time.Time) bool {
	h.state, h.row, h.since, h.trial = s, 0, now, now
	return true
}

// settled reports whether nothing speaks against the state.
func (h *health) settled() bool { return h.state == Up && h.row == 0 }

// tries reports whether a call may try a hop that is down, and marks that it does.
func (h *health) tries(now time.Time) bool {
	if now.Sub(h.trial) < trialAfter {
		return false
	}
	h.trial = now
	return true
}
