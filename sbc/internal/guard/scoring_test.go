package guard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// offend makes n failed logins of one account from an address and port.
func offend(g *Guard, src, aor string, n int) {
	for range n {
		g.Offence(Offence{Source: netip.MustParseAddrPort(src), Verified: true, Reason: verdict.BadCredentials, AOR: aor})
	}
}

// One bad phone in an office: its flow is held, the office is served, and Why tells it.
func TestOffice(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	office := addr("198.51.100.1")
	g.Known(office, "1@example.com", h.now().Add(time.Hour))
	g.Known(office, "2@example.com", h.now().Add(time.Minute))
	offend(g, "198.51.100.1:4000", "9@example.com", 5)
	expectAdmit(t, g, "198.51.100.1", verdict.Passed)
	held := verdict.Dropped(verdict.SourceHeld)
	for src, want := range map[string]verdict.Verdict{"198.51.100.1:4000": held, "198.51.100.1:4001": verdict.Passed, "[::ffff:198.51.100.1]:4000": held} {
		if got := g.AdmitFlow(addrPort(src)); got != want {
			t.Errorf("%s: %v, want %v", src, got, want)
		}
	}
	e, _ := g.Why(office)
	if len(e.Held) != 1 || !e.Held[0].Verified || e.Held[0].Rule != "logins" || e.Known != 2 || len(e.Bans) != 0 || len(e.Evidence) != 5 ||
		len(e.Scores) != 1 || e.Scores[0].Threshold != 50 || e.Scores[0].Sum != 5 || len(e.FlowScores) != 1 || e.FlowScores[0].Account != "9@example.com" {
		t.Errorf("%+v", e)
	}
	h.move(30 * time.Second)
	if v := g.AdmitFlow(addrPort("198.51.100.1:4000")); !v.OK() {
		t.Errorf("after the hold: %v", v)
	}
	g.sweep()
	if g.scoring.flows.size != 0 || g.view.holds.size != 0 {
		t.Error("a hold stays")
	}
	for i := range 45 {
		offend(g, fmt.Sprintf("198.51.100.1:%d", 5000+i), fmt.Sprint(i), 1)
	}
	expectAdmit(t, g, "198.51.100.1", hostBanned)
}

// A hold of what may be forged does not touch a flow that proves its source.
func TestForgedHoldOfFlow(t *testing.T) {
	g := open(t, userSpace(), Options{})
	for range 5 {
		g.Offence(Offence{Source: addrPort("198.51.100.1:5060"), Reason: verdict.BadCredentials})
	}
	if v := g.AdmitDatagram(addrPort("198.51.100.1:5060")); v.OK() {
		t.Error("no hold")
	}
	if v := g.AdmitFlow(addrPort("198.51.100.1:5060")); !v.OK() {
		t.Errorf("%v", v)
	}
}

func TestForget(t *testing.T) {
	g := open(t, userSpace(), Options{})
	g.Known(addr("198.51.100.1"), "1@example.com", time.Now().Add(time.Hour))
	g.Known(addr("2001:db8::1"), "1@example.com", time.Now().Add(time.Hour))
	if s, _ := g.Stats(); s.Known != 2 || s.KnownSources != 2 {
		t.Errorf("%+v", s)
	}
	g.Forget(addr("198.51.100.1"), "1@example.com")
	fail(g, "198.51.100.1", 5)
	fail(g, "2001:db8::ffff", 5) // another host of the /64
	expectAdmit(t, g, "198.51.100.1", hostBanned)
	expectAdmit(t, g, "2001:db8::ffff", verdict.Passed)
}

// Bans grow for those that come back, also over a restart; one that a person lifted does not count.
func TestRepeater(t *testing.T) {
	h, dir := newHand(), t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	left := func() time.Duration {
		t.Helper()
		l := g.List()
		if len(l) != 1 {
			t.Fatalf("%v", l)
		}
		return l[0].Left(h.now())
	}
	for _, want := range []time.Duration{5 * time.Minute, 10 * time.Minute} {
		fail(g, "192.0.2.7", 5)
		if left() != want {
			t.Errorf("%s, want %s", left(), want)
		}
		h.move(want)
		g.sweep()
	}
	must(t, g.Close())
	g = open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	if e, _ := g.Why(addr("192.0.2.7")); e.Repeat != 2 {
		t.Errorf("%+v", e)
	}
	fail(g, "192.0.2.7", 5)
	if left() != 20*time.Minute {
		t.Errorf("%s", left())
	}
	must(t, g.Unban(prefix("192.0.2.7/32"), "ann", "a mistake"))
	fail(g, "192.0.2.7", 5)
	if left() != 20*time.Minute {
		t.Errorf("%s", left())
	}
}

// The circuit breaker: no more bans by rules, one alarm, and persons may ban all the same.
func TestBreaker(t *testing.T) {
	h := newHand()
	cfg := userSpace()
	cfg.Breaker.Bans = 3
	g := open(t, cfg, Options{Clock: h.now})
	events := g.Watch(t.Context())
	for i := range 6 {
		fail(g, fmt.Sprintf("192.0.2.%d", i), 5)
	}
	s, _ := g.Stats()
	if s.Bans != 3 || s.Limited != 3 || !s.Breaker.Open || s.Breaker.Trips != 1 {
		t.Errorf("%+v", s)
	}
	must(t, g.Ban(prefix("192.0.2.5/32"), time.Hour, "ann", ""))
	h.move(5 * time.Minute)
	g.sweep()
	g.sweep()
	for i := range 4 {
		fail(g, fmt.Sprintf("192.0.2.%d", 50+i), 5)
	}
	expectAdmit(t, g, "192.0.2.52", hostBanned)
	h.move(5 * time.Minute) // it closes, and opens again before anybody looked
	for i := range 4 {
		fail(g, fmt.Sprintf("192.0.2.%d", 60+i), 5)
	}
	var states []bool
	for len(events) > 0 {
		if e := <-events; e.Kind == EventBreaker {
			states = append(states, e.Breaker.Open)
		}
	}
	if fmt.Sprint(states) != "[true false true true]" {
		t.Errorf("%v", states)
	}
}

func TestMonitorRule(t *testing.T) {
	cfg := userSpace()
	cfg.Rules[0].Monitor = true
	g := open(t, cfg, Options{})
	events := g.Watch(t.Context())
	fail(g, "192.0.2.7", 50)
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	if s, _ := g.Stats(); s.Monitored != 1 || s.Bans != 0 {
		t.Errorf("%+v", s)
	}
	if e := <-events; e.Kind != EventMonitor || e.Ban == nil || e.Ban.Prefix != prefix("192.0.2.7/32") || e.Ban.Rule != "logins" {
		t.Errorf("%+v", e)
	}
}

// Whatever offends, and however the configuration changes: nobody who is allowed is banned, nobody whose source is not proven, and no
// ban is longer than its rule's ceiling.
func TestRandomOffences(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	h := newHand()
	cfg := userSpace()
	cfg.Rules = Default().Rules
	cfg.Record.On = false
	g := open(t, cfg, Options{Clock: h.now, Allow: map[string][]netip.Prefix{"trunks": {prefix("192.0.2.0/26")}}})
	for i := range 20_000 {
		h.move(time.Duration(random.Int64N(int64(time.Second))))
		n := byte(random.IntN(256))
		o := Offence{Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), uint16(random.IntN(3))), Verified: n&1 == 1, Reason: verdict.UnknownUser}
		if random.IntN(4) == 0 {
			o.Reason = verdict.MalformedMessage
		}
		if random.IntN(10) == 0 {
			g.Known(o.Source.Addr(), "a", h.now().Add(time.Minute))
		}
		g.Offence(o)
		if i%1000 == 0 {
			cfg.Rules[0].Threshold = 1 + random.IntN(9) + 1
			cfg.MaxScores = 10 + random.IntN(1000)
			must(t, g.Reload(cfg))
			g.sweep()
		}
	}
	made := 0
	check := func(b Ban) {
		made++
		if n := b.Prefix.Addr().As4()[3]; n < 64 || n&1 == 0 {
			t.Errorf("%s is banned", b.Prefix)
		}
		if !b.Until.IsZero() && b.Until.Sub(b.From) > 24*time.Hour {
			t.Errorf("%+v", b)
		}
	}
	for _, b := range g.bans {
		check(*b)
	}
	for _, p := range g.past {
		check(p.Ban)
	}
	if made == 0 {
		t.Error("nobody was banned")
	}
}
