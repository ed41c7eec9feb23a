package loopback

import (
	"strings"
	"testing"

	"brickhouse/shared/siptest"
)

const tollDialplan = `
home: {country: DE}
emergency: {numbers: ["110", "112"]}
classes:
  default: {concurrent: 1, per_day: 2, block_denied: 3}
  abroad: {countries: [home, FR], concurrent: 2}
rules:
  - {number: "11[02]", do: trunk, trunk: carrier}
  - {number: "0.", do: trunk, trunk: carrier}
  - {number: "1XXX", do: extension}
`

// exchange runs a command of the exchange's that succeeds, and returns what it says, with single blanks.
func (s *site) exchange(args ...string) string {
	s.t.Helper()
	r := command(s.t, "", "pbx", append(args, "--socket", s.path("pbx.sock"))...)
	if r.status != 0 {
		s.t.Fatalf("pbx %q: status %d: %s", args, r.status, r.stderr)
	}
	return strings.Join(strings.Fields(r.stdout), " ")
}

// says wants a command of the exchange's to say all of that.
func (s *site) says(args []string, want ...string) {
	s.t.Helper()
	got := s.exchange(args...)
	for _, w := range want {
		if !strings.Contains(got, w) {
			s.t.Errorf("pbx %q does not say %q:\n%s", args, w, got)
		}
	}
}

// TestTollCaps: an extension over its caps is refused with a named reason and blocked; a power cut changes nothing of that,
// an operator does, and emergency calls pass throughout.
func TestTollCaps(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	gw := s.gateway(60, siptest.UDP, nil)
	s.write("dialplan.yaml", tollDialplan)
	s.exchange("reload")
	a := s.register(s.config(remote, "1801"))
	calls := 0
	refused := func(number, reason string) {
		t.Helper()
		fails(t, a, number, 403)
		calls++
		if r := s.recorded("1801", calls); r.Reason != reason || r.Disposition != "refused" || r.Trunk != "carrier" {
			t.Errorf("call record %+v, want reason %s", r, reason)
		}
	}
	passes := func(number string, during func()) {
		t.Helper()
		p := connect(t, a, gw.Phone, number)
		p.talk(t)
		if during != nil {
			during()
		}
		p.hangup(t, true)
		calls++
		s.recorded("1801", calls)
	}

	refused("09001234567", "premium-denied")
	passes("030123456", func() {
		s.says([]string{"dialplan", "test", "1801", "030123457"}, "is refused: concurrent-cap", "country DE")
	})
	passes("030123457", nil)
	refused("030123458", "day-cap")
	blocked := []string{"blocked since", "day-cap", "pbx extension unblock 1801"}
	s.says([]string{"extension", "show", "1801"}, append(blocked, "calls a day 2 of 2")...)
	for _, reason := range []string{"premium-denied", "day-cap"} {
		if n := s.metric("pbx", "external_denied_total", reason); n != 1 {
			t.Errorf("%v calls are counted as denied for %s", n, reason)
		}
	}
	refused("030123458", "extension-blocked")
	passes("112", nil)

	s.pbx.kill()
	s.startExchange()
	s.awaitLink()
	s.says([]string{"extension", "show", "1801"}, append(blocked, "calls now 0 of 1", "calls a day 2 of 2")...)
	refused("030123458", "extension-blocked")
	passes("110", nil)
	s.says([]string{"extension", "unblock", "1801"}, "extension 1801 is unblocked")
	passes("030123458", nil)
	refused("0033123456789", "country-denied")
	s.says([]string{"extension", "class", "1801", "abroad"}, "extension 1801 has class abroad")
	passes("0033123456789", nil)
}
