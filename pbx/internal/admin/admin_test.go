package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
	"brickhouse/shared/digest"
	"brickhouse/shared/state/memlog"
	"brickhouse/shared/verdict"
)

// fake is an exchange that only remembers.
type fake struct {
	mailboxes
	store     *store.Store
	passwords map[string]string
	calls     []b2bua.Info
	night     dialplan.Night
	fault     error
}

func (f *fake) SetWaiting(ctx context.Context, number string, fresh, old int) (bool, error) {
	if _, ok := f.store.Extension(number); !ok {
		return false, nil
	}
	_, err := f.store.PutWaiting(ctx, &store.Waiting{Number: number, New: fresh, Old: old})
	return true, err
}

func (f *fake) Store() *store.Store   { return f.store }
func (f *fake) Calls() []b2bua.Info   { return f.calls }
func (f *fake) Hangup(id string) bool { return id == "c1" }

func (f *fake) Records(string) []b2bua.Record { return nil }
func (f *fake) Drain(bool)                    {}
func (f *fake) Draining() bool                { return false }

func (f *fake) Classes() []string { return []string{"default", "world"} }

func (f *fake) Account(_ context.Context, number string) (callcontrol.Account, bool, error) {
	e, ok := f.store.Extension(number)
	if !ok {
		return callcontrol.Account{}, false, nil
	}
	a := callcontrol.Account{Number: number, Name: e.Name, Class: e.Class, Rights: dialplan.NewClass(), Used: store.Usage{Day: 3}, Denied: 2}
	a.Services = f.store.Services(number)
	if s, ok := f.store.Standing(number); ok && !s.Blocked.IsZero() {
		a.Blocked, a.Why = &s.Blocked, s.Why
	}
	return a, true, f.fault
}

func (f *fake) Forecast(_ context.Context, from, dialled string) (callcontrol.Forecast, error) {
	return callcontrol.Forecast{From: from, Dialled: dialled, Does: dialplan.Trunk, Number: "+88213", Trunk: "carrier", Kind: "satellite", Class: "default",
		Reason: verdict.SatelliteDenied, Rule: "class default does not allow satellite numbers"}, f.fault
}

func (f *fake) SetClass(ctx context.Context, number, class string) error {
	e, _ := f.store.Extension(number)
	next := *e
	next.Class = class
	_, err := f.store.PutExtension(ctx, &next)
	return errors.Join(err, f.fault)
}

func (f *fake) Unblock(ctx context.Context, number string) (bool, error) {
	was, _, err := f.store.Unblock(ctx, number, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	return was, errors.Join(err, f.fault)
}

func (f *fake) change(ctx context.Context, number string, change func(*store.Services)) error {
	_, err := f.store.ChangeServices(ctx, number, func(s *store.Services) error { change(s); return nil })
	return errors.Join(err, f.fault)
}

func (f *fake) SetForward(ctx context.Context, number string, when store.Condition, to string, after int) error {
	if to == "112" {
		return callcontrol.Unfit("nobody may be forwarded there")
	}
	return f.change(ctx, number, func(s *store.Services) {
		if s.SetForward(when, to); when == store.NoAnswer {
			s.After = after
		}
	})
}

func (f *fake) SetDND(ctx context.Context, number string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) { s.DND = on })
}

func (f *fake) SetCallWaiting(ctx context.Context, number string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) { s.NoWaiting = !on })
}

func (f *fake) SetBlock(ctx context.Context, number, caller string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) {
		if caller == "" {
			s.BlockAnonymous = on
			return
		}
		s.Block(caller, on)
	})
}

func (f *fake) Night() dialplan.Night { return f.night }

func (f *fake) SetNight(_ context.Context, night dialplan.Night, _ string) error {
	if night == "maybe" {
		return callcontrol.Unfit("the switch has no such position")
	}
	f.night = night
	return f.fault
}

func (f *fake) AddExtension(ctx context.Context, e store.Extension, password string) error {
	if f.fault != nil {
		return f.fault
	}
	f.passwords[e.Number] = password
	e.Algorithms, e.CreatedAt = []digest.Algorithm{digest.SHA256, digest.MD5}, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	_, err := f.store.PutExtension(ctx, &e)
	return err
}

func (f *fake) SetPassword(_ context.Context, number, password string) error {
	f.passwords[number] = password
	return f.fault
}

func (f *fake) DeleteExtension(ctx context.Context, number string) (bool, error) {
	was, _, err := f.store.DeleteExtension(ctx, number)
	return was, errors.Join(err, f.fault)
}

func (f *fake) SetDigest(ctx context.Context, number string, order []digest.Algorithm) error {
	e, _ := f.store.Extension(number)
	next := *e
	next.Algorithms = order
	_, err := f.store.PutExtension(ctx, &next)
	return errors.Join(err, f.fault)
}

func (f *fake) SetTrunkPassword(_ context.Context, trunk, password string) error {
	f.passwords["trunk "+trunk] = password
	return f.fault
}

// rig is a fake exchange behind a socket.
type rig struct {
	*testing.T
	x    *fake
	path string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	log, err := memlog.NewDisk().Open("solo", store.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), log, store.Options{Flush: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.SetTrunks(t.Context(), []*store.Trunk{{Name: "carrier"}}); err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, x: &fake{store: s, passwords: map[string]string{}}, path: socket(t)}
	server := control.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)))
	Routes(server, r.x, time.Now)
	if err := server.Listen(r.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(context.Background()) })
	return r
}

// socket is a path that is short enough for a socket.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// run executes a command as the program does.
func (r *rig) run(args ...string) (status int, out, errs string) {
	r.Helper()
	var stdout, stderr bytes.Buffer
	status = command.Run(r.Context(), command.Program{Name: "pbx", Commands: Commands("/not/there")}, append(args, "--socket", r.path), &stdout, &stderr)
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

// stdin runs a command with a standard input.
func (r *rig) stdin(input string, args ...string) (string, error) {
	var out bytes.Buffer
	root := &cobra.Command{Use: "pbx", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(Commands(r.path)...)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	return out.String(), root.ExecuteContext(r.Context())
}

// ask sends a request as it is.
func (r *rig) ask(method, path string, body any) error {
	c := control.NewClient(r.path)
	defer c.Close()
	return c.Do(r.Context(), method, path, body, nil)
}

var madePassword = regexp.MustCompile(`^extension 1001, password ([a-km-np-z2-9]{24}) \(shown once: it is not kept\)\n$`)

func TestExtensions(t *testing.T) {
	r := newRig(t)
	if got := r.do("extension", "list"); got != "no extensions\n" {
		t.Errorf("%q", got)
	}
	if got := r.do("extension", "list", "--json"); got != "[]\n" {
		t.Errorf("%q", got)
	}
	m := madePassword.FindStringSubmatch(r.do("extension", "add", "1001", "--name", "Alice"))
	if m == nil || r.x.passwords["1001"] != m[1] {
		t.Fatalf("%v, %v", m, r.x.passwords)
	}
	if _, err := r.x.store.PutBindings(t.Context(), &store.Binding{ID: "b", AOR: "1001", ContactURI: "sip:1001@10.0.0.5", CallID: "c", Network: "udp",
		Remote: netip.MustParseAddrPort("10.0.0.5:5060"), UserAgent: "phone\x1b[2J", Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if got := r.do("extension", "list"); got != "NUMBER  NAME   DIGEST       REGISTERED  CREATED\n1001    Alice  SHA-256 MD5  1           2026-11-21\n" {
		t.Errorf("%q", got)
	}
	var list []extension
	if err := json.Unmarshal([]byte(r.do("extension", "list", "--json")), &list); err != nil || len(list) != 1 || list[0].Number != "1001" || list[0].Registered != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if got := r.do("registration", "list"); !strings.Contains(got, "1001    sip:1001@10.0.0.5  udp 10.0.0.5:5060") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if m := madePassword.FindStringSubmatch(r.do("extension", "passwd", "1001")); m == nil || r.x.passwords["1001"] != m[1] {
		t.Errorf("%v, %v", m, r.x.passwords)
	}
	if got := r.do("extension", "digest", "1001", "md5", "sha-256"); got != "extension 1001 is challenged with md5, then sha-256\n" {
		t.Errorf("%q", got)
	}
	if e, _ := r.x.store.Extension("1001"); len(e.Algorithms) != 2 || e.Algorithms[0] != digest.MD5 {
		t.Errorf("%+v", e)
	}
	var said map[string]string
	if err := json.Unmarshal([]byte(r.do("extension", "passwd", "1001", "--json")), &said); err != nil || said["password"] != r.x.passwords["1001"] {
		t.Errorf("%v, %v", said, err)
	}
	if got := r.do("extension", "del", "1001"); got != "extension 1001 is removed\n" {
		t.Errorf("%q", got)
	}
	if _, ok := r.x.store.Extension("1001"); ok {
		t.Error("it stays")
	}
}

func TestPasswordFromStandardInput(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ input, want string }{{"correct horse\n", "correct horse"}, {"battery staple\r\nrest", "battery staple"}, {"no line end here", "no line end here"}} {
		if _, err := r.stdin(c.input, "extension", "add", "1001", "--password-stdin"); err != nil || r.x.passwords["1001"] != c.want {
			t.Errorf("%q: %v, %v", c.input, r.x.passwords, err)
		}
		if _, err := r.stdin(c.input, "extension", "passwd", "1001", "--password-stdin"); err != nil || r.x.passwords["1001"] != c.want {
			t.Errorf("%q: %v, %v", c.input, r.x.passwords, err)
		}
		r.do("extension", "del", "1001")
		if _, err := r.stdin(c.input, "trunk", "passwd", "carrier"); err != nil || r.x.passwords["trunk carrier"] != c.want {
			t.Errorf("%q: %v, %v", c.input, r.x.passwords, err)
		}
	}
	for _, args := range [][]string{{"extension", "add", "1002", "--password-stdin"}, {"trunk", "passwd", "carrier"}} {
		for _, input := range []string{"", "\n"} {
			if _, err := r.stdin(input, args...); err == nil || !strings.Contains(err.Error(), "no password") {
				t.Errorf("%q %q: %v", args, input, err)
			}
		}
	}
	if _, err := r.stdin("short\n", "extension", "add", "1002", "--password-stdin"); err == nil || !strings.Contains(err.Error(), "12 to 128") {
		t.Errorf("%v", err)
	}
}

// TestWrongCommands holds that wrong input is named and ends with status 2.
func TestWrongCommands(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	for _, c := range []struct{ args, want string }{
		{"extension", "no command is given"},
		{"extension lost", "unknown command"},
		{"extension list x", "wrong number of arguments"},
		{"extension add", "wrong number of arguments"},
		{"extension add 1001", "extension 1001 exists; pbx extension passwd 1001"},
		{"extension add a@b", `"a@b" is no extension`},
		{"extension add ..", `".." is no extension`},
		{"extension add 1002 --name \x1b[2J", "the name may have"},
		{"extension add 1002 --nam x", "unknown flag"},
		{"extension del 1999", `no extension "1999"`},
		{"extension passwd 1999", `no extension "1999"`},
		{"extension digest 1001", "wrong number of arguments"},
		{"extension digest 1999 md5", `no extension "1999"`},
		{"extension digest 1001 md4", `"md4" is no digest algorithm`},
		{"extension digest 1001 md5 MD5", "MD5 stands twice"},
		{"trunk passwd", "wrong number of arguments"},
		{"call kill c2", `no call "c2"`},
	} {
		status, out, errs := r.run(strings.Split(c.args, " ")...)
		if status != 2 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q %q, want %s", c.args, status, out, errs, c.want)
		}
	}
	var stdout, stderr bytes.Buffer
	if status := command.Run(t.Context(), command.Program{Name: "pbx", Commands: Commands(r.path + "-not")}, []string{"extension", "list"}, &stdout, &stderr); status == 0 || !strings.Contains(stderr.String(), "nobody listens on it") {
		t.Errorf("no program: %d %s", status, stderr.String())
	}
}

// TestWrongRequests holds the same for who speaks to the socket without the commands.
func TestWrongRequests(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	long := strings.Repeat("x", maxPassword+1)
	for name, c := range map[string]struct {
		method, path string
		body         any
		status       int
	}{
		"no body":           {"POST", "/extensions", nil, 400},
		"unknown key":       {"POST", "/extensions", map[string]string{"nomber": "1"}, 400},
		"no number":         {"POST", "/extensions", extensionRequest{Password: "long enough 1"}, 400},
		"long number":       {"POST", "/extensions", extensionRequest{Number: strings.Repeat("1", 33), Password: "long enough 1"}, 400},
		"short password":    {"POST", "/extensions", extensionRequest{Number: "1", Password: "short"}, 400},
		"long password":     {"POST", "/extensions", extensionRequest{Number: "1", Password: long}, 400},
		"bad name":          {"POST", "/extensions", extensionRequest{Number: "1", Name: `a"b`, Password: "long enough 1"}, 400},
		"exists":            {"POST", "/extensions", extensionRequest{Number: "1001", Password: "long enough 1"}, 409},
		"delete nobody":     {"DELETE", "/extensions/1", nil, 404},
		"passwd of nobody":  {"PUT", "/extensions/1/password", passwordRequest{"long enough 1"}, 404},
		"passwd too short":  {"PUT", "/extensions/1001/password", passwordRequest{"short"}, 400},
		"passwd, no body":   {"PUT", "/extensions/1001/password", nil, 400},
		"digest of nobody":  {"PUT", "/extensions/1/digest", digestRequest{[]string{"md5"}}, 404},
		"digest of none":    {"PUT", "/extensions/1001/digest", digestRequest{}, 400},
		"digest, empty":     {"PUT", "/extensions/1001/digest", digestRequest{[]string{""}}, 400},
		"digest, no body":   {"PUT", "/extensions/1001/digest", nil, 400},
		"trunk of no name":  {"PUT", "/trunks/nobody/password", passwordRequest{"x"}, 404},
		"trunk, empty":      {"PUT", "/trunks/carrier/password", passwordRequest{""}, 400},
		"trunk, long":       {"PUT", "/trunks/carrier/password", passwordRequest{long}, 400},
		"trunk, no body":    {"PUT", "/trunks/carrier/password", nil, 400},
		"no such path":      {"GET", "/extension", nil, 404},
		"no such method":    {"PATCH", "/extensions", nil, 405},
		"call of no number": {"DELETE", "/calls/c2", nil, 404},
	} {
		var e *control.Error
		if err := r.ask(c.method, c.path, c.body); !errors.As(err, &e) || e.Status != c.status || e.Message == "" {
			t.Errorf("%s: %v, want %d", name, err, c.status)
		}
	}
	if len(r.x.passwords) != 1 {
		t.Errorf("something was stored: %v", r.x.passwords)
	}
}

// TestFaults: what the exchange can't do is the program's fault, not the caller's.
func TestFaults(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	r.x.fault = errors.New("disk is full")
	for _, args := range []string{"extension add 1002", "extension passwd 1001", "extension del 1001"} {
		if status, _, errs := r.run(strings.Split(args, " ")...); status != 1 || !strings.Contains(errs, "disk is full") {
			t.Errorf("%s: status %d, %s", args, status, errs)
		}
	}
}

func TestRegistrations(t *testing.T) {
	r := newRig(t)
	if got := r.do("registration", "list"); got != "no phone is registered\n" {
		t.Errorf("%q", got)
	}
	r.do("extension", "add", "1001")
	if _, err := r.x.store.PutBindings(t.Context(),
		&store.Binding{ID: "b", AOR: "1001", ContactURI: "sip:token@192.0.2.1", CallID: "c", Outside: true, Expires: time.Now().Add(time.Hour)},
		&store.Binding{ID: "old", AOR: "1001", ContactURI: "sip:old@192.0.2.1", CallID: "c", Expires: time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	var list []registration
	if err := json.Unmarshal([]byte(r.do("registration", "list", "--json")), &list); err != nil || len(list) != 1 || list[0].Via != "border" || list[0].Contact != "sip:token@192.0.2.1" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestNewPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		p := NewPassword()
		if len(p) != 24 || strings.Trim(p, "abcdefghijkmnpqrstuvwxyz23456789") != "" || seen[p] || checkPassword(p) != nil {
			t.Fatalf("%q", p)
		}
		seen[p] = true
	}
}

func TestCheckExtension(t *testing.T) {
	for _, n := range []string{"1001", "+4930", "alice", "a.b_c-d+e", strings.Repeat("1", 32)} {
		if err := CheckExtension(n, "Ünïcode name", "long enough 1"); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	for _, n := range []string{"", ".", "..", "-1", "_a", ".hidden", "a b", "a/b", "a\n", "*43", strings.Repeat("1", 33)} {
		if CheckExtension(n, "", "long enough 1") == nil {
			t.Errorf("%q is one", n)
		}
	}
}
