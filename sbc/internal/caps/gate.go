package caps

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/verdict"
)

// GateConfig says how much load is too much.
type GateConfig struct {
	PerSecond float64       // new calls a second, in all; 0: any number
	Burst     int           // that may come at once; 0: as many as PerSecond
	Lag       time.Duration // of the scheduler; 0: it does not matter
}

// reserve is the share of the bucket that is kept for calls that have begun already: their caller has answered a challenge.
const reserve = 0.25

// strangerEmergencies is how many emergency calls a second pass of those that nobody knows: the number alone, which anybody can
// write, must not open the gate to everybody.
const strangerEmergencies = 10

// Gate holds new calls back while there are too many, and keeps nothing of them. All methods may be called from any
// goroutine.
type Gate struct {
	cfg atomic.Pointer[GateConfig]
	lag atomic.Int64 // smoothed, ns

	mu          sync.Mutex
	calls       bucket
	emergencies bucket
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

// fill adds what has trickled in since, up to size. A bucket that was never used is full.
func (b *bucket) fill(now time.Time, rate, size float64) {
	if b.at.IsZero() {
		b.tokens = size
	} else if d := now.Sub(b.at).Seconds(); d > 0 {
		b.tokens = min(b.tokens+d*rate, size)
	}
	b.at = now
}

// NewGate returns an open gate.
func NewGate(c GateConfig) *Gate {
	g := &Gate{}
	g.Configure(c)
	return g
}

// Configure changes the limits.
func (g *Gate) Configure(c GateConfig) { g.cfg.Store(&c) }

// Caller is what is known of who calls, before anything is asked.
type Caller struct {
	Begun     bool // it has answered a challenge, or needs none: work was done for it
	Emergency bool // it calls an emergency number
	Known     bool // a registered phone, a trunk, or the exchange
}

// Admit reports whether a new call may come in now, or why not.
func (g *Gate) Admit(c Caller, now time.Time) verdict.Reason {
	conf := g.cfg.Load()
	if c.Emergency && (c.Known || g.emergency(now)) {
		return verdict.None
	}
	if conf.Lag > 0 && time.Duration(g.lag.Load()) > conf.Lag {
		return verdict.Overload
	}
	if conf.PerSecond == 0 {
		return verdict.None
	}
	size := float64(conf.Burst)
	if size == 0 {
		size = max(conf.PerSecond, 1)
	}
	least := 1.0
	if !c.Begun {
		least += math.Floor(size * reserve)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls.fill(now, conf.PerSecond, size); g.calls.tokens < least {
		return verdict.CallRate
	}
	g.calls.tokens--
	return verdict.None
}

// emergency takes one of the few places for strangers' emergency calls.
func (g *Gate) emergency(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.emergencies.fill(now, strangerEmergencies, strangerEmergencies)
	if g.emergencies.tokens < 1 {
		return false
	}
	g.emergencies.tokens--
	return true
}

// How the scheduler's lag is measured: a timer that should fire every lagEvery fires late by as long as whatever is ready to
// run has to wait. One late tick is an accident; it counts one part in lagParts.
const (
	lagEvery = 20 * time.Millisecond
	lagParts = 16
)

// Measure watches the scheduler until ctx ends.
func (g *Gate) Measure(ctx context.Context) {
	t := time.NewTicker(lagEvery)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		g.observe(now.Sub(last) - lagEvery)
		last = now
	}
}

// observe smooths one measurement.
func (g *Gate) observe(late time.Duration) {
	late = max(late, 0)
	old := g.lag.Load()
	g.lag.Store(old + (int64(late)-old)/lagParts)
}

// Lag is how long what is ready to run has had to wait lately.
func (g *Gate) Lag() time.Duration { return time.Duration(g.lag.Load()) }
