package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
	"brickhouse/shared/tone"
)

const goodAccounts = `[{"number":"1001","name":"Alice","password":"a","realm":"x.test"},{"number":"1002","password":"b","realm":"x.test"}]`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// calledWith runs the program and returns its exit code and what it said on the error stream.
func calledWith(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(context.Background(), args, func(string) string { return "" }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCalledWrongly(t *testing.T) {
	accounts := write(t, goodAccounts)
	with := func(changes map[string]string) []string {
		flags := map[string]string{"sbc": "127.0.0.1:1", "ca": accounts, "pbx": "127.0.0.1:2", "accounts": accounts, "control": "/nowhere"}
		for k, v := range changes {
			flags[k] = v
		}
		var args []string
		for k, v := range flags {
			args = append(args, "-"+k, v)
		}
		return args
	}
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"no flags", nil, "is missing"},
		{"unknown flag", []string{"-x"}, "not defined"},
		{"argument", []string{"x"}, "unexpected argument"},
		{"no port", with(map[string]string{"sbc": "border"}), "-sbc \"border\" is not host:port"},
		{"attacker", with(map[string]string{"attacker": "me"}), "-attacker"},
		{"tries", with(map[string]string{"tries": "0"}), "-tries"},
		{"no accounts file", with(map[string]string{"accounts": "/nowhere/a.json"}), "/nowhere/a.json"},
		{"no JSON", with(map[string]string{"accounts": write(t, "{")}), "accounts.json that quickstart wrote"},
		{"one account", with(map[string]string{"accounts": write(t, `[{"number":"1"}]`)}), "two are needed"},
		{"no password", with(map[string]string{"accounts": write(t, strings.Replace(goodAccounts, `"a"`, `""`, 1))}), "account 1 lacks"},
		{"no CA file", with(map[string]string{"ca": "/nowhere/ca.crt"}), "/nowhere/ca.crt"},
		{"no PEM", with(nil), "holds no certificate"},
	} {
		code, _, errs := calledWith(t, tt.args...)
		if code != exitUsage || !strings.Contains(errs, tt.says) {
			t.Errorf("%s: exit %d, said %q, want %d and %q", tt.name, code, errs, exitUsage, tt.says)
		}
	}
	if code, _, _ := calledWith(t, "-h"); code != exitSeen {
		t.Errorf("-h ends with %d", code)
	}
}

func TestAccounts(t *testing.T) {
	a, err := readAccounts(write(t, goodAccounts))
	if err != nil || len(a) != 2 || a[0].Number != "1001" || a[1].Password != "b" || a[0].Realm != "x.test" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestJudge(t *testing.T) {
	denied := siptest.Try{Outcome: siptest.Denied, Codes: []int{401, 401}}
	refused := siptest.Try{Outcome: siptest.NoConnection, Err: siptest.ErrNoConnection}
	silent := siptest.Try{Outcome: siptest.NoAnswer, Err: siptest.ErrTimeout}
	cut := siptest.Try{Outcome: siptest.CutOff, Codes: []int{401}, Err: siptest.ErrConnection}
	in := siptest.Try{Outcome: siptest.LetIn, Codes: []int{401, 200}}
	for _, tt := range []struct {
		name  string
		tries []siptest.Try
		fault string
	}{
		{"dropped at the sixth", []siptest.Try{denied, denied, denied, denied, denied, silent}, ""},
		{"refused at the second", []siptest.Try{denied, refused}, ""},
		{"cut off in the fifth", []siptest.Try{denied, denied, denied, denied, cut, silent}, ""},
		{"cut off, but not shut out", []siptest.Try{denied, cut}, "not shut out"},
		{"never banned", []siptest.Try{denied, denied, denied}, "not shut out"},
		{"no tries", nil, "not shut out"},
		{"never answered", []siptest.Try{refused}, "not even the first time"},
		{"let in", []siptest.Try{denied, in, refused}, "let in"},
	} {
		d := &demo{out: &bytes.Buffer{}}
		err := d.judge(tt.tries)
		if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.fault)
		}
	}
	for want, try := range map[string]siptest.Try{"answered 401": denied, "no connection": refused, "no answer": silent, "let in": in, "goes dead": cut} {
		if got := describe(try); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

// What the border answers, written down here from its control socket.
const banned = `{"addr":"127.0.0.66","outcome":"drop: host-banned","bans":[{"prefix":"127.0.0.66/32","reason":"bad-credentials","rule":"logins",
"by":"rule","from":"2026-11-21T12:00:00Z","until":"2026-11-21T12:05:00Z","evidence":[{"at":"2026-11-21T11:59:59Z","source":"127.0.0.66:4000",
"reason":"bad-credentials","aor":"1001@x.test\u001b[2J","interface":"tls"}]}]}`

func TestExplain(t *testing.T) {
	var e explanation
	if err := json.Unmarshal([]byte(banned), &e); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	d := &demo{out: &out, options: options{attackerAddr: netip.MustParseAddr("127.0.0.66")}}
	if err := d.explain(e, time.Date(2026, 11, 21, 12, 1, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sbc ban why 127.0.0.66", "drop: host-banned", "for another 4m0s", `rule "logins"`, "127.0.0.66:4000", "1001@x.test"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if strings.ContainsRune(out.String(), 0x1b) {
		t.Error("what a stranger wrote reached the terminal")
	}
	if err := d.explain(explanation{Outcome: "pass"}, time.Now()); err == nil {
		t.Error("no ban, and yet content")
	}
}

func TestStarting(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("x: %w", siptest.ErrNoConnection), true},
		{siptest.ErrTimeout, true},
		{context.DeadlineExceeded, true},
		{&siptest.RefusedError{Result: siptest.Result{Code: 503}}, true},
		{&siptest.RefusedError{Result: siptest.Result{Code: 401}}, false}, // trying again would be an attack
		{&siptest.RefusedError{Result: siptest.Result{Code: 403}}, false},
		{errors.New("else"), false},
	} {
		if got := starting(tt.err); got != tt.want {
			t.Errorf("starting(%v) = %v", tt.err, got)
		}
	}
}

func TestLoudEnough(t *testing.T) {
	for level, want := range map[float64]bool{-10: true, -11.9: true, -8.1: true, -13: false, -7: false, tone.Silent: false} {
		if got := loudEnough(tone.Result{Level: level}) == nil; got != want {
			t.Errorf("%.1f dBm0: %v", level, got)
		}
	}
}

func TestUTF8Terminal(t *testing.T) {
	env := func(vars map[string]string) func(string) string { return func(n string) string { return vars[n] } }
	for _, tt := range []struct {
		vars map[string]string
		want bool
	}{
		{nil, false}, {map[string]string{"LANG": "de_AT.UTF-8"}, true}, {map[string]string{"LANG": "C"}, false},
		{map[string]string{"LC_ALL": "C", "LANG": "en_US.utf8"}, false}, {map[string]string{"LC_CTYPE": "C.utf8"}, true},
	} {
		if got := utf8Terminal(env(tt.vars)); got != tt.want {
			t.Errorf("%v: %v", tt.vars, got)
		}
	}
}

func TestNothingListens(t *testing.T) {
	accounts, _ := readAccounts(write(t, goodAccounts))
	var out bytes.Buffer
	d := &demo{out: &out, options: options{border: "127.0.0.1:1", exchange: "127.0.0.1:1", phones: accounts, trust: &trust{},
		control: "/nowhere/sbc.sock", wait: 300 * time.Millisecond}}
	err := d.show(t.Context())
	if err == nil || !strings.Contains(err.Error(), "remote phone 1001") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v does not name phone and address", err)
	}
}
