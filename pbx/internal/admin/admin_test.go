package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
	"brickhouse/shared/digest"
)

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
