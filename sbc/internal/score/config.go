package score

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Config is what decides about offences.
type Config struct {
	Rules     []Rule        `json:"rules"`
	Breaker   Breaker       `json:"breaker"`
	Hold      time.Duration `json:"hold_ns"`    // length of a hold; 0: none
	MaxScores int           `json:"max_scores"` // most sources that are scored at a time: verified sites, their flows and accounts, and unverified flows, each
	Evidence  int           `json:"evidence"`   // how many of a site's last offences are kept
}

// Breaker says when too many are banned at once.
type Breaker struct {
	Bans     int           `yaml:"bans" json:"bans" doc:"Most bans a minute that rules make. One more opens the circuit breaker: rules then limit the rate of a source instead of banning it, and an alarm is raised."`
	Share    float64       `yaml:"share" json:"share" doc:"Largest share of the sources with living registrations that rules may have banned at a time. More opens the circuit breaker, too."`
	Least    int           `yaml:"least" json:"least" doc:"So many sources with living registrations rules may have banned at a time, whatever their share."`
	Cooldown time.Duration `yaml:"cooldown" json:"cooldown_ns" doc:"When the circuit breaker closes by itself."`
}

// Default is the configuration that holds where nothing else is said.
func Default() Config {
	return Config{
		Rules:     Rules(),
		Breaker:   Breaker{Bans: 600, Share: 0.2, Least: 5, Cooldown: 5 * time.Minute},
		Hold:      30 * time.Second,
		MaxScores: 16_384,
		Evidence:  10,
	}
}

// Bounds of what the configuration may say.
const (
	maxEvidence = 50
	maxTable    = 1 << 20
	maxHold     = 10 * time.Minute
)

// Check returns everything that is wrong with c; none means that c is usable.
func (c Config) Check() []Fault {
	var fs faults
	fs.bad(len(c.Rules) <= MaxRules, "rules", "%d rules, at most %d", len(c.Rules), MaxRules)
	names := map[string]bool{}
	for i, r := range c.Rules {
		key := fmt.Sprintf("rules[%d]", i)
		fs = append(fs, r.Check(key)...)
		fs.bad(!names[r.Name], key+".name", "%q stands twice", r.Name)
		names[r.Name] = true
	}
	fs = append(fs, c.Breaker.check()...)
	fs.bad(c.Hold >= 0 && c.Hold <= maxHold, "hold", "%s is not between 0 and 10m", c.Hold)
	fs.bad(c.MaxScores > 0 && c.MaxScores <= maxTable, "max_scores", "%d is not between 1 and %d", c.MaxScores, maxTable)
	fs.bad(c.Evidence > 0 && c.Evidence <= maxEvidence, "evidence", "%d is not between 1 and %d", c.Evidence, maxEvidence)
	return fs
}

func (b Breaker) check() []Fault {
	var fs faults
	fs.bad(b.Bans > 0 && b.Bans <= maxTable, "breaker.bans", "%d is not between 1 and %d", b.Bans, maxTable)
	fs.bad(b.Share > 0 && b.Share <= 1, "breaker.share", "%g is not above 0 and at most 1", b.Share)
	fs.bad(b.Least >= 0 && b.Least <= maxHits, "breaker.least", "%d is not between 0 and %d", b.Least, maxHits)
	fs.bad(b.Cooldown > 0 && b.Cooldown <= 24*time.Hour, "breaker.cooldown", "%s is not between 0 and 24h", b.Cooldown)
	return fs
}

// Rule is the rule of that name, to change it in place; nil if there is none.
func (c Config) Rule(name string) *Rule {
	for i := range c.Rules {
		if c.Rules[i].Name == name {
			return &c.Rules[i]
		}
	}
	return nil
}

// Clone is a copy of c that shares nothing with it.
func (c Config) Clone() Config {
	c.Rules = slices.Clone(c.Rules)
	for i := range c.Rules {
		c.Rules[i].Weights = maps.Clone(c.Rules[i].Weights)
	}
	return c
}

// longestWindow is how long an offence can count.
func longestWindow(rules []Rule) time.Duration {
	var w time.Duration
	for _, r := range rules {
		w = max(w, r.Window)
	}
	return w
}
