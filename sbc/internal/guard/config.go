package guard

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"

	"brickhouse/sbc/internal/score"
	"brickhouse/shared/conffile"
)

// Config is the guard's part of the border's configuration.
type Config struct {
	XDP       XDP            `yaml:"xdp" doc:"The kernel filter. Without it the same bans work in user space, only dearer per packet."`
	Allow     []netip.Prefix `yaml:"allow" doc:"Networks and addresses that are never banned and never scored: operators, monitoring. Trunks, the exchange and the border's own addresses are on the list anyway."`
	Rules     []Rule         `yaml:"rules" doc:"When to ban. Each rule counts by itself; the first to reach its threshold bans."`
	Hold      time.Duration  `yaml:"hold" doc:"How long a source is held, by address and port, where it can't be banned: it is unverified (UDP that never echoed a nonce), or good registrations live behind its address."`
	Breaker   score.Breaker  `yaml:"breaker" doc:"When rules ban too many at once to be right. Bans that persons make are not concerned."`
	Record    Recording      `yaml:"record" doc:"The record of offences, for replay."`
	MaxBans   int            `yaml:"max_bans" doc:"Most bans at a time, IPv4 and IPv6 each. Over it, no rule bans any more and the log says so."`
	MaxScores int            `yaml:"max_scores" doc:"Most sources that are scored at a time: verified ones, their flows and accounts, and unverified ones, each. Over it, the one that was quiet longest is forgotten."`
	MaxKnown  int            `yaml:"max_known" doc:"Most registrations that are remembered to tell good sources. Over it, the one that ends first is forgotten."`
	MaxHolds  int            `yaml:"max_holds" doc:"Most holds at a time. Over it, the oldest ends."`
	Evidence  int            `yaml:"evidence" doc:"How many of a source's last offences are kept to explain a ban."`
}

// XDP configures the kernel filter.
type XDP struct {
	Mode       XDPMode  `yaml:"mode" doc:"auto: native, else generic, else user space, and the log says why. native or generic: that or no start. off: user space."`
	Interfaces []string `yaml:"interfaces" doc:"Network interfaces to filter on, those that face the outside. lo works too (generic)."`
	BPFFS      string   `yaml:"bpffs" doc:"Where the BPF file system is, or is to be mounted. Bans outlive the program only if this mount does."`
	Name       string   `yaml:"name" doc:"Directory in the BPF file system that holds filter and bans. Each border on a machine needs its own."`
	Monitor    bool     `yaml:"monitor" doc:"Count and report what would be dropped, but drop nothing."`
	Samples    int      `yaml:"samples" doc:"Most drop samples per second and CPU for 'sbc ban watch'; 0 for none."`
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
		XDP:       XDP{Mode: XDPAuto, BPFFS: "/sys/fs/bpf", Name: "brickhouse", Samples: 100},
		Rules:     sc.Rules,
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

// Bounds of what the configuration may say. maxBans is what the kernel's tables take.
const (
	maxBans  = 131_072
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
	fs = append(fs, c.Record.check()...)
	bad(c.MaxBans > 0 && c.MaxBans <= maxBans, "max_bans", "%d is not between 1 and %d", c.MaxBans, maxBans)
	bad(c.MaxKnown > 0 && c.MaxKnown <= maxTable, "max_known", "%d is not between 1 and %d", c.MaxKnown, maxTable)
	bad(c.MaxHolds > 0 && c.MaxHolds <= maxTable, "max_holds", "%d is not between 1 and %d", c.MaxHolds, maxTable)
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
