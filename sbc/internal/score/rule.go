package score

import (
	"fmt"
	"time"

	"brickhouse/shared/verdict"
)

// Rule says when offences become a ban.
type Rule struct {
	Name      string                 `yaml:"name" json:"name" doc:"Name of the rule, shown with each ban that it makes."`
	Weights   map[verdict.Reason]int `yaml:"weights" json:"weights" doc:"Which offences count, and how much each. A scanner-signature only adds to others: by themselves they never reach the threshold."`
	Window    time.Duration          `yaml:"window" json:"window_ns" doc:"Offences older than this are forgotten."`
	Threshold int                    `yaml:"threshold" json:"threshold" doc:"Sum of weights within the window that makes the ban."`
	Ban       time.Duration          `yaml:"ban" json:"ban_ns" doc:"Length of the first ban."`
	Growth    float64                `yaml:"growth" json:"growth" doc:"Each ban of the same source within the memory before makes the next one longer by this factor. 1: all are of the same length."`
	Ceiling   time.Duration          `yaml:"ceiling" json:"ceiling_ns" doc:"Longest ban that growth leads to."`
	Memory    time.Duration          `yaml:"memory" json:"memory_ns" doc:"How long a ban that ended by itself makes its source a repeater. One that a person lifted does not."`
	Monitor   bool                   `yaml:"monitor" json:"monitor" doc:"Count, and report what would have been banned or held, but ban and hold nobody."`
	Office    int                    `yaml:"office" json:"office" doc:"Factor for the threshold of an address behind which good registrations live. Below it, single flows are held. 0: no rule bans such an address, only a person."`
}

// SetDefaults sets what a rule in the configuration file may leave out.
func (r *Rule) SetDefaults() {
	r.Growth, r.Ceiling, r.Memory, r.Office = 2, 24*time.Hour, 30*24*time.Hour, 10
}

// Length is how long a ban by r lasts for a source that was banned so many times before.
func (r Rule) Length(repeat int) time.Duration {
	length := r.Ban
	for ; repeat > 0 && length < r.Ceiling && r.Growth > 1; repeat-- {
		grown := float64(length) * r.Growth
		if grown >= float64(r.Ceiling) {
			return r.Ceiling
		}
		length = time.Duration(grown)
	}
	return length
}

// MaxRules is how many rules there can be.
const MaxRules = 32

// Bounds of what a rule may say.
const (
	maxThreshold = 1000
	maxOffice    = 1000
	maxGrowth    = 100
	maxWindow    = 24 * time.Hour
	maxBan       = 366 * 24 * time.Hour
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Key     string // path of the key below the guard's own, as "rules[0].window"
	Problem string // what is wrong, and what would be right
}

// Error is "key: problem".
func (f Fault) Error() string { return f.Key + ": " + f.Problem }

// faults collects what is wrong.
type faults []Fault

func (fs *faults) bad(ok bool, key, format string, a ...any) {
	if !ok {
		*fs = append(*fs, Fault{key, fmt.Sprintf(format, a...)})
	}
}

// Check returns what is wrong with r, which stands at key. A zero growth, ceiling or memory is none.
func (r Rule) Check(key string) []Fault {
	var fs faults
	bad := func(ok bool, sub, format string, a ...any) { fs.bad(ok, key+"."+sub, format, a...) }
	bad(r.Name != "" && len(r.Name) <= 64, "name", "needs a name of at most 64 bytes")
	r.checkWeights(bad)
	bad(r.Window > 0 && r.Window <= maxWindow, "window", "%s is not between 0 and %s", r.Window, maxWindow)
	bad(r.Threshold > 0 && r.Threshold <= maxThreshold, "threshold", "%d is not between 1 and %d", r.Threshold, maxThreshold)
	bad(r.Ban > 0 && r.Ban <= maxBan, "ban", "%s is not between 0 and %s", r.Ban, maxBan)
	bad(r.Growth == 0 || r.Growth >= 1 && r.Growth <= maxGrowth, "growth", "%g is not between 1 and %d", r.Growth, maxGrowth)
	bad(r.Ceiling == 0 || r.Ceiling >= min(r.Ban, maxBan) && r.Ceiling <= maxBan, "ceiling", "%s is not between the ban of %s and %s", r.Ceiling, r.Ban, maxBan)
	bad(r.Memory >= 0 && r.Memory <= maxBan, "memory", "%s is not between 0 and %s", r.Memory, maxBan)
	bad(r.Office >= 0 && r.Office <= maxOffice, "office", "%d is not between 0 and %d", r.Office, maxOffice)
	return fs
}

func (r Rule) checkWeights(bad func(ok bool, sub, format string, a ...any)) {
	bad(len(r.Weights) > 0, "weights", "names no offence")
	for reason, w := range r.Weights {
		bad(IsOffence(reason), "weights."+string(reason), "%q is no offence; those that count most are bad-credentials, unknown-user and malformed-message", reason)
		bad(w > 0 && w <= maxThreshold, "weights."+string(reason), "%d is not between 1 and %d", w, maxThreshold)
	}
	if r.Weights[verdict.ScannerSignature] > 0 {
		key := "weights." + string(verdict.ScannerSignature)
		bad(len(r.Weights) > 1, key, "scanner signatures alone never ban; weigh another offence beside them")
		bad(r.Threshold != 1, key, "scanner signatures alone never ban, and count up to one below the threshold; a threshold of 1 leaves them nothing")
	}
}

// Rules are the rules that hold where the configuration names none.
func Rules() []Rule {
	rule := func(name string, window time.Duration, threshold int, ban time.Duration, weights map[verdict.Reason]int) Rule {
		r := Rule{Name: name, Weights: weights, Window: window, Threshold: threshold, Ban: ban}
		r.SetDefaults()
		return r
	}
	guessing := func() map[verdict.Reason]int {
		return map[verdict.Reason]int{verdict.BadCredentials: 1, verdict.UnknownUser: 1, verdict.ScannerSignature: 1}
	}
	rules := []Rule{
		rule("logins", time.Minute, 5, 5*time.Minute, guessing()),
		rule("guessing", time.Hour, 20, time.Hour, guessing()), // slow enough for "logins" not to see it
		rule("malformed", time.Minute, 20, 5*time.Minute, map[verdict.Reason]int{
			verdict.MalformedMessage: 1, verdict.NotSIP: 1, verdict.Oversize: 1, verdict.ScannerSignature: 2,
		}),
		rule("connections", time.Minute, 30, 5*time.Minute, map[verdict.Reason]int{
			verdict.HandshakeFailed: 1, verdict.ConnectionLimit: 1, verdict.RequestTimeout: 1, verdict.IdleTimeout: 1,
			verdict.BadFraming: 2, verdict.QueueFull: 1,
		}),
		rule("flow", time.Minute, 60, 5*time.Minute, map[verdict.Reason]int{
			verdict.UnknownDialog: 1, verdict.StrayResponse: 1, verdict.StrayACK: 1, verdict.CSeqMismatch: 2, verdict.LoopDetected: 2,
			verdict.ScannerSignature: 2,
		}),
		rule("media", 10*time.Second, 200, 5*time.Minute, map[verdict.Reason]int{verdict.MediaStranger: 1}),
	}
	for i := range rules {
		switch rules[i].Name {
		case "connections", "flow", "media": // a fault of ours, an expired certificate or a restart, can look like these
			rules[i].Ceiling = time.Hour
		}
	}
	return rules
}
