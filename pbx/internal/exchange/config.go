package exchange

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/events"
	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/music"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/conffile"
	"brickhouse/shared/corelink"
	"brickhouse/shared/listen"
	"brickhouse/shared/secret"
	"brickhouse/shared/telemetry"
)

// Config is the exchange's configuration file.
type Config struct {
	Domain    string                  `yaml:"domain" doc:"SIP domain of the extensions, as sip:1001@DOMAIN, and the realm of their passwords. Changing it makes every password invalid."`
	Aliases   []string                `yaml:"aliases" doc:"Other names and addresses that phones may use for the domain, such as this host's address."`
	State     string                  `yaml:"state" doc:"Directory for what must outlive a restart: extensions, registrations and calls."`
	CDR       string                  `yaml:"cdr" doc:"Directory for call detail records, one file a day. Empty: cdr below the state directory."`
	KeepCDR   int                     `yaml:"keep_cdr" doc:"Days that call detail records are kept. 0: for ever."`
	Control   string                  `yaml:"control" doc:"Unix socket for the commands (extension, call); mode 0600."`
	Log       telemetry.LogConfig     `yaml:"log" doc:"Logging."`
	Metrics   telemetry.MetricsConfig `yaml:"metrics" doc:"Prometheus."`
	API       API                     `yaml:"api" doc:"The HTTP API for programs; GET /v1/openapi.json describes it. A change takes a restart."`
	Core      Core                    `yaml:"core" doc:"The link to the border."`
	Phones    Phones                  `yaml:"phones" doc:"Phones on the inside, that reach the exchange without the border."`
	Media     Media                   `yaml:"media" doc:"Media that end in the exchange itself: echo test and test tone."`
	Secrets   secret.Config           `yaml:"secrets" doc:"Where passwords are kept."`
	Trunks    []Trunk                 `yaml:"trunks" doc:"The carriers. How to reach them is in the border's configuration."`
	Dialplan  string                  `yaml:"dialplan" doc:"File that says what becomes of each number, and who may call what through trunks, and how much; pbx dialplan describe prints its keys. Read again on SIGHUP."`
	Digest    Digest                  `yaml:"digest" doc:"How phones prove who they are."`
	Session   b2bua.SessionConfig     `yaml:"session" doc:"Session timers (RFC 4028): a call whose far side is gone ends, though nobody hung up."`
	Prompts   string                  `yaml:"prompts" doc:"Directory of files NAME.wav (8 kHz mono, 16 bit or µ-law) that are said in place of the shipped prompts of these names, or that menus say. Empty: none. Read again on SIGHUP."`
	Music     music.Config            `yaml:"music" doc:"What who waits hears."`
	Mail      mail.Config             `yaml:"mail" doc:"The mail server that gets messages of mailboxes. A change takes a restart."`
	Voicemail voicemail.Config        `yaml:"voicemail" doc:"Mailboxes of extensions. A change takes a restart."`
	Events    events.Config           `yaml:"events" doc:"Busy lamps, presence and waiting messages (SUBSCRIBE, PUBLISH). A change takes a restart."`
	Limits    Limits                  `yaml:"limits" doc:"What the exchange takes on."`
}

// Core is where the border connects.
type Core struct {
	Listen      netip.AddrPort `yaml:"listen" doc:"Address and port for the border. Only a certificate of this CA with the border's name is let in."`
	Certificate string         `yaml:"certificate" doc:"The exchange's certificate for the core link, PEM. Read again on SIGHUP."`
	Key         string         `yaml:"key" doc:"Its private key, PEM, mode 0600."`
	CA          string         `yaml:"ca" doc:"Certificate authority that the border's certificate comes from, PEM."`
	Border      string         `yaml:"border" doc:"Name that the border's certificate must have."`
}

// Phones is the inside.
type Phones struct {
	Interfaces []listen.Interface `yaml:"interfaces" doc:"Where phones on the inside connect: UDP, TCP, TLS."`
	TLS        listen.TLS         `yaml:"tls" doc:"What the exchange shows to phones over TLS."`
	Networks   []netip.Prefix     `yaml:"networks" doc:"Networks that phones may connect from. Empty: any; then the firewall must keep strangers out."`
}

// Media is where the exchange speaks and hears.
type Media struct {
	media.Config `yaml:",inline"`
}

// Trunk is a carrier.
type Trunk struct {
	Name      string `yaml:"name" doc:"Name of the trunk, the same as in the border's configuration."`
	Domain    string `yaml:"domain" doc:"Host part of the addresses that the carrier gets."`
	Username  string `yaml:"username" doc:"Answers the carrier's challenges; the password is in the secret store under trunk/NAME (pbx trunk passwd NAME)."`
	AuthRealm string `yaml:"auth_realm" doc:"The only digest realm that gets an answer. Empty: whichever the carrier names."`
	FromUser  string `yaml:"from_user" doc:"User part of From. Empty: the caller's number."`
	FromHost  string `yaml:"from_host" doc:"Host part of From. Empty: the trunk's domain."`

	Register time.Duration `yaml:"register" doc:"For how long at a time the exchange registers at the carrier as USERNAME@DOMAIN, so that calls come to us. The border's trunk needs register: true. 0: not at all."`
}

// Digest configures authentication.
type Digest struct {
	MD5       bool          `yaml:"md5" doc:"Keep an MD5 hash of each new password, too: many phones know no better. An account without one can only be used with SHA-256."`
	NonceLife time.Duration `yaml:"nonce_life" doc:"How long a challenge may be answered."`
}

// Limits is what the exchange takes on.
type Limits struct {
	Calls       int           `yaml:"calls" doc:"Calls at a time."`
	Connections int           `yaml:"connections" doc:"Connections per listening socket."`
	Contacts    int           `yaml:"contacts" doc:"Phones that may be registered for one extension at a time. Over it, the one whose registration ends first is forgotten."`
	MinExpires  time.Duration `yaml:"min_expires" doc:"Shortest registration that a phone may ask for."`
	MaxExpires  time.Duration `yaml:"max_expires" doc:"Longest registration that a phone gets."`
	Drain       time.Duration `yaml:"drain" doc:"How long calls may go on after TERM, while no new ones are taken; then they are hung up. A second TERM ends the program at once."`
	Ring        time.Duration `yaml:"ring" doc:"Longest time that a call rings."`
}

// Default is the configuration that holds where the file says nothing.
func Default() Config {
	return Config{
		State:     "/var/lib/brickhouse/pbx",
		Control:   "/run/brickhouse/pbx.sock",
		Log:       telemetry.DefaultLog(),
		API:       API{Audit: 365},
		Core:      Core{Border: "sbc.brickhouse.internal"},
		Phones:    Phones{TLS: listen.DefaultTLS()},
		Media:     Media{media.Config{MinPort: 12000, MaxPort: 12999, Silence: time.Minute}},
		Secrets:   secret.DefaultConfig(),
		Session:   b2bua.DefaultSession(),
		Events:    events.DefaultConfig(),
		Music:     music.DefaultConfig(),
		Mail:      mail.DefaultConfig(),
		Voicemail: voicemail.DefaultConfig(),
		Digest:    Digest{MD5: true, NonceLife: 5 * time.Minute},
		Limits: Limits{
			Calls: 10_000, Connections: 10_000, Contacts: 8,
			MinExpires: time.Minute, MaxExpires: time.Hour, Drain: 10 * time.Second, Ring: 3 * time.Minute,
		},
	}
}

// cdrDir is where the records go.
func (c *Config) cdrDir() string {
	if c.CDR != "" {
		return c.CDR
	}
	return filepath.Join(c.State, "cdr")
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
	bad(!filepath.IsAbs(c.State), "state", "is no absolute path", "give a directory as /var/lib/brickhouse/pbx")
	bad(!filepath.IsAbs(c.Control), "control", "is no absolute path", "give a path as /run/brickhouse/pbx.sock")
	bad(c.CDR != "" && !filepath.IsAbs(c.CDR), "cdr", "is no absolute path", "give a directory")
	bad(c.KeepCDR < 0 || c.KeepCDR > maxDays, "keep_cdr", fmt.Sprintf("is not from 0 to %d days", maxDays), "leave it away to keep them for ever")
	bad(c.Dialplan == "", "dialplan", "is missing", "name the file; quickstart writes one")
	bad(c.Limits.Drain < 0, "limits.drain", "is below 0", "leave it away")
	bad(c.Limits.Calls <= 0, "limits.calls", "must be above 0", "give the number of calls that this machine may carry")
	bad(c.Limits.Connections <= 0, "limits.connections", "must be above 0", "give a number")
	bad(c.Limits.Contacts <= 0, "limits.contacts", "must be above 0", "give a number")
	bad(c.Limits.MinExpires < time.Second || c.Limits.MinExpires > c.Limits.MaxExpires, "limits.min_expires", "must be at least 1s and at most max_expires", "leave it away")
	bad(c.Limits.Ring < time.Second, "limits.ring", "must be at least 1s", "leave it away")
	if err := c.Media.Validate(); err != nil {
		bad(true, "media", err.Error(), "leave it away")
	}
	bad(c.Digest.NonceLife < 10*time.Second, "digest.nonce_life", "must be at least 10s", "leave it away")
	bad(!c.Core.Listen.IsValid() && len(c.Phones.Interfaces) == 0, "phones.interfaces", "neither phones nor a border can reach the exchange", "name at least one interface, or core.listen")
	fs = append(fs, c.Mail.Check("mail")...)
	fs = append(fs, c.Session.Check()...)
	fs = append(fs, c.Events.Check("events")...)
	fs = append(fs, c.Voicemail.Check("voicemail")...)
	fs = append(fs, c.Core.check()...)
	fs = append(fs, c.API.check()...)
	taken := map[string]string{listen.Interface{Transport: "tls", Listen: c.Core.Listen}.Socket(): "core.listen"}
	fs = append(fs, listen.Check("phones", c.Phones.Interfaces, c.Phones.TLS, taken)...)
	fs = append(fs, listen.NoWebSocket("phones", c.Phones.Interfaces)...)
	return append(fs, c.trunks()...)
}

func (c *Core) identity() listen.Identity {
	return listen.Identity{Certificate: c.Certificate, Key: c.Key}
}

func (c *Core) check() []conffile.Fault {
	if !c.Listen.IsValid() {
		return nil // no border
	}
	var fs []conffile.Fault
	if c.Listen.Port() == 0 {
		fs = append(fs, conffile.Bad("core.listen", "has no port", "give it as 192.0.2.10:5070"))
	}
	for _, f := range []struct{ key, file string }{{"certificate", c.Certificate}, {"key", c.Key}, {"ca", c.CA}} {
		if f.file == "" {
			fs = append(fs, conffile.Bad("core."+f.key, "is missing", "name the PEM file; quickstart makes one"))
		}
	}
	if !listen.IsHost(c.Border) {
		fs = append(fs, conffile.Bad("core.border", fmt.Sprintf("%q is no host name", c.Border), "give the name in the border's certificate"))
	}
	return fs
}

func (c *Config) trunks() []conffile.Fault {
	var fs []conffile.Fault
	seen := map[string]bool{}
	for i, t := range c.Trunks {
		key := fmt.Sprintf("trunks[%d]", i)
		if !corelink.IsTrunkName(t.Name) {
			fs = append(fs, conffile.Bad(key+".name", fmt.Sprintf("%q is no name", t.Name), "use letters, digits, - and _"))
		}
		if seen[t.Name] {
			fs = append(fs, conffile.Bad(key+".name", fmt.Sprintf("%q stands twice", t.Name), "give each trunk a name of its own"))
		}
		seen[t.Name] = true
		if !listen.IsHost(t.Domain) {
			fs = append(fs, conffile.Bad(key+".domain", fmt.Sprintf("%q is no host name", t.Domain), "name the carrier's domain or gateway"))
		}
		if t.FromHost != "" && !listen.IsHost(t.FromHost) {
			fs = append(fs, conffile.Bad(key+".from_host", fmt.Sprintf("%q is no host name", t.FromHost), "give the host part alone"))
		}
		if strings.Trim(t.FromUser, userBytes) != "" {
			fs = append(fs, conffile.Bad(key+".from_user", fmt.Sprintf("%q is no user part", t.FromUser), "give the number or the account's name"))
		}
		fs = append(fs, t.registration(key)...)
	}
	return fs
}

// registration checks what the trunk registers as, and for how long.
func (t *Trunk) registration(key string) []conffile.Fault {
	var fs []conffile.Fault
	if t.Register != 0 && (t.Register < time.Minute || t.Register > 24*time.Hour) {
		fs = append(fs, conffile.Bad(key+".register", "is neither 0 nor from 1m to 24h", "give it as 10m"))
	}
	if t.Register != 0 && (t.Username == "" || strings.Trim(t.Username, userBytes) != "") {
		fs = append(fs, conffile.Bad(key+".username", fmt.Sprintf("%q can't be registered", t.Username), "give the account's name at the carrier"))
	}
	return fs
}

// userBytes are those that need no escape in the user part of a URI (RFC 3261 §25.1).
const userBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$"

// checkDialplan says which rules name trunks that the configuration does not have.
func (c *Config) checkDialplan(p *dialplan.Plan) error {
	known := map[string]bool{}
	for _, t := range c.Trunks {
		known[t.Name] = true
	}
	for _, name := range p.Trunks() {
		if !known[name] {
			return conffile.Faults{conffile.Fault{File: c.Dialplan, Problem: fmt.Sprintf("trunk %q is not in the configuration", name), Remedy: "add it to trunks, or mend the rule"}}
		}
	}
	return nil
}
