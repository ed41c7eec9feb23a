package trunk

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/sbc/internal/route"
)

// rig is a set of trunks whose names, gateways and clock the test has in hand.
type rig struct {
	*testing.T
	set  *Set
	file string

	mu      sync.Mutex
	now     time.Time
	names   map[string][]string // host → addresses; a missing one leads nowhere
	answers map[string]Result   // address → what an OPTIONS finds
	asked   []string
}

func newRig(t *testing.T, list ...Config) *rig {
	t.Helper()
	r := &rig{T: t, file: filepath.Join(t.TempDir(), "trunks.json"), now: time.Unix(1e9, 0), names: map[string][]string{}, answers: map[string]Result{}}
	r.open(list...)
	return r
}

func (r *rig) open(list ...Config) {
	r.Helper()
	set, err := Open(Options{
		File: r.file, Locator: r, Now: r.clock, Random: func(int) int { return 0 }, Log: slog.New(slog.DiscardHandler),
		Probe: func(_ context.Context, _ *Trunk, h route.Hop) Result {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asked = append(r.asked, h.Addr.Addr().String())
			return r.answers[h.Addr.Addr().String()]
		},
	})
	if err != nil {
		r.Fatal(err)
	}
	if err := set.Configure(list); err != nil {
		r.Fatal(err)
	}
	r.set = set
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// Locate is the Locator.
func (r *rig) Locate(_ context.Context, g route.Gateway) (out []route.Hop, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.names[g.Host]
	if !g.Named() {
		list = []string{g.Host}
	}
	for _, a := range list {
		out = append(out, route.Hop{Network: g.Network, Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 5060), Host: g.Host})
	}
	if len(out) == 0 {
		err = route.ErrNoHop
	}
	return out, err
}

func carrier(gateways ...string) Config {
	c := Config{Name: "carrier"}
	c.SetDefaults()
	for n, g := range gateways {
		c.Gateways = append(c.Gateways, Gateway{Address: g, Transport: route.UDP, Priority: n, Weight: 1})
	}
	return c
}

func (r *rig) trunk() *Trunk {
	r.Helper()
	t, ok := r.set.Trunk("carrier")
	if !ok {
		r.Fatal("no trunk")
	}
	return t
}

// chosen are the addresses that a call would try.
func (r *rig) chosen() string {
	r.Helper()
	choices, err := r.trunk().Choose(r.Context())
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, c := range choices {
		out = append(out, c.Hop.Addr.Addr().String())
	}
	return strings.Join(out, " ")
}

func (r *rig) wants(want string) {
	r.Helper()
	if got := r.chosen(); got != want {
		r.Errorf("calls go to %q, want %q", got, want)
	}
}

// report is what n calls find out about an address.
func (r *rig) report(addr string, n int, res Result) {
	r.Helper()
	hops, err := r.Locate(r.Context(), route.Gateway{Host: addr, Network: route.UDP})
	if err != nil {
		r.Fatal(err)
	}
	for range n {
		r.trunk().Report(hops[0], res)
	}
}

var silence = Result{Err: errors.New("silence")}

// A gateway that does not answer is left out after three calls, and not before; with none left the trunk says so at once.
func TestDown(t *testing.T) {
	r := newRig(t, carrier("192.0.2.1", "192.0.2.2"))
	r.wants("192.0.2.1 192.0.2.2")
	r.report("192.0.2.1", 2, silence)
	r.wants("192.0.2.1 192.0.2.2")
	r.report("192.0.2.1", 1, silence)
	r.wants("192.0.2.2")
	r.report("192.0.2.2", 3, silence)
	r.wants(ErrDown.Error())
	if s := r.set.List()[0]; s.State != Down || s.Gateways[0].State != Down {
		t.Errorf("%+v", s)
	}
	// One call a minute may try, where no OPTIONS goes to gateways that are well.
	r.pass(trialAfter)
	r.wants("192.0.2.1")
	r.wants("192.0.2.2")
	r.wants(ErrDown.Error())
}

// What a callee says is nothing that a gateway is to blame for.
func TestRefusalsAreLife(t *testing.T) {
	r := newRig(t, carrier("192.0.2.1"))
	for _, code := range []int{200, 404, 486, 500, 503, 603} {
		r.report("192.0.2.1", 3, Result{Code: code})
		r.wants("192.0.2.1")
	}
}

// A gateway that is down is asked until it has answered twice, and is used again.
func TestRecovers(t *testing.T) {
	c := carrier("192.0.2.1")
	r := newRig(t, c)
	r.wants("192.0.2.1")
	r.answers["192.0.2.1"] = silence
	r.report("192.0.2.1", 3, silence)
	for n, want := range []string{ErrDown.Error(), ErrDown.Error(), ErrDown.Error(), "192.0.2.1"} {
		if n == 2 {
			r.answers["192.0.2.1"] = Result{Code: 200}
		}
		for _, g := range r.trunk().gateways {
			r.trunk().round(t.Context(), g)
		}
		r.wants(want)
	}
	r.asked = nil
	for _, g := range r.trunk().gateways {
		r.trunk().round(t.Context(), g)
	}
	if len(r.asked) != 0 {
		t.Errorf("%v is asked although it is well", r.asked)
	}
}

// Who answers OPTIONS with 503 is not used; with 404 it is.
func TestProbeAnswers(t *testing.T) {
	for code, alive := range map[int]bool{200: true, 404: true, 405: true, 408: false, 503: false, 0: false} {
		if got := (Result{Code: code}).Alive(); got != alive {
			t.Errorf("%d: alive %v", code, got)
		}
	}
}

// The run of a set asks by itself, and a round ends when a set does.
func TestRun(t *testing.T) {
	c := carrier("192.0.2.1", "gw.example.com")
	c.Health.Interval, c.Health.Retry = time.Hour, time.Millisecond
	r := newRig(t, c)
	r.names["gw.example.com"] = []string{"192.0.2.7", "192.0.2.8"}
	r.answers["192.0.2.1"] = Result{Code: 200}
	r.answers["192.0.2.7"] = Result{Code: 200}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.set.Run(ctx) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if r.chosen() == "192.0.2.1 192.0.2.7" { // the third failure in a row counts
			break
		}
		if time.Now().After(end) {
			t.Fatalf("calls go to %q", r.chosen())
		}
	}
	cancel()
	<-done
}

// What is known of a gateway outlives a reload, that a trunk is disabled a restart, too.
func TestReloadAndRestart(t *testing.T) {
	c := carrier("192.0.2.1", "192.0.2.2")
	r := newRig(t, c)
	if err := r.set.SetEnabled("carrier", false); err != nil {
		t.Fatal(err)
	}
	if err := r.set.SetEnabled("nobody", false); !errors.Is(err, ErrNoTrunk) {
		t.Error(err)
	}
	if err := r.set.Configure([]Config{c}); err != nil {
		t.Fatal(err)
	}
	r.wants(ErrDisabled.Error())
	r.open(c)
	r.wants(ErrDisabled.Error())
	if s := r.set.List()[0].State; s != Disabled {
		t.Error(s)
	}
	if err := r.set.SetEnabled("carrier", true); err != nil {
		t.Fatal(err)
	}
	r.wants("192.0.2.1 192.0.2.2")
	r.report("192.0.2.1", 3, silence)
	if err := r.set.Configure([]Config{c}); err != nil {
		t.Fatal(err)
	}
	r.wants("192.0.2.2")
	if err := os.WriteFile(r.file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{File: r.file}); err == nil || !strings.Contains(err.Error(), r.file) {
		t.Error(err)
	}
}

// A test says what each address answers, and of a name that leads nowhere that it does.
func TestTest(t *testing.T) {
	r := newRig(t, carrier("192.0.2.1", "gw.example.com", "192.0.2.3"))
	r.answers["192.0.2.1"] = Result{Code: 200}
	r.answers["192.0.2.3"] = silence
	got := r.trunk().Test(t.Context())
	if len(got) != 3 || !got[0].Alive || got[0].Code != 200 || got[1].Hop != "" || got[1].Error == "" || got[2].Alive || got[2].Error != "silence" {
		t.Errorf("%+v", got)
	}
}

// Sources are bounded and expire.
func TestSources(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := NewSources(func() time.Time { return now })
	a := netip.MustParseAddr("10.0.0.0")
	for range maxLearned + 10 {
		s.Learn(a, "carrier")
		a = a.Next()
	}
	if len(s.by) > maxLearned {
		t.Errorf("%d are learned", len(s.by))
	}
	last := a.Prev()
	if name, ok := s.Trunk(last); !ok || name != "carrier" {
		t.Errorf("%q %v", name, ok)
	}
	if now = now.Add(learnedFor); true {
		if _, ok := s.Trunk(last); ok {
			t.Error("it is known for ever")
		}
	}
}

func TestCheck(t *testing.T) {
	has := func(transport string) bool { return transport == route.UDP }
	good := carrier("192.0.2.1")
	if fs := Check("peer.trunks", []Config{good}, has); len(fs) > 0 {
		t.Fatal(fs)
	}
	for key, change := range map[string]func(*Config){
		".name":                func(c *Config) { c.Name = "a b" },
		".gateways":            func(c *Config) { c.Gateways = nil },
		".gateways[0].address": func(c *Config) { c.Gateways[0].Address = "a b" },
		".gateways[0].weight":  func(c *Config) { c.Gateways[0].Weight = -1 },
		".gateways[0].priority": func(c *Config) {
			c.Gateways[0].Priority = maxWeight + 1
		},
		".gateways[0].transport": func(c *Config) { c.Gateways[0].Transport = route.TLS },
		".sources":               func(c *Config) { c.Gateways[0].Address = "gw.example.com" },
		".tls_names":             func(c *Config) { c.TLSNames = []string{"gw.example.com"} },
		".failover.codes":        func(c *Config) { c.Failover.Codes = []int{486} },
		".failover.after":        func(c *Config) { c.Failover.After = time.Minute },
		".health.interval":       func(c *Config) { c.Health.Interval = time.Millisecond },
		".health.retry":          func(c *Config) { c.Health.Retry = 0 },
		".health.timeout":        func(c *Config) { c.Health.Timeout = 0 },
		".health.down":           func(c *Config) { c.Health.Down = 0 },
		".limits":                func(c *Config) { c.Limits.Calls = -1 },
	} {
		c := good
		c.Gateways = slices.Clone(good.Gateways)
		change(&c)
		fs := Check("peer.trunks", []Config{c}, has)
		if len(fs) == 0 || fs[0].Key != "peer.trunks[0]"+key {
			t.Errorf("%s: %v", key, fs)
		}
	}
}
