package score

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

const officeAddr = "198.51.100.1"

// newOffice is a rig with registered phones behind one NAT.
func newOffice(t *testing.T, phones int, change ...func(*Rule)) *rig {
	r := newRig(t, logins(change...))
	for i := range phones {
		r.known.Known(netip.MustParseAddr(officeAddr), fmt.Sprintf("%d@example.com", i), r.now.Add(time.Hour), r.now)
	}
	return r
}

// One bad phone is held by its flow, and by its account on the next flow; the address is banned only at ten times the threshold.
func TestOffice(t *testing.T) {
	r := newOffice(t, 3)
	d := r.expect(r.fail(officeAddr+":4000", 5), Hold)
	if d.Flow != netip.MustParseAddrPort(officeAddr+":4000") || !d.Verified || d.AOR != "" || d.Known != 3 || d.Length != 30*time.Second {
		t.Errorf("%+v", d)
	}
	if d := r.expect(r.fail(officeAddr+":4001", 1), Hold); d.AOR != "100@example.com" { // the same account from a new port
		t.Errorf("%+v", d)
	}
	r.expect(r.offend(officeAddr+":4002", true, verdict.BadCredentials, "other@example.com")) // another phone, a slip of the finger
	var ds []Decision
	for i := range 43 { // 7 there are
		ds = r.offend(officeAddr+":"+fmt.Sprint(5000+i), true, verdict.UnknownUser, fmt.Sprint("guess", i))
		if i < 42 {
			r.expect(ds)
		}
	}
	if d := r.expect(ds, Ban); d.Prefix != netip.MustParsePrefix(officeAddr+"/32") || d.Known != 3 || len(d.Evidence) != 10 {
		t.Errorf("%+v", d)
	}
}

// An account that is guessed from outside is locked out nowhere: neither the office where it lives, nor anything else, pays for it.
func TestAccountIsNotLockedOut(t *testing.T) {
	r := newOffice(t, 1)
	for i := range 40 {
		r.offend(fmt.Sprintf("192.0.2.%d:4000", i), true, verdict.BadCredentials, "0@example.com")
	}
	r.expect(r.offend(officeAddr+":4000", true, verdict.BadCredentials, "0@example.com"))
}

// Without living registrations the address pays at once; what was done while some lived is not counted again then.
func TestOfficeEnds(t *testing.T) {
	r := newOffice(t, 1, func(l *Rule) { l.Window = 2 * time.Hour })
	for i := range 40 {
		r.offend(fmt.Sprintf("%s:%d", officeAddr, 4000+i), true, verdict.BadCredentials, fmt.Sprint(i))
	}
	r.now = r.now.Add(time.Hour) // the registration ends
	r.expect(r.fail(officeAddr+":4000", 5), Ban)
}

func TestOfficeNever(t *testing.T) {
	r := newOffice(t, 1, func(l *Rule) { l.Office = 0 })
	for i := range 2000 {
		for _, d := range r.offend(fmt.Sprintf("%s:%d", officeAddr, 4000+i), true, verdict.BadCredentials, fmt.Sprint(i)) {
			t.Fatalf("%+v", d)
		}
	}
	r.known.Forget(netip.MustParseAddr(officeAddr), "0@example.com")
	r.expect(r.fail(officeAddr+":4000", 5), Ban)
}

// Why can tell all of it.
func TestOfficeScores(t *testing.T) {
	r := newOffice(t, 1)
	r.fail(officeAddr+":4000", 3)
	r.offend(officeAddr+":4001", false, verdict.BadCredentials, "")
	scores, flows, evidence := r.engine.Scores(netip.MustParsePrefix(officeAddr+"/32"), r.now)
	want := Score{Rule: "logins", Sum: 3, Threshold: 50, Window: time.Minute, Office: true, Verified: true}
	if len(scores) != 1 || scores[0] != want || len(evidence) != 3 {
		t.Errorf("%+v, %+v", scores, evidence)
	}
	if len(flows) != 3 || flows[0].Flow != netip.MustParseAddrPort(officeAddr+":4000") || flows[0].Sum != 3 || flows[0].Threshold != 5 ||
		flows[1].Account != "100@example.com" || flows[1].Sum != 3 || flows[2].Verified || flows[2].Sum != 1 {
		t.Errorf("%+v", flows)
	}
}

func TestRegistrations(t *testing.T) {
	k := NewRegistrations(3)
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	k.Known(a, "1", start.Add(time.Minute), start)
	k.Known(b, "2", start.Add(3*time.Minute), start)
	k.Known(c, "3", start.Add(2*time.Minute), start)
	k.Known(a, "1", start.Add(2*time.Minute), start) // the same again
	v6 := netip.MustParsePrefix("2001:db8::/64")
	if k.Count(v6, start) != 2 || k.Sites(start) != 2 || k.Len(start) != 3 {
		t.Errorf("%d, %d, %d", k.Count(v6, start), k.Sites(start), k.Len(start))
	}
	k.Known(a, "4", start.Add(time.Hour), start) // too many: one that ends first goes
	if k.Len(start) != 3 || k.Evicted() != 1 {
		t.Errorf("%d, %d evicted", k.Len(start), k.Evicted())
	}
	k.Forget(a, "4")
	k.Forget(a, "4")
	k.Known(b, "2", start, start) // a registration that has ended
	k.Known(netip.Addr{}, "5", start.Add(time.Hour), start)
	if k.Len(start) > 1 || k.Len(start.Add(2*time.Minute)) != 0 || k.Sites(start.Add(2*time.Minute)) != 0 {
		t.Errorf("%d live", k.Len(start))
	}
}

// A registration that is refreshed is not the one that ends first any more.
func TestRegistrationRefreshed(t *testing.T) {
	k := NewRegistrations(2)
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	k.Known(a, "1", start.Add(time.Minute), start)
	k.Known(b, "1", start.Add(2*time.Minute), start)
	k.Known(a, "1", start.Add(3*time.Minute), start)
	k.Known(c, "1", start.Add(4*time.Minute), start)
	for addr, want := range map[netip.Addr]int{a: 1, b: 0, c: 1} {
		if n := k.Count(Site(addr), start); n != want {
			t.Errorf("%s: %d, want %d", addr, n, want)
		}
	}
	if n := k.Count(Site(a), start.Add(3*time.Minute)); n != 0 {
		t.Errorf("%d live after their end", n)
	}
}

func TestRegistrationsOfOneSite(t *testing.T) {
	k := NewRegistrations(10_000)
	for i := range 2 * maxPerSite {
		k.Known(netip.MustParseAddr("192.0.2.1"), fmt.Sprint(i), start.Add(time.Hour), start)
	}
	if n := k.Count(netip.MustParsePrefix("192.0.2.1/32"), start); n != maxPerSite {
		t.Errorf("%d are kept", n)
	}
	k.Limit(10)
	if k.Len(start) != 10 {
		t.Errorf("%d are kept", k.Len(start))
	}
}

func TestHistory(t *testing.T) {
	h := NewHistory(3)
	host, site := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	h.Add(host, start)
	h.Add(netip.MustParsePrefix("2001:db8::7/128"), start)
	h.Add(site, start.Add(time.Hour))
	h.Add(netip.MustParsePrefix("192.0.2.0/24"), start) // a network is none of its sites
	for p, want := range map[netip.Prefix][2]int{host: {1, 0}, site: {2, 1}, netip.MustParsePrefix("192.0.2.0/32"): {0, 0}} {
		if all, late := h.Count(p, start), h.Count(p, start.Add(time.Hour)); all != want[0] || late != want[1] {
			t.Errorf("%s: %d and %d, want %v", p, all, late, want)
		}
	}
	for range 3 {
		h.Add(site, start)
	}
	if h.Count(host, start) != 0 || h.Count(site, start) != 3 || len(h.bySite) != 1 {
		t.Errorf("%d, %d", h.Count(host, start), h.Count(site, start))
	}
}
