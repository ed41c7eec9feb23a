package score

import (
	"net/netip"
	"time"

	"brickhouse/shared/verdict"
)

// counting is one offence while it is counted.
type counting struct {
	engine  *Engine
	rules   []weighed
	offence Offence
	now     time.Time
	at      time.Duration // now, since the engine's base
	mark    time.Duration // when it happened; not so long ago that a sum could overflow
	known   int
}

// reached are the rules whose threshold a count has reached; -1 for none.
type reached struct {
	enforced, monitored int
}

// count adds the offence to a source's scores. factor makes the threshold of each rule; 0 leaves the rule out.
func (c *counting) count(s *scored, factor func(*Rule) int) reached {
	got := reached{-1, -1}
	for _, w := range c.rules {
		r, t := &c.engine.cfg.Rules[w.rule], &s.tallies[w.rule]
		limit := r.Threshold * factor(r)
		if limit == 0 || t.reported && c.at < t.muted {
			continue
		}
		m := mark{at: c.mark, weight: w.weight}
		if c.offence.Reason == verdict.ScannerSignature {
			m.weight, m.signature = 0, w.weight
		}
		if t.add(m, r, limit, c.at) < limit {
			continue
		}
		if !r.Monitor && got.enforced < 0 {
			got.enforced = w.rule
		}
		if r.Monitor && got.monitored < 0 {
			got.monitored = w.rule
		}
	}
	return got
}

func once(*Rule) int       { return 1 }
func byOffice(r *Rule) int { return r.Office }
func (c *counting) entry(t *table, s source) *scored {
	return t.touch(s, len(c.engine.cfg.Rules), c.at)
}

// unverified counts against address and port, which may be forged.
func (c *counting) unverified() []Decision {
	s := c.entry(c.engine.loose, flowOf(c.offence.Source))
	got := c.count(s, once)
	ds := c.monitored(nil, s, got, c.engine.cfg.Hold, true)
	if got.enforced >= 0 {
		s.clear()
		ds = c.hold(ds, got.enforced, "")
	}
	return ds
}

// address counts against a site where nobody is known.
func (c *counting) address(site netip.Prefix, env Env) []Decision {
	s := c.entry(c.engine.sites, source{scope: address, prefix: site})
	s.keep(c.offence.evidence(), c.engine.cfg.Evidence)
	return c.judge(s, c.count(s, once), site, env)
}

// office counts against flow and account first, and then against the site, at a higher threshold.
func (c *counting) office(site netip.Prefix, env Env) []Decision {
	s := c.entry(c.engine.sites, source{scope: office, prefix: site})
	s.keep(c.offence.evidence(), c.engine.cfg.Evidence)
	got := c.count(s, byOffice)
	f := c.entry(c.engine.flows, flowOf(c.offence.Source))
	byFlow, byAccount := c.count(f, once), reached{-1, -1}
	if c.offence.AOR != "" {
		// What an account has done stays counted: the next flow on which it fails is held at once.
		a := c.entry(c.engine.flows, source{scope: account, prefix: site, aor: c.offence.AOR})
		byAccount = c.count(a, once)
	}
	ds := c.judge(s, got, site, env)
	if got.monitored < 0 {
		ds = c.monitored(ds, f, byFlow, c.engine.cfg.Hold, true)
	}
	switch {
	case got.enforced >= 0:
	case byFlow.enforced >= 0:
		f.clear()
		ds = c.hold(ds, byFlow.enforced, "")
	case byAccount.enforced >= 0:
		ds = c.hold(ds, byAccount.enforced, c.offence.AOR)
	}
	return ds
}

// judge turns a reached threshold of a site into a ban, if the circuit breaker lets it.
func (c *counting) judge(s *scored, got reached, site netip.Prefix, env Env) []Decision {
	var ds []Decision
	if got.monitored >= 0 {
		r := c.engine.cfg.Rules[got.monitored]
		ds = c.monitored(ds, s, got, r.Length(env.Prior(site, c.now.Add(-r.Memory))), false)
	}
	if got.enforced < 0 {
		return ds
	}
	r, b := c.engine.cfg.Rules[got.enforced], &c.engine.breaker
	d := c.decision(Ban, r)
	d.Repeat = env.Prior(site, c.now.Add(-r.Memory))
	d.Length, d.Evidence = r.Length(d.Repeat), append([]Evidence(nil), s.evidence...)
	d.Reason = telling(d.Reason, d.Evidence)
	trips, second := b.trips, c.engine.second(c.now)
	if b.open(c.now) || !b.admit(site, d.Length, c.known, second, c.now, env) {
		d.Kind, d.Length, d.Tripped = Limit, b.until.Sub(c.now), b.trips > trips
	}
	s.clear()
	return append(ds, d)
}

// monitored reports what a rule in monitor mode would have done, once for as long as it would have lasted.
func (c *counting) monitored(ds []Decision, s *scored, got reached, length time.Duration, held bool) []Decision {
	if got.monitored < 0 {
		return ds
	}
	d := c.decision(Monitor, c.engine.cfg.Rules[got.monitored])
	d.Length, d.Evidence = length, append([]Evidence(nil), s.evidence...)
	d.Reason = telling(d.Reason, d.Evidence)
	if held {
		d.Flow = c.offence.Source
	}
	s.tallies[got.monitored] = tally{reported: true, muted: c.at + length}
	return append(ds, d)
}

func (c *counting) hold(ds []Decision, rule int, aor string) []Decision {
	if c.engine.cfg.Hold <= 0 {
		return ds
	}
	d := c.decision(Hold, c.engine.cfg.Rules[rule])
	d.Flow, d.Length, d.AOR = c.offence.Source, c.engine.cfg.Hold, aor
	return append(ds, d)
}

func (c *counting) decision(k Kind, r Rule) Decision {
	return Decision{
		Kind: k, Prefix: Site(c.offence.Source.Addr()), Verified: c.offence.Verified, Rule: r.Name, Reason: c.offence.Reason, Known: c.known,
	}
}

// telling is the reason that a ban is known by: that of the last offence that is more than a scanner's signature.
func telling(why verdict.Reason, evidence []Evidence) verdict.Reason {
	for i := len(evidence) - 1; i >= 0 && why == verdict.ScannerSignature; i-- {
		why = evidence[i].Reason
	}
	return why
}

func flowOf(a netip.AddrPort) source {
	return source{scope: flow, prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), port: a.Port()}
}
