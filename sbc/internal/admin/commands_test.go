package admin

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/verdict"
)

// What a person reads of a ban: rule, time left, and each offence once, wherever the guard still has it.
func TestExplain(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	offence := func(n int) guard.Evidence {
		return guard.Evidence{At: at.Add(time.Duration(n) * time.Second), Source: netip.MustParseAddrPort("192.0.2.7:4000"),
			Reason: verdict.BadCredentials, AOR: "1001@lab.test", Interface: "tls"}
	}
	ban := guard.Ban{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Reason: verdict.BadCredentials, Rule: "logins", By: guard.ByRule,
		From: at, Until: time.Now().Add(time.Hour), Evidence: []guard.Evidence{offence(1), offence(2)}}
	for _, c := range []struct {
		name     string
		e        guard.Explanation
		offences int
		want     []string
	}{
		{"nothing", guard.Explanation{Outcome: "pass"}, 0, []string{": pass\n"}},
		{"allowed", guard.Explanation{Allowed: "trunks 192.0.2.0/24"}, 0, []string{"never banned: trunks 192.0.2.0/24\n"}},
		{"before a ban", guard.Explanation{Scores: []guard.Score{{Rule: "logins", Sum: 2, Threshold: 5, Window: time.Minute}},
			Evidence: []guard.Evidence{offence(1), offence(2)}}, 2, []string{"rule logins: 2 of 5 within 1m0s\n"}},
		{"banned", guard.Explanation{Bans: []guard.Ban{ban}, Evidence: []guard.Evidence{offence(1), offence(2), offence(3)}}, 3,
			[]string{"bad-credentials, by rule logins\n", "time left: 1h0m0s\n"}},
		{"banned before the last start", guard.Explanation{Bans: []guard.Ban{ban}}, 2, []string{"by rule logins\n", "10:00:02  bad-credentials"}},
		{"by hand", guard.Explanation{Bans: []guard.Ban{{By: "root", Note: "scanner\x1b[2J"}}}, 0, []string{"by root: scanner", "until lifted"}},
		{"held", guard.Explanation{Held: []guard.Held{{Source: netip.MustParseAddrPort("192.0.2.7:5060"), Reason: verdict.BadCredentials, Until: at}}},
			0, []string{"on hold: 192.0.2.7:5060 until 10:00:00, bad-credentials\n"}},
		{"earlier", guard.Explanation{History: []guard.Past{{Ban: ban, Ended: at, EndedBy: "expiry"}}}, 0, []string{"ended by expiry\n"}},
	} {
		text := explain(c.e)
		if n := strings.Count(text, "1001@lab.test"); n != c.offences {
			t.Errorf("%s: %d offences are told, not %d:\n%s", c.name, n, c.offences, text)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in:\n%s", c.name, want, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("%s: a control character went through: %q", c.name, text)
		}
	}
}
