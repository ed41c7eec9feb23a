package guard

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"brickhouse/sbc/internal/score"
)

// What package score decides about, under the names that the guard's callers know.
type (
	// Offence is one thing that a source did wrong.
	Offence = score.Offence
	// Evidence is an offence as it is kept to explain a ban.
	Evidence = score.Evidence
	// Rule says when offences become a ban.
	Rule = score.Rule
	// Score is how near a source is to a rule's threshold.
	Score = score.Score
	// BreakerState is the circuit breaker of the rules.
	BreakerState = score.BreakerState
)

// maxHistory is how many bans that ended are remembered to tell repeaters.
const maxHistory = 65_536

// scoring is what the guard keeps to score offences. All of it is guarded by Guard.mu.
type scoring struct {
	engine    *score.Engine
	known     *score.Registrations
	history   *score.History
	env       score.Env
	recorder  *recorder
	flows     *holdTable // holds of proven flows; read without a lock
	alarmed   bool       // the circuit breaker's opening was told, its closing not yet
	trips     uint64     // openings that were told
	monitored uint64
	limited   uint64
}

func (g *Guard) newScoring(cfg Config) scoring {
	s := scoring{
		engine: score.New(cfg.Scoring()), known: score.NewRegistrations(cfg.MaxKnown), history: score.NewHistory(maxHistory),
		flows: newHoldTable(),
	}
	s.env = score.Env{
		Known:      func(site netip.Prefix) int { return s.known.Count(site, g.clock()) },
		KnownTotal: func() int { return s.known.Sites(g.clock()) },
		Prior:      s.history.Count,
	}
	return s
}

// Offence tells the guard what a source did wrong. It never waits for a disk: a ban that follows from it is in force when it
// returns, and in the journal a little later. Offences of sources that are allowed, or banned already, count for nothing.
func (g *Guard) Offence(o Offence) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock() // read under the lock: the score wants offences in the order of their times
	o, ok := o.Normal(now)
	if !ok || g.closed {
		return
	}
	addr := o.Source.Addr()
	g.offences[o.Reason]++
	if _, _, ok := g.view.allowed(addr); ok {
		return
	}
	if g.view.banned(addr) {
		return // what was under way when the ban came; in monitor mode, all that follows
	}
	g.scoring.recorder.put(score.NewRecord(o, now, g.scoring.env.Known(site(addr)), g.scoring.env.KnownTotal()))
	for _, d := range g.scoring.engine.Offence(o, now, g.scoring.env) {
		g.obeyLocked(d, o, now)
	}
}

// obeyLocked puts a decision into force.
func (g *Guard) obeyLocked(d score.Decision, o Offence, now time.Time) {
	if d.Tripped {
		g.alarmLocked(now)
	}
	switch d.Kind {
	case score.Hold:
		g.holdLocked(Held{
			Source: d.Flow, Reason: d.Reason, Until: now.Add(d.Length), Verified: d.Verified, Rule: d.Rule, AOR: d.AOR,
		}, now)
	case score.Ban:
		g.banByRuleLocked(d.Prefix, Rule{Name: d.Rule, Ban: d.Length}, d.Reason, d.Evidence, now)
	case score.Limit:
		g.scoring.limited++
		g.limitLocked(d.Prefix, now.Add(d.Length))
	case score.Monitor:
		g.scoring.monitored++
		would := Ban{Prefix: d.Prefix, Reason: d.Reason, Rule: d.Rule, By: ByRule, From: now, Until: now.Add(d.Length), Evidence: d.Evidence}
		level := slog.LevelInfo
		if d.Flow.IsValid() { // it may be forged: nobody fills the log with it
			level, would.Prefix = slog.LevelDebug, netip.PrefixFrom(o.Source.Addr(), o.Source.Addr().BitLen())
		}
		g.log.Log(context.Background(), level, "a rule in monitor mode would have acted", "prefix", would.Prefix, "flow", d.Flow, "rule", d.Rule, "reason", d.Reason)
		g.watch.publish(Event{At: now, Kind: EventMonitor, Ban: &would})
	}
}

// endedLocked takes note that a ban is in force no longer. One that a person lifted makes no repeater.
func (g *Guard) endedLocked(p Past) {
	g.scoring.engine.Lifted(p.Prefix)
	if p.EndedBy == byExpiry {
		g.scoring.history.Add(p.Prefix, p.Ended)
	}
}

// tidyLocked forgets what has ended.
func (g *Guard) tidyLocked(now time.Time) {
	for len(g.held) > 0 && !g.held[0].Until.After(now) {
		g.releaseLocked()
	}
	g.scoring.engine.Forget(now)
	g.scoring.known.Len(now)
	g.alarmLocked(now)
}

// rescoreLocked takes a new configuration over. Counts towards a threshold begin anew; registrations and history stay.
func (g *Guard) rescoreLocked(cfg Config) {
	g.scoring.engine.Reload(cfg.Scoring())
	g.scoring.known.Limit(cfg.MaxKnown)
	g.scoring.recorder.set(cfg.Record)
}

// explainLocked adds to e what is known of the scores of an address.
func (g *Guard) explainLocked(e *Explanation, now time.Time) {
	s := site(e.Addr)
	e.Scores, e.FlowScores, e.Evidence = g.scoring.engine.Scores(s, now)
	e.Known = g.scoring.known.Count(s, now)
	var memory time.Duration
	for _, r := range g.cfg.Rules {
		memory = max(memory, r.Memory)
	}
	e.Repeat = g.scoring.history.Count(s, now.Add(-memory))
}

// countLocked adds the numbers of the scoring to s.
func (g *Guard) countLocked(s *Stats, now time.Time) {
	sc := &g.scoring
	s.Scored, s.ScoresEvicted = sc.engine.Scored(), sc.engine.Evicted()
	s.Known, s.KnownSources, s.KnownEvicted = sc.known.Len(now), sc.known.Sites(now), sc.known.Evicted()
	s.Monitored, s.Limited = sc.monitored, sc.limited
	s.Breaker = sc.engine.Breaker(now)
	s.Recorded, s.RecordsDropped, s.RecordFaults = sc.recorder.counts()
}

// clean makes a stranger's text fit for a journal line and a terminal: printable, and at most limit bytes.
func clean(s string, limit int) string { return score.Clean(s, limit) }

// plain is an address without what does not belong to a sender.
func plain(a netip.Addr) netip.Addr { return score.Plain(a) }

// site is the network by which an address is scored and banned.
func site(a netip.Addr) netip.Prefix { return score.Site(a) }
