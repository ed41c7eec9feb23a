package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/score"
	"brickhouse/shared/control"
	"brickhouse/shared/verdict"
)

// recordOf is a recording of n failed logins of a source, a second apart.
func recordOf(t *testing.T, source string, n int) string {
	t.Helper()
	var lines []byte
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for i := range n {
		var err error
		o := score.Offence{Source: netip.MustParseAddrPort(source), Verified: true, Reason: verdict.BadCredentials, AOR: "1001@example.com"}
		if lines, err = score.NewRecord(o, at.Add(time.Duration(i)*time.Second), 0, 0).Append(lines); err != nil {
			t.Fatal(err)
		}
	}
	return string(lines)
}

func TestReplay(t *testing.T) {
	r := newRig(t)
	rec := r.file("rec", recordOf(t, "198.51.100.7:5060", 6)+recordOf(t, "198.51.100.8:5060", 3)+"no record\n")
	out := r.do("ban", "replay", "--record", rec, "--rule", "logins", "--threshold", "3")
	for _, want := range []string{
		"9 offences from 2026-11-21 12:00:00 to 2026-11-21 12:00:05\n", "before: 1 sources banned", "after:  2 sources banned", "SOURCE ", "198.51.100.8", "logins", "1 lines are no records\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out := r.do("ban", "replay", "--record", rec); !strings.Contains(out, "nobody's lot changes") || strings.Contains(out, "198.51.100.7") {
		t.Errorf("nothing was changed:\n%s", out)
	}
	if out := r.do("ban", "replay", "--record", rec, "--all"); !strings.Contains(out, "198.51.100.7") {
		t.Errorf("all:\n%s", out)
	}
	rules := r.file("rules.yaml", "rules:\n  - {name: strict, weights: {bad-credentials: 1}, window: 1m, threshold: 2, ban: 1h}\n")
	if out := r.do("ban", "replay", "--record", rec, "--rules", rules); !strings.Contains(out, "strict 1h0m0s") {
		t.Errorf("rules from a file:\n%s", out)
	}
	if l := r.g.List(); len(l) != 0 {
		t.Errorf("a replay bans: %v", l)
	}
	text := r.do("ban", "replay", "--record", rec, "--json")
	expectKeys(t, text, "records", "bad", "from", "to", "before", "after", "sources", "omitted")
	var got guard.Replayed
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Records != 9 || got.Bad != 1 || got.Before != got.After || len(got.Sources) != 1 {
		t.Errorf("%+v %v", got, err)
	}
}

// Without a file it is the border's own record that counts; an empty file is empty.
func TestReplayOwn(t *testing.T) {
	r := newRig(t)
	if out := r.do("ban", "replay"); out != "no offences are recorded; 0 lines are no records\n" {
		t.Errorf("%q", out)
	}
	r.guess("198.51.100.7:5060", 4)
	if out := r.do("ban", "replay", "--rule", "logins", "--threshold", "4"); !strings.HasPrefix(out, "4 offences from ") || !strings.Contains(out, "198.51.100.7") {
		t.Errorf("%s", out)
	}
	if out := r.do("ban", "replay", "--record", r.file("empty", "")); out != "no offences are recorded; 0 lines are no records\n" {
		t.Errorf("an empty file: %q", out)
	}
}

func TestWrongReplays(t *testing.T) {
	r := newRig(t)
	for args, want := range map[string]string{
		"x":                           "wrong number of arguments",
		"--threshold 3":               "name the rule that is to change with --rule",
		"--rule nosuch --threshold 3": `there is no rule "nosuch"`,
		"--rule logins --threshold 0": "threshold",
		"--rule logins --threshold x": `"x"`,
		"--rule logins --window -1s":  "window",
		"--rule logins --ban 0s":      "ban",
		"--rule logins --growth 0.5":  "growth",
		"--record /not/there":         "/not/there: no such file or directory",
		"--record " + t.TempDir():     "is a directory",
		"--rules /not/there":          "/not/there",
		"--rules " + r.file("a.yaml", "rules:\n  - {name: a, wait: 1m}\n"):                                            "a.yaml:2: rules[0].wait",
		"--rules " + r.file("b.yaml", "rules:\n  - {name: a, weights: {bad-manners: 1}, threshold: 1, window: 1m}\n"): "bad-manners",
	} {
		r.expectWrong("replay "+args, want)
	}
	for i, body := range []string{"", "{}", "{\n", `{"rules":[],"more":1}` + "\n", strings.Repeat("x", control.MaxBody+1) + "\n"} {
		c := control.NewClient(r.path)
		if err := c.Upload(t.Context(), "POST", "/bans/replay", strings.NewReader(body), nil); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(fmt.Sprint(err), "what is to decide") {
			t.Errorf("body %d: %v", i, err)
		}
		c.Close()
	}
}
