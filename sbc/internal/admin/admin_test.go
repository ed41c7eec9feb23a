package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/regcache"
	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
	"brickhouse/shared/verdict"
)

// border is a guard, and no calls.
type border struct {
	g      *guard.Guard
	lists  *[]follow.Status
	trunks *trunk.Set
}

func (b border) Guard() *guard.Guard    { return b.g }
func (b border) Lists() []follow.Status { return *b.lists }
func (b border) Calls() []b2bua.Info    { return []b2bua.Info{} }
func (b border) Hangup(string) bool     { return false }

func (b border) Records(string) []b2bua.Record     { return nil }
func (b border) Drain(bool)                        {}
func (b border) Draining() bool                    { return false }
func (b border) Registrations() []regcache.Binding { return nil }
func (b border) Trunks() *trunk.Set                { return b.trunks }

// rig is a guard behind a socket.
type rig struct {
	*testing.T
	g     *guard.Guard
	lists []follow.Status // those that the configuration has; set before the first command
	path  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cfg := guard.Default()
	cfg.XDP.Mode = guard.XDPOff
	g, err := guard.Open(cfg, guard.Options{Dir: t.TempDir(), Allow: map[string][]netip.Prefix{"trunks": {netip.MustParsePrefix("192.0.2.0/24")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	r := &rig{T: t, g: g}
	r.serve(func(s *control.Server) { Routes(s, border{g, &r.lists, nil}) })
	return r
}

// serve serves on a socket.
func (r *rig) serve(routes func(*control.Server)) {
	r.Helper()
	dir, err := os.MkdirTemp("", "bh-") // short: it holds a socket
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { os.RemoveAll(dir) })
	r.path = filepath.Join(dir, "s")
	server := control.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)))
	routes(server)
	if err := server.Listen(r.path); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { server.Close(context.Background()) })
}

// answering is a border that gives one answer, and has no guard.
func answering(t *testing.T, pattern string, answer any) *rig {
	r := &rig{T: t}
	r.serve(func(s *control.Server) { s.Handle(pattern, func(*http.Request) (any, error) { return answer, nil }) })
	return r
}

// streaming is a border that streams, and has no guard.
func streaming(t *testing.T, pattern string, h control.Stream) *rig {
	r := &rig{T: t}
	r.serve(func(s *control.Server) { s.Stream(pattern, h) })
	return r
}

func (r *rig) run(args ...string) (status int, out, errs string) {
	r.Helper()
	var stdout, stderr bytes.Buffer
	status = command.Run(r.Context(), command.Program{Name: "sbc", Commands: Commands("/not/there")}, append(args, "--socket", r.path), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// do runs a command that succeeds.
func (r *rig) do(args ...string) string {
	r.Helper()
	status, out, errs := r.run(args...)
	if status != 0 || errs != "" {
		r.Fatalf("%q: status %d: %s", args, status, errs)
	}
	return out
}

// guess makes a source fail n logins.
func (r *rig) guess(source string, n int) {
	for range n {
		r.g.Offence(guard.Offence{Source: netip.MustParseAddrPort(source), Verified: true, Reason: verdict.BadCredentials, AOR: "1001@x\x1b[2J", Interface: "access-0", At: time.Now()})
	}
}

func TestBans(t *testing.T) {
	r := newRig(t)
	if got := r.do("ban", "list"); got != "nobody is banned\n" {
		t.Errorf("%q", got)
	}
	if got := r.do("ban", "list", "--json"); got != "[]\n" {
		t.Errorf("%q", got)
	}
	if got := r.do("ban", "add", "198.51.100.7", "--for", "24h", "--note", "scanner\x1b[2J"); got != "198.51.100.7 is banned\n" {
		t.Errorf("%q", got)
	}
	r.do("ban", "add", "203.0.113.0/24", "--for", "forever")
	r.do("ban", "add", "2001:db8::7")
	out := r.do("ban", "list")
	for _, want := range []string{"SOURCE ", "198.51.100.7/32 ", "scanner[2J", "203.0.113.0/24 ", "until lifted", "2001:db8::7/128", "manual"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || !strings.Contains(out, " 24h0m0s ") && !strings.Contains(out, " 23h59m") {
		t.Errorf("%q", out)
	}
	var bans []guard.Ban
	if err := json.Unmarshal([]byte(r.do("ban", "list", "--json")), &bans); err != nil || len(bans) != 3 {
		t.Errorf("%+v, %v", bans, err)
	}
	if b := r.g.List(); len(b) != 3 || b[0].By == "" {
		t.Errorf("who did it: %+v", b)
	}
	if got := r.do("ban", "del", "203.0.113.0/24"); got != "the ban of 203.0.113.0/24 is lifted\n" {
		t.Errorf("%q", got)
	}
	if v := r.g.Admit(netip.MustParseAddr("203.0.113.9")); !v.OK() {
		t.Errorf("after the ban: %s", v)
	}
	if v := r.g.Admit(netip.MustParseAddr("198.51.100.7")); v.OK() {
		t.Error("not banned")
	}
}

func TestWhy(t *testing.T) {
	r := newRig(t)
	r.guess("198.51.100.7:5060", 5)
	r.guess("198.51.100.8:5060", 2)
	out := r.do("ban", "why", "198.51.100.7")
	for _, want := range []string{"198.51.100.7: drop: host-banned\n", "bad-credentials, by rule logins", "time left: ", "from 198.51.100.7:5060 on access-0 1001@x[2J\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out := r.do("ban", "why", "198.51.100.8"); !strings.Contains(out, "pass") || !strings.Contains(out, "rule logins: 2 of 5 within 1m0s") {
		t.Errorf("%s", out)
	}
	if out := r.do("ban", "why", "192.0.2.9"); !strings.Contains(out, "never banned: trunks 192.0.2.0/24") {
		t.Errorf("%s", out)
	}
	r.g.Offence(guard.Offence{Source: netip.MustParseAddrPort("198.51.100.9:5060"), Reason: verdict.BadCredentials, At: time.Now()})
	for range 5 {
		r.g.Offence(guard.Offence{Source: netip.MustParseAddrPort("198.51.100.9:5060"), Reason: verdict.BadCredentials, At: time.Now()})
	}
	if out := r.do("ban", "why", "198.51.100.9"); !strings.Contains(out, "on hold: 198.51.100.9:5060 until ") {
		t.Errorf("%s", out)
	}
	r.do("ban", "del", "198.51.100.7")
	if out := r.do("ban", "why", "198.51.100.7"); !strings.Contains(out, "earlier: ") || !strings.Contains(out, "ended by ") {
		t.Errorf("%s", out)
	}
	var e guard.Explanation
	if err := json.Unmarshal([]byte(r.do("ban", "why", "198.51.100.7", "--json")), &e); err != nil || len(e.History) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if out := r.do("ban", "why", "203.0.113.1"); out != "203.0.113.1: pass\n" {
		t.Errorf("of whom nothing is known: %q", out)
	}
}

func TestWho(t *testing.T) {
	for want, b := range map[string]guard.Ban{
		"by rule logins":       {By: guard.ByRule, Rule: "logins"},
		"by root: scanner":     {By: "root", Note: "scanner"},
		"by root":              {By: "root"},
		"by " + guard.ByKernel: {By: guard.ByKernel},
	} {
		if got := who(b); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTell(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ban := &guard.Ban{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Reason: verdict.BadCredentials, By: guard.ByRule, Rule: "logins"}
	for want, ev := range map[string]guard.Event{
		"12:00:00 ban     198.51.100.7/32 bad-credentials by rule logins for until lifted": {At: at, Kind: guard.EventBan, Ban: ban},
		"12:00:00 unban   198.51.100.7/32 root":                                            {At: at, Kind: guard.EventUnban, Ban: ban, By: "root"},
		"12:00:00 hold    198.51.100.7:5060 bad-credentials":                               {At: at, Kind: guard.EventHold, Held: &guard.Held{Source: netip.MustParseAddrPort("198.51.100.7:5060"), Reason: verdict.BadCredentials}},
		"12:00:00 drop    198.51.100.7 host-banned in the kernel":                          {At: at, Kind: guard.EventDrop, Drop: &guard.Drop{Source: netip.MustParseAddr("198.51.100.7"), Reason: verdict.HostBanned, Where: "kernel"}},
		"12:00:00 new": {At: at, Kind: "new"},
	} {
		if got := tell(ev); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestWatch shows what happens, from the moment when the watch stands.
func TestWatch(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 2)
	for _, flags := range [][]string{nil, {"--json"}} {
		out, in := io.Pipe()
		go func() {
			defer in.Close()
			args := append([]string{"ban", "watch", "--socket", r.path}, flags...)
			done <- command.Run(ctx, command.Program{Name: "sbc", Commands: Commands("/not/there")}, args, in, io.Discard)
		}()
		line := make(chan string, 16)
		go func() {
			s := bufio.NewScanner(out)
			for s.Scan() {
				line <- s.Text()
			}
			close(line)
		}()
		got := r.banUntilSeen(line)
		if flags == nil && !strings.Contains(got, " ban     198.51.100.7/32 manual by ") || flags != nil && !strings.Contains(got, `"kind":"ban"`) {
			t.Errorf("%q", got)
		}
	}
	cancel()
	for range 2 {
		select {
		case status := <-done:
			if status != command.Interrupted {
				t.Errorf("status %d", status)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the watch does not end")
		}
	}
}

// banUntilSeen bans a source again and again until a watcher tells.
func (r *rig) banUntilSeen(line <-chan string) string {
	r.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if err := r.g.Ban(netip.MustParsePrefix("198.51.100.7/32"), time.Hour, "me", ""); err != nil {
			r.Fatal(err)
		}
		select {
		case got := <-line:
			return got
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			r.Fatal("nothing is told")
		}
	}
}

func TestStats(t *testing.T) {
	r := newRig(t)
	if got := r.do("ban", "stats"); !strings.HasPrefix(got, "mode user-space: xdp.mode is off\n") || !strings.HasSuffix(got, "nothing was counted\n") {
		t.Errorf("%q", got)
	}
	r.do("ban", "add", "198.51.100.7")
	r.g.Admit(netip.MustParseAddr("198.51.100.7"))
	if got := r.do("ban", "stats"); !strings.Contains(got, "user-space  ipv4    host-banned  drop    1") {
		t.Errorf("%q", got)
	}
	var s guard.Stats
	if err := json.Unmarshal([]byte(r.do("ban", "stats", "--json")), &s); err != nil || s.Bans != 1 || s.Mode != guard.ModeUserSpace {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestWrongCommands holds that wrong input is named and ends with status 2.
func TestWrongCommands(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ args, want string }{
		{"ban", "no command is given"},
		{"ban lost", "unknown command"},
		{"ban list x", "wrong number of arguments"},
		{"ban add", "wrong number of arguments"},
		{"ban add scanner", `"scanner" is neither an address nor a network`},
		{"ban add 198.51.100.7 --for soon", `"soon" is no length of time; write it as 30m, 24h or forever`},
		{"ban add 198.51.100.7 --for -1h", `"-1h" is no length of time`},
		{"ban add 198.51.100.7 --for 0s", `"0s" is no length of time`},
		{"ban add 192.0.2.9", "allow list"},
		{"ban add 0.0.0.0/0", "too wide"},
		{"ban del 198.51.100.7", "no such ban"},
		{"ban del 198.51.100", "is neither an address nor a network"},
		{"ban why", "wrong number of arguments"},
		{"ban why 198.51.100.0/24", `"198.51.100.0/24" is no address`},
		{"ban why host", `"host" is no address`},
		{"ban watch x", "wrong number of arguments"},
		{"ban stats --xml", "unknown flag"},
		{"call kill c1", `no call "c1"`},
	} {
		status, out, errs := r.run(strings.Split(c.args, " ")...)
		if status != 2 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q %q, want %s", c.args, status, out, errs, c.want)
		}
	}
	if got := r.do("call", "list"); got != "no calls\n" {
		t.Errorf("%q", got)
	}
}

func TestWrongRequests(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		method, path string
		body         any
		status       int
	}{
		"no body":     {"POST", "/bans", nil, 400},
		"unknown key": {"POST", "/bans", map[string]string{"address": "198.51.100.7"}, 400},
		"no source":   {"POST", "/bans", banRequest{}, 400},
		"lift nobody": {"DELETE", "/bans", nil, 400},
		"why nobody":  {"GET", "/bans/why", nil, 400},
		"path":        {"GET", "/ban", nil, 404},
		"method":      {"PUT", "/bans", nil, 405},
	} {
		cl := control.NewClient(r.path)
		var e *control.Error
		if err := cl.Do(t.Context(), c.method, c.path, c.body, nil); !errors.As(err, &e) || e.Status != c.status {
			t.Errorf("%s: %v, want %d", name, err, c.status)
		}
		cl.Close()
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"198.51.100.7": "198.51.100.7/32", "198.51.100.7/24": "198.51.100.0/24", "2001:db8::7": "2001:db8::7/128", "::ffff:198.51.100.7": "198.51.100.7/32",
	} {
		if got, err := parsePrefix(in); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4:5060"} {
		if got, err := parsePrefix(in); err == nil {
			t.Errorf("%s: %v", in, got)
		}
	}
}
