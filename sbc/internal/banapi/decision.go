package banapi

import (
	"hash/maphash"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"brickhouse/sbc/internal/guard"
)

// Decision is a ban, in the shape of CrowdSec's.
type Decision struct {
	ID       int64  `json:"id"` // of the network that is banned; until the next start
	Origin   string `json:"origin"`
	Scenario string `json:"scenario"`
	Scope    string `json:"scope"` // "Ip" or "Range"
	Value    string `json:"value"` // an address or a network
	Type     string `json:"type"`  // "ban"
	Duration string `json:"duration"`
}

// The scopes and the type of a decision.
const (
	scopeIP    = "Ip"
	scopeRange = "Range"
	typeBan    = "ban"
)

// originPerson is the origin of bans that a person made; the name is nobody else's business.
const originPerson = "person"

// forever is what a ban without an end looks like to tools that know none, in hours of ten years.
const forever = 87_600 * time.Hour

// idBits is how many bits a decision's number has: what a double holds, since that is what JavaScript reads.
const idBits = 53

// decision describes a ban as it is at now.
func (s *Server) decision(e entry, now time.Time) Decision {
	d := Decision{ID: s.number(e.prefix), Origin: e.origin, Scenario: e.scenario, Scope: scopeRange, Value: e.prefix.String(), Type: typeBan}
	if e.prefix.IsSingleIP() {
		d.Scope, d.Value = scopeIP, e.prefix.Addr().String()
	}
	left := forever
	if !e.until.IsZero() {
		left = max(0, e.until.Sub(now))
	}
	d.Duration = left.String()
	return d
}

// number is the number of a network's decision. It is keyed, so that nobody can look for two networks of one number.
func (s *Server) number(p netip.Prefix) int64 {
	return int64(maphash.Comparable(s.seed, p) >> (64 - idBits))
}

func origin(b guard.Ban) string {
	if b.By == guard.ByRule || b.By == guard.ByKernel || strings.HasPrefix(b.By, byPrefix) {
		return b.By
	}
	return originPerson
}

func scenario(b guard.Ban) string {
	switch {
	case b.Rule != "":
		return "brickhouse/" + b.Rule
	case b.Note != "":
		return b.Note
	}
	return "brickhouse/" + string(b.Reason)
}

// filter is what a caller wants to see.
type filter struct {
	scopes  []string // in lower case
	value   string
	kind    string
	origins []string
	with    []string // parts of a scenario's name
	without []string
}

func newFilter(q url.Values) filter {
	scopes := words(q.Get("scopes"))
	if scope := q.Get("scope"); scope != "" {
		scopes = []string{scope}
	}
	for i, s := range scopes {
		scopes[i] = strings.ToLower(s)
	}
	return filter{scopes: scopes, value: q.Get("value"), kind: q.Get("type"), origins: words(q.Get("origins")),
		with: words(q.Get("scenarios_containing")), without: words(q.Get("scenarios_not_containing"))}
}

// words splits a list with commas.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func (f filter) match(d Decision) bool {
	has := func(part string) bool { return strings.Contains(d.Scenario, part) }
	return (len(f.scopes) == 0 || slices.Contains(f.scopes, strings.ToLower(d.Scope))) &&
		(f.value == "" || f.value == d.Value) &&
		(f.kind == "" || f.kind == d.Type) &&
		(len(f.origins) == 0 || slices.Contains(f.origins, d.Origin)) &&
		(len(f.with) == 0 || slices.ContainsFunc(f.with, has)) &&
		!slices.ContainsFunc(f.without, has)
}
