package admin

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/verdict"
)

func TestTop(t *testing.T) {
	r := newRig(t)
	if out := r.do("ban", "top"); out != "nothing was sampled\n" {
		t.Errorf("%q", out)
	}
	out := r.do("ban", "top", "-n", "3", "--json")
	expectKeys(t, out, "passed", "dropped")
	if strings.Contains(out, "null") {
		t.Errorf("a list that is none: %s", out)
	}
	for args, want := range map[string]string{
		"top x": "wrong number of arguments", "top -n -1": `n "-1" is no number from 0 to 1000`, "top -n 1001": `n "1001" is no number`, "top -n x": `"x"`,
	} {
		r.expectWrong(args, want)
	}
}

// What Top tells comes from the kernel's samples; here it is given.
func TestTopTable(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	r := answering(t, "GET /bans/top", topAnswer{
		Passed:  []guard.Talker{{Source: netip.MustParseAddr("192.0.2.1"), Packets: 7, Last: at}},
		Dropped: []guard.Talker{{Source: netip.MustParseAddr("2001:db8::1"), Packets: 900, Error: 3, Reason: verdict.HostBanned, Last: at}},
	})
	want := "WHAT     SOURCE       PACKETS  ERROR  REASON       LAST\n" +
		"dropped  2001:db8::1  900      3      host-banned  12:00:00\n" +
		"passed   192.0.2.1    7        0      -            12:00:00\n"
	if out := r.do("ban", "top"); out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	out := strings.Join(strings.Fields(r.do("ban", "top", "--json")), "")
	if !strings.Contains(out, `{"source":"2001:db8::1","packets":900,"error":3,"reason":"host-banned","last":"2026-11-21T12:00:00Z"}`) {
		t.Errorf("%s", out)
	}
}

func TestTest(t *testing.T) {
	r := newRig(t)
	r.do("ban", "add", "198.51.100.7")
	for args, want := range map[string]string{
		"198.51.100.7":                          "198.51.100.7: drop: host-banned, in the user-space; banned\n  never-ban list: not on it\n  host-banned by persons\n",
		"192.0.2.1":                             "192.0.2.1: pass, in the user-space; never banned\n  never-ban list: trunks 192.0.2.0/24; nothing else is asked\n",
		"203.0.113.1 --port 9":                  "203.0.113.1: pass, in the user-space; stranger\n  never-ban list: not on it\n  no ban\n  port 9 is not guarded\n",
		"203.0.113.1 --tcp":                     "203.0.113.1: pass, in the user-space; stranger\n  never-ban list: not on it\n  no ban\n  new connections: 20 a second, 100 at once\n",
		"::ffff:198.51.100.7 --tcp --port 5061": "198.51.100.7: drop: host-banned, in the user-space; banned\n  never-ban list: not on it\n  host-banned by persons\n",
	} {
		if out := r.do(append([]string{"ban", "test"}, strings.Fields(args)...)...); out != want {
			t.Errorf("%s: %q\nwant %q", args, out, want)
		}
	}
	out := r.do("ban", "test", "198.51.100.7", "--json")
	expectKeys(t, out, "addr", "outcome", "reason", "where", "source", "because", "steps")
	var got guard.Trial
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Outcome != "drop: host-banned" || !slices.Contains(got.Steps, "host-banned by persons") {
		t.Errorf("%+v %v", got, err)
	}
	for args, want := range map[string]string{
		"test": "wrong number of arguments", "test nobody": `"nobody" is no address`, "test 198.51.100.0/24": "is no address",
		"test 198.51.100.7 --port 70000": "70000", "test 198.51.100.7 --port x": `"x"`, "test 198.51.100.7:5060": "is no address",
	} {
		r.expectWrong(args, want)
	}
}

// What a person sees of the rarer events.
func TestTellMore(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ban := &guard.Ban{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Reason: verdict.BadCredentials, By: guard.ByRule, Rule: "logins"}
	drop := func(d guard.Drop) guard.Event { return guard.Event{At: at, Kind: guard.EventDrop, Drop: &d} }
	src := netip.MustParseAddr("198.51.100.7")
	for want, ev := range map[string]guard.Event{
		"12:00:00 monitor 198.51.100.7/32 bad-credentials: rule logins would have acted": {At: at, Kind: guard.EventMonitor, Ban: ban},
		"12:00:00 breaker opens until 12:10:00: 120 bans within a minute":                {At: at, Kind: guard.EventBreaker, Breaker: &guard.BreakerState{Open: true, Until: at.Add(10 * time.Minute), Cause: "120 bans within a minute"}},
		"12:00:00 breaker closes: rules ban again":                                       {At: at, Kind: guard.EventBreaker, Breaker: &guard.BreakerState{}},
		"12:00:00 drop    198.51.100.7 host-banned in the kernel list drop":              drop(guard.Drop{Source: src, Reason: verdict.HostBanned, Where: "kernel", List: "list drop"}),
		"12:00:00 would drop 198.51.100.7 host-banned in the kernel":                     drop(guard.Drop{Source: src, Reason: verdict.HostBanned, Where: "kernel", Monitored: true}),
	} {
		if got := tell(ev); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
