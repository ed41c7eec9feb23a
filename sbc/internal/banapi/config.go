// Package banapi lets other tools on the same host ban through the border, and read who is banned: an HTTP endpoint on a
// loopback address, off unless the configuration names one.
//
// Its routes have the shape of CrowdSec's Local API, because the tools that are to use it speak that already: a bouncer reads
// decisions, at once or as a stream of what is new; whatever detects an attack posts alerts with decisions. A decision is a
// ban of the guard, and nothing here decides who is banned: the never-ban list wins, a longer ban stays, and each change
// is in the guard's journal under "api:" and the token's name.
//
// Who may do what is said by tokens: 256 random bits, shown once, of which the configuration holds the SHA-256. A web page in a
// browser on the host gets nowhere: requests with the marks of a browser, and those for a name that is not the loopback's, are
// refused before their token is looked at. All that is read is bounded: size, depth, decisions, and the pace of each token.
package banapi

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"brickhouse/shared/conffile"
)

// Config is the endpoint's part of the border's configuration.
type Config struct {
	Listen netip.AddrPort `yaml:"listen" doc:"Loopback address and port of the endpoint, as 127.0.0.1:8780. Empty: no endpoint."`
	Tokens []Token        `yaml:"tokens" doc:"Who may use it. 'sbc ban token NAME' makes one. Changes are taken over by a reload."`
}

// Token is one tool's right to use the endpoint.
type Token struct {
	Name    string        `yaml:"name" doc:"Name of the tool. Its bans are in the journal as api:NAME."`
	SHA256  string        `yaml:"sha256" doc:"SHA-256 of the token, in hex. The token itself is known to the tool alone."`
	Scope   Scope         `yaml:"scope" oneof:"read|ban" doc:"read: who is banned. ban: that, and to ban, and to lift the bans that it made itself."`
	MaxBan  time.Duration `yaml:"max_ban" doc:"Longest ban; a longer wish is cut to it."`
	MaxBans int           `yaml:"max_bans" doc:"Most of its bans in force at a time, so that one tool can't fill the table."`
	Rate    int           `yaml:"rate" doc:"Requests and decisions per second, in the long run; up to 1000 at once."`
	Wide    bool          `yaml:"wide" doc:"It may ban networks wider than an IPv4 /24 or an IPv6 /48, too."`
}

// Scope is what a token allows.
type Scope string

// The scopes.
const (
	ScopeRead Scope = "read"
	ScopeBan  Scope = "ban"
)

// SetDefaults sets what a token has unless the file says otherwise.
func (t *Token) SetDefaults() {
	t.Scope, t.MaxBan, t.MaxBans, t.Rate = ScopeRead, 24*time.Hour, 10_000, 50
}

// Bounds of what the configuration may say.
const (
	maxTokens = 16
	maxRate   = 10_000
	maxLength = 366 * 24 * time.Hour
	maxShare  = 1 << 20
)

var tokenName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,31}$`)

// Validate says what is wrong with the configuration.
func (c *Config) Validate() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key, problem, remedy))
		}
	}
	on := c.Listen != (netip.AddrPort{})
	bad(on && (!c.Listen.Addr().IsLoopback() || c.Listen.Addr().Is4In6()), "listen", fmt.Sprintf("%s is no loopback address: others could reach it", c.Listen.Addr()), "use 127.0.0.1 or ::1, as 127.0.0.1:8780")
	bad(on && c.Listen.Port() == 0, "listen", "has no port", "write it as 127.0.0.1:8780")
	bad(on && len(c.Tokens) == 0, "tokens", "is empty, so nobody could use the endpoint", "make one with 'sbc ban token NAME'")
	bad(len(c.Tokens) > maxTokens, "tokens", fmt.Sprintf("has %d items", len(c.Tokens)), fmt.Sprintf("use at most %d", maxTokens))
	names, sums := map[string]bool{}, map[string]bool{}
	for i, t := range c.Tokens {
		key := fmt.Sprintf("tokens[%d]", i)
		bad(!tokenName.MatchString(t.Name), key+".name", fmt.Sprintf("%q is no name", t.Name), "use up to 32 letters, digits, - and _")
		bad(names[t.Name], key+".name", fmt.Sprintf("%q stands twice", t.Name), "give each token a name of its own")
		sum, err := hex.DecodeString(t.SHA256)
		bad(err != nil || len(sum) != hashSize, key+".sha256", "is no SHA-256 in hex", "take the line that 'sbc ban token NAME' prints")
		bad(err == nil && sums[string(sum)], key+".sha256", "stands twice", "make a token of its own for each tool")
		bad(t.MaxBan < time.Second || t.MaxBan > maxLength, key+".max_ban", fmt.Sprintf("%s is out of range", t.MaxBan), fmt.Sprintf("write 1s to %s", maxLength))
		bad(t.MaxBans < 1 || t.MaxBans > maxShare, key+".max_bans", fmt.Sprintf("%d is out of range", t.MaxBans), fmt.Sprintf("write 1 to %d", maxShare))
		bad(t.Rate < 1 || t.Rate > maxRate, key+".rate", fmt.Sprintf("%d is out of range", t.Rate), fmt.Sprintf("write 1 to %d", maxRate))
		names[t.Name], sums[string(sum)] = true, true
	}
	return fs
}
