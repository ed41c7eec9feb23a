package trunk

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"brickhouse/sbc/internal/caps"
	"brickhouse/sbc/internal/route"
	"brickhouse/sbc/internal/rules"
	"brickhouse/shared/conffile"
	"brickhouse/shared/corelink"
	"brickhouse/shared/listen"
)

// Config is one carrier.
type Config struct {
	Name     string         `yaml:"name" doc:"Name of the trunk, the same as in the exchange's configuration."`
	Gateways []Gateway      `yaml:"gateways" doc:"Where calls to the carrier go."`
	Sources  []netip.Prefix `yaml:"sources" doc:"Networks that the carrier's calls come from. They are never banned."`
	TLSNames []string       `yaml:"tls_names" doc:"Names in the client certificate by which the carrier is known on the peer side's TLS interfaces, from whatever address."`
	Register bool           `yaml:"register" doc:"The exchange registers at the carrier (trunks[].register in its configuration), and calls that come to the registered contact are the carrier's, from whatever address. The number called is the one in To."`
	Failover Failover       `yaml:"failover" doc:"When the next gateway is tried."`
	Health   Health         `yaml:"health" doc:"How gateways are watched."`
	Rules    rules.Config   `yaml:"rules" doc:"Numbers and headers of calls from and to the carrier; deploy/docs/rules.md explains them. Try them with sbc rule test."`
	Limits   caps.Limit     `yaml:"limits" doc:"What the trunk may carry, both ways together."`
}

// Gateway is one way into a carrier's network.
type Gateway struct {
	Address   string `yaml:"address" doc:"host, host:port or address:port. A name without a port is looked up by its SRV records first (RFC 3263)."`
	Transport string `yaml:"transport" oneof:"udp|tcp|tls|auto" doc:"Transport protocol. auto: as the NAPTR and SRV records of the name say."`
	Priority  int    `yaml:"priority" doc:"The lowest is tried first."`
	Weight    int    `yaml:"weight" doc:"Share of the calls among gateways of one priority."`
}

// Failover says when a call leaves a gateway for the next one. A gateway that is out of reach is always left; who was
// called and declined (486, 6xx) is never called again through another one.
type Failover struct {
	Codes []int         `yaml:"codes" doc:"Answers of a gateway after which the next is tried, 400 to 599."`
	After time.Duration `yaml:"after" doc:"A gateway that has not answered an INVITE at all for so long, not even with 100, is left for the next."`
}

// Health says how gateways are watched.
type Health struct {
	Interval time.Duration `yaml:"interval" doc:"Time between two OPTIONS to a gateway that is well. 0: only gateways that calls have found dead are asked, until they answer."`
	Retry    time.Duration `yaml:"retry" doc:"Time between two OPTIONS to one that is not."`
	Timeout  time.Duration `yaml:"timeout" doc:"An OPTIONS without a final answer for so long has failed. Any answer but 408 and 503 is good."`
	Down     int           `yaml:"down" doc:"Failures in a row, of OPTIONS or of calls, after which a gateway is left out."`
	Up       int           `yaml:"up" doc:"Answers in a row after which it is used again."`
}

// DefaultCodes are the answers that blame the path and not the callee: no answer from further on (408), and what a server says of itself. 501, 505, 513 and 580 are about the request, which the next gateway would get as well.
func DefaultCodes() []int { return []int{408, 500, 502, 503, 504} }

// SetDefaults sets what a gateway has unless the file says otherwise.
func (g *Gateway) SetDefaults() { g.Transport, g.Weight = route.UDP, 1 }

// SetDefaults sets what a trunk has unless the file says otherwise.
func (c *Config) SetDefaults() {
	c.Rules = rules.Default()
	c.Failover = Failover{Codes: DefaultCodes(), After: 4 * time.Second}
	c.Health = Health{Retry: 5 * time.Second, Timeout: 4 * time.Second, Down: 3, Up: 2}
}

// Bounds of a configuration.
const (
	maxGateways = 32
	maxWeight   = 65535
	maxAfter    = 32 * time.Second // timer B (RFC 3261 §17.1.1.2) ends it anyway
)

// Check says what is wrong with the trunks under key. has tells whether there is an interface of a transport.
func Check(key string, list []Config, has func(transport string) bool) []conffile.Fault {
	var fs []conffile.Fault
	seen := map[string]bool{}
	for i, c := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		if !corelink.IsTrunkName(c.Name) {
			fs = append(fs, conffile.Bad(at+".name", fmt.Sprintf("%q is no name", c.Name), "use letters, digits, - and _"))
		}
		if seen[c.Name] {
			fs = append(fs, conffile.Bad(at+".name", fmt.Sprintf("%q stands twice", c.Name), "give each trunk a name of its own"))
		}
		seen[c.Name] = true
		fs = append(fs, c.gateways(at, has)...)
		fs = append(fs, c.identity(at, has)...)
		fs = append(fs, c.timing(at)...)
		fs = append(fs, c.Rules.Check(at+".rules")...)
		fs = append(fs, c.Limits.Check(at+".limits")...)
	}
	return fs
}

func (c *Config) gateways(at string, has func(string) bool) []conffile.Fault {
	var fs []conffile.Fault
	if len(c.Gateways) == 0 {
		fs = append(fs, conffile.Bad(at+".gateways", "is empty", "name at least one"))
	}
	if n := len(c.Gateways); n > maxGateways {
		fs = append(fs, conffile.Bad(at+".gateways", fmt.Sprintf("has %d entries", n), fmt.Sprintf("name at most %d", maxGateways)))
	}
	for j, g := range c.Gateways {
		key := fmt.Sprintf("%s.gateways[%d]", at, j)
		if _, err := route.ParseGateway(g.Address, g.Transport); err != nil {
			fs = append(fs, conffile.Bad(key+".address", err.Error(), "give it as gw.example.com:5060"))
		}
		if g.Transport == route.Auto && !has(route.UDP) && !has(route.TCP) && !has(route.TLS) || g.Transport != route.Auto && !has(g.Transport) {
			fs = append(fs, conffile.Bad(key+".transport", "the peer side has no "+g.Transport+" interface to reach it by", "add one to peer.interfaces"))
		}
		if g.Weight < 0 || g.Weight > maxWeight {
			fs = append(fs, conffile.Bad(key+".weight", "is out of range", fmt.Sprintf("give 0 to %d", maxWeight)))
		}
		if g.Priority < 0 || g.Priority > maxWeight {
			fs = append(fs, conffile.Bad(key+".priority", "is out of range", fmt.Sprintf("give 0 to %d", maxWeight)))
		}
	}
	return fs
}

// identity checks by what the carrier is known when it calls.
func (c *Config) identity(at string, has func(string) bool) []conffile.Fault {
	var fs []conffile.Fault
	for j, n := range c.TLSNames {
		if !listen.IsHost(n) {
			fs = append(fs, conffile.Bad(fmt.Sprintf("%s.tls_names[%d]", at, j), fmt.Sprintf("%q is no host name", n), "give a name as the certificate has it"))
		}
	}
	if len(c.TLSNames) > 0 && !has(route.TLS) {
		fs = append(fs, conffile.Bad(at+".tls_names", "the peer side has no tls interface", "add one to peer.interfaces"))
	}
	named := slices.ContainsFunc(c.Gateways, func(g Gateway) bool {
		gw, err := route.ParseGateway(g.Address, g.Transport)
		return err == nil && gw.Named()
	})
	if named && len(c.Sources) == 0 && len(c.TLSNames) == 0 && !c.Register {
		fs = append(fs, conffile.Bad(at+".sources", "is missing, and a gateway has a name: what it sends within a call would be taken for a stranger's", "give the networks of the carrier"))
	}
	return fs
}

func (c *Config) timing(at string) []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(at+key, problem, remedy))
		}
	}
	for _, code := range c.Failover.Codes {
		bad(code < 400 || code > 599 || code == 486 || code == 401 || code == 407 || code == 487, ".failover.codes", fmt.Sprintf("%d is no answer that another gateway could mend", code), "take it out")
	}
	h := c.Health
	bad(c.Failover.After < 500*time.Millisecond || c.Failover.After > maxAfter, ".failover.after", "must be from 500ms to 32s", "leave it away")
	bad(h.Interval < 0 || h.Interval > 0 && h.Interval < time.Second, ".health.interval", "must be 0 or at least 1s", "give it as 30s")
	bad(h.Retry < time.Second, ".health.retry", "must be at least 1s", "leave it away")
	bad(h.Timeout < 500*time.Millisecond || h.Timeout > maxAfter, ".health.timeout", "must be from 500ms to 32s", "leave it away")
	bad(h.Down < 1 || h.Up < 1, ".health.down", "down and up must be at least 1", "leave them away")
	return fs
}
