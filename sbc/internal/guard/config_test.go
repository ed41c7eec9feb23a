package guard

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/bpf"
	"brickhouse/sbc/internal/score"
	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestDefault(t *testing.T) {
	if fs := Default().Check(); len(fs) > 0 {
		t.Errorf("%v", fs)
	}
	if r := Default().Rules[0]; r.Threshold != 5 || r.Window != time.Minute || r.Ban != 5*time.Minute || r.Weights[verdict.BadCredentials] != 1 ||
		r.Weights[verdict.UnknownUser] != 1 {
		t.Errorf("%+v", r)
	}
}

func TestConfigFaults(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"xdp.mode":                         func(c *Config) { c.XDP.Mode = "fast" },
		"xdp.interfaces":                   func(c *Config) { c.XDP.Mode = XDPNative },
		"xdp.interfaces[0]":                func(c *Config) { c.XDP.Interfaces = []string{"a-name-that-is-too-long"} },
		"xdp.interfaces[1]":                func(c *Config) { c.XDP.Interfaces = []string{"eth0", "eth0"} },
		"xdp.bpffs":                        func(c *Config) { c.XDP.BPFFS = "sys/fs/bpf" },
		"xdp.name":                         func(c *Config) { c.XDP.Name = "a.b" },
		"xdp.samples":                      func(c *Config) { c.XDP.Samples = -1 },
		"allow[0]":                         func(c *Config) { c.Allow = []netip.Prefix{prefix("0.0.0.0/0")} },
		"rules[6].name":                    func(c *Config) { c.Rules = append(c.Rules, c.Rules[0]) },
		"rules[0].name":                    func(c *Config) { c.Rules[0].Name = "" },
		"rules[0].weights":                 func(c *Config) { c.Rules[0].Weights = nil },
		"rules[0].weights.bad-credentials": func(c *Config) { c.Rules[0].Weights[verdict.BadCredentials] = 0 },
		"rules[0].weights.bad-credential":  func(c *Config) { c.Rules[0].Weights["bad-credential"] = 1 },
		"rules[0].weights.manual":          func(c *Config) { c.Rules[0].Weights[verdict.ManualBan] = 1 },
		"rules[0].window":                  func(c *Config) { c.Rules[0].Window = 0 },
		"rules[0].threshold":               func(c *Config) { c.Rules[0].Threshold = 1001 },
		"rules[0].ban":                     func(c *Config) { c.Rules[0].Ban = -1 },
		"rules[0].growth":                  func(c *Config) { c.Rules[0].Growth = 0.5 },
		"rules[0].ceiling":                 func(c *Config) { c.Rules[0].Ceiling = time.Minute },
		"rules[0].memory":                  func(c *Config) { c.Rules[0].Memory = -1 },
		"rules[0].office":                  func(c *Config) { c.Rules[0].Office = -1 },
		"rules[0].weights.scanner-signature": func(c *Config) {
			c.Rules[0].Weights = map[verdict.Reason]int{verdict.ScannerSignature: 1}
		},
		"rules[1].weights.scanner-signature": func(c *Config) { c.Rules[1].Threshold = 1 },
		"breaker.bans":                       func(c *Config) { c.Breaker.Bans = 0 },
		"breaker.share":                      func(c *Config) { c.Breaker.Share = 1.5 },
		"breaker.least":                      func(c *Config) { c.Breaker.Least = -1 },
		"breaker.cooldown":                   func(c *Config) { c.Breaker.Cooldown = 0 },
		"record.max_size":                    func(c *Config) { c.Record.MaxSize = 1 },
		"max_known":                          func(c *Config) { c.MaxKnown = 0 },
		"rules":                              func(c *Config) { c.Rules = manyRules(33) },
		"hold":                               func(c *Config) { c.Hold = time.Hour },
		"max_bans":                           func(c *Config) { c.MaxBans = 2_000_000 },
		"max_scores":                         func(c *Config) { c.MaxScores = 0 },
		"max_holds":                          func(c *Config) { c.MaxHolds = 0 },
		"evidence":                           func(c *Config) { c.Evidence = 51 },
		"rates.source.burst":                 func(c *Config) { c.Rates.Source.Burst = 0 },
		"rates.known.rate":                   func(c *Config) { c.Rates.Known.Rate = -1 },
		"fragments":                          func(c *Config) { c.Fragments = "some" },
		"monitor[0]":                         func(c *Config) { c.Monitor = []verdict.Reason{verdict.Busy} },
	} {
		c := Default()
		change(&c)
		fs := c.Check()
		if len(fs) != 1 || fs[0].Key != key || fs[0].Problem == "" {
			t.Errorf("%s: %v", key, fs)
		}
		if _, err := Open(c, Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A rule in a file needs to name only what is its own; the rest has its default, and 0 where it means something stays 0.
func TestRuleInFile(t *testing.T) {
	cfg := Default()
	_, err := conffile.Parse("f", []byte(`
rules:
  - {name: a, weights: {bad-credentials: 1}, window: 1m, threshold: 5, ban: 5m}
  - {name: b, weights: {media-stranger: 1, scanner-signature: 2}, window: 1m, threshold: 5, ban: 5m, growth: 1.5, ceiling: 1h, memory: 24h, monitor: true, office: 0}
breaker: {share: 0.1}
record: {max_size: 1MiB}
`), &cfg)
	must(t, err)
	if fs := cfg.Check(); len(fs) > 0 {
		t.Error(fs)
	}
	a, b := cfg.Rules[0], cfg.Rules[1]
	if a.Growth != 2 || a.Ceiling != 24*time.Hour || a.Memory != 720*time.Hour || a.Office != 10 || a.Monitor {
		t.Errorf("%+v", a)
	}
	if b.Growth != 1.5 || b.Ceiling != time.Hour || b.Memory != 24*time.Hour || b.Office != 0 || !b.Monitor {
		t.Errorf("%+v", b)
	}
	if cfg.Breaker.Share != 0.1 || cfg.Breaker.Bans != 600 || !cfg.Record.On || cfg.Record.MaxSize != conffile.MiB {
		t.Errorf("%+v %+v", cfg.Breaker, cfg.Record)
	}
}

func manyRules(n int) []Rule {
	var rs []Rule
	for i := range n {
		r := Default().Rules[0]
		r.Name = fmt.Sprint(i)
		rs = append(rs, r)
	}
	return rs
}

// Each reason of the transport and the sanitizer can be weighed, but for those that are ours and not the sender's, and for what any page
// can have its visitors' browsers send.
func TestOffences(t *testing.T) {
	src, err := os.ReadFile("../../../shared/verdict/reason.go")
	must(t, err)
	_, rest, ok := strings.Cut(string(src), "// Reasons of the transport")
	scored, _, ok2 := strings.Cut(rest, "// Reasons that the guard scores")
	if !ok || !ok2 {
		t.Fatal("reason.go is arranged otherwise")
	}
	for _, m := range regexp.MustCompile(`Reason = "([a-z0-9-]+)"`).FindAllStringSubmatch(scored, -1) {
		r := verdict.Reason(m[1])
		spared := slices.Contains([]verdict.Reason{verdict.Overload, verdict.Internal, verdict.Amplification, verdict.UpgradeFailed, verdict.OriginRefused}, r)
		if score.IsOffence(r) == spared {
			t.Errorf("%s: an offence: %v", r, !spared)
		}
	}
}

// The kernel's reasons are the words of all.
func TestReasons(t *testing.T) {
	for _, r := range bpf.Reasons() {
		word, ok := reasonOf[r]
		if !ok || string(word) != r.String() {
			t.Errorf("the kernel's %q is %q here", r, word)
		}
	}
	if len(reasonOf) != len(bpf.Reasons()) {
		t.Errorf("%d reasons here, %d in the kernel", len(reasonOf), len(bpf.Reasons()))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("100@example.com", 64)
	f.Add("\x1b[2J\u202eevil\r\n\x00", 8)
	f.Add("ääääää", 5)
	f.Add("\xff\xfe", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 1 + (limit&0xff+0xff)%0xff
		got := clean(s, limit)
		if len(got) > limit || clean(got, limit) != got {
			t.Errorf("%q, %d: %q", s, limit, got)
		}
		for _, r := range got {
			if r < ' ' || r == 0x7f || r == '\u202e' || r == '\ufffd' {
				t.Errorf("%q: %q holds %q", s, got, r)
			}
		}
	})
}
