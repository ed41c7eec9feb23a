package dialplan

import (
	"fmt"
	"slices"
	"strings"

	"brickhouse/pbx/internal/e164"
	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// DefaultClass is the class of service of an extension that has no other.
const DefaultClass = "default"

// AnyCountry stands for all countries, in a class.
const AnyCountry = "any"

// Unlimited is a cap that nobody reaches.
const Unlimited = 10_000_000

// Caps bound calls through trunks: those of one extension, of one trunk, or of all. 0 means none at all.
type Caps struct {
	Concurrent    int `yaml:"concurrent" json:"concurrent" doc:"External calls at a time. 0: none."`
	PerMinute     int `yaml:"per_minute" json:"per_minute" doc:"External calls within any minute."`
	PerHour       int `yaml:"per_hour" json:"per_hour" doc:"External calls within any hour."`
	PerDay        int `yaml:"per_day" json:"per_day" doc:"External calls within any 24 hours."`
	MinutesPerDay int `yaml:"minutes_per_day" json:"minutes_per_day" doc:"Minutes talked on external calls within any 24 hours. An extension's calls that are up when its own are used up are ended; those of a trunk, or of all, only keep new ones from starting."`
}

// Class is a class of service: what its extensions may call through trunks, and how much.
type Class struct {
	Countries   []string `yaml:"countries" json:"countries" doc:"Countries that may be called: two capital letters as DE; home for the exchange's own; any."`
	Premium     bool     `yaml:"premium" json:"premium" doc:"Premium-rate numbers of these countries, and +979, +808, may be called."`
	SharedCost  bool     `yaml:"shared_cost" json:"shared_cost" doc:"Shared-cost and personal numbers of these countries may be called."`
	Satellite   bool     `yaml:"satellite" json:"satellite" doc:"Satellite phones may be called: Inmarsat, Iridium, Globalstar, Thuraya."`
	Networks    bool     `yaml:"networks" json:"networks" doc:"International networks that belong to no country may be called: +800, +878, +882, +883, +888."`
	Allow       []string `yaml:"allow" json:"allow" doc:"Beginnings of numbers that may be called whatever their country and kind, as +4990012."`
	Deny        []string `yaml:"deny" json:"deny" doc:"Beginnings of numbers that may not be called, as +4918; they come before all else."`
	Caps        `yaml:",inline"`
	BlockDenied int  `yaml:"block_denied" json:"block_denied" doc:"So many denied calls within an hour block an extension for external calls until pbx extension unblock. 0: never."`
	BlockDay    bool `yaml:"block_day" json:"block_day" doc:"An extension that reaches a cap of the day is blocked for external calls until pbx extension unblock."`
}

// NewClass is the class of service that holds where the file says nothing.
func NewClass() Class {
	return Class{
		Countries: []string{HomeCountry}, Caps: Caps{10, 30, 200, 500, 600},
		BlockDenied: 20, BlockDay: true,
	}
}

// SetDefaults sets what a class is unless the file says otherwise.
func (c *Class) SetDefaults() { *c = NewClass() }

// SetDefaults sets what the caps of a trunk are, or those of all calls, unless the file says otherwise.
func (c *Caps) SetDefaults() { *c = Caps{Unlimited, Unlimited, Unlimited, Unlimited, Unlimited} }

// Validate says what is wrong with caps.
func (c *Caps) Validate() []conffile.Fault {
	var fs []conffile.Fault
	for _, f := range []struct {
		key string
		n   int
	}{{"concurrent", c.Concurrent}, {"per_minute", c.PerMinute}, {"per_hour", c.PerHour}, {"per_day", c.PerDay}, {"minutes_per_day", c.MinutesPerDay}} {
		if f.n < 0 || f.n > Unlimited {
			fs = append(fs, conffile.Bad(f.key, "is out of range", "give a number, 0 for none at all, or leave it away"))
		}
	}
	return fs
}

// Validate says what is wrong with a class.
func (c *Class) Validate() []conffile.Fault {
	fs := c.Caps.Validate()
	if c.BlockDenied < 0 || c.BlockDenied > maxDenied {
		fs = append(fs, conffile.Bad("block_denied", "is out of range", "give 0 to 1000"))
	}
	for _, l := range []struct {
		key  string
		list []string
	}{{"allow", c.Allow}, {"deny", c.Deny}} {
		for i, p := range l.list {
			if rest, ok := strings.CutPrefix(p, "+"); !ok || rest == "" || strings.Trim(rest, "0123456789") != "" {
				fs = append(fs, conffile.Bad(fmt.Sprintf("%s[%d]", l.key, i), "is no beginning of a number", "write it with country code, as +4990012"))
			}
		}
	}
	return fs
}

// maxDenied bounds how many denied calls are remembered of an extension.
const maxDenied = 1000

// Right says whether a number may be called, and what decided.
type Right struct {
	Reason verdict.Reason // None: it may
	Rule   string         // for a person
}

// Class returns the class of that name. The empty name is that of DefaultClass.
func (p *Plan) Class(name string) (Class, bool) {
	if name == "" {
		name = DefaultClass
	}
	c, ok := p.classes[name]
	return c, ok
}

// Classes returns the names of the classes.
func (p *Plan) Classes() []string {
	var out []string
	for name := range p.classes {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Number tells what the number is that an action sends to a trunk.
func (p *Plan) Number(a Action) e164.Number { return p.reader.read(a.Number, a.bare) }

// Right says whether an extension of that class may call a number. A class that does not exist has no rights.
func (p *Plan) Right(class string, n e164.Number) Right {
	c, ok := p.Class(class)
	if !ok {
		return Right{verdict.NotAllowed, fmt.Sprintf("class %s is not in the dialplan", class)}
	}
	if class == "" {
		class = DefaultClass
	}
	if n.Kind == e164.Unknown {
		return Right{verdict.NumberUnreadable, "no number that anybody has"}
	}
	if prefix, ok := begins(n, c.Deny); ok {
		return Right{verdict.NotAllowed, fmt.Sprintf("class %s denies %s", class, prefix)}
	}
	if prefix, ok := begins(n, c.Allow); ok {
		return Right{verdict.None, fmt.Sprintf("class %s allows %s", class, prefix)}
	}
	for _, k := range []struct {
		kind    e164.Kind
		allowed bool
		reason  verdict.Reason
	}{
		{e164.Premium, c.Premium, verdict.PremiumDenied}, {e164.Shared, c.SharedCost, verdict.SharedCostDenied},
		{e164.Satellite, c.Satellite, verdict.SatelliteDenied}, {e164.Network, c.Networks, verdict.NetworkDenied},
	} {
		if n.Kind == k.kind && !k.allowed {
			return Right{k.reason, fmt.Sprintf("class %s does not allow %s numbers", class, k.kind)}
		}
	}
	if n.Country != "" && !p.country(c, n.Country) {
		return Right{verdict.CountryDenied, fmt.Sprintf("class %s does not allow country %s", class, n.Country)}
	}
	return Right{verdict.None, fmt.Sprintf("class %s", class)}
}

// country reports whether a class names a country.
func (p *Plan) country(c Class, country string) bool {
	for _, name := range c.Countries {
		if name == AnyCountry || name == country || name == HomeCountry && country == p.reader.country {
			return true
		}
	}
	return false
}

// begins returns the first of the prefixes that a number begins with.
func begins(n e164.Number, prefixes []string) (string, bool) {
	for _, p := range prefixes {
		if n.Digits != "" && strings.HasPrefix(n.Digits, p[1:]) {
			return p, true
		}
	}
	return "", false
}

// Total returns the caps of all external calls together.
func (p *Plan) Total() Caps { return p.total }

// TrunkCaps returns the caps of a trunk.
func (p *Plan) TrunkCaps(trunk string) Caps {
	if c, ok := p.trunks[trunk]; ok {
		return c
	}
	var c Caps
	c.SetDefaults()
	return c
}

// compileRights takes over what the file says about rights.
func (p *Plan) compileRights(f File) error {
	var err error
	if p.reader, err = newReader(f.Home); err != nil {
		return err
	}
	p.classes = map[string]Class{DefaultClass: NewClass()}
	for name, c := range f.Classes {
		for i, country := range c.Countries {
			if _, ok := p.reader.table.Code(country); !ok && country != AnyCountry && country != HomeCountry {
				return fmt.Errorf("classes.%s.countries[%d]: %q is no country; give two capital letters as DE, home, or any", name, i, country)
			}
		}
		p.classes[name] = c
	}
	p.total.SetDefaults()
	if f.Total != nil {
		p.total = *f.Total
	}
	p.trunks = f.Trunks
	p.compileEmergency(f.Emergency)
	return nil
}
