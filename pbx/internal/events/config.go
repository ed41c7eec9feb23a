package events

import (
	"fmt"
	"slices"
	"time"

	"brickhouse/shared/conffile"
)

// Config says who may watch whom, and how much of it there may be.
type Config struct {
	Watch      string        `yaml:"watch" oneof:"all|groups|own|none" doc:"Whose calls and presence an extension may watch. all: every extension's. groups: those of its groups. own: its own. none: nobody's. Messages that wait are shown to their own extension alone."`
	Groups     []Group       `yaml:"groups" doc:"Extensions that watch each other, with watch: groups."`
	Identity   bool          `yaml:"identity" doc:"Tell watchers with whom an extension speaks. Off: only that it does."`
	MinExpires time.Duration `yaml:"min_expires" doc:"Shortest subscription and publication that a phone may ask for."`
	MaxExpires time.Duration `yaml:"max_expires" doc:"Longest one that a phone gets. After a crash of the exchange, a phone inside sees nothing until it renews its subscription."`
	PerAccount int           `yaml:"per_account" doc:"Subscriptions of one extension at a time."`
	Total      int           `yaml:"total" doc:"Subscriptions at a time, and as many publications."`
}

// Group is a set of extensions that watch each other.
type Group struct {
	Name    string   `yaml:"name" doc:"Name, for people."`
	Members []string `yaml:"members" doc:"Numbers of the extensions."`
}

// Values of Config.Watch.
const (
	watchAll    = "all"
	watchGroups = "groups"
	watchNone   = "none"
)

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{Watch: watchAll, MinExpires: time.Minute, MaxExpires: 10 * time.Minute, PerAccount: 300, Total: 100_000}
}

// Check says what is wrong with the configuration at key.
func (c Config) Check(key string) []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, at, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key+"."+at, problem, remedy))
		}
	}
	bad(c.MinExpires < time.Second || c.MinExpires > c.MaxExpires, "min_expires", "must be at least 1s and at most max_expires", "leave it away")
	bad(c.MaxExpires > 24*time.Hour, "max_expires", "is above 24h", "leave it away")
	bad(c.PerAccount <= 0, "per_account", "must be above 0", "give a number")
	bad(c.Total <= 0, "total", "must be above 0", "give a number")
	bad(len(c.Groups) > 0 && c.Watch != watchGroups, "groups", "have no effect", "set watch: groups")
	for i, g := range c.Groups {
		bad(len(g.Members) == 0, fmt.Sprintf("groups[%d].members", i), "are missing", "name extensions")
	}
	return fs
}

// may reports whether watcher may see what happens at resource.
func (c Config) may(watcher, resource string) bool {
	switch {
	case c.Watch == watchNone:
		return false
	case c.Watch == watchAll, watcher == resource:
		return true
	case c.Watch != watchGroups:
		return false
	}
	return slices.ContainsFunc(c.Groups, func(g Group) bool {
		return slices.Contains(g.Members, watcher) && slices.Contains(g.Members, resource)
	})
}
