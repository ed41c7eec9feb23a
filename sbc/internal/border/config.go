package border

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"brickhouse/sbc/internal/banapi"
	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/sbc/internal/caps"
	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/sbc/internal/sanitize"
	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/conffile"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/listen"
	"brickhouse/shared/telemetry"
)

// Config is the border's configuration file.
type Config struct {
	Domain    string                  `yaml:"domain" doc:"SIP domain that the phones register in, as sip:1001@DOMAIN."`
	Aliases   []string                `yaml:"aliases" doc:"Other names and addresses that phones may use for the domain, such as this host's address."`
	State     string                  `yaml:"state" doc:"Directory for what must outlive a restart: bans and the border's own key."`
	Control   string                  `yaml:"control" doc:"Unix socket for the commands (ban, call); mode 0600."`
	Log       telemetry.LogConfig     `yaml:"log" doc:"Logging."`
	Metrics   telemetry.MetricsConfig `yaml:"metrics" doc:"Prometheus."`
	Access    Access                  `yaml:"access" doc:"The side of the remote phones."`
	Peer      Peer                    `yaml:"peer" doc:"The side of the trunks."`
	Core      Core                    `yaml:"core" doc:"The side of the exchange."`
	Media     anchor.Config           `yaml:"media" doc:"The media relay."`
	Guard     guard.Config            `yaml:"guard" doc:"Who is banned, and when."`
	Lists     []follow.List           `yaml:"lists" doc:"Lists of networks to shut out, or never to ban, from files, URLs and GeoIP databases. None is built in, and nothing is contacted that does not stand here."`
	BanAPI    banapi.Config           `yaml:"ban_api" doc:"Endpoint on this host for other tools that ban or read bans: fail2ban, CrowdSec's bouncers, scripts."`
	Session   b2bua.SessionConfig     `yaml:"session" doc:"Session timers (RFC 4028): a call whose far side is gone ends, though nobody hung up."`
	Admission caps.Config             `yaml:"admission" doc:"How many calls fit. What is over it gets 503 with Retry-After."`
	Limits    Limits                  `yaml:"limits" doc:"What the border takes on."`
}

// MediaAddress says where a realm's media sockets are.
type MediaAddress struct {
	Bind      netip.Addr `yaml:"bind" doc:"Address that media sockets are bound to. Empty: the one that the signalling came to."`
	Advertise netip.Addr `yaml:"advertise" doc:"Address written into SDP, behind a 1:1 NAT. Empty: the address that is bound."`
}

// Access is the realm of the remote phones.
type Access struct {
	Interfaces   []listen.Interface `yaml:"interfaces" doc:"Where remote phones connect. TLS unless you know why not."`
	TLS          listen.TLS         `yaml:"tls" doc:"What the border shows to phones."`
	Media        MediaAddress       `yaml:"media" doc:"Media addresses towards phones."`
	Registration Registration       `yaml:"registration" doc:"How long phones are registered."`
	Redirect     string             `yaml:"redirect" oneof:"pass|refuse" doc:"What becomes of a phone's 3xx (its own call forwarding). pass: the exchange is told the number, nothing else, and decides. refuse: the phone counts as unavailable."`
	Refer        string             `yaml:"refer" oneof:"pass|refuse" doc:"What becomes of transfers that phones ask for (REFER, Replaces). pass: the exchange executes them, with the rights of who asks. refuse: 403. A change takes a restart."`
	Events       []string           `yaml:"events" doc:"What phones may watch (SUBSCRIBE): dialog (busy lamps), presence (which they may then publish, too), message-summary. Empty: nothing, and SUBSCRIBE and PUBLISH get 405. A change takes a restart."`
	Messages     sanitize.Messages  `yaml:"messages" doc:"What messages of phones may be like. A change takes a restart."`
	SRTP         string             `yaml:"srtp" oneof:"require|allow|never" doc:"require: a phone that offers plain RTP is refused with 488. allow: SRTP if it offers it. never: only plain RTP, for laboratories."`
	Keys         MediaKeys          `yaml:"keys" doc:"How SRTP is keyed in calls to a phone, by the transport that it is registered over. A phone that calls chooses itself."`
}

// Peer is the realm of the trunks.
type Peer struct {
	Interfaces []listen.Interface `yaml:"interfaces" doc:"Where carriers send calls, and where calls to them leave."`
	TLS        listen.TLS         `yaml:"tls" doc:"What the border shows to carriers over TLS."`
	Media      MediaAddress       `yaml:"media" doc:"Media addresses towards carriers."`
	Refer      string             `yaml:"refer" oneof:"pass|refuse" doc:"As in access; a carrier that transfers may call what its calls may reach."`
	Messages   sanitize.Messages  `yaml:"messages" doc:"What messages of carriers may be like. A change takes a restart."`
	SRTP       string             `yaml:"srtp" oneof:"require|allow|never" doc:"As in access; most carriers speak plain RTP."`
	DNS        []netip.AddrPort   `yaml:"dns" doc:"Name servers that are asked for gateways. Empty: those of /etc/resolv.conf."`
	Trunks     []Trunk            `yaml:"trunks" doc:"The carriers."`
}

// Core is the realm of the exchange.
type Core struct {
	Exchange    string          `yaml:"exchange" doc:"Address and port of the exchange's core link."`
	ServerName  string          `yaml:"server_name" doc:"Name that the exchange's certificate must have."`
	Certificate string          `yaml:"certificate" doc:"The border's certificate for the core link, PEM."`
	Key         string          `yaml:"key" doc:"Its private key, PEM, mode 0600."`
	CA          string          `yaml:"ca" doc:"Certificate authority that the exchange's certificate comes from, PEM."`
	Media       MediaAddress    `yaml:"media" doc:"Media addresses towards the inside."`
	SRTP        string          `yaml:"srtp" oneof:"require|allow|never" doc:"As in access. allow: phones inside that offer SRTP (SDES, over TLS) get it; others are offered RTP."`
	Limits      sanitize.Limits `yaml:"limits" doc:"The most of everything in a message of the exchange. A change takes a restart."`
}

// Limits is what the border takes on.
type Limits struct {
	Calls         int           `yaml:"calls" doc:"Calls at a time."`
	Bindings      int           `yaml:"bindings" doc:"Registered contacts at a time."`
	Connections   int           `yaml:"connections" doc:"Connections per listening socket."`
	PerSource     int           `yaml:"per_source" doc:"Connections of strangers per source address."`
	Drain         time.Duration `yaml:"drain" doc:"How long calls may go on after TERM, while no new ones are taken; then they are hung up. A second TERM ends the program at once."`
	Subscriptions Subscriptions `yaml:"subscriptions" doc:"What phones may watch at a time."`
	Ring          time.Duration `yaml:"ring" doc:"Longest time that a call rings. Longer than the exchange's, which knows better why a call ends."`
}

// Default is the configuration that holds where the file says nothing.
func Default() Config {
	return Config{
		State:   "/var/lib/brickhouse/sbc",
		Control: "/run/brickhouse/sbc.sock",
		Log:     telemetry.DefaultLog(),
		Access: Access{
			SRTP: "require", Keys: DefaultMediaKeys(), Redirect: "pass", Refer: "pass", TLS: listen.DefaultTLS(), Registration: DefaultRegistration(),
			Messages: sanitize.DefaultMessages(), Events: eventdoc.Packages(),
		},
		Peer:      Peer{SRTP: "allow", Refer: "refuse", TLS: listen.DefaultTLS(), Messages: sanitize.DefaultMessages()},
		Core:      Core{ServerName: "pbx.brickhouse.internal", SRTP: "never", Limits: sanitize.DefaultLimits()},
		Media:     anchor.DefaultConfig(),
		Guard:     guard.Default(),
		Session:   b2bua.DefaultSession(),
		Admission: caps.DefaultConfig(),
		Limits:    Limits{Calls: 10_000, Bindings: 200_000, Connections: 10_000, PerSource: 16, Subscriptions: DefaultSubscriptions(), Drain: 10 * time.Second, Ring: 4 * time.Minute},
	}
}

// Validate says what is wrong with the configuration as a whole.
func (c *Config) Validate() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key, problem, remedy))
		}
	}
	bad(!listen.IsHost(c.Domain), "domain", "is no host name", "name the domain that phones register in")
	for i, a := range c.Aliases {
		bad(!listen.IsHost(a), fmt.Sprintf("aliases[%d]", i), fmt.Sprintf("%q is neither a name nor an address", a), "give the host part alone")
	}
	bad(!filepath.IsAbs(c.State), "state", "is no absolute path", "give a directory as /var/lib/brickhouse/sbc")
	bad(!filepath.IsAbs(c.Control), "control", "is no absolute path", "give a path as /run/brickhouse/sbc.sock")
	bad(len(c.Access.Interfaces)+len(c.Peer.Interfaces) == 0, "access.interfaces", "neither access nor peer listens anywhere", "name at least one")
	bad(len(c.Peer.Trunks) > 0 && len(c.Peer.Interfaces) == 0, "peer.interfaces", "there are trunks but no interface to reach them by", "name one")
	bad(c.Limits.Calls <= 0, "limits.calls", "must be above 0", "give the number of calls that this machine may carry")
	bad(c.Limits.Bindings <= 0, "limits.bindings", "must be above 0", "give the number of phones that may be registered")
	bad(c.Limits.Drain < 0, "limits.drain", "is below 0", "leave it away")
	bad(c.Limits.Ring < time.Second, "limits.ring", "must be at least 1s", "leave it away")
	if err := c.Media.Validate(); err != nil {
		bad(true, "media", err.Error(), "leave it away")
	}
	bad(c.Limits.Connections <= 0, "limits.connections", "must be above 0", "give a number")
	bad(c.Limits.PerSource <= 0, "limits.per_source", "must be above 0", "give a number")
	taken := map[string]string{}
	fs = append(fs, listen.Check("access", c.Access.Interfaces, c.Access.TLS, taken)...)
	fs = append(fs, listen.Check("peer", c.Peer.Interfaces, c.Peer.TLS, taken)...)
	fs = append(fs, listen.NoWebSocket("peer", c.Peer.Interfaces)...)
	fs = append(fs, c.Access.Registration.check()...)
	fs = append(fs, checkEvents(c.Access.Events)...)
	fs = append(fs, c.Limits.Subscriptions.check("limits.subscriptions")...)
	fs = append(fs, c.Access.Messages.Check("access.messages", string(access))...)
	fs = append(fs, c.Peer.Messages.Check("peer.messages", string(peer))...)
	fs = append(fs, c.Core.Limits.Check("core.limits")...)
	fs = append(fs, trunk.Check("peer.trunks", c.Peer.Trunks, c.Peer.has)...)
	named := slices.ContainsFunc(c.Peer.Trunks, func(t Trunk) bool { return len(t.TLSNames) > 0 })
	bad(named && c.Peer.TLS.Client == "none", "peer.tls.client", "is none, and a trunk is known by the names in its certificate", "ask for one: request, with client_ca")
	fs = append(fs, c.Admission.Check("admission")...)
	fs = append(fs, c.Core.check()...)
	fs = append(fs, c.Session.Check()...)
	for _, f := range (follow.Config{Lists: c.Lists}).Check() {
		fs = append(fs, conffile.Bad(f.Key, f.Problem, ""))
	}
	for _, f := range c.Guard.Check() {
		fs = append(fs, conffile.Bad("guard."+f.Key, f.Problem, ""))
	}
	return fs
}

// has reports whether the realm has an interface for a transport.
func (p *Peer) has(transport string) bool {
	for _, i := range p.Interfaces {
		if i.Transport == transport {
			return true
		}
	}
	return false
}

func (c *Core) check() []conffile.Fault {
	var fs []conffile.Fault
	if _, port, err := net.SplitHostPort(c.Exchange); err != nil || port == "" {
		fs = append(fs, conffile.Bad("core.exchange", fmt.Sprintf("%q is no address:port", c.Exchange), "give it as 192.0.2.10:5070"))
	}
	for _, f := range []struct{ key, file string }{{"certificate", c.Certificate}, {"key", c.Key}, {"ca", c.CA}} {
		if f.file == "" {
			fs = append(fs, conffile.Bad("core."+f.key, "is missing", "name the PEM file; quickstart makes one"))
		}
	}
	if !listen.IsHost(c.ServerName) {
		fs = append(fs, conffile.Bad("core.server_name", fmt.Sprintf("%q is no host name", c.ServerName), "give the name in the exchange's certificate"))
	}
	return fs
}
