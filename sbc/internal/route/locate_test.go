package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// zone answers from lines in the form of a zone file.
type zone struct {
	t     *testing.T
	mu    sync.Mutex
	lines map[recordKey][]dns.RR
	fault error
	asked int
}

func newZone(t *testing.T, lines ...string) *zone {
	z := &zone{t: t}
	z.set(lines...)
	return z
}

func (z *zone) set(lines ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lines = map[recordKey][]dns.RR{}
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			z.t.Fatal(err)
		}
		k := recordKey{strings.TrimSuffix(rr.Header().Name, "."), rr.Header().Rrtype}
		z.lines[k] = append(z.lines[k], rr)
	}
}

func (z *zone) fail(err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.fault = err
}

func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	n := z.asked
	z.asked = 0
	return n
}

func (z *zone) Query(_ context.Context, name string, typ uint16) ([]dns.RR, time.Duration, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if z.fault != nil {
		return nil, 0, z.fault
	}
	rrs := z.lines[recordKey{strings.ToLower(name), typ}]
	if len(rrs) == 0 {
		return nil, 0, ErrNoRecord
	}
	return rrs, time.Duration(rrs[0].Header().Ttl) * time.Second, nil
}

type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := n[host]; ok {
		return a, nil
	}
	return nil, errors.New("no such host")
}

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type locateRig struct {
	*testing.T
	*Locator
	zone  *zone
	clock *clock
}

func newLocateRig(t *testing.T, lines ...string) *locateRig {
	r := &locateRig{T: t, zone: newZone(t, lines...), clock: &clock{at: time.Unix(1e9, 0)}}
	r.Locator = NewLocator(LocatorConfig{
		DNS: r.zone, Names: names{"file.test": {netip.MustParseAddr("192.0.2.99")}}, Fallback: names{"system.test": {netip.MustParseAddr("192.0.2.98")}},
		Networks: []string{UDP, TCP, TLS}, Random: func(int) int { return 0 }, Clock: r.clock.now,
	})
	return r
}

// hops is where a gateway leads to, or its fault.
func (r *locateRig) hops(address, network string) string {
	r.Helper()
	g, err := ParseGateway(address, network)
	if err != nil {
		r.Fatal(err)
	}
	list, err := r.Locate(r.Context(), g)
	if err != nil {
		return "fault"
	}
	var out []string
	for _, h := range list {
		out = append(out, h.String())
		if h.Host != g.Host {
			r.Errorf("%s: the certificate would have to name %s", address, h.Host)
		}
	}
	return strings.Join(out, ", ")
}

// RFC 3263 §4.
func TestLocate(t *testing.T) {
	r := newLocateRig(t,
		`full.test. 60 NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.full.test.`,
		`full.test. 60 NAPTR 10 20 "S" "sip+d2t" "" _sip._tcp.other.test.`,
		`full.test. 60 NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.full.test.`,
		`full.test. 60 NAPTR 1 1 "s" "SIP+D2S" "" _sip._sctp.full.test.`,
		`full.test. 60 NAPTR 1 1 "u" "SIP+D2U" "!.*!sip:x@y!" .`,
		`_sip._udp.full.test. 60 SRV 2 0 5062 b.test.`,
		`_sip._udp.full.test. 60 SRV 1 0 5061 a.test.`,
		`_sip._tcp.other.test. 60 SRV 1 0 5071 a.test.`,
		`_sips._tcp.full.test. 60 SRV 1 0 5081 b.test.`,
		`a.test. 60 A 192.0.2.1`, `b.test. 60 A 192.0.2.2`, `b.test. 60 AAAA 2001:db8::2`,
		`_sip._udp.srv.test. 60 SRV 1 0 5061 a.test.`,
		`_sip._tcp.srv.test. 60 SRV 1 0 5061 b.test.`,
		`srv.test. 60 A 192.0.2.77`,
		`_sip._udp.gone.test. 60 SRV 0 0 0 .`, `gone.test. 60 A 192.0.2.66`,
		`_sip._udp.broken.test. 60 SRV 0 0 5060 nowhere.test.`, `broken.test. 60 A 192.0.2.65`,
		`zero.test. 60 A 0.0.0.0`, `zero.test. 60 A 224.0.0.1`,
	)
	for _, c := range []struct{ address, network, want string }{
		{"192.0.2.7", UDP, "udp 192.0.2.7:5060"},
		{"192.0.2.7", Auto, "udp 192.0.2.7:5060"},
		{"192.0.2.7", TLS, "tls 192.0.2.7:5061"},
		{"[2001:db8::7]:5090", TCP, "tcp [2001:db8::7]:5090"},
		{"a.test", UDP, "udp 192.0.2.1:5060"},
		{"b.test:5099", TLS, "tls 192.0.2.2:5099, tls [2001:db8::2]:5099"},
		{"b.test", TLS, "tls 192.0.2.2:5061, tls [2001:db8::2]:5061"},
		{"srv.test", UDP, "udp 192.0.2.1:5061"},
		{"srv.test", TCP, "tcp 192.0.2.2:5061, tcp [2001:db8::2]:5061"},
		{"srv.test:5060", UDP, "udp 192.0.2.77:5060"}, // with a port there is no SRV
		{"srv.test", TLS, "tls 192.0.2.77:5061"},
		{"srv.test", Auto, "udp 192.0.2.1:5061, tcp 192.0.2.2:5061, tcp [2001:db8::2]:5061"},
		{"full.test", UDP, "udp 192.0.2.1:5061, udp 192.0.2.2:5062, udp [2001:db8::2]:5062"}, // the configuration names the transport
		{"full.test", Auto, "tls 192.0.2.2:5081, tls [2001:db8::2]:5081, tcp 192.0.2.1:5071, " +
			"udp 192.0.2.1:5061, udp 192.0.2.2:5062, udp [2001:db8::2]:5062"},
		{"gone.test", UDP, "fault"},   // it says that there is no such service
		{"broken.test", UDP, "fault"}, // RFC 3263 §4.2: where SRV records are, they hold
		{"zero.test", UDP, "fault"},
		{"nothing.test", UDP, "fault"},
		{"file.test", UDP, "udp 192.0.2.99:5060"},
		{"system.test", UDP, "udp 192.0.2.98:5060"},
	} {
		if got := r.hops(c.address, c.network); got != c.want {
			t.Errorf("%s over %s: %s, want %s", c.address, c.network, got, c.want)
		}
	}
}

// A name server that says a lot is cut off.
func TestLocateIsBounded(t *testing.T) {
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf("_sip._udp.many.test. 60 SRV %d 0 5060 h%d.test.", i, i), fmt.Sprintf("many.test. 60 A 192.0.2.%d", i))
		for j := range 3 {
			lines = append(lines, fmt.Sprintf("h%d.test. 60 A 198.51.%d.%d", i, i, j+1))
		}
	}
	r := newLocateRig(t, lines...)
	if n := strings.Count(r.hops("many.test", UDP), "udp"); n != maxHops {
		t.Errorf("%d hops", n)
	}
	if n := strings.Count(r.hops("many.test:5060", UDP), "udp"); n != maxAddresses {
		t.Errorf("%d addresses", n)
	}
	for i := range 3 * maxRecords {
		r.hops(fmt.Sprintf("x%d.test:5060", i), UDP)
	}
	if n := len(r.records.kept); n > maxRecords {
		t.Errorf("%d answers are kept", n)
	}
}

// An answer holds for as long as its TTL says, then the next one counts.
func TestRecordsByTTL(t *testing.T) {
	r := newLocateRig(t, "gw.test. 100 A 192.0.2.1")
	r.hops("gw.test:5060", UDP)
	if n := r.zone.questions(); n != 2 {
		t.Fatalf("%d questions for A and AAAA", n)
	}
	r.zone.set("gw.test. 100 A 192.0.2.2")
	r.clock.pass(29 * time.Second)
	if got, n := r.hops("gw.test:5060", UDP), r.zone.questions(); got != "udp 192.0.2.1:5060" || n != 0 {
		t.Errorf("within the TTL: %s, %d questions", got, n)
	}
	r.clock.pass(2 * time.Second) // that there is no AAAA holds for 30 s
	if n := (r.hops("gw.test:5060", UDP)); r.zone.questions() != 1 {
		t.Errorf("after 31 s: %s", n)
	}
	r.clock.pass(70 * time.Second)
	if got := r.hops("gw.test:5060", UDP); got != "udp 192.0.2.2:5060" {
		t.Errorf("after the TTL: %s", got)
	}
}

// While no name server answers, what was known serves on; that a name is gone is an answer.
func TestRecordsServeStale(t *testing.T) {
	r := newLocateRig(t, "gw.test. 60 A 192.0.2.1")
	r.hops("gw.test:5060", UDP)
	r.zone.fail(errors.New("timeout"))
	r.clock.pass(time.Hour)
	if got := r.hops("gw.test:5060", UDP); got != "udp 192.0.2.1:5060" {
		t.Errorf("no name server answers: %s", got)
	}
	r.zone.questions()
	r.hops("gw.test:5060", UDP)
	if n := r.zone.questions(); n != 0 {
		t.Errorf("%d questions right after a fault", n)
	}
	r.clock.pass(staleFor)
	if got := r.hops("gw.test:5060", UDP); got != "fault" {
		t.Errorf("a day later: %s", got)
	}
	r.zone.fail(nil)
	r.clock.pass(time.Minute)
	if got := r.hops("gw.test:5060", UDP); got != "udp 192.0.2.1:5060" {
		t.Errorf("the name server is back: %s", got)
	}
	r.zone.set()
	r.clock.pass(time.Hour)
	if got := r.hops("gw.test:5060", UDP); got != "fault" {
		t.Errorf("the name is gone: %s", got)
	}
}

// Many calls at once ask once, and none waits longer than its own patience.
func TestRecordsAskOnce(t *testing.T) {
	release := make(chan struct{})
	slow := &slowDNS{release: release}
	l := NewLocator(LocatorConfig{DNS: slow, Random: func(int) int { return 0 }, Clock: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Locate(ctx, Gateway{Host: "gw.test", Port: 5060, Network: UDP}); err == nil {
		t.Error("a call that is over got an answer")
	}
	var all sync.WaitGroup
	got := make([][]Hop, 20)
	for i := range got {
		all.Go(func() { got[i], _ = l.Locate(t.Context(), Gateway{Host: "gw.test", Port: 5060, Network: UDP}) })
	}
	close(release)
	all.Wait()
	for _, hops := range got {
		if !slices.Equal(hops, got[0]) || len(hops) != 1 {
			t.Errorf("%v", hops)
		}
	}
	if n := slow.asked[dns.TypeA]; n != 1 {
		t.Errorf("asked %d times", n)
	}
}

type slowDNS struct {
	release chan struct{}
	mu      sync.Mutex
	asked   [300]int
}

func (s *slowDNS) Query(_ context.Context, name string, typ uint16) ([]dns.RR, time.Duration, error) {
	s.mu.Lock()
	s.asked[typ]++
	s.mu.Unlock()
	<-s.release
	if typ != dns.TypeA {
		return nil, 0, ErrNoRecord
	}
	rr, err := dns.NewRR(name + ". 3600 A 192.0.2.1")
	return []dns.RR{rr}, time.Hour, err
}
