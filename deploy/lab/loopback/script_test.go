package loopback

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"brickhouse/shared/pki"
)

// TestScripts runs both programs' command lines. Each script has a site of its own in $DIR, configured and not started, on
// the network $NET, and beside the usual commands these:
//
//	fails STATUS PROGRAM ARG…   wants that exit status, nothing on standard output and one line on standard error
//	edit FILE OLD NEW           replaces text that must be there
//	start PROGRAM               starts it and waits until it serves; it is stopped at the end of the script
//	issue NAME KIND             writes NAME.crt and NAME.key: server, client, expired
//	hold NETWORK ADDRESS        takes a port
//	mode FILE OCTAL             changes a file's mode
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := newSite(env.T().(testing.TB), nil)
			env.Values["site"] = s
			root, err := filepath.Abs("../../..")
			env.Vars = append(env.Vars, "DIR="+s.dir, "NET="+strings.TrimSuffix(s.prefix, "."), "PATH="+binDir+":"+os.Getenv("PATH"), "ROOT="+root, "GORACE="+os.Getenv("GORACE"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fail, "edit": edit, "start": start, "issue": issue, "hold": holdPort, "mode": mode,
		},
	})
}

func arguments(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("%d arguments, at least %d", len(args), least)
	}
}

func fail(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	status := 0
	if err := ts.Exec("timeout", append([]string{"30"}, args[1:]...)...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		status = exit.ExitCode()
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("on standard output: %q", out)
	}
	if said := ts.ReadFile("stderr"); strings.Count(said, "\n") != 1 || len(said) > 500 {
		ts.Fatalf("%d lines on standard error", strings.Count(said, "\n"))
	}
}

func edit(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 3)
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(path)
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", path, args[1])
	}
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	s := ts.Value("site").(*site)
	switch args[0] {
	case "sbc":
		s.startBorder()
	case "pbx":
		s.startExchange()
	default:
		ts.Fatalf("no program %q", args[0])
	}
}

func issue(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	s := ts.Value("site").(*site)
	ca, err := pki.LoadAuthority(s.path("ca.crt"), s.path("ca.key"), time.Now())
	ts.Check(err)
	r, now := pki.Request{Name: args[0], DNS: []string{domain, "pbx.brickhouse.internal", "sbc.brickhouse.internal"}, Use: pki.Server, Life: time.Hour}, time.Now()
	switch args[1] {
	case "client":
		r.Use = pki.Client
	case "expired":
		now = now.Add(-48 * time.Hour)
	}
	pair, err := ca.Issue(r, now)
	ts.Check(err)
	ts.Check(pair.Write(s.path(args[0]+".crt"), s.path(args[0]+".key")))
}

func holdPort(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	if args[0] == "udp" {
		c, err := net.ListenPacket("udp", args[1])
		ts.Check(err)
		ts.Defer(func() { c.Close() })
		return
	}
	l, err := net.Listen(args[0], args[1])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	n, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[0]), os.FileMode(n)))
}
