package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"brickhouse/sbc/internal/sanitize"
	"brickhouse/shared/conffile"
	"brickhouse/shared/sipmsg"
)

// Config is the rules of one trunk.
type Config struct {
	Trusted bool      `yaml:"trusted" doc:"The carrier is within our trust domain (RFC 3325): who it says calls is believed, and it is told who calls anonymously."`
	In      Direction `yaml:"in" doc:"Calls from the carrier to the exchange."`
	Out     Direction `yaml:"out" doc:"Calls from the exchange to the carrier."`
}

// Direction is the rules for calls one way.
type Direction struct {
	Numbers     Numbers  `yaml:"numbers" doc:"How numbers are written."`
	Identity    Identity `yaml:"identity" doc:"Who is shown as the caller."`
	Redirection string   `yaml:"redirection" oneof:"drop|keep|diversion|history-info|both" doc:"Who diverted the call: drop says nothing, keep leaves it in the header that it came in, the others write that header, or both (RFC 7544)."`
	Changes     []Change `yaml:"changes" doc:"Changes to numbers and headers, one after the other."`
}

// Numbers is how numbers are read and written.
type Numbers struct {
	Country       string   `yaml:"country" doc:"Country calling code, as 49. Empty: numbers stay as they are."`
	National      string   `yaml:"national" doc:"Prefix of a national number, as 0."`
	International string   `yaml:"international" doc:"Prefix of an international number, as 00."`
	Bare          string   `yaml:"bare" oneof:"keep|national|international" doc:"What a number without any prefix is: left alone, a national or an international number."`
	Least         int      `yaml:"least" doc:"Numbers of fewer digits are left alone: extensions, emergency and service numbers."`
	Most          int      `yaml:"most" doc:"A called number of more digits is refused with 484 (E.164: 15)."`
	Format        string   `yaml:"format" oneof:"e164|digits|national|international" doc:"How they are written: +4930123, 4930123, 030123 (abroad as international), 004930123."`
	UserPhone     bool     `yaml:"user_phone" doc:"Write ;user=phone to each number (RFC 3261 §19.1.1)."`
	Fields        []string `yaml:"fields" oneof:"request|from|to|p-asserted-identity|p-preferred-identity|diversion" doc:"Where. Empty: everywhere. diversion is History-Info, too."`
}

// Identity is who is shown as the caller.
type Identity struct {
	Caller string   `yaml:"caller" oneof:"asserted|from" doc:"asserted: From shows the number in P-Asserted-Identity, if a trusted carrier gives one (in), or a number of ours (out). from: From stays."`
	Own    []string `yaml:"own" doc:"How our numbers begin, in the form that they are written in, as +4930123456. Empty: every caller's number is ours."`
	Number string   `yaml:"number" doc:"Number of ours, in the same form, for callers that have none: extensions, and diverted calls from elsewhere."`
	Assert string   `yaml:"assert" oneof:"none|p-asserted-identity|p-preferred-identity" doc:"Header that says which number of ours calls."`
}

// Change is one change of a number or a header.
type Change struct {
	Number  string      `yaml:"number" oneof:"|request|from|to|p-asserted-identity|p-preferred-identity|diversion|history-info" doc:"Whose number, or"`
	Header  string      `yaml:"header" doc:"which header."`
	When    []Condition `yaml:"when" doc:"Only if all of these hold."`
	Match   string      `yaml:"match" doc:"Regular expression (RE2) for the number, or for each value of the header."`
	Replace string      `yaml:"replace" doc:"What takes the place of what match found, with $1 for its groups."`
	Set     string      `yaml:"set" doc:"Value that takes the place of the header's."`
	Add     string      `yaml:"add" doc:"Value that comes behind the header's."`
	Drop    bool        `yaml:"drop" doc:"Take the header off, or with match those values."`
}

// Condition holds for a message or not.
type Condition struct {
	Number string `yaml:"number" oneof:"|request|from|to|p-asserted-identity|p-preferred-identity|diversion|history-info" doc:"Whose number, or"`
	Header string `yaml:"header" doc:"which header; one that is missing is empty text."`
	Match  string `yaml:"match" doc:"Regular expression (RE2)."`
	Not    bool   `yaml:"not" doc:"Holds where it does not match."`
}

// SetDefaults sets what the rules of a trunk are unless the file says otherwise.
func (c *Config) SetDefaults() { *c = Default() }

// Default leaves numbers as they are, believes no carrier, and keeps anonymous callers anonymous.
func Default() Config {
	d := Direction{
		Numbers:     Numbers{National: "0", International: "00", Bare: "keep", Least: 7, Most: 15, Format: "e164"},
		Identity:    Identity{Caller: "asserted", Assert: "none"},
		Redirection: "drop",
	}
	return Config{In: d, Out: d}
}

// Bounds of what stands in a file.
const (
	maxChanges = 64
	maxPattern = 512
	maxValue   = 1024 // bytes of a header's value that a rule makes
)

// Check says what is wrong with the rules that stand at key.
func (c Config) Check(key string) []conffile.Fault {
	return append(c.In.check(key+".in"), c.Out.check(key+".out")...)
}

func (d Direction) check(key string) []conffile.Fault {
	fs := append(d.Numbers.check(key+".numbers"), d.Identity.check(key+".identity")...)
	if len(d.Changes) > maxChanges {
		fs = append(fs, conffile.Badf(key+".changes", "join some", "has %d, at most %d are allowed", len(d.Changes), maxChanges))
	}
	for i, c := range d.Changes {
		fs = append(fs, c.check(fmt.Sprintf("%s.changes[%d]", key, i))...)
	}
	return fs
}

func (n Numbers) check(key string) []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, name, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key+"."+name, problem, remedy))
		}
	}
	bad(n.Country != "" && (!digits(n.Country) || len(n.Country) > 3 || n.Country[0] == '0'), "country", "is no country calling code", "write it as 49")
	bad(n.National != "" && !digits(n.National) || len(n.National) > 4, "national", "is no prefix", "write it as 0, or as \"\" if there is none")
	bad(!digits(n.International) || len(n.International) > 6, "international", "is no prefix", "write it as 00")
	bad(n.National != "" && n.National == n.International, "international", "is the national prefix, too", "give each its own")
	bad(n.Least < 3 || n.Least > 15, "least", "must be from 3 to 15", "leave it away")
	bad(n.Most < n.Least || n.Most > 24, "most", "must be from least to 24", "leave it away")
	bad(n.UserPhone && n.Country == "", "user_phone", "needs the country", "name it")
	return fs
}

func (d Identity) check(key string) []conffile.Fault {
	var fs []conffile.Fault
	if d.Number != "" && !number(d.Number) {
		fs = append(fs, conffile.Badf(key+".number", "write it as +4930123456", "%.32q is no number", d.Number))
	}
	if len(d.Own) > 0 && d.Number == "" {
		fs = append(fs, conffile.Bad(key+".number", "is missing, and not every caller's number begins as own says", "name one of ours for the others"))
	}
	for i, own := range d.Own {
		if !number(own) {
			fs = append(fs, conffile.Badf(fmt.Sprintf("%s.own[%d]", key, i), "write it as +4930123456", "%.32q is no number", own))
		}
	}
	return fs
}

func (c Change) check(key string) []conffile.Fault {
	fs := subject(key, c.Number, c.Header)
	if c.Header != "" && !changeable(c.Header) {
		fs = append(fs, conffile.Badf(key+".header", "name another one", "%.32q is not for rules to change", c.Header))
	}
	actions := 0
	for _, is := range []bool{c.Replace != "" || c.Match != "" && !c.Drop, c.Set != "", c.Add != "", c.Drop} {
		if is {
			actions++
		}
	}
	switch {
	case actions != 1:
		fs = append(fs, conffile.Bad(key, "does not say one thing to do", "give match and replace, set, add, or drop"))
	case c.Match == "" && c.Replace != "":
		fs = append(fs, conffile.Bad(key+".replace", "has no match", "say what it replaces"))
	case c.Number != "" && (c.Set != "" || c.Add != "" || c.Drop):
		fs = append(fs, conffile.Bad(key, "a number can only be replaced", "give match and replace, or a header in place of number"))
	}
	fs = append(fs, pattern(key, c.Match)...)
	for _, v := range []struct{ key, text string }{{"replace", c.Replace}, {"set", c.Set}, {"add", c.Add}} {
		if len(v.text) > maxPattern || strings.IndexFunc(v.text, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
			fs = append(fs, conffile.Bad(key+"."+v.key, "is too long or holds control characters", "shorten it to one line"))
		}
	}
	for i, w := range c.When {
		at := fmt.Sprintf("%s.when[%d]", key, i)
		fs = append(append(fs, subject(at, w.Number, w.Header)...), pattern(at, w.Match)...)
	}
	return fs
}

// subject checks that just one of number and header is named.
func subject(key, number, header string) []conffile.Fault {
	if (number == "") == (header == "") {
		return []conffile.Fault{conffile.Bad(key, "names not just one of number and header", "name whose number, or a header")}
	}
	return nil
}

func pattern(key, text string) []conffile.Fault {
	if len(text) > maxPattern {
		return []conffile.Fault{conffile.Badf(key+".match", "shorten it", "is longer than %d bytes", maxPattern)}
	}
	if _, err := regexp.Compile(text); err != nil {
		return []conffile.Fault{conffile.Badf(key+".match", "write it in RE2's form", "%v", err)}
	}
	return nil
}

// identities are the headers that this package alone lets pass.
var identities = []string{"P-Asserted-Identity", "P-Preferred-Identity", "Diversion", "History-Info", "Remote-Party-ID", "Privacy"}

// changeable reports whether a change may be about a header.
func changeable(name string) bool {
	name = sipmsg.Canonical(name)
	return slices.ContainsFunc(identities, func(i string) bool { return strings.EqualFold(i, name) }) || sanitize.Open(name)
}
