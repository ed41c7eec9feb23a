package guard

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"brickhouse/sbc/internal/score"
	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// Config is the guard's part of the border's configuration.
type Config struct {
	XDP       XDP              `yaml:"xdp" doc:"The kernel filter. Without it the same bans work in user space, only dearer per packet."`
	Allow     []netip.Prefix   `yaml:"allow" doc:"Networks and addresses that are never banned and never scored: operators, monitoring. Trunks, the exchange and the border's own addresses are on the list anyway."`
	Rules     []Rule           `yaml:"rules" doc:"When to ban. Each rule counts by itself; the first to reach its threshold bans."`
	Rates     Rates            `yaml:"rates" doc:"How much may come. Sources on the never-ban list are not asked."`
	Fragments FragmentPolicy   `yaml:"fragments" oneof:"rate|drop|pass" doc:"IP fragments after the first, which show no port. rate: they count as SIP datagrams of their source. Kernel filter only."`
	Pinholes  bool             `yaml:"pinholes" doc:"Drop datagrams to media ports that no call uses, in the kernel filter. It stays off where the system takes media ports for itself (net.ipv4.ip_local_port_range), and says so."`
	Monitor   []verdict.Reason `yaml:"monitor" doc:"Reasons for which nothing is dropped, only counted: host-banned, network-banned, bad-packet, too-many-tags, martian-source, fragment, extension-chain, port-closed, not-sip, source-rate, strangers-rate, connection-rate."`
	Hold      time.Duration    `yaml:"hold" doc:"How long a source is held, by address and port, where it can't be banned: it is unverified (UDP that never echoed a nonce), or good registrations live behind its address."`
	Breaker   score.Breaker    `yaml:"breaker" doc:"When rules ban too many at once to be right. Bans that persons make are not concerned."`
	Record    Recording        `yaml:"record" doc:"The record of offences, for replay."`
	MaxBans   int              `yaml:"max_bans" doc:"Most bans at a time, IPv4 and IPv6 each. Over it, no rule bans any more and the log says so."`
	MaxScores int              `yaml:"max_scores" doc:"Most sources that are scored at a time: verified ones, their flows and accounts, and unverified ones, each. Over it, the one that was quiet longest is forgotten."`
	MaxKnown  int              `yaml:"max_known" doc:"Most registrations that are remembered to tell good sources. Over it, the one that ends first is forgotten."`
	MaxHolds  int              `yaml:"max_holds" doc:"Most holds at a time. Over it, the oldest ends."`
	Evidence  int              `yaml:"evidence" doc:"How many of a source's last offences are kept to explain a ban."`
}

// XDP configures the kernel filter.
type XDP struct {
	Mode       XDPMode  `yaml:"mode" doc:"auto: native, else generic, else user space, and the log says why. native or generic: that or no start. off: user space."`
	Interfaces []string `yaml:"interfaces" doc:"Network interfaces to filter on, those that face the outside. lo works too (generic)."`
	BPFFS      string   `yaml:"bpffs" doc:"Where the BPF file system is, or is to be mounted. Bans outlive the program only if this mount does."`
	Name       string   `yaml:"name" doc:"Directory in the BPF file system that holds filter and bans. Each border on a machine needs its own."`
	Monitor    bool     `yaml:"monitor" doc:"Count and report what would be dropped, but drop nothing."`
	Samples    int      `yaml:"samples" doc:"Most samples of packets per second and CPU, for 'sbc ban watch' and 'top' and for the log; 0 for none."`
}

// Rates are the limits of what sources may send. A rate of 0 is no limit.
type Rates struct {
	Source      Rate `yaml:"source" doc:"SIP datagrams of one address that nobody registered from (IPv6: of one /64)."`
	Known       Rate `yaml:"known" doc:"SIP datagrams, or new TCP and TLS connections, of an address that good registrations live behind."`
	Strangers   Rate `yaml:"strangers" doc:"SIP datagrams of all addresses together that nobody registered from."`
	Connections Rate `yaml:"connections" doc:"New TCP and TLS connections of one address that nobody registered from."`
	Limited     Rate `yaml:"limited" doc:"SIP datagrams or new connections of an address that would be banned, while the circuit breaker is open."`
}

// Rate is a limit.
type Rate struct {
	Rate  float64 `yaml:"rate" doc:"How many a second."`
	Burst int     `yaml:"burst" doc:"How many may come at once."`
}

// FragmentPolicy says what becomes of fragments after the first.
type FragmentPolicy string

// The policies.
const (
	FragmentsRate FragmentPolicy = "rate"
	FragmentsDrop FragmentPolicy = "drop"
	FragmentsPass FragmentPolicy = "pass"
)

// monitored are the reasons for which nothing is dropped.
func (c Config) monitored() map[verdict.Reason]bool {
	m := map[verdict.Reason]bool{}
	for _, r := range c.Monitor {
		m[r] = true
	}
	if c.XDP.Monitor {
		for _, r := range reasonOf {
			m[r] = r != verdict.None
		}
		for _, r := range userReasons {
			m[r] = true
		}
	}
	return m
}

// XDPMode is how the kernel filter is to be attached.
type XDPMode string

// The ways to attach.
const (
	XDPAuto    XDPMode = "auto"
	XDPNative  XDPMode = "native"
	XDPGeneric XDPMode = "generic"
	XDPOff     XDPMode = "off"
)

// Default is the configuration that holds where the file says nothing.
func Default() Config {
	sc := score.Default()
	return Config{
		XDP:   XDP{Mode: XDPAuto, BPFFS: "/sys/fs/bpf", Name: "brickhouse", Samples: 100},
		Rules: sc.Rules,
		Rates: Rates{
			Source: Rate{50, 200}, Known: Rate{1000, 4000}, Strangers: Rate{5000, 10_000}, Connections: Rate{20, 100}, Limited: Rate{1, 5},
		},
		Fragments: FragmentsRate,
		Pinholes:  true,
		Hold:      sc.Hold,
		Breaker:   sc.Breaker,
		Record:    Recording{On: true, MaxSize: 64 * conffile.MiB},
		MaxBans:   100_000,
		MaxScores: sc.MaxScores,
		MaxKnown:  131_072,
		MaxHolds:  16_384,
		Evidence:  sc.Evidence,
	}
}

// Bounds of what the configuration may say.
const (
	maxBans  = 1_000_000
	maxTable = 1 << 20
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Key     string // path of the key below the guard's own, as "rules[0].window"
	Problem string // what is wrong, and what would be right
}

// Error is "key: problem".
func (f Fault) Error() string { return f.Key + ": " + f.Problem }

var pinName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$`) // BPF file systems take no dots in names

// Check returns everything that is wrong with c; none means that c is usable.
func (c Config) Check() []Fault {
	var fs []Fault
	bad := func(ok bool, key, format string, a ...any) {
		if !ok {
			fs = append(fs, Fault{key, fmt.Sprintf(format, a...)})
		}
	}
	fs = append(fs, c.XDP.check()...)
	for i, p := range c.Allow {
		bad(p.IsValid() && p.Bits() > 0, fmt.Sprintf("allow[%d]", i), "%s is no network that can be allowed; to drop nothing at all, set xdp.monitor", p)
	}
	for _, f := range c.Scoring().Check() {
		fs = append(fs, Fault(f))
	}
	fs = append(fs, c.Rates.check()...)
	bad(c.Fragments == FragmentsRate || c.Fragments == FragmentsDrop || c.Fragments == FragmentsPass, "fragments", "%q is none of rate, drop, pass", c.Fragments)
	for i, r := range c.Monitor {
		known := slices.Contains(userReasons[:], r)
		for _, k := range reasonOf {
			known = known || (k == r && r != verdict.None)
		}
		bad(known, fmt.Sprintf("monitor[%d]", i), "%q is no reason that the filter drops for; use of %s", r, strings.Trim(fmt.Sprint(KernelReasons()), "[]"))
	}
	fs = append(fs, c.Record.check()...)
	bad(c.MaxBans > 0 && c.MaxBans <= maxBans, "max_bans", "%d is not between 1 and %d", c.MaxBans, maxBans)
	bad(c.MaxKnown > 0 && c.MaxKnown <= maxTable, "max_known", "%d is not between 1 and %d", c.MaxKnown, maxTable)
	bad(c.MaxHolds > 0 && c.MaxHolds <= maxTable, "max_holds", "%d is not between 1 and %d", c.MaxHolds, maxTable)
	return fs
}

func (r Rates) check() []Fault {
	var fs []Fault
	for _, one := range []struct {
		key string
		Rate
	}{{"source", r.Source}, {"known", r.Known}, {"strangers", r.Strangers}, {"connections", r.Connections}, {"limited", r.Limited}} {
		if one.Rate.Rate < 0 || one.Rate.Rate > 1e7 {
			fs = append(fs, Fault{"rates." + one.key + ".rate", fmt.Sprintf("%v is not between 0 and 10000000", one.Rate.Rate)})
		}
		if one.Burst < 0 || one.Burst > 1e7 || (one.Burst == 0 && one.Rate.Rate > 0) {
			fs = append(fs, Fault{"rates." + one.key + ".burst", fmt.Sprintf("%d is not between 1 and 10000000", one.Burst)})
		}
	}
	return fs
}

func (x XDP) check() []Fault {
	var fs []Fault
	switch x.Mode {
	case XDPAuto, XDPNative, XDPGeneric, XDPOff:
	default:
		fs = append(fs, Fault{"xdp.mode", fmt.Sprintf("%q is none of auto, native, generic, off", x.Mode)})
	}
	seen := map[string]bool{}
	for i, n := range x.Interfaces {
		key := fmt.Sprintf("xdp.interfaces[%d]", i)
		if n == "" || len(n) > 15 {
			fs = append(fs, Fault{key, fmt.Sprintf("%q is no interface name", n)})
		}
		if seen[n] {
			fs = append(fs, Fault{key, fmt.Sprintf("%q stands twice", n)})
		}
		seen[n] = true
	}
	if (x.Mode == XDPNative || x.Mode == XDPGeneric) && len(x.Interfaces) == 0 {
		fs = append(fs, Fault{"xdp.interfaces", fmt.Sprintf("mode %s needs at least one interface", x.Mode)})
	}
	if !filepath.IsAbs(x.BPFFS) {
		fs = append(fs, Fault{"xdp.bpffs", fmt.Sprintf("%q is no absolute path", x.BPFFS)})
	}
	if !pinName.MatchString(x.Name) {
		fs = append(fs, Fault{"xdp.name", fmt.Sprintf("%q: letters, digits, - and _ only", x.Name)})
	}
	if x.Samples < 0 || x.Samples > 10_000 {
		fs = append(fs, Fault{"xdp.samples", fmt.Sprintf("%d is not between 0 and 10000", x.Samples)})
	}
	return fs
}
