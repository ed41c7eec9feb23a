package dialplan

import (
	"fmt"
	"slices"
	"time"

	"brickhouse/shared/conffile"
)

// Strategy is who of a group rings when.
type Strategy string

// The strategies.
const (
	All        Strategy = "all"         // together
	InTurn     Strategy = "in-turn"     // one after the other, from the first
	RoundRobin Strategy = "round-robin" // one after the other, from the one after whom the last call rang first
	Random     Strategy = "random"      // one after the other, in an order that is drawn for each call
)

// Group is a number behind which several extensions ring.
type Group struct {
	Number   string        `yaml:"number" doc:"Number of the group, that phones dial; it comes before the rules. Rules reach the group with do: group."`
	Members  []string      `yaml:"members" doc:"Extensions that ring. Who does not want to be disturbed or blocks the caller is left out."`
	Strategy string        `yaml:"strategy" oneof:"all|in-turn|round-robin|random" doc:"Who rings when: all together; in-turn, one after the other; round-robin, each call begins with the next one; random."`
	Ring     time.Duration `yaml:"ring" doc:"How long each member rings, where they ring one after the other."`
	Total    time.Duration `yaml:"total" doc:"How long the group rings in all. Until then those who did not answer ring again, one after the other."`
	Then     string        `yaml:"then" doc:"Number that is called after that, as a phone would dial it: an extension, another group, or one outside. Empty: the call is refused."`
	Rights   string        `yaml:"rights" doc:"Extension whose rights and caps hold where then leads outside. Empty: then may not lead outside."`
	Prefix   string        `yaml:"prefix" doc:"What phones show before the caller's name, as \"Sales: \"."`
	Waiting  bool          `yaml:"waiting" doc:"Members that are in a call ring as well."`
	Forwards bool          `yaml:"forwards" doc:"A member that forwards all its calls is rung where they go; left out, its own phones ring."`
}

// SetDefaults sets what a group is unless the file says otherwise.
func (g *Group) SetDefaults() {
	g.Strategy, g.Ring, g.Total = string(All), 15*time.Second, time.Minute
}

// maxMembers bounds a group.
const maxMembers = 50

// Validate says what is wrong with a group.
func (g *Group) Validate() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key, problem, remedy))
		}
	}
	bad(g.Number == "" || len(g.Number) > maxNumber, "number", "is no number", "give the digits that phones dial")
	bad(len(g.Members) == 0 || len(g.Members) > maxMembers, "members", "must be 1 to 50 extensions", "name them")
	for i, m := range g.Members {
		bad(slices.Index(g.Members, m) < i, fmt.Sprintf("members[%d]", i), fmt.Sprintf("%s stands twice", m), "leave one away")
	}
	bad(g.Ring < time.Second || g.Ring > maxRing, "ring", "is out of range", "give 1s to 10m")
	bad(g.Total < g.Ring || g.Total > maxRing, "total", "is out of range", "give at least ring, and 10m at most")
	bad(g.Then != "" && g.Then == g.Number, "then", "is the group itself", "name another number")
	bad(len(g.Prefix) > 32, "prefix", "is too long", "give 32 characters at most")
	return fs
}

// compileGroups takes over the groups.
func (p *Plan) compileGroups(groups map[string]Group) error {
	p.groups = groups
	for name, g := range groups {
		if fs := g.Validate(); len(fs) > 0 {
			return fmt.Errorf("groups.%s.%s: %s", name, fs[0].Key, fs[0].Problem)
		}
		if err := p.addPlace(Ring, name, g.Number); err != nil {
			return err
		}
	}
	return nil
}

// Group returns the group of that name.
func (p *Plan) Group(name string) (Group, bool) {
	g, ok := p.groups[name]
	return g, ok
}

// PicksUp reports whether an extension may answer the calls of another one.
func (p *Plan) PicksUp(who, of string) bool {
	if len(p.pickup) == 0 {
		return true
	}
	return slices.ContainsFunc(p.pickup, func(members []string) bool {
		return slices.Contains(members, who) && slices.Contains(members, of)
	})
}
