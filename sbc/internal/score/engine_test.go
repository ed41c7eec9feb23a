package score

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// rig is an engine with a clock that moves when it is told to.
type rig struct {
	*testing.T
	engine  *Engine
	known   *Registrations
	history *History
	now     time.Time
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	if fs := cfg.Check(); len(fs) > 0 {
		t.Fatal(fs)
	}
	return &rig{T: t, engine: New(cfg), known: NewRegistrations(1000), history: NewHistory(100), now: start}
}

func (r *rig) env() Env {
	return Env{
		Known:      func(p netip.Prefix) int { return r.known.Count(p, r.now) },
		KnownTotal: func() int { return r.known.Sites(r.now) },
		Prior:      r.history.Count,
	}
}

func (r *rig) offend(src string, verified bool, reason verdict.Reason, aor string) []Decision {
	r.Helper()
	o, ok := Offence{Source: netip.MustParseAddrPort(src), Verified: verified, Reason: reason, AOR: aor}.Normal(r.now)
	if !ok {
		r.Fatalf("%s is no source", src)
	}
	return r.engine.Offence(o, r.now, r.env())
}

// fail makes n failed logins, and returns what follows of the last.
func (r *rig) fail(src string, n int) []Decision {
	r.Helper()
	var ds []Decision
	for i := range n {
		if ds = r.offend(src, true, verdict.BadCredentials, "100@example.com"); i < n-1 && len(ds) > 0 {
			r.Fatalf("%s: %+v after %d of %d", src, ds, i+1, n)
		}
	}
	return ds
}

func (r *rig) expect(ds []Decision, want ...Kind) Decision {
	r.Helper()
	var got []Kind
	for _, d := range ds {
		got = append(got, d.Kind)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.Fatalf("decisions %v, want %v: %+v", got, want, ds)
	}
	if len(ds) == 0 {
		return Decision{}
	}
	return ds[len(ds)-1]
}

// logins is a configuration with one rule: five failures within a minute.
func logins(change ...func(*Rule)) Config {
	c := Default()
	c.Rules = c.Rules[:1]
	for _, f := range change {
		f(&c.Rules[0])
	}
	return c
}

func TestThreshold(t *testing.T) {
	r := newRig(t, logins())
	d := r.expect(r.fail("192.0.2.7:4000", 5), Ban)
	if d.Prefix != netip.MustParsePrefix("192.0.2.7/32") || d.Rule != "logins" || d.Length != 5*time.Minute || len(d.Evidence) != 5 || !d.Verified {
		t.Errorf("%+v", d)
	}
	if d := r.expect(r.fail("[2001:db8:0:1::7]:4000", 5), Ban); d.Prefix != netip.MustParsePrefix("2001:db8:0:1::/64") {
		t.Errorf("%+v", d)
	}
	r.fail("192.0.2.8:4000", 4)
	r.now = r.now.Add(time.Minute)
	r.expect(r.fail("192.0.2.8:4000", 5), Ban) // the four are forgotten
	r.expect(r.offend("192.0.2.9:1", true, verdict.Busy, ""))
	if n := r.engine.Scored(); n != 3 {
		t.Errorf("%d sources are scored", n)
	}
}

// A clock that goes back, even behind the first time that the engine was told, loses no offence.
func TestClockGoesBack(t *testing.T) {
	r := newRig(t, logins())
	for range 4 {
		r.expect(r.fail("192.0.2.7:4000", 1))
		r.now = r.now.Add(-time.Second)
	}
	r.expect(r.fail("192.0.2.7:4000", 1), Ban)
}

// Unverified sources are held by flow, and never banned, whatever they do.
func TestUnverified(t *testing.T) {
	r := newRig(t, logins())
	for i := range 100 {
		ds := r.offend("192.0.2.7:5060", false, verdict.BadCredentials, "")
		if i%5 < 4 {
			r.expect(ds)
		} else if d := r.expect(ds, Hold); d.Flow != netip.MustParseAddrPort("192.0.2.7:5060") || d.Length != 30*time.Second || d.Verified {
			t.Errorf("%+v", d)
		}
	}
	r.expect(r.fail("192.0.2.7:5060", 5), Ban) // what is proven is counted apart
	cfg := logins()
	cfg.Hold = 0
	r = newRig(t, cfg)
	for range 50 {
		r.expect(r.offend("192.0.2.7:5060", false, verdict.BadCredentials, ""))
	}
}

// Each ban of a repeater is longer, up to the ceiling; memory ends, and so does growth.
func TestGrowth(t *testing.T) {
	r := newRig(t, logins(func(l *Rule) { l.Growth, l.Ceiling, l.Memory = 3, time.Hour, 24*time.Hour }))
	for i, want := range []time.Duration{5 * time.Minute, 15 * time.Minute, 45 * time.Minute, time.Hour, time.Hour} {
		d := r.expect(r.fail("192.0.2.7:4000", 5), Ban)
		if d.Length != want || d.Repeat != i {
			t.Errorf("ban %d: %s, repeat %d; want %s", i, d.Length, d.Repeat, want)
		}
		r.now = r.now.Add(d.Length)
		r.history.Add(d.Prefix, r.now)
	}
	r.now = r.now.Add(24*time.Hour + time.Second)
	if d := r.expect(r.fail("192.0.2.7:4000", 5), Ban); d.Length != 5*time.Minute || d.Repeat != 0 {
		t.Errorf("after the memory: %+v", d)
	}
	for _, tc := range []struct {
		rule   Rule
		repeat int
		want   time.Duration
	}{
		{Rule{Ban: time.Hour}, 9, time.Hour},
		{Rule{Ban: time.Hour, Growth: 1, Ceiling: 24 * time.Hour}, 1 << 30, time.Hour},
		{Rule{Ban: time.Hour, Growth: 1.5, Ceiling: 24 * time.Hour}, 1, 90 * time.Minute},
		{Rule{Ban: maxBan, Growth: maxGrowth, Ceiling: maxBan}, 1 << 30, maxBan},
		{Rule{Ban: 1, Growth: maxGrowth, Ceiling: maxBan}, 1 << 30, maxBan},
	} {
		if got := tc.rule.Length(tc.repeat); got != tc.want {
			t.Errorf("%+v, %d times: %s, want %s", tc.rule, tc.repeat, got, tc.want)
		}
	}
}

// Any number of scanner signatures stays below the threshold; one other offence on top reaches it.
func TestScannerSignature(t *testing.T) {
	for _, weight := range []int{1, 4, 1000} {
		r := newRig(t, logins(func(l *Rule) { l.Weights[verdict.ScannerSignature] = weight }))
		for range 300 {
			r.expect(r.offend("192.0.2.7:4000", true, verdict.ScannerSignature, ""))
			r.expect(r.offend("192.0.2.7:4000", false, verdict.ScannerSignature, ""))
		}
		scores, flows, _ := r.engine.Scores(netip.MustParsePrefix("192.0.2.7/32"), r.now)
		if len(scores) != 1 || scores[0].Sum != 4 || len(flows) != 1 || flows[0].Sum != 4 || flows[0].Verified {
			t.Errorf("weight %d: %+v, %+v", weight, scores, flows)
		}
		r.expect(r.fail("192.0.2.7:4000", 1), Ban)
	}
}

// A rule in monitor mode reports once for as long as its ban would last, and hides no rule that bans.
func TestMonitorRule(t *testing.T) {
	cfg := logins(func(l *Rule) { l.Monitor, l.Threshold, l.Name = true, 3, "trial" })
	cfg.Rules = append(cfg.Rules, logins().Rules[0])
	r := newRig(t, cfg)
	d := r.expect(r.fail("192.0.2.7:4000", 3), Monitor)
	if d.Rule != "trial" || d.Length != 5*time.Minute || d.Flow.IsValid() {
		t.Errorf("%+v", d)
	}
	r.expect(r.fail("192.0.2.7:4000", 2), Ban)
	r.now = r.now.Add(4 * time.Minute)
	r.expect(r.fail("192.0.2.7:4000", 3))
	r.now = r.now.Add(time.Minute)
	r.expect(r.fail("192.0.2.7:4000", 3), Monitor)
	for range 2 {
		r.expect(r.offend("192.0.2.9:1", false, verdict.UnknownUser, ""))
	}
	if d := r.expect(r.offend("192.0.2.9:1", false, verdict.UnknownUser, ""), Monitor); !d.Flow.IsValid() {
		t.Errorf("%+v", d)
	}
}

// Tables stay within their limits, whoever fills them, and the count of what was forgotten outlives a reload.
func TestBounds(t *testing.T) {
	cfg := Default()
	cfg.MaxScores, cfg.Evidence = 50, 3
	r := newRig(t, cfg)
	for i := range 5000 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), uint16(i)).String()
		if i%2 == 0 {
			r.known.Known(netip.MustParseAddrPort(src).Addr(), "a", r.now.Add(time.Second), r.now)
		}
		r.offend(src, i%3 > 0, verdict.UnknownUser, fmt.Sprint(i))
		if n := r.engine.Scored(); n > 150 {
			t.Fatalf("%d sources are scored", n)
		}
	}
	n := r.engine.Evicted()
	r.engine.Reload(cfg)
	if r.engine.Evicted() != n || n == 0 || r.engine.Scored() != 0 {
		t.Errorf("%d evicted, %d before", r.engine.Evicted(), n)
	}
	for range 4 {
		r.offend("192.0.2.7:1", true, verdict.UnknownUser, "")
	}
	if _, _, ev := r.engine.Scores(netip.MustParsePrefix("192.0.2.7/32"), r.now); len(ev) != 3 {
		t.Errorf("%d pieces of evidence", len(ev))
	}
	r.now = r.now.Add(2 * time.Hour)
	r.engine.Forget(r.now)
	if r.engine.Scored() != 0 {
		t.Errorf("%d sources are scored", r.engine.Scored())
	}
}

// Many marks are kept as few; they may count too short, never too long, and never too much.
func TestManyMarks(t *testing.T) {
	r := newRig(t, logins(func(l *Rule) { l.Threshold, l.Window = 1000, time.Minute }))
	for i := range 100_000 {
		if ds := r.offend("192.0.2.7:4000", true, verdict.BadCredentials, ""); len(ds) > 0 {
			t.Fatalf("banned at %d, a thousand a minute are not reached", i)
		}
		r.now = r.now.Add(61 * time.Millisecond)
		if s := r.engine.sites.get(source{scope: address, prefix: netip.MustParsePrefix("192.0.2.7/32")}); len(s.tallies[0].marks) > maxMarks {
			t.Fatalf("%d marks", len(s.tallies[0].marks))
		}
	}
	r.now = r.now.Add(time.Hour)
	r.expect(r.fail("192.0.2.8:4000", 1000), Ban)
}
