package bpf

import (
	"net/netip"
	"testing"
	"time"

	"brickhouse/bpf/table"
)

// An hour between packets, so that the clock stands still for the tests: what may come is the burst.
func burst(n int) Rate { return Rate{PerSecond: 1.0 / 3600, Burst: n} }

// passes counts how many of n frames pass, and checks that the others are dropped for the reason, and none comes after a drop.
func passes(t *testing.T, f *Filter, in frame, n int, r Reason) int {
	t.Helper()
	b, passed := in.bytes(), 0
	for i := range n {
		switch _, got := run(t, f, b); got {
		case pass(familyOf(in)):
			if passed++; passed != i+1 {
				t.Errorf("frame %d passes after one that did not", i)
			}
		case drop(familyOf(in), r):
		default:
			t.Errorf("frame %d: %v", i, got)
		}
	}
	return passed
}

func expectPasses(t *testing.T, f *Filter, what string, in frame, want int, r Reason) {
	t.Helper()
	if got := passes(t, f, in, want+3, r); got != want {
		t.Errorf("%s: %d pass, want %d", what, got, want)
	}
}

// Exactly the burst passes, of each source by itself, by its class.
func TestRootSourceRates(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	s := f.Sources()
	must(t, s.Know(netip.MustParsePrefix("192.0.2.20/32"), table.Forever))
	must(t, s.Know(netip.MustParsePrefix("2001:db8:20::/64"), table.Forever))
	must(t, s.Limit(netip.MustParsePrefix("192.0.2.30/32"), table.Forever))
	must(t, s.Know(netip.MustParsePrefix("192.0.2.0/24"), table.Forever)) // a limit wins over it, also over a wider one
	must(t, s.Limit(netip.MustParsePrefix("2001:db8:30::/48"), table.Forever))
	must(t, s.SetAllow(prefixes("192.0.2.40/32")))
	must(t, f.Set(Settings{Source: burst(5), Known: burst(12), Limited: burst(2), Connections: burst(4)}))
	sip := udp(portSIP, sipOptions)
	for src, want := range map[string]int{"198.51.100.1": 5, "198.51.100.2": 5, "2001:db8:1::1": 5, "192.0.2.20": 12, "2001:db8:20::1": 12, "192.0.2.30": 2,
		"2001:db8:30::1": 2} {
		expectPasses(t, f, src, frame{src: src, payload: sip}, want, ReasonSourceRate)
	}
	expectPasses(t, f, "another host of the same /64", frame{src: "2001:db8:1::2", payload: sip}, 0, ReasonSourceRate)
	expectPasses(t, f, "another /64", frame{src: "2001:db8:1:1::2", payload: sip}, 5, ReasonSourceRate)
	for range 20 {
		if _, got := run(t, f, frame{src: "192.0.2.40", payload: sip}.bytes()); got.action != ActionAllow {
			t.Fatalf("never to be limited: %v", got)
		}
	}
	expectFates(t, f, []fateCase{ // over its rate, but that is for other things
		{"not SIP", frame{src: "198.51.100.1", payload: udp(portSIP, "JUNK")}, drop(FamilyIPv4, ReasonNotSIP)},
		{"another port", frame{src: "198.51.100.1", payload: udp(portTLS, "x")}, pass(FamilyIPv4)},
		{"ICMP", frame{src: "198.51.100.1", next: 1}, pass(FamilyIPv4)},
		{"later fragment", frame{src: "198.51.100.1", flags: 1}, drop(FamilyIPv4, ReasonSourceRate)},
	})
	expectPasses(t, f, "later fragments count as datagrams", frame{src: "198.51.100.3", flags: 1}, 5, ReasonSourceRate)
	expectPasses(t, f, "none left for whole ones", frame{src: "198.51.100.3", payload: sip}, 0, ReasonSourceRate)

	must(t, f.Set(Settings{Source: burst(5), Monitored: map[Reason]bool{ReasonSourceRate: true}}))
	expectFates(t, f, []fateCase{
		{"monitored", frame{src: "198.51.100.1", payload: sip}, fate{FamilyIPv4, ReasonSourceRate, ActionMonitor, 0}},
	})
	must(t, f.Set(Settings{}))
	expectFates(t, f, []fateCase{{"no limits", frame{src: "198.51.100.1", payload: sip}, pass(FamilyIPv4)}})
}

// New connections have a rate of their own; what belongs to a connection has none.
func TestRootConnectionRate(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	must(t, f.Sources().Limit(netip.MustParsePrefix("192.0.2.30/32"), table.Forever))
	must(t, f.Set(Settings{Source: burst(1), Connections: burst(4), Limited: burst(2)}))
	expectPasses(t, f, "SYN", tcp4("192.0.2.7", portSIP, tcpSYN), 4, ReasonConnectionRate)
	expectPasses(t, f, "SYN to the other port", tcp4("192.0.2.7", portTLS, tcpSYN), 0, ReasonConnectionRate)
	expectPasses(t, f, "of a limited source", tcp4("192.0.2.30", portTLS, tcpSYN), 2, ReasonConnectionRate)
	expectPasses(t, f, "datagrams", frame{src: "192.0.2.7", payload: udp(portSIP, sipOptions)}, 1, ReasonSourceRate)
	expectPasses(t, f, "v6", frame{src: "2001:db8::7", next: 6, payload: tcp(portTLS, tcpSYN)}, 4, ReasonConnectionRate)
	expectFates(t, f, []fateCase{
		{"SYN and ACK", tcp4("192.0.2.7", portSIP, tcpSYN|tcpACK), pass(FamilyIPv4)},
		{"ACK", tcp4("192.0.2.7", portSIP, tcpACK), pass(FamilyIPv4)},
		{"RST", tcp4("192.0.2.7", portSIP, tcpRST), pass(FamilyIPv4)},
		{"SYN to another port", tcp4("192.0.2.7", 22, tcpSYN), pass(FamilyIPv4)},
		{"SYN with more flags", tcp4("192.0.2.7", portSIP, tcpSYN|0xc0), drop(FamilyIPv4, ReasonConnectionRate)},
	})
}

// All strangers together have one limit, which those with a good registration do not use up.
func TestRootStrangersRate(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	must(t, f.Sources().Know(netip.MustParsePrefix("192.0.2.20/32"), table.Forever))
	must(t, f.Set(Settings{Strangers: burst(6), Source: burst(4)}))
	sip := udp(portSIP, sipOptions)
	expectPasses(t, f, "one", frame{src: "198.51.100.1", payload: sip}, 4, ReasonSourceRate)
	if n := passes(t, f, frame{src: "2001:db8::2", payload: sip}, 4, ReasonStrangersRate); n != 2 {
		t.Errorf("%d of another pass, want the 2 that are left", n)
	}
	expectFates(t, f, []fateCase{
		{"known", frame{src: "192.0.2.20", payload: sip}, pass(FamilyIPv4)},
		{"no SIP", frame{src: "198.51.100.9", payload: udp(9, "")}, pass(FamilyIPv4)},
		{"third", frame{src: "198.51.100.9", payload: sip}, drop(FamilyIPv4, ReasonStrangersRate)},
	})
}

// Room comes back with time.
func TestRootRateRecovers(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	must(t, f.Set(Settings{Source: Rate{PerSecond: 20, Burst: 3}}))
	in := frame{src: "198.51.100.1", payload: udp(portSIP, sipOptions)}.bytes()
	begin, passed := now(t), 0
	for deadline := time.Now().Add(20 * time.Second); passed < 8; time.Sleep(5 * time.Millisecond) {
		if ret, _ := run(t, f, in); ret == xdpPass {
			passed++
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d passed", passed)
		}
	}
	// 3 at once, the other 5 each after 50 ms; the kernel's clock may be a step behind.
	if took := now(t) - begin; took < 5*50*time.Millisecond-2*coarse {
		t.Errorf("8 passed in %v", took)
	}
}

func TestRateRaw(t *testing.T) {
	for in, want := range map[Rate]edgeRate{
		{}:                          {},
		{PerSecond: -1, Burst: 5}:   {},
		{PerSecond: 10, Burst: 5}:   {Gap: 1e8, Slack: 4e8},
		{PerSecond: 10}:             {Gap: 1e8, Slack: uint64(coarse)},
		{PerSecond: 1e12, Burst: 1}: {Gap: 1, Slack: uint64(coarse)},
	} {
		if got := in.raw(); got != want {
			t.Errorf("%+v: %+v, want %+v", in, got, want)
		}
	}
	if (&Filter{}).Set(Settings{Samples: -1}) == nil {
		t.Error("-1 samples")
	}
}
