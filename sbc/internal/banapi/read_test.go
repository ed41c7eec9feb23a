package banapi

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/verdict"
)

func TestDecisions(t *testing.T) {
	r := newRig(t, nil)
	if got := r.do("read", "GET", "/v1/decisions", "", 200); got != "null\n" {
		t.Errorf("no decision is %q", got)
	}
	r.ban("192.0.2.7/32", time.Hour, "anna")
	r.ban("192.0.2.0/24", guard.Forever, "api:ban")
	r.ban("198.51.0.0/16", time.Hour, "anna") // covers the never-ban list
	r.ban("2001:db8:0:1::/64", time.Hour, "api:ban")
	r.move(2 * time.Second)
	for query, want := range map[string]string{
		"":                                 "192.0.2.0/24 192.0.2.7 198.51.0.0/16 2001:db8:0:1::/64",
		"?ip=192.0.2.7":                    "192.0.2.7 192.0.2.0/24",
		"?ip=::ffff:192.0.2.7":             "192.0.2.7 192.0.2.0/24",
		"?ip=192.0.2.8":                    "192.0.2.0/24",
		"?ip=198.51.1.1":                   "198.51.0.0/16",
		"?ip=198.51.100.1":                 "", // never banned
		"?ip=203.0.113.1":                  "",
		"?ip=2001:db8:0:1::5":              "2001:db8:0:1::/64",
		"?range=192.0.2.0/25":              "192.0.2.0/24",
		"?range=192.0.0.0/16":              "",
		"?scope=IP":                        "192.0.2.7",
		"?scope=range&origins=api:ban":     "192.0.2.0/24 2001:db8:0:1::/64",
		"?origins=person,rule":             "192.0.2.7 198.51.0.0/16",
		"?value=192.0.2.7":                 "192.0.2.7",
		"?type=captcha":                    "",
		"?scenarios_containing=anna":       "192.0.2.7 198.51.0.0/16",
		"?scenarios_not_containing=anna,x": "192.0.2.0/24 2001:db8:0:1::/64",
		"?ip=192.0.2.7&scope=range":        "192.0.2.0/24",
		"?dedup=false":                     "192.0.2.0/24 192.0.2.7 198.51.0.0/16 2001:db8:0:1::/64",
	} {
		if got := r.decisions(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"?ip=x", "?range=192.0.2.1", "?ip=192.0.2.1&range=192.0.2.0/24", "?ip=1.1.1.1&ip=2.2.2.2", "?ip=%zz", "?range=192.0.2.1/24"} {
		r.do("read", "GET", "/v1/decisions"+query, "", 400)
	}
}

// The form of a decision is what bouncers read.
func TestDecisionForm(t *testing.T) {
	r := newRig(t, nil)
	s := r.server
	at := r.now()
	var list []Decision
	for _, b := range []guard.Ban{
		{By: guard.ByRule, Rule: "logins", Reason: verdict.BadCredentials, Until: at.Add(90 * time.Minute)},
		{By: "anna", Note: "scanner"},
		{By: "api:fail2ban", Reason: verdict.ManualBan, Until: at.Add(-time.Second)},
	} {
		b.Prefix = guardPrefix("192.0.2.7/32")
		list = append(list, s.decision(entryOf(b), at))
	}
	first := list[0].ID
	for i := range list {
		if list[i].ID <= 0 || list[i].ID >= 1<<idBits || list[i].ID != first {
			t.Errorf("number %d", list[i].ID)
		}
		list[i].ID = int64(i + 1)
	}
	got, _ := json.Marshal(list)
	want := `[{"id":1,"origin":"rule","scenario":"brickhouse/logins","scope":"Ip","value":"192.0.2.7","type":"ban","duration":"1h30m0s"},` +
		`{"id":2,"origin":"person","scenario":"scanner","scope":"Ip","value":"192.0.2.7","type":"ban","duration":"87600h0m0s"},` +
		`{"id":3,"origin":"api:fail2ban","scenario":"brickhouse/manual","scope":"Ip","value":"192.0.2.7","type":"ban","duration":"0s"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Each token hears each change once, however it began and ended.
func TestStream(t *testing.T) {
	r := newRig(t, nil)
	step := func(what, token, query, want string) {
		t.Helper()
		r.move(snapshotAge)
		if got := r.poll(token, query); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	r.ban("192.0.2.1/32", time.Hour, "anna")
	step("start", "read", "?startup=true", "+192.0.2.1 -")
	step("nothing new", "read", "?startup=false", "+ -")
	r.ban("192.0.2.2/32", time.Minute, "anna")
	r.ban("192.0.2.3/32", time.Hour, "anna")
	step("two are new", "read", "", "+192.0.2.2 192.0.2.3 -")
	r.ban("192.0.2.3/32", 2*time.Hour, "anna")
	step("one is longer", "read", "", "+192.0.2.3 -")
	r.move(2 * time.Minute)
	step("one ended", "read", "", "+ -192.0.2.2")
	if err := r.guard.Unban(guardPrefix("192.0.2.1/32"), "anna", ""); err != nil {
		t.Fatal(err)
	}
	r.ban("10.0.0.0/24", time.Hour, "anna")
	step("one is lifted, one is new", "read", "", "+10.0.0.0/24 -192.0.2.1")
	step("another token hears all", "ban", "", "+10.0.0.0/24 192.0.2.3 -")
	step("again at a start", "read", "?startup=true", "+10.0.0.0/24 192.0.2.3 -")
	r.ban("10.0.1.0/24", time.Minute, "anna")
	r.do("read", "HEAD", "/v1/decisions/stream", "", 200)
	step("HEAD told nothing, and the filter holds", "read", "?scopes=range", "+10.0.1.0/24 -")
	r.move(time.Hour + time.Minute)
	step("endings are filtered, too", "read", "?scopes=ip", "+ -")
	step("and are told once", "read", "", "+ -")
}

// What a token did is seen by the very next request, and its place in the stream survives a reload.
func TestStreamAtOnce(t *testing.T) {
	r := newRig(t, nil)
	cfg := Config{Tokens: []Token{{}, {}}}
	for i, h := range *r.server.holders.Load() {
		cfg.Tokens[i] = h.Token
	}
	r.poll("read", "?startup=true")
	r.do("ban", "POST", "/v1/alerts", alert("4h", "ip", "192.0.2.7"), 201)
	if got := r.poll("read", ""); got != "+192.0.2.7 -" {
		t.Error(got)
	}
	r.server.Reload(cfg)
	r.do("ban", "DELETE", "/v1/decisions?ip=192.0.2.7", "", 200)
	if got := r.poll("read", ""); got != "+ -192.0.2.7" {
		t.Error(got)
	}
	r.server.Reload(Config{Tokens: cfg.Tokens[:1]})
	r.do("read", "GET", "/v1/decisions", "", 401)
	if got := r.do("ban", "GET", "/v1/decisions/stream", "", 200); !strings.Contains(got, `"new":[],"deleted":[]`) {
		t.Error(got)
	}
}

// failingWriter takes so many bytes, then it fails: a bouncer that went away.
type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// What could not be sent is told again.
func TestStreamInterrupted(t *testing.T) {
	r := newRig(t, nil)
	h := (*r.server.holders.Load())[1]
	r.ban("192.0.2.1/32", time.Hour, "anna")
	for left := range 200 { // an answer of two decisions is longer
		v, err := r.server.getStream(h, r.request("read", "GET", "/v1/decisions/stream", ""))
		if err != nil {
			t.Fatal(err)
		}
		if left == 100 {
			r.ban("192.0.2.2/32", time.Hour, "anna")
			r.move(snapshotAge)
		}
		if err := v.(body)(&failingWriter{left}); err == nil && left < 100 {
			t.Fatalf("%d bytes were enough", left)
		}
	}
	if got := r.poll("read", ""); got != "+192.0.2.1 192.0.2.2 -" {
		t.Error(got)
	}
}

// All bans of a large table come through, and are told once.
func TestLongList(t *testing.T) {
	r := newRig(t, nil)
	const n = 4000
	var all sync.WaitGroup
	for i := range n { // at a time, since each waits for the disk
		all.Go(func() { r.ban(fmt.Sprintf("10.2.%d.%d/32", i/250, i%250+1), time.Hour, "anna") })
	}
	all.Wait()
	r.move(snapshotAge)
	if got := strings.Count(r.decisions(""), " ") + 1; got != n {
		t.Errorf("%d decisions", got)
	}
	if got := strings.Count(r.poll("read", "?startup=true"), "10.2."); got != n {
		t.Errorf("%d in the stream", got)
	}
	if got := r.poll("read", ""); got != "+ -" {
		t.Error(got)
	}
}
