package score

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Score is how near a source is to a rule's threshold.
type Score struct {
	Rule      string         `json:"rule"`
	Sum       int            `json:"sum"`
	Threshold int            `json:"threshold"`
	Window    time.Duration  `json:"window_ns"`
	Office    bool           `json:"office,omitempty"`  // good registrations lived there: the threshold is a multiple of the rule's
	Flow      netip.AddrPort `json:"flow,omitzero"`     // it is the score of this flow
	Verified  bool           `json:"verified"`          // of what is proven
	Account   string         `json:"account,omitempty"` // it is the score of what was tried with this account from there
}

// maxFlows is how many scores of flows and accounts are told of a site.
const maxFlows = 100

// Scores are what is counted of a site, what is counted of single flows and accounts there, the highest first, and its last offences,
// oldest first.
func (e *Engine) Scores(site netip.Prefix, now time.Time) (scores, flows []Score, evidence []Evidence) {
	for _, sc := range []scope{address, office} {
		s := e.sites.get(source{scope: sc, prefix: site})
		if s == nil {
			continue
		}
		scores = append(scores, e.scores(s, true, now)...)
		evidence = append(evidence, s.evidence...)
	}
	slices.SortStableFunc(evidence, func(a, b Evidence) int { return a.At.Compare(b.At) })
	evidence = evidence[max(0, len(evidence)-e.cfg.Evidence):]
	for _, t := range []*table{e.flows, e.loose} {
		for el := t.order.Front(); el != nil; el = el.Next() {
			if s := el.Value.(*scored); site.Contains(s.source.prefix.Addr()) {
				flows = append(flows, e.scores(s, t == e.flows, now)...)
			}
		}
	}
	slices.SortStableFunc(flows, func(a, b Score) int { return cmp.Compare(b.Sum, a.Sum) })
	return scores, flows[:min(len(flows), maxFlows)], evidence
}

func (e *Engine) scores(s *scored, verified bool, now time.Time) []Score {
	var out []Score
	for i, r := range e.cfg.Rules {
		limit := r.Threshold
		if s.source.scope == office {
			limit *= r.Office
		}
		n := sum(fresh(slices.Clone(s.tallies[i].marks), r.Window, e.since(now)), limit)
		if n <= 0 {
			continue
		}
		sc := Score{Rule: r.Name, Sum: n, Threshold: limit, Window: r.Window, Verified: verified, Office: s.source.scope == office, Account: s.source.aor}
		if s.source.scope == flow {
			sc.Flow = netip.AddrPortFrom(s.source.prefix.Addr(), s.source.port)
		}
		out = append(out, sc)
	}
	return out
}
