package caps

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"brickhouse/shared/conffile"
)

// Config is what new calls have to fit in.
type Config struct {
	Total     Limit         `yaml:"total" doc:"All calls that come from outside."`
	Phone     Limit         `yaml:"phone" doc:"The calls of each registered account outside."`
	Source    Limit         `yaml:"source" doc:"The calls from each address outside, of IPv6 from each /64, but for trunks. One that is asked for its password counts, too."`
	Lag       time.Duration `yaml:"lag" doc:"New calls are refused while the program is behind its work by so much. 0: never."`
	Emergency []string      `yaml:"emergency" doc:"Numbers whose calls no limit here and no overload holds back."`
}

// DefaultConfig limits nothing but overload.
func DefaultConfig() Config {
	return Config{Lag: 100 * time.Millisecond, Emergency: []string{"112", "911"}}
}

// Bounds of a configuration.
const (
	maxEmergency = 64
	minLag       = 10 * time.Millisecond
)

var number = regexp.MustCompile(`^\+?[0-9*#]{1,15}$`)

// Check says what is wrong with it under key.
func (c Config) Check(key string) []conffile.Fault {
	fs := slices.Concat(c.Total.Check(key+".total"), c.Phone.Check(key+".phone"), c.Source.Check(key+".source"))
	if c.Lag < 0 || c.Lag > 0 && c.Lag < minLag {
		fs = append(fs, conffile.Bad(key+".lag", "must be 0 or at least 10ms", "leave it away"))
	}
	if len(c.Emergency) > maxEmergency {
		fs = append(fs, conffile.Bad(key+".emergency", fmt.Sprintf("has %d numbers", len(c.Emergency)), fmt.Sprintf("give at most %d", maxEmergency)))
	}
	for i, n := range c.Emergency {
		if !number.MatchString(n) {
			fs = append(fs, conffile.Bad(fmt.Sprintf("%s.emergency[%d]", key, i), fmt.Sprintf("%q is no number", n), "give it as it is dialled, such as 112"))
		}
	}
	return fs
}

// Gate is what of it the gate looks at. The rate of all calls is the gate's as well: what is over it costs next to nothing.
func (c Config) Gate() GateConfig {
	return GateConfig{PerSecond: c.Total.PerSecond, Burst: c.Total.Burst, Lag: c.Lag}
}
