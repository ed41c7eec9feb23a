package admin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/shared/verdict"
)

func TestRights(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001", "--name", "Alice")
	if got := r.do("extension", "class", "1001", "world"); got != "extension 1001 has class world\n" {
		t.Errorf("%q", got)
	}
	has := func(got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(got), " "), w) {
				t.Errorf("%q is not in\n%s", w, got)
			}
		}
	}
	has(r.do("extension", "show", "1001"), "EXTENSION 1001", "name Alice", "class world", "countries home", "calls a day 3 of 500", "denied 2 within an hour; 20 block it", "blocked no")
	if _, err := r.x.store.Block(t.Context(), "1001", verdict.DayCap, time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	has(r.do("extension", "show", "1001"), "blocked since 2026-11-21 08:00:00: day-cap (pbx extension unblock 1001)")
	var a callcontrol.Account
	if err := json.Unmarshal([]byte(r.do("extension", "show", "1001", "--json")), &a); err != nil || a.Blocked == nil || a.Why != verdict.DayCap || a.Rights.PerDay != 500 {
		t.Errorf("%+v, %v", a, err)
	}
	if got := r.do("extension", "unblock", "1001"); got != "extension 1001 is unblocked\n" {
		t.Errorf("%q", got)
	}
	if s, _ := r.x.store.Standing("1001"); !s.Blocked.IsZero() {
		t.Errorf("%+v", s)
	}
	has(r.do("dialplan", "test", "1001", "0088213"), "1001 → 0088213 is refused: satellite-denied", "does trunk", "number +88213", "kind satellite", "because class default does not allow satellite numbers")
	var f callcontrol.Forecast
	if err := json.Unmarshal([]byte(r.do("dialplan", "test", "1001", "0088213", "--json")), &f); err != nil || f.Reason != verdict.SatelliteDenied {
		t.Errorf("%+v, %v", f, err)
	}
	for _, c := range []struct{ args, want string }{
		{"extension show", "wrong number of arguments"},
		{"extension show 1999", `no extension "1999"`},
		{"extension class 1001", "wrong number of arguments"},
		{"extension class 1001 lost", `no class "lost"; it has default, world`},
		{"extension class 1999 world", `no extension "1999"`},
		{"extension unblock", "wrong number of arguments"},
		{"extension unblock 1001", "extension 1001 is not blocked"},
		{"extension unblock 1999", `no extension "1999"`},
		{"dialplan test 1001", "wrong number of arguments"},
		{"dialplan test 1999 1", `no extension "1999"`},
		{"dialplan test 1001 " + strings.Repeat("1", 65), "1 to 64 characters"},
	} {
		status, out, errs := r.run(strings.Split(c.args, " ")...)
		if status != 2 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q %q, want %s", c.args, status, out, errs, c.want)
		}
	}
}
