package loopback

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// watched is a site whose trunk is watched closely.
func watched(t *testing.T, limits string) *site {
	t.Helper()
	s := trunked(t, "udp")
	s.opt.Trunk += "\n      failover: {after: 1s}\n      health: {retry: 1s, timeout: 1s, up: 1}\n      limits: " + limits
	s.configure()
	if failed := s.border.hup(); failed != "0" {
		t.Fatal(s.border.faulty())
	}
	return s
}

// sbc runs a command of the border's and returns what it says.
func (s *site) sbc(args ...string) string {
	s.t.Helper()
	r := command(s.t, "", "sbc", append(args, "--socket", s.path("sbc.sock"))...)
	if r.status != 0 {
		s.t.Fatalf("sbc %v: status %d: %s", args, r.status, r.stderr)
	}
	return r.stdout
}

// gateways says what the border thinks of the carrier's gateways, first to last.
func (s *site) gateways() string {
	s.t.Helper()
	var list []struct {
		Gateways []struct{ State string }
	}
	if err := json.Unmarshal([]byte(s.sbc("trunk", "list", "--json")), &list); err != nil || len(list) != 1 {
		s.t.Fatal(err, list)
	}
	var out []string
	for _, g := range list[0].Gateways {
		out = append(out, g.State)
	}
	return strings.Join(out, " ")
}

func (s *site) awaitGateways(want string) {
	s.t.Helper()
	for end := time.Now().Add(patience); s.gateways() != want; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("gateways are %s, want %s", s.gateways(), want)
		}
	}
}

// taken makes a call that the gateway takes, and ends it.
func (s *site) taken(a *siptest.Phone, gw *siptest.Carrier) {
	s.t.Helper()
	p := connect(s.t, a, gw.Phone, "0123456")
	p.hangup(s.t, true)
}

// A gateway that says nothing is left for the next one, then left out, and used again once it answers.
func TestSilentGateway(t *testing.T) {
	t.Parallel()
	s := watched(t, "{}")
	deaf, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(s.addr(60)), Port: trunkPort})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	second := s.gateway(61, siptest.UDP, nil)
	a := s.register(s.config(remote, "1801"))
	for range 3 {
		s.taken(a, second)
	}
	s.awaitGateways("down up")
	asked := time.Now()
	s.taken(a, second)
	if waited := time.Since(asked); waited > time.Second { // failover.after, which a call that tries the first one takes at least
		t.Errorf("a call still waits %s for the gateway that is down", waited)
	}
	if r := command(t, "", "sbc", "trunk", "test", "carrier", "--socket", s.path("sbc.sock")); r.status != 0 || !strings.Contains(r.stdout, s.addr(60)) {
		t.Errorf("status %d: %s%s", r.status, r.stdout, r.stderr)
	}
	deaf.Close()
	first := s.gateway(60, siptest.UDP, nil)
	s.awaitGateways("up up")
	s.taken(a, first)
}

// With no gateway left a trunk says so at once, by name, and comes back by itself.
func TestNoGateway(t *testing.T) {
	t.Parallel()
	s := watched(t, "{}")
	a := s.register(s.config(remote, "1801"))
	for range 3 {
		fails(t, a, "0123456", 503) // ICMP says that nobody is there
	}
	s.awaitGateways("down down")
	before := s.metric("sbc", "refused_total", "trunk-down")
	fails(t, a, "0123456", 503)
	if after := s.metric("sbc", "refused_total", "trunk-down"); after != before+1 {
		t.Errorf("trunk-down is counted %v, then %v", before, after)
	}
	if r := command(t, "", "sbc", "trunk", "test", "carrier", "--socket", s.path("sbc.sock")); r.status == 0 || !strings.Contains(r.stderr, "no gateway of the trunk answers") {
		t.Errorf("status %d: %s%s", r.status, r.stdout, r.stderr)
	}
	gw := s.gateway(61, siptest.UDP, nil)
	s.awaitGateways("down up")
	s.taken(a, gw)
}

// A person takes a trunk out of use and back, over a restart; its calls go on. A full trunk refuses.
func TestDisabledAndFull(t *testing.T) {
	t.Parallel()
	s := watched(t, "{calls: 1}")
	gw := s.gateway(60, siptest.UDP, nil)
	a, b := s.register(s.config(remote, "1801")), s.register(s.config(insideUDP, "1802"))
	p := connect(t, a, gw.Phone, "0123456")
	fails(t, b, "0123456", 503)
	if n := s.metric("sbc", "refused_total", "trunk-calls"); n != 1 {
		t.Errorf("trunk-calls is counted %v times", n)
	}
	s.sbc("trunk", "disable", "carrier")
	p.talk(t)
	p.hangup(t, true)
	fails(t, b, "0123456", 503)
	if n := s.metric("sbc", "refused_total", "trunk-disabled"); n != 1 {
		t.Errorf("trunk-disabled is counted %v times", n)
	}
	s.border.kill()
	s.startBorder()
	s.awaitLink()
	fails(t, b, "0123456", 503)
	s.sbc("trunk", "enable", "carrier")
	s.taken(b, gw)
	s.taken(b, gw) // the place of the one before is free
}
