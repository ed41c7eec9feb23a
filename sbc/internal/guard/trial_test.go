package guard

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// Test tells for each kind of source what would happen and which check decides, as Admit does, and counts nothing.
func TestTrial(t *testing.T) {
	h := newHand()
	cfg := userSpace()
	cfg.Rates = Default().Rates
	g := open(t, cfg, Options{
		Clock: h.now, Allow: map[string][]netip.Prefix{"trunks": prefixes("198.51.100.0/24")},
		Ports: Ports{SIPUDP: []uint16{5060}, SIPTCP: []uint16{5061}, Media: PortRange{16384, 16483}},
	})
	must(t, g.Ban(prefix("192.0.2.1/32"), time.Hour, "ann", ""))
	must(t, g.Ban(prefix("203.0.113.0/24"), time.Hour, "ann", ""))
	fail(g, "192.0.2.2", 5)
	g.Known(addr("192.0.2.3"), "100@example.com", h.now().Add(time.Hour))
	for _, tc := range []struct {
		src    string
		port   uint16
		tcp    bool
		source string
		reason verdict.Reason
		step   string
	}{
		{"198.51.100.7", 0, false, "never banned", "", "never-ban list: trunks 198.51.100.0/24; nothing else is asked"},
		{"192.0.2.1", 0, false, "banned", verdict.HostBanned, "host-banned by persons"},
		{"::ffff:192.0.2.1", 16384, false, "banned", verdict.HostBanned, "host-banned by persons"},
		{"192.0.2.2", 0, false, "banned", verdict.HostBanned, "host-banned by rule logins"},
		{"203.0.113.9", 5060, true, "banned", verdict.NetworkBanned, "network-banned by persons"},
		{"192.0.2.3", 5060, false, "known", "", "good registrations live there: 1000 datagrams or connections a second, 4000 at once"},
		{"192.0.2.4", 0, false, "stranger", "", "a stranger: 50 datagrams a second, 200 at once; all strangers together 5000"},
		{"192.0.2.4", 5061, true, "stranger", "", "new connections: 20 a second, 100 at once"},
		{"192.0.2.4", 5061, false, "stranger", "", "port 5061 is not guarded"},
		{"192.0.2.4", 16400, false, "stranger", "", "media port 16400: not closed in the kernel"},
		{"192.0.2.4", 16400, true, "stranger", "", "port 16400 is not guarded"},
		{"2001:db8::1", 0, false, "stranger", "", "no ban"},
	} {
		r := g.Test(addr(tc.src), tc.port, tc.tcp)
		if r.Source != tc.source || r.Reason != tc.reason || !contains(r.Steps, tc.step) || r.Where != whereUser || r.Addr != plain(addr(tc.src)) {
			t.Errorf("%s %d: %+v", tc.src, tc.port, r)
		}
		if want := g.Admit(addr(tc.src)).String(); r.Outcome != want {
			t.Errorf("%s: outcome %q, and Admit says %q", tc.src, r.Outcome, want)
		}
		if strings.Contains(strings.Join(r.Steps, ""), "%!") || slices.Contains(r.Steps, "") {
			t.Errorf("%q", r.Steps)
		}
	}
	before := userCount(t, g, verdict.HostBanned, "drop")
	g.Test(addr("192.0.2.1"), 0, false)
	if n := userCount(t, g, verdict.HostBanned, "drop"); n != before {
		t.Error("a trial counts")
	}
	cfg.Monitor = []verdict.Reason{verdict.HostBanned}
	must(t, g.Reload(cfg))
	if r := g.Test(addr("192.0.2.1"), 0, false); r.Outcome != "pass" || !contains(r.Steps, "host-banned only counts") {
		t.Errorf("monitored: %+v", r)
	}
	cfg.Monitor, cfg.XDP.Monitor = nil, true
	must(t, g.Reload(cfg))
	if r := g.Test(addr("203.0.113.9"), 0, false); r.Outcome != "pass" {
		t.Errorf("all is monitored: %+v", r)
	}
}

// What only counts, what is on hold and what is limited is told, too.
func TestWhyAndTrialTellTheRest(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	must(t, g.SetList("drop", FeedMonitor, prefixes("192.0.2.0/24")))
	if e, known := g.Why(addr("192.0.2.1")); !known || e.Noted != "list drop" || e.Outcome != "pass" {
		t.Errorf("%v %+v", known, e)
	}
	for range 100 {
		g.Offence(Offence{Source: netip.MustParseAddrPort("198.51.100.1:4000"), Reason: verdict.BadCredentials})
	}
	if e, _ := g.Why(addr("198.51.100.1")); len(e.Held) == 0 {
		t.Fatalf("nothing is on hold: %+v", e)
	}
	if r := g.Test(addr("198.51.100.1"), 0, false); !strings.Contains(strings.Join(r.Steps, "\n"), "answers nothing to 1 ports of it") {
		t.Errorf("%+v", r)
	}
}
