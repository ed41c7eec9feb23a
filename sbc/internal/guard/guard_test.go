package guard

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hand is a clock that moves when it is told to.
type hand struct {
	mu sync.Mutex
	t  time.Time
}

func newHand() *hand { return &hand{t: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (h *hand) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.t
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t = h.t.Add(d)
}

func userSpace() Config {
	cfg := Default()
	cfg.XDP.Mode, cfg.Rules, cfg.Rates = XDPOff, cfg.Rules[:1], Rates{}
	return cfg
}

func open(t testing.TB, cfg Config, o Options) *Guard {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	g, err := Open(cfg, o)
	must(t, err)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// fail makes n failed logins of a verified source.
func fail(g *Guard, src string, n int) {
	for range n {
		g.Offence(Offence{Source: netip.AddrPortFrom(addr(src), 40000), Verified: true, Reason: verdict.BadCredentials, AOR: "100@example.com"})
	}
}

func expectAdmit(t *testing.T, g *Guard, src string, want verdict.Verdict) {
	t.Helper()
	if got := g.Admit(addr(src)); got != want {
		t.Errorf("%s: %v, want %v", src, got, want)
	}
}

var hostBanned = verdict.Dropped(verdict.HostBanned)

// The fifth failure within a minute bans for five minutes, by itself it ends, and Why tells all of it.
func TestLoginRule(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	for i := range 4 {
		g.Offence(Offence{Source: netip.MustParseAddrPort("192.0.2.7:40000"), Verified: true, Reason: verdict.UnknownUser,
			AOR: "10" + string(rune('0'+i)) + "@example.com", Detail: "REGISTER", Interface: "tls"})
		h.move(10 * time.Second)
	}
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	e, known := g.Why(addr("192.0.2.7"))
	if !known || len(e.Scores) != 1 || e.Scores[0] != (Score{Rule: "logins", Sum: 4, Threshold: 5, Window: time.Minute, Verified: true}) || len(e.Evidence) != 4 || e.Outcome != "pass" {
		t.Errorf("before the ban: %+v", e)
	}
	fail(g, "192.0.2.7", 1)
	expectAdmit(t, g, "192.0.2.7", hostBanned)
	expectAdmit(t, g, "::ffff:192.0.2.7", hostBanned)
	expectAdmit(t, g, "192.0.2.8", verdict.Passed)
	h.move(time.Minute)
	e, _ = g.Why(addr("192.0.2.7"))
	if e.Outcome != "drop: host-banned" || len(e.Bans) != 1 {
		t.Fatalf("%+v", e)
	}
	b := e.Bans[0]
	if b.Prefix != prefix("192.0.2.7/32") || b.Rule != "logins" || b.By != ByRule || b.Reason != verdict.BadCredentials || b.Left(h.now()) != 4*time.Minute {
		t.Errorf("%+v, left %v", b, b.Left(h.now()))
	}
	if len(b.Evidence) != 5 || b.Evidence[0].AOR != "100@example.com" || b.Evidence[1].AOR != "101@example.com" || b.Evidence[1].Interface != "tls" ||
		b.Evidence[0].Source != netip.MustParseAddrPort("192.0.2.7:40000") || b.Evidence[1].At.Sub(b.Evidence[0].At) != 10*time.Second {
		t.Errorf("evidence: %+v", b.Evidence)
	}
	h.move(4*time.Minute + 2*time.Second)
	expectAdmit(t, g, "192.0.2.7", verdict.Passed) // the sweeper has not run: the end is a comparison, up to a tick of the tables late
	if l := g.List(); len(l) != 0 {
		t.Errorf("still listed: %v", l)
	}
	g.sweep()
	e, _ = g.Why(addr("192.0.2.7"))
	if len(e.Bans) != 0 || len(e.History) != 1 || e.History[0].EndedBy != "expiry" || len(e.History[0].Evidence) != 5 || len(e.Scores) != 0 {
		t.Errorf("after the ban: %+v", e)
	}
	fail(g, "192.0.2.7", 4)
	expectAdmit(t, g, "192.0.2.7", verdict.Passed) // it begins anew
}

func TestWindow(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	for range 20 {
		fail(g, "192.0.2.7", 1)
		h.move(15 * time.Second) // five of them span exactly a minute
	}
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	h.move(-15 * time.Second)
	fail(g, "192.0.2.7", 1)
	expectAdmit(t, g, "192.0.2.7", hostBanned)
}

func TestWeightsAndRules(t *testing.T) {
	cfg := userSpace()
	cfg.Rules = []Rule{
		{Name: "slow", Weights: map[verdict.Reason]int{verdict.BadCredentials: 1}, Window: time.Hour, Threshold: 8, Ban: time.Hour},
		{Name: "mixed", Weights: map[verdict.Reason]int{verdict.BadCredentials: 2, verdict.BadHeader: 5}, Window: time.Minute, Threshold: 10, Ban: time.Minute},
	}
	h := newHand()
	g := open(t, cfg, Options{Clock: h.now})
	hit := func(src string, r verdict.Reason) {
		g.Offence(Offence{Source: netip.AddrPortFrom(addr(src), 1), Verified: true, Reason: r})
	}
	rule := func(src string) string {
		e, _ := g.Why(addr(src))
		if len(e.Bans) == 0 {
			return ""
		}
		return e.Bans[0].Rule
	}
	hit("192.0.2.1", verdict.BadHeader)
	hit("192.0.2.1", verdict.UnknownUser) // no rule counts it
	if rule("192.0.2.1") != "" {
		t.Error("banned too early")
	}
	if e, _ := g.Why(addr("192.0.2.1")); len(e.Evidence) != 1 || len(e.Scores) != 1 {
		t.Errorf("%+v", e)
	}
	hit("192.0.2.1", verdict.BadHeader)
	if rule("192.0.2.1") != "mixed" {
		t.Errorf("banned by %q", rule("192.0.2.1"))
	}
	for range 8 {
		h.move(30 * time.Second)
		hit("192.0.2.2", verdict.BadCredentials)
	}
	if rule("192.0.2.2") != "slow" {
		t.Errorf("banned by %q", rule("192.0.2.2"))
	}
}

// IPv6 is scored and banned by /64; the loopback's /64 is not one.
func TestSites(t *testing.T) {
	g := open(t, userSpace(), Options{})
	for _, a := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8:0:1::1", "2001:db8::5"} {
		fail(g, a, 1)
	}
	expectAdmit(t, g, "2001:db8::ffff", hostBanned)
	expectAdmit(t, g, "2001:db8:0:1::1", verdict.Passed)
	if l := g.List(); len(l) != 1 || l[0].Prefix != prefix("2001:db8::/64") {
		t.Errorf("%v", l)
	}
	fail(g, "::1", 5)
	expectAdmit(t, g, "::1", verdict.Passed)
	fail(g, "fe80::1%eth0", 5)
	expectAdmit(t, g, "fe80::2%eth1", hostBanned)
	g.Offence(Offence{Verified: true, Reason: verdict.BadCredentials}) // no source at all
	fail(g, "0.0.0.0", 9)
	fail(g, "::", 9)
	if s, _ := g.Stats(); s.Bans != 2 {
		t.Errorf("%d bans, want 2", s.Bans)
	}
}

// Unverified sources are held by address and port, for a short time; no address is banned by what may be forged in its name.
func TestUnverified(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	forge := func(src string, n int) {
		for range n {
			g.Offence(Offence{Source: netip.MustParseAddrPort(src), Reason: verdict.BadCredentials})
		}
	}
	forge("192.0.2.7:5060", 4)
	fail(g, "192.0.2.7", 4) // proven and unproven offences are not added up
	expect := func(src string, want verdict.Verdict) {
		t.Helper()
		if got := g.AdmitDatagram(netip.MustParseAddrPort(src)); got != want {
			t.Errorf("%s: %v, want %v", src, got, want)
		}
	}
	expect("192.0.2.7:5060", verdict.Passed)
	forge("192.0.2.7:5060", 1)
	expect("192.0.2.7:5060", verdict.Dropped(verdict.SourceHeld))
	expect("[::ffff:192.0.2.7]:5060", verdict.Dropped(verdict.SourceHeld))
	expect("192.0.2.7:5061", verdict.Passed)
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	if e, _ := g.Why(addr("192.0.2.7")); len(e.Held) != 1 || e.Held[0].Until.Sub(h.now()) != 30*time.Second || e.Outcome != "pass" {
		t.Errorf("%+v", e)
	}
	h.move(20 * time.Second)
	forge("192.0.2.7:5060", 5) // held again, later: the first hold's end does not end it
	h.move(10 * time.Second)
	g.sweep()
	expect("192.0.2.7:5060", verdict.Dropped(verdict.SourceHeld))
	h.move(20 * time.Second)
	expect("192.0.2.7:5060", verdict.Passed)
	g.sweep()
	if s, _ := g.Stats(); s.Holds != 0 || s.Bans != 0 || g.view.holds.size != 0 {
		t.Errorf("%+v", s)
	}
	fail(g, "192.0.2.7", 5)
	expect("192.0.2.7:5061", hostBanned)
}

// Ban poisoning (threats T24): forged datagrams in the names of many ban nobody, and memory stays within its limits.
func TestBanPoisoning(t *testing.T) {
	cfg := userSpace()
	cfg.MaxScores, cfg.MaxHolds = 1000, 500
	g := open(t, cfg, Options{Allow: map[string][]netip.Prefix{"trunks": {prefix("198.51.100.0/24")}}})
	for i := range 20_000 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 5 >> 8), byte(i / 5)}), 5060)
		if i%4 == 0 {
			src = netip.AddrPortFrom(addr("198.51.100.9"), uint16(i))
		}
		g.Offence(Offence{Source: src, Reason: verdict.BadCredentials})
		g.Offence(Offence{Source: src, Reason: verdict.UnknownUser})
	}
	s, err := g.Stats()
	must(t, err)
	if s.Bans != 0 || s.Scored > 1000 || s.Holds > 500 || s.ScoresEvicted == 0 || s.HoldsEvicted == 0 || s.Offences != 40_000 || g.view.holds.size > 500 {
		t.Errorf("%+v", s)
	}
	if v := g.AdmitDatagram(netip.MustParseAddrPort("198.51.100.9:5060")); !v.OK() {
		t.Errorf("the trunk: %v", v)
	}
}

// A flood of verified sources forgets those that were quiet longest, and only them.
func TestScoresEvicted(t *testing.T) {
	cfg := userSpace()
	cfg.MaxScores = 3
	g := open(t, cfg, Options{})
	fail(g, "192.0.2.1", 4)
	fail(g, "192.0.2.2", 4)
	fail(g, "192.0.2.3", 4)
	fail(g, "192.0.2.1", 0)
	fail(g, "192.0.2.4", 1) // 192.0.2.1 goes
	fail(g, "192.0.2.1", 1) // 192.0.2.2 goes
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	fail(g, "192.0.2.3", 1)
	expectAdmit(t, g, "192.0.2.3", hostBanned)
	if s, _ := g.Stats(); s.ScoresEvicted != 2 {
		t.Errorf("%d evicted", s.ScoresEvicted)
	}
}

func TestScoresForgotten(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	fail(g, "192.0.2.1", 3)
	h.move(61 * time.Second)
	fail(g, "192.0.2.2", 3)
	g.sweep()
	if s, _ := g.Stats(); s.Scored != 1 {
		t.Errorf("%d sources scored, want 1", s.Scored)
	}
}

func TestEvidenceLimit(t *testing.T) {
	cfg := userSpace()
	cfg.Evidence = 3
	g := open(t, cfg, Options{})
	for i := range 5 {
		g.Offence(Offence{Source: netip.MustParseAddrPort("192.0.2.7:1"), Verified: true, Reason: verdict.UnknownUser, Detail: string(rune('a' + i)),
			At: time.Now().Add(time.Hour)})
	}
	e, _ := g.Why(addr("192.0.2.7"))
	if ev := e.Bans[0].Evidence; len(ev) != 3 || ev[0].Detail != "c" || ev[2].Detail != "e" || ev[0].At.After(time.Now()) {
		t.Errorf("%+v", ev)
	}
}

// The allow list wins: over scores, over bans that are there, over bans to come.
func TestAllow(t *testing.T) {
	cfg := userSpace()
	cfg.Allow = []netip.Prefix{prefix("192.0.2.128/25")}
	g := open(t, cfg, Options{Allow: map[string][]netip.Prefix{"core": Single(addr("2001:db8::1"))}})
	fail(g, "192.0.2.200", 50)
	fail(g, "2001:db8::1", 50)
	if s, _ := g.Stats(); s.Bans != 0 || s.Scored != 0 || s.Allowed != 2 {
		t.Errorf("%+v", s)
	}
	err := g.Ban(prefix("192.0.2.200/32"), time.Hour, "ann", "")
	if !errors.Is(err, ErrAllowed) || !strings.Contains(err.Error(), "config 192.0.2.128/25") {
		t.Error(err)
	}
	must(t, g.Ban(prefix("192.0.2.0/24"), time.Hour, "ann", "the whole of it"))
	expectAdmit(t, g, "192.0.2.1", verdict.Dropped(verdict.NetworkBanned))
	expectAdmit(t, g, "192.0.2.200", verdict.Passed)
	if e, known := g.Why(addr("192.0.2.200")); !known || e.Allowed != "config 192.0.2.128/25" || len(e.Bans) != 1 || e.Outcome != "pass" {
		t.Errorf("%+v", e)
	}
	must(t, g.SetAllow("trunks", []netip.Prefix{prefix("192.0.2.1/24")})) // host bits don't matter
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	must(t, g.SetAllow("trunks", nil))
	expectAdmit(t, g, "192.0.2.1", verdict.Dropped(verdict.NetworkBanned))
	for _, bad := range []netip.Prefix{{}, prefix("0.0.0.0/0"), prefix("::/0"), prefix("::ffff:0:0/90")} {
		if g.SetAllow("trunks", []netip.Prefix{bad}) == nil {
			t.Errorf("%v was allowed", bad)
		}
	}
	for _, group := range []string{"", "config"} {
		if g.SetAllow(group, nil) == nil {
			t.Errorf("group %q was set", group)
		}
	}
}

func TestMonitor(t *testing.T) {
	cfg := userSpace()
	cfg.XDP.Monitor = true
	g := open(t, cfg, Options{})
	fail(g, "192.0.2.7", 5)
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	s, _ := g.Stats()
	want := Count{Where: "user-space", Family: "ipv4", Reason: verdict.HostBanned, Action: "monitor", Packets: 1}
	if len(s.Counts) != 1 || s.Counts[0] != want || s.Bans != 1 {
		t.Errorf("%+v", s)
	}
	cfg.XDP.Monitor = false
	must(t, g.Reload(cfg))
	expectAdmit(t, g, "192.0.2.7", hostBanned)
}

func TestReload(t *testing.T) {
	g := open(t, userSpace(), Options{})
	fail(g, "192.0.2.7", 5)
	fail(g, "192.0.2.8", 4)
	cfg := userSpace()
	cfg.Rules[0].Threshold = 2
	cfg.Allow = []netip.Prefix{prefix("203.0.113.0/24")}
	must(t, g.Reload(cfg))
	expectAdmit(t, g, "192.0.2.7", hostBanned)
	fail(g, "192.0.2.8", 1)
	expectAdmit(t, g, "192.0.2.8", verdict.Passed)
	fail(g, "192.0.2.8", 1)
	expectAdmit(t, g, "192.0.2.8", hostBanned)
	if e, _ := g.Why(addr("203.0.113.1")); e.Allowed == "" {
		t.Error("the new allow list is not in force")
	}
	cfg.Rules[0].Threshold = 0
	var f Fault
	if err := g.Reload(cfg); !errors.As(err, &f) || f.Key != "rules[0].threshold" {
		t.Error(err)
	}
	cfg = userSpace()
	cfg.XDP.Interfaces = []string{"lo"}
	if err := g.Reload(cfg); !errors.As(err, &f) || f.Key != "xdp" {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	g := open(t, userSpace(), Options{})
	must(t, g.Close())
	fail(g, "192.0.2.7", 5)
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	for _, err := range []error{g.Ban(prefix("192.0.2.7/32"), time.Hour, "ann", ""), g.Unban(prefix("192.0.2.7/32"), "ann", ""), g.SetAllow("own", nil), g.Reload(userSpace())} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if _, open := <-g.Watch(t.Context()); open {
		t.Error("a closed guard is watched")
	}
	must(t, g.Close())
}

func TestModeUserSpace(t *testing.T) {
	for why, change := range map[string]func(*XDP){
		"xdp.mode is off":           func(x *XDP) { x.Mode = XDPOff },
		"xdp.interfaces names none": func(*XDP) {},
	} {
		cfg := Default()
		change(&cfg.XDP)
		g := open(t, cfg, Options{})
		if mode, got := g.Mode(); mode != ModeUserSpace || got != why {
			t.Errorf("%s %q, want %q", mode, got, why)
		}
	}
}
