package score

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// One ban too many within a minute, and rules limit until the breaker closes by itself.
func TestBreakerBans(t *testing.T) {
	cfg := logins()
	cfg.Breaker.Bans = 10
	r := newRig(t, cfg)
	for i := range 10 {
		r.expect(r.fail(fmt.Sprintf("192.0.2.%d:1", i), 5), Ban)
		r.now = r.now.Add(5 * time.Second)
	}
	d := r.expect(r.fail("192.0.2.99:1", 5), Limit)
	if !d.Tripped || d.Length != 5*time.Minute || d.Prefix != netip.MustParsePrefix("192.0.2.99/32") {
		t.Errorf("%+v", d)
	}
	r.now = r.now.Add(2 * time.Minute)
	if d := r.expect(r.fail("192.0.2.99:1", 5), Limit); d.Tripped || d.Length != 3*time.Minute {
		t.Errorf("%+v", d)
	}
	if s := r.engine.Breaker(r.now); !s.Open || s.Trips != 1 || s.Cause == "" || s.Until != r.now.Add(3*time.Minute) || s.Bans != 0 {
		t.Errorf("%+v", s)
	}
	r.now = r.now.Add(3 * time.Minute)
	if s := r.engine.Breaker(r.now); s.Open {
		t.Errorf("%+v", s)
	}
	r.expect(r.fail("192.0.2.99:1", 5), Ban)
}

func TestBreakerSlow(t *testing.T) {
	cfg := logins()
	cfg.Breaker.Bans = 10
	r := newRig(t, cfg)
	for i := range 200 {
		r.expect(r.fail(fmt.Sprintf("192.0.2.%d:1", i), 5), Ban)
		r.now = r.now.Add(6 * time.Second)
	}
}

// Rules may not ban more than a share of the sources that are known to be good, fast or slow.
func TestBreakerShare(t *testing.T) {
	cfg := logins(func(l *Rule) { l.Office, l.Ban, l.Ceiling = 1, 24*time.Hour, 24*time.Hour })
	cfg.Breaker.Least = 3
	r := newRig(t, cfg)
	for i := range 20 {
		r.known.Known(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), "a", start.Add(90*time.Minute), start)
	}
	for i := range 4 { // 4 of 20 is the share
		r.expect(r.fail(fmt.Sprintf("198.51.100.%d:1", i), 5), Ban)
		r.now = r.now.Add(10 * time.Minute)
	}
	if d := r.expect(r.fail("198.51.100.4:1", 5), Limit); !d.Tripped {
		t.Errorf("%+v", d)
	}
	if s := r.engine.Breaker(r.now); s.Hits != 4 {
		t.Errorf("%+v", s)
	}
	r.now = r.now.Add(10 * time.Minute)
	r.engine.Lifted(netip.MustParsePrefix("198.51.100.0/32")) // a person lifts one
	r.expect(r.fail("192.0.2.1:1", 5), Ban)                   // a stranger is no matter of shares
	r.expect(r.fail("198.51.100.5:1", 5), Ban)
	r.expect(r.fail("198.51.100.6:1", 5), Limit)
}

// Sources whose registrations ended under a ban still count among the good ones.
func TestBreakerShareOfEnded(t *testing.T) {
	cfg := logins(func(l *Rule) { l.Office, l.Ban, l.Ceiling = 1, 24*time.Hour, 24*time.Hour })
	cfg.Breaker.Least = 0
	r := newRig(t, cfg)
	know := func(third byte, n int) {
		for i := range n {
			r.known.Known(netip.AddrFrom4([4]byte{198, 51, third, byte(i)}), "a", r.now.Add(time.Hour), r.now)
		}
	}
	know(100, 20)
	for i := range 3 {
		r.expect(r.fail(fmt.Sprintf("198.51.100.%d:1", i), 5), Ban)
	}
	r.now = r.now.Add(2 * time.Hour)
	know(101, 17) // and the three that are banned: 20 again
	r.expect(r.fail("198.51.101.1:1", 5), Ban)
	r.expect(r.fail("198.51.101.2:1", 5), Limit)
}

// With few good sources the share says nothing: the first ones may be banned.
func TestBreakerLeast(t *testing.T) {
	r := newRig(t, logins(func(l *Rule) { l.Office = 1 }))
	for i := range 6 {
		r.known.Known(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), "a", start.Add(time.Hour), start)
	}
	for i := range 5 {
		r.expect(r.fail(fmt.Sprintf("198.51.100.%d:1", i), 5), Ban)
	}
	r.expect(r.fail("198.51.100.5:1", 5), Limit)
}

// The breaker stays as it is over a reload, but for what was changed, and a clock that is set back keeps it open no longer.
func TestBreakerReload(t *testing.T) {
	cfg := logins()
	cfg.Breaker.Bans = 1
	r := newRig(t, cfg)
	r.fail("192.0.2.1:1", 5)
	r.expect(r.fail("192.0.2.2:1", 5), Limit)
	cfg.Breaker.Cooldown = time.Minute
	r.engine.Reload(cfg)
	if s := r.engine.Breaker(r.now); !s.Open || s.Until != r.now.Add(time.Minute) {
		t.Errorf("%+v", s)
	}
	r.now = r.now.Add(-240 * time.Hour)
	if s := r.engine.Breaker(r.now); !s.Open || s.Until != r.now.Add(time.Minute) {
		t.Errorf("%+v", s)
	}
	r.now = r.now.Add(time.Minute)
	if s := r.engine.Breaker(r.now); s.Open {
		t.Errorf("%+v", s)
	}
}
