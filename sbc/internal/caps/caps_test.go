package caps

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func reason(err error) verdict.Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return verdict.None
}

// Of many at once exactly as many find room as there is, in all places or in none.
func TestTakeIsExact(t *testing.T) {
	c := New()
	trunk, total := Place{Trunk, "carrier", Limit{Calls: 10}}, Place{Total, "", Limit{Calls: 1000}}
	var in atomic.Int32
	var all sync.WaitGroup
	releases := make(chan func(), 100)
	for range 100 {
		all.Go(func() {
			release, err := c.Take(epoch, total, trunk)
			if err == nil {
				in.Add(1)
				releases <- release
			} else if reason(err) != verdict.TrunkCalls {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in.Load() != 10 || c.Calls(Total, "") != 10 {
		t.Errorf("%d calls are in, %d are counted in all", in.Load(), c.Calls(Total, ""))
	}
	close(releases)
	for release := range releases {
		release()
		release() // twice is once
	}
	if c.Calls(Trunk, "carrier") != 0 || c.Places() != 0 {
		t.Errorf("%d calls and %d places stay", c.Calls(Trunk, "carrier"), c.Places())
	}
}

// A rate lets through its burst, then as many as trickle in, and says when the next one fits.
func TestRate(t *testing.T) {
	c, p := New(), Place{AOR, "1001", Limit{PerSecond: 2, Burst: 3}}
	take := func(after time.Duration) error {
		_, err := c.Take(epoch.Add(after), p)
		return err
	}
	for range 3 {
		if err := take(0); err != nil {
			t.Fatal(err)
		}
	}
	var r *Refusal
	if err := take(0); !errors.As(err, &r) || r.Reason != verdict.AccountRate || r.Wait != 500*time.Millisecond {
		t.Errorf("%v %+v", err, r)
	}
	if take(499*time.Millisecond) == nil || take(500*time.Millisecond) != nil || take(501*time.Millisecond) == nil {
		t.Error("the rate is not two a second")
	}
}

// Other limits hold from the next call on.
func TestLimitChanges(t *testing.T) {
	c := New()
	for n := range 3 {
		_, err := c.Take(epoch, Place{Source, "a", Limit{Calls: 2}})
		if (err == nil) != (n < 2) {
			t.Fatal(n, err)
		}
	}
	if _, err := c.Take(epoch, Place{Source, "a", Limit{Calls: 3}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Take(epoch, Place{Source, "a", Limit{}}, Place{Source, "b", Limit{Calls: 1}}); err != nil {
		t.Error(err)
	}
}

// Places are bounded, and idle ones make room.
func TestPlacesAreBounded(t *testing.T) {
	c := New()
	limit := Limit{PerSecond: 1}
	a := netip.MustParseAddr("10.0.0.0")
	for range maxPlaces {
		release, err := c.Take(epoch, SourcePlace(a, limit))
		if err != nil {
			t.Fatal(err)
		}
		release()
		a = a.Next()
	}
	if _, err := c.Take(epoch, SourcePlace(a, limit)); reason(err) != verdict.Overload {
		t.Errorf("one too many: %v", err)
	}
	if _, err := c.Take(epoch.Add(time.Minute), SourcePlace(a, limit)); err != nil {
		t.Errorf("after a minute: %v", err)
	}
}

func TestSourcePlace(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:0:1:2::3": "2001:db8:0:1::", "fe80::1%eth0": "fe80::"} {
		if got := SourcePlace(netip.MustParseAddr(in), Limit{}).Name; got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// The gate keeps a part for calls that have begun, and lets emergency calls of those that are known pass.
func TestGate(t *testing.T) {
	g := NewGate(GateConfig{PerSecond: 4, Burst: 4})
	stranger, begun := Caller{}, Caller{Begun: true}
	for n := range 4 {
		if got := g.Admit(stranger, epoch); (got == verdict.None) != (n < 3) {
			t.Errorf("call %d: %s", n, got)
		}
	}
	if got := g.Admit(begun, epoch); got != verdict.None {
		t.Errorf("no room for a call that has begun: %s", got)
	}
	if got := g.Admit(begun, epoch); got != verdict.CallRate {
		t.Errorf("%q, want %s", got, verdict.CallRate)
	}
	if got := g.Admit(Caller{Emergency: true, Known: true}, epoch); got != verdict.None {
		t.Errorf("an emergency call waits: %s", got)
	}
	passed := 0
	for range 100 {
		if g.Admit(Caller{Emergency: true}, epoch) == verdict.None {
			passed++
		}
	}
	if passed != strangerEmergencies {
		t.Errorf("%d strangers wrote an emergency number and passed, want %d", passed, strangerEmergencies)
	}
	if got := g.Admit(begun, epoch.Add(time.Second)); got != verdict.None {
		t.Errorf("a second later: %s", got)
	}
}

// A program that is behind its work takes no new call, until it has caught up.
func TestLag(t *testing.T) {
	g := NewGate(GateConfig{Lag: 100 * time.Millisecond})
	g.observe(200 * time.Millisecond)
	if got := g.Admit(Caller{Begun: true}, epoch); got != verdict.None {
		t.Errorf("after one late tick: %s", got)
	}
	for range 3 * lagParts {
		g.observe(200 * time.Millisecond)
	}
	if got := g.Admit(Caller{Begun: true}, epoch); got != verdict.Overload {
		t.Errorf("behind by %s: %q", g.Lag(), got)
	}
	if got := g.Admit(Caller{Emergency: true, Known: true}, epoch); got != verdict.None {
		t.Errorf("an emergency call: %s", got)
	}
	for range 3 * lagParts {
		g.observe(-time.Millisecond)
	}
	if got := g.Admit(Caller{}, epoch); got != verdict.None {
		t.Errorf("behind by %s: %s", g.Lag(), got)
	}
}

func TestConfigCheck(t *testing.T) {
	if fs := DefaultConfig().Check("admission"); len(fs) > 0 {
		t.Error(fs)
	}
	for _, c := range []Config{
		{Total: Limit{Calls: -1}}, {Phone: Limit{Burst: 3}}, {Source: Limit{PerSecond: -1}}, {Lag: time.Millisecond}, {Emergency: []string{"112 "}},
		{Emergency: make([]string, maxEmergency+1)},
	} {
		if fs := c.Check("admission"); len(fs) == 0 {
			t.Errorf("%+v is good", c)
		}
	}
}

func BenchmarkRefuse(b *testing.B) {
	g := NewGate(GateConfig{PerSecond: 1, Burst: 1})
	b.ReportAllocs()
	for b.Loop() {
		g.Admit(Caller{}, epoch)
	}
}
