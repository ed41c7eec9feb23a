package transport

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestVerifiedTableIsBoundedAndExpires(t *testing.T) {
	start := time.Unix(1000, 0)
	v := newVerifiedTable(100, time.Minute)
	for n := range 10_000 {
		v.addAt(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 5060), start)
		if v.size() > 100 {
			t.Fatalf("%d entries after %d sources, want at most 100", v.size(), n+1)
		}
	}
	a := ap("192.0.2.1:5060")
	if v.hasAt(a, start) {
		t.Error("a source that nobody added is verified")
	}
	v.addAt(a, start)
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {59 * time.Second, true}, {time.Minute, false}, {time.Hour, false}} {
		if got := v.hasAt(a, start.Add(tt.after)); got != tt.want {
			t.Errorf("after %v: verified %v, want %v", tt.after, got, tt.want)
		}
	}
	if v.hasAt(ap("192.0.2.1:5061"), start) {
		t.Error("another port of a verified address is verified")
	}
	v.addAt(a, start.Add(50*time.Second))
	if !v.hasAt(a, start.Add(100*time.Second)) {
		t.Error("adding again does not prolong")
	}
}

func TestFlowIDs(t *testing.T) {
	ids, err := newFlowIDs([]byte("key"), "access")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newFlowIDs([]byte("key"), "peer")
	same, _ := newFlowIDs([]byte("key"), "access")
	seen := make(map[string]bool)
	for _, tt := range []struct{ local, remote string }{
		{"192.0.2.1", "198.51.100.7:5060"}, {"192.0.2.1", "198.51.100.7:5061"}, {"192.0.2.2", "198.51.100.7:5060"},
		{"2001:db8::1", "[2001:db8::2]:5060"}, {"fe80::1", "[fe80::2%eth0]:5060"},
	} {
		id := ids.seal(netip.MustParseAddr(tt.local), ap(tt.remote))
		if seen[id] || id != same.seal(netip.MustParseAddr(tt.local), ap(tt.remote)) {
			t.Errorf("%v: id %q is not unique or not stable", tt, id)
		}
		seen[id] = true
		if strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("%v: id %q has characters that a URI user must escape", tt, id)
		}
		local, remote, ok := ids.open(id)
		if !ok || local.String() != tt.local || remote.String() != tt.remote {
			t.Errorf("%v: opened %v %v %v", tt, local, remote, ok)
		}
		if _, _, ok := other.open(id); ok {
			t.Errorf("%v: another interface opens it", tt)
		}
		for n := range id {
			forged := []byte(id)
			forged[n] = 'A' + (forged[n]+1)%26
			if _, r, ok := ids.open(string(forged)); ok && string(forged) != id && r.String() == tt.remote && n < len(id)-1 {
				t.Errorf("%v: forged %q opens", tt, forged)
			}
		}
	}
	if a, b := newConnID(), newConnID(); a == b || len(a) != 17 {
		t.Errorf("connection ids %q and %q", a, b)
	}
}

func FuzzFlowIDOpen(f *testing.F) {
	ids, err := newFlowIDs([]byte("key"), "x")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ids.seal(netip.MustParseAddr("192.0.2.1"), ap("192.0.2.2:5060")))
	f.Add("")
	f.Add("u")
	f.Add("uAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if l, r, ok := ids.open(s); ok && ids.seal(l, r)[:len(s)-1] != s[:len(s)-1] {
			t.Errorf("%q opens to %v %v, which is another id", s, l, r)
		}
	})
}

func TestRosterCaps(t *testing.T) {
	r := newRoster[int](Limits{MaxConnections: 10, MaxStrangers: 4, MaxPerSource: 2, MaxTrustedPerSource: 3})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	admit := func(c int, from netip.Addr, wantVictim int, of eviction) {
		t.Helper()
		victim, evicted, ok := r.admit(c, from)
		if !ok || evicted != of || victim != wantVictim {
			t.Fatalf("admit %d: victim %d %v, ok %v; want victim %d %v", c, victim, evicted, ok, wantVictim, of)
		}
	}
	admit(1, a, 0, nobody)
	admit(2, a, 0, nobody)
	admit(3, a, 1, ofSource)
	admit(4, b, 0, nobody)
	admit(5, netip.MustParseAddr("192.0.2.3"), 0, nobody)
	admit(6, netip.MustParseAddr("192.0.2.4"), 2, ofAll) // strangers are full
	for range 2 {                                        // the second time changes nothing
		if !r.trust(3) {
			t.Error("trusting a stranger fails")
		}
	}
	if trusted, strangers := r.counts(); trusted != 1 || strangers != 3 {
		t.Errorf("%d trusted, %d strangers, want 1 and 3", trusted, strangers)
	}
	if r.trust(99) || r.trust(1) {
		t.Error("one that is not in the book is trusted")
	}
	admit(7, a, 0, nobody)
	if c, ok := r.oldest(); !ok || c != 4 {
		t.Errorf("oldest is %d %v, want 4", c, ok)
	}
	for _, c := range r.list() {
		r.remove(c)
	}
	if len(r.seats) != 0 || len(r.sources) != 0 || r.strangers.len() != 0 || r.trusted != 0 {
		t.Errorf("book is not empty after all left: %+v", r)
	}
}

func TestRosterKeepsTheStrangersShare(t *testing.T) {
	r := newRoster[int](Limits{MaxConnections: 5, MaxStrangers: 2, MaxPerSource: 9, MaxTrustedPerSource: 2})
	from := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	trusted := 0
	for n := 1; n <= 10; n++ {
		if _, _, ok := r.admit(n, from(n)); !ok {
			t.Fatalf("connection %d is refused: trusted ones use up the strangers' share", n)
		}
		if r.trust(n) {
			trusted++
		}
	}
	if trusted != 3 {
		t.Errorf("%d trusted, want 3 of 5", trusted)
	}
	r = newRoster[int](Limits{MaxConnections: 50, MaxStrangers: 20, MaxPerSource: 9, MaxTrustedPerSource: 2})
	for n := 1; n <= 3; n++ {
		r.admit(n, from(1))
		if got := r.trust(n); got != (n <= 2) {
			t.Errorf("trust of connection %d of one source: %v", n, got)
		}
	}
}

func TestSourceIsTheSubscriber(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8::1", "2001:db8::2", true}, {"2001:db8::1", "2001:db8:0:1::1", false},
		{"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true}, {"fe80::1%a", "fe80::2%b", true},
	} {
		a, b := sourceOf(netip.MustParseAddr(tt.a)), sourceOf(netip.MustParseAddr(tt.b))
		if (a == b) != tt.same {
			t.Errorf("%s and %s: one source %v, want %v", tt.a, tt.b, a == b, tt.same)
		}
	}
}

func TestReadClock(t *testing.T) {
	l := Limits{RequestTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second}
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	c := newReadClock(l, at(0))
	check := func(what string, trusted, partial bool, now int, want verdict.Reason) {
		t.Helper()
		if got := c.expired(trusted, partial, at(now)); got != want {
			t.Errorf("%s: at %d s %q, want %q", what, now, got, want)
		}
	}
	check("silent stranger", false, false, 9, verdict.None)
	check("silent stranger", false, false, 10, verdict.RequestTimeout)
	c.arrived(at(9), 1, true)
	check("first message drips in", false, true, 10, verdict.RequestTimeout)
	c.complete(at(9))
	c.arrived(at(9), 0, false)
	check("stranger after a message", false, false, 38, verdict.None)
	check("stranger after a message", false, false, 39, verdict.IdleTimeout)
	check("trusted", true, false, 1_000_000, verdict.None)
	c.deadline(true, false)
	c.arrived(at(100), 5, true)
	c.arrived(at(105), 5, true)
	check("partial of a trusted one", true, true, 109, verdict.None)
	check("partial of a trusted one", true, true, 110, verdict.RequestTimeout)
	c.limits.TrustedIdle = time.Minute
	check("trusted with a limit", true, false, 164, verdict.None)
	check("trusted with a limit", true, false, 165, verdict.IdleTimeout)
	if at := c.deadline(true, false); at.IsZero() {
		t.Error("no deadline for a trusted one with a limit")
	}
}

func TestStampVia(t *testing.T) {
	for _, tt := range []struct{ via, remote, want string }{
		{"SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1", "192.0.2.9:5060", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1"},
		{"SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1", "192.0.2.1:7000", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;received=192.0.2.1"},
		{"SIP/2.0/UDP phone.example.com;branch=z9hG4bK1", "192.0.2.1:7000",
			"SIP/2.0/UDP phone.example.com;branch=z9hG4bK1;received=192.0.2.1"},
		{"SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK1", "192.0.2.1:7000",
			"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1;rport=7000"},
		// What the sender writes there steers nothing (T14).
		{"SIP/2.0/UDP 192.0.2.1;rport=17098;received=198.51.100.9;branch=z9hG4bK1", "192.0.2.1:7000",
			"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1;rport=7000"},
		{"SIP/2.0/UDP 192.0.2.1;RECEIVED=198.51.100.9;branch=z9hG4bK1", "192.0.2.1:7000",
			"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"},
		{"SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1", "[2001:db8::1]:5060",
			"SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1"},
	} {
		msg, err := parse([]byte("OPTIONS sip:a@b.example SIP/2.0\r\nVia: " + tt.via + "\r\nCall-ID: 1\r\n\r\n"))
		if err != nil {
			t.Fatalf("%s: %v", tt.via, err)
		}
		req := msg.(*sip.Request)
		stampVia(req, ap(tt.remote))
		if got := req.Via().Value(); got != tt.want && strings.ReplaceAll(got, "[[", "[") != tt.want {
			t.Errorf("%s from %s:\n got %s\nwant %s", tt.via, tt.remote, got, tt.want)
		}
	}
	stampVia(sip.NewRequest(sip.OPTIONS, sip.Uri{}), ap("192.0.2.1:1")) // no Via: nothing to do, no panic
}

func TestParseAdvertise(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want hostPort
		bad  bool
	}{
		{in: ""}, {in: "sbc.example.com", want: hostPort{"sbc.example.com", 0}},
		{in: "sbc.example.com:5061", want: hostPort{"sbc.example.com", 5061}},
		{in: "192.0.2.1", want: hostPort{"192.0.2.1", 0}}, {in: "192.0.2.1:5060", want: hostPort{"192.0.2.1", 5060}},
		{in: "2001:db8::1", want: hostPort{"2001:db8::1", 0}}, {in: "[2001:db8::1]", want: hostPort{"2001:db8::1", 0}},
		{in: "[2001:db8::1]:5061", want: hostPort{"2001:db8::1", 5061}},
		{in: "host:0", bad: true}, {in: "host:99999", bad: true}, {in: ":5060", bad: true}, {in: "a b", bad: true},
		{in: "a;b", bad: true}, {in: "host:x", bad: true}, {in: "a:b:c", bad: true},
	} {
		got, err := parseAdvertise(tt.in)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("%q: %+v, %v; want %+v, error %v", tt.in, got, err, tt.want, tt.bad)
		}
	}
}

func TestDefaultsFillZeroFields(t *testing.T) {
	l := Limits{MaxConnections: 50, IdleTimeout: time.Second}.withDefaults()
	if l.MaxConnections != 50 || l.IdleTimeout != time.Second {
		t.Errorf("what was set is gone: %+v", l)
	}
	if l.MaxStrangers != 10 || l.MaxPerSource != 16 || l.HandshakeTimeout != 5*time.Second || l.MaxMessage != 256<<10 ||
		l.TrustedIdle != 0 || l.Readers < 1 {
		t.Errorf("defaults: %+v", l)
	}
}

func TestHolderReadsProc(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := func(addr, state, inode string) string {
		return fmt.Sprintf("  0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000 0 0 %s 1\n", addr, state, inode)
	}
	write("net/tcp", "  sl  local_address\n"+line("0100007F:13C4", "0A", "42")+line("0200007F:13C4", "01", "43"))
	write("net/udp", line("00000000:13C4", "07", "44"))
	write("net/tcp6", line("B80D0120000000000000000001000000:13C5", "0A", "45"))
	for pid, inode := range map[string]string{"10": "42", "11": "44", "12": "45"} {
		write(pid+"/comm", "prog"+pid+"\n")
		if err := os.MkdirAll(filepath.Join(dir, pid, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("socket:["+inode+"]", filepath.Join(dir, pid, "fd", "3")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		n        Network
		at, want string
	}{
		{TCP, "127.0.0.1:5060", "prog10 (pid 10)"}, {TLS, "0.0.0.0:5060", "prog10 (pid 10)"}, {TCP, "127.0.0.2:5060", ""},
		{UDP, "127.0.0.1:5060", "prog11 (pid 11)"}, {TCP, "127.0.0.1:5061", ""}, {TCP, "[2001:db8::1]:5061", "prog12 (pid 12)"},
	} {
		if got := holderIn(dir, tt.n, ap(tt.at)); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.n, tt.at, got, tt.want)
		}
	}
	if got := holderIn(filepath.Join(dir, "none"), TCP, ap("127.0.0.1:5060")); got != "" {
		t.Errorf("without /proc: %q", got)
	}
}
