package score

import (
	"net/netip"
	"time"

	"brickhouse/shared/verdict"
)

// Env is what the engine asks of others while it decides.
type Env struct {
	Known      func(site netip.Prefix) int                  // good registrations that live behind a site
	KnownTotal func() int                                   // sites behind which any live
	Prior      func(site netip.Prefix, since time.Time) int // bans of it that ended by themselves since then
}

// Kind is what a decision is about.
type Kind string

// The kinds of decisions.
const (
	Hold    Kind = "hold"    // of Flow, a short time
	Ban     Kind = "ban"     // of Prefix
	Limit   Kind = "limit"   // of Prefix: it would have been a ban, but the circuit breaker is open
	Monitor Kind = "monitor" // nothing: a rule in monitor mode would have banned Prefix, or held Flow
)

// Decision is what an offence leads to.
type Decision struct {
	Kind     Kind           `json:"kind"`
	Prefix   netip.Prefix   `json:"prefix"`
	Flow     netip.AddrPort `json:"flow,omitzero"` // of a hold, and of what would have been one
	Verified bool           `json:"verified"`      // the source is proven
	AOR      string         `json:"aor,omitempty"` // the account whose score led to the hold; empty if it was the flow's
	Rule     string         `json:"rule"`
	Reason   verdict.Reason `json:"reason"` // of the last offence
	Length   time.Duration  `json:"length_ns"`
	Repeat   int            `json:"repeat"`            // earlier bans of the source
	Known    int            `json:"known"`             // good registrations behind it
	Tripped  bool           `json:"tripped,omitempty"` // this is what opened the circuit breaker
	Evidence []Evidence     `json:"evidence,omitempty"`
}

// weighed is a rule that counts a reason.
type weighed struct {
	rule   int
	weight int32
}

// Engine scores offences.
type Engine struct {
	cfg     Config
	weights map[verdict.Reason][]weighed
	sites   *table // verified: addresses and offices
	flows   *table // verified: flows and accounts behind offices
	loose   *table // unverified flows
	breaker breaker
	base    time.Time // scores count from here, so that setting the wall clock does not move them
	evicted uint64    // by tables that are gone
}

// New makes an engine. The configuration has passed Check.
func New(cfg Config) *Engine {
	e := &Engine{}
	e.Reload(cfg)
	return e
}

// Reload takes a new configuration over, which has passed Check. Counts towards a threshold begin anew; the circuit breaker stays
// as it is.
func (e *Engine) Reload(cfg Config) {
	e.evicted = e.Evicted()
	e.cfg = cfg.Clone()
	e.weights = map[verdict.Reason][]weighed{}
	for i, r := range e.cfg.Rules {
		for reason, w := range r.Weights {
			e.weights[reason] = append(e.weights[reason], weighed{i, int32(w)})
		}
	}
	e.sites, e.flows, e.loose = newTable(cfg.MaxScores), newTable(cfg.MaxScores), newTable(cfg.MaxScores)
	e.breaker.cfg = cfg.Breaker
}

// Offence counts an offence, brought into its normal form, under each rule that weighs its reason, and returns what follows: at
// most one hold, ban or limit, by the first rule whose threshold is reached, and at most one that a rule in monitor mode reports.
func (e *Engine) Offence(o Offence, now time.Time, env Env) []Decision {
	rules := e.weights[o.Reason]
	if len(rules) == 0 {
		return nil
	}
	c := counting{engine: e, rules: rules, offence: o, now: now, at: e.since(now), known: 0}
	c.mark = max(min(e.since(o.At), c.at), c.at-maxWindow)
	if !o.Verified {
		return c.unverified()
	}
	site := Site(o.Source.Addr())
	if c.known = env.Known(site); c.known > 0 {
		return c.office(site, env)
	}
	return c.address(site, env)
}

// Forget removes what does not count any more.
func (e *Engine) Forget(now time.Time) {
	before := e.since(now) - longestWindow(e.cfg.Rules)
	for _, t := range []*table{e.sites, e.flows, e.loose} {
		t.forget(before)
	}
}

// Lifted tells that the ban of p is in force no longer.
func (e *Engine) Lifted(p netip.Prefix) { e.breaker.lifted(p) }

// Breaker is the state of the circuit breaker.
func (e *Engine) Breaker(now time.Time) BreakerState { return e.breaker.state(e.second(now), now) }

// Scored is how many sources have scores: sites, flows and accounts.
func (e *Engine) Scored() int { return e.sites.order.Len() + e.flows.order.Len() + e.loose.order.Len() }

// Evicted is how many sources were forgotten since there were too many.
func (e *Engine) Evicted() uint64 {
	n := e.evicted
	for _, t := range []*table{e.sites, e.flows, e.loose} {
		if t != nil {
			n += t.evicted
		}
	}
	return n
}

// since is how long now is after the engine's base, which is the first time that it was told.
func (e *Engine) since(now time.Time) time.Duration {
	if e.base.IsZero() {
		e.base = now
	}
	return now.Sub(e.base)
}

func (e *Engine) second(now time.Time) int64 { return int64(e.since(now) / time.Second) }
