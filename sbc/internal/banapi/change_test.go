package banapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/verdict"
)

// What is posted is in force, and in the journal under the token's name.
func TestBan(t *testing.T) {
	r := newRig(t, nil)
	if got := r.do("ban", "POST", "/v1/alerts", alert("4h", "Ip", "192.0.2.7"), 201); strings.TrimSpace(got) != `["1"]` {
		t.Error(got)
	}
	r.do("ban", "POST", "/v1/alerts", alert("1h", "range", "2001:db8::/48"), 201)
	if got := r.list(); got != "192.0.2.7/32 api:ban 4h0m0s, 2001:db8::/48 api:ban 1h0m0s" {
		t.Error(got)
	}
	if v := r.guard.Admit(netip.MustParseAddr("192.0.2.7")); v.Reason != verdict.HostBanned {
		t.Error(v)
	}
	if got := r.guard.List()[0].Note; got != "ssh-bf" {
		t.Error(got)
	}
	if r.count["ban ok"] != 2 {
		t.Error(r.count)
	}
}

// The journal on disk tells who did it, so that an audit finds it after a restart.
func TestAudit(t *testing.T) {
	r := newRig(t, nil)
	r.do("ban", "POST", "/v1/alerts", alert("4h", "ip", "192.0.2.7"), 201)
	r.do("ban", "DELETE", "/v1/decisions?ip=192.0.2.7", "", 200)
	e, _ := r.guard.Why(netip.MustParseAddr("192.0.2.7"))
	if len(e.History) != 1 || e.History[0].By != "api:ban" || e.History[0].EndedBy != "api:ban" {
		t.Errorf("%+v", e.History)
	}
}

// Each decision that can't be has its own answer, and the others are in force.
func TestOutcomes(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Tokens[0].MaxBan = 2 * time.Hour })
	r.ban("192.0.2.50/32", guard.Forever, "anna")
	r.ban("192.0.2.51/32", time.Minute, "anna")
	cases := []struct{ duration, scope, value, kind, simulated, outcome, detail string }{
		{"1h", "ip", "192.0.2.1", "ban", "false", "banned", ""},
		{"9h", "ip", "192.0.2.2", "ban", "false", "banned", "cut to 2h0m0s"},
		{"1h", "ip", "192.0.2.3", "ban", "true", "simulated", ""},
		{"1h", "ip", "192.0.2.50", "ban", "false", "kept", "lasts longer"},
		{"1h", "ip", "192.0.2.51", "ban", "false", "banned", ""},
		{"1h", "ip", "198.51.100.9", "ban", "false", "refused", "allow list"},
		{"1h", "ip", "::ffff:198.51.100.9", "ban", "false", "refused", "allow list"},
		{"1h", "range", "203.0.0.0/16", "ban", "false", "refused", "wider than /24"},
		{"1h", "range", "2001:db8::/32", "ban", "false", "refused", "wider"},
		{"1h", "range", "192.0.2.9/24", "ban", "false", "refused", "no network"},
		{"1h", "ip", "192.0.2.0/24", "ban", "false", "refused", "no address"},
		{"1h", "ip", "fe80::1%eth0", "ban", "false", "refused", "no address"},
		{"1h", "ip", "0.0.0.0", "ban", "false", "refused", "no address that can be banned"},
		{"1h", "username", "root", "ban", "false", "refused", "neither ip nor range"},
		{"1h", "ip", "192.0.2.4", "captcha", "false", "refused", "is not ban"},
		{"-1h", "ip", "192.0.2.4", "ban", "false", "refused", "not above"},
		{"soon", "ip", "192.0.2.4", "ban", "false", "refused", "duration"},
		{"", "ip", "192.0.2.4", "ban", "false", "refused", "duration"},
	}
	var list []string
	for _, c := range cases {
		list = append(list, fmt.Sprintf(`{"duration":%q,"scope":%q,"value":%q,"type":%q,"simulated":%s}`, c.duration, c.scope, c.value, c.kind, c.simulated))
	}
	var p problem
	body := r.do("ban", "POST", "/v1/alerts", `[{"decisions":[`+strings.Join(list, ",")+`]}]`, 409)
	if err := json.Unmarshal([]byte(body), &p); err != nil || len(p.Decisions) != len(cases) {
		t.Fatal(err, body)
	}
	for i, c := range cases {
		if o := p.Decisions[i]; o.Outcome != c.outcome || !strings.Contains(o.Detail, c.detail) || o.Value != c.value {
			t.Errorf("%s %s: %+v, want %s: %s", c.value, c.duration, o, c.outcome, c.detail)
		}
	}
	if p.Type != "about:blank" || p.Title != "Conflict" || p.Status != 409 || p.Message != p.Detail || !strings.Contains(p.Detail, "allow list") {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{"192.0.2.1/32 api:ban 1h", "192.0.2.2/32 api:ban 2h", "192.0.2.50/32 anna forever", "192.0.2.51/32 api:ban 1h"} {
		if got := r.list(); !strings.Contains(got, want) || strings.Count(got, "/") != 4 {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func TestWideNetworks(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Tokens[0].Wide = true })
	r.do("ban", "POST", "/v1/alerts", alert("4h", "range", "203.0.0.0/16"), 201)
	r.do("ban", "POST", "/v1/alerts", alert("4h", "range", "0.0.0.0/0"), 409) // the guard's own bound
}

// A token has its share of the table, so that it can't keep the rules from banning.
func TestShare(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Tokens[0].MaxBans = 10 })
	var list []string
	for i := range 15 {
		list = append(list, fmt.Sprintf(`{"duration":"1h","scope":"ip","value":"192.0.2.%d","type":"ban"}`, i+1))
	}
	body := r.do("ban", "POST", "/v1/alerts", `[{"decisions":[`+strings.Join(list, ",")+`]}]`, 409)
	if strings.Count(body, `"banned"`) != 10 || strings.Count(body, `"refused"`) != 5 || len(r.guard.List()) != 10 {
		t.Error(body)
	}
	r.do("ban", "POST", "/v1/alerts", `[{"decisions":[{"duration":"2h","scope":"ip","value":"`+r.guard.List()[0].Prefix.Addr().String()+`","type":"ban"}]}]`, 201)
	r.move(90 * time.Minute) // all but that one have ended
	r.do("ban", "POST", "/v1/alerts", alert("1h", "ip", "192.0.2.99"), 201)
}

// A tool lifts its own bans, and nobody else's.
func TestLift(t *testing.T) {
	r := newRig(t, nil)
	r.ban("192.0.2.1/32", time.Hour, "anna")
	r.ban("192.0.2.2/32", time.Hour, "api:other")
	r.ban("192.0.2.0/24", time.Hour, "api:ban")
	r.ban("192.0.2.3/32", time.Hour, "api:ban")
	r.ban("192.0.2.4/32", time.Hour, "api:ban")
	r.do("ban", "DELETE", "/v1/decisions?ip=192.0.2.1", "", 403)
	r.do("ban", "DELETE", "/v1/decisions?ip=192.0.2.2", "", 403)
	for path, want := range map[string]string{
		"ip=192.0.2.77":                      `{"nbDeleted":"0"}`, // the network's ban is not the host's
		"ip=192.0.2.3":                       `{"nbDeleted":"1"}`,
		"scope=Ip&value=192.0.2.4&type=ban":  `{"nbDeleted":"1"}`,
		"range=192.0.2.0/24":                 `{"nbDeleted":"1"}`,
		"scope=range&value=203.0.113.0%2F24": `{"nbDeleted":"0"}`,
	} {
		if got := strings.TrimSpace(r.do("ban", "DELETE", "/v1/decisions?"+path, "", 200)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"", "?scenario=x", "?ip=192.0.2.1&scenario=x", "?ip=x", "?ip=192.0.2.1&range=192.0.2.0/24", "?ip=192.0.2.1&ip=192.0.2.2",
		"?scope=ip", "?value=192.0.2.1", "?ip=192.0.2.1&scope=ip&value=192.0.2.2", "?scope=country&value=DE", "?type=captcha&ip=192.0.2.1", "?ip=%zz"} {
		r.do("ban", "DELETE", "/v1/decisions"+path, "", 400)
	}
	if got := r.list(); !strings.Contains(got, "192.0.2.1/32 anna") || !strings.Contains(got, "192.0.2.2/32 api:other") || strings.Count(got, "/") != 2 {
		t.Error(got)
	}
}

func TestLiftByNumber(t *testing.T) {
	r := newRig(t, nil)
	r.ban("192.0.2.1/32", time.Hour, "anna")
	r.ban("192.0.2.2/32", time.Hour, "api:ban")
	var list []Decision
	if err := json.Unmarshal([]byte(r.do("ban", "GET", "/v1/decisions", "", 200)), &list); err != nil {
		t.Fatal(err)
	}
	path := func(i int) string { return fmt.Sprint("/v1/decisions/", list[i].ID) }
	r.do("ban", "DELETE", path(0), "", 403)
	r.do("ban", "DELETE", path(1), "", 200)
	r.do("ban", "DELETE", path(1), "", 404)
	r.do("ban", "DELETE", "/v1/decisions/x", "", 400)
	r.do("ban", "DELETE", "/v1/decisions/-1", "", 400)
	if got := r.list(); got != "192.0.2.1/32 anna 1h0m0s" {
		t.Error(got)
	}
}

// A thousand decisions come through in one request, and are all there after the guard was opened anew.
func TestThousand(t *testing.T) {
	r := newRig(t, nil)
	var list []string
	for i := range maxDecisions {
		list = append(list, fmt.Sprintf(`{"duration":"1h","scope":"ip","value":"10.1.%d.%d","type":"ban"}`, i/250, i%250+1))
	}
	r.do("ban", "POST", "/v1/alerts", `[{"decisions":[`+strings.Join(list, ",")+`]}]`, 201)
	if n := len(r.guard.List()); n != maxDecisions {
		t.Error(n)
	}
}

// A guard that is closed bans nobody, and the caller hears it.
func TestGuardClosed(t *testing.T) {
	r := newRig(t, nil)
	if err := r.guard.Close(); err != nil {
		t.Fatal(err)
	}
	r.do("ban", "POST", "/v1/alerts", alert("4h", "ip", "192.0.2.7"), 409)
	r.do("read", "GET", "/v1/decisions", "", 200)
}
