package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/banapi"
	"brickhouse/sbc/internal/guard"
)

// jails is a configuration of fail2ban with one jail for each of our actions, each with a log of its own.
const jails = `[DEFAULT]
backend = polling
usedns = no
maxretry = 2
findtime = 600
filter = knocks
ignoreip =
enabled = true

[socket]
logpath = %[1]s/socket.log
bantime = 600
action = brickhouse[sbc="%[1]s/sbc", socket="%[2]s"]

[api]
logpath = %[1]s/api.log
bantime = 900
action = brickhouse-api[url="http://%[3]s", header="%[1]s/header"]

[forever]
logpath = %[1]s/forever.log
bantime = -1
action = brickhouse[sbc="%[1]s/sbc", socket="%[2]s"]
         brickhouse-api[url="http://%[3]s", header="%[1]s/header"]
`

// foreign is a real fail2ban before a rig.
type foreign struct {
	*rig
	dir string
}

// write puts a file below the directory.
func (f *foreign) write(name, text string) {
	f.Helper()
	path := filepath.Join(f.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		f.Fatal(err)
	}
}

// newForeign starts fail2ban in a directory of its own: nothing of the host's configuration is read or changed.
func newForeign(t *testing.T) *foreign {
	t.Helper()
	for _, tool := range []string{"fail2ban-server", "fail2ban-client", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: fail2ban, curl)", tool)
		}
	}
	r := newRig(t)
	f := &foreign{rig: r, dir: filepath.Dir(r.path)} // short: it holds a socket
	if out, err := exec.Command("go", "build", "-o", filepath.Join(f.dir, "sbc"), "brickhouse/sbc").CombinedOutput(); err != nil {
		t.Fatalf("building sbc: %v\n%s", err, out)
	}
	api, key := f.endpoint()
	f.write("header", "X-Api-Key: "+key+"\n")
	f.write("conf/fail2ban.conf", fmt.Sprintf("[Definition]\nloglevel = INFO\nlogtarget = %[1]s/f2b.log\nsyslogsocket = auto\n"+
		"socket = %[1]s/f\npidfile = %[1]s/p\ndbfile = None\ndbpurgeage = 1d\n", f.dir))
	f.write("conf/jail.conf", fmt.Sprintf(jails, f.dir, r.path, api.Addr()))
	f.write("conf/filter.d/knocks.conf", "[Definition]\nfailregex = ^ knock from <ADDR>$\n")
	for _, name := range []string{"brickhouse", "brickhouse-api"} {
		text, err := os.ReadFile("../../../deploy/fail2ban/action.d/" + name + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		f.write("conf/action.d/"+name+".conf", string(text))
	}
	for _, log := range []string{"socket", "api", "forever"} {
		f.write(log+".log", "")
	}
	f.serve()
	return f
}

// endpoint opens the ban endpoint before the rig's guard.
func (f *foreign) endpoint() (*banapi.Server, string) {
	f.Helper()
	key, sum := banapi.NewKey()
	var token banapi.Token
	token.SetDefaults()
	token.Name, token.SHA256, token.Scope = "fail2ban", sum, banapi.ScopeBan
	s := banapi.New(banapi.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tokens: []banapi.Token{token}},
		banapi.Options{Guard: f.g, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.Listen(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	return s, key
}

// serve runs the server until the test ends.
func (f *foreign) serve() {
	f.Helper()
	cmd := exec.Command("fail2ban-server", "-c", filepath.Join(f.dir, "conf"), "-s", filepath.Join(f.dir, "f"), "-p", filepath.Join(f.dir, "p"), "-f", "start")
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		if f.Failed() {
			text, _ := os.ReadFile(filepath.Join(f.dir, "f2b.log"))
			f.Logf("%s", text)
		}
	})
	f.until("the server", func() bool {
		text, _ := os.ReadFile(filepath.Join(f.dir, "f2b.log"))
		return strings.Count(string(text), "started") >= 3
	})
}

// knock writes what an attack leaves in a log.
func (f *foreign) knock(log, source string) {
	f.Helper()
	file, err := os.OpenFile(filepath.Join(f.dir, log+".log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for range 2 {
		fmt.Fprintf(file, "%s knock from %s\n", time.Now().Format(time.DateTime), source)
	}
}

func (f *foreign) until(what string, ok func() bool) {
	f.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("%s did not come; bans: %v", what, f.g.List())
		}
	}
}

// ban returns the ban of a source.
func (f *foreign) ban(source string) *guard.Ban {
	for _, b := range f.g.List() {
		if b.Prefix.Addr().String() == source {
			return &b
		}
	}
	return nil
}

func (f *foreign) pardon(jail, source string) {
	f.Helper()
	cmd := exec.Command("fail2ban-client", "-c", filepath.Join(f.dir, "conf"), "-s", filepath.Join(f.dir, "f"), "set", jail, "unbanip", source)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Fatalf("unbanip: %v\n%s", err, out)
	}
	f.until("the end of the ban of "+source, func() bool { return f.ban(source) == nil })
}

// TestFail2ban has a real fail2ban read logs and ban through both of our actions.
func TestFail2ban(t *testing.T) {
	f := newForeign(t)
	for _, c := range []struct {
		jail, source, note string
		by                 func(string) bool
		length             time.Duration
	}{
		{"socket", "203.0.113.7", "fail2ban: socket", func(by string) bool { return by != "" && by != "api:fail2ban" }, 10 * time.Minute},
		{"socket", "2001:db8::7", "fail2ban: socket", func(by string) bool { return by != "api:fail2ban" }, 10 * time.Minute},
		{"api", "203.0.113.8", "fail2ban: api", func(by string) bool { return by == "api:fail2ban" }, 15 * time.Minute},
		{"api", "2001:db8::8", "fail2ban: api", func(by string) bool { return by == "api:fail2ban" }, 15 * time.Minute},
	} {
		f.knock(c.jail, c.source)
		f.until("the ban of "+c.source, func() bool { return f.ban(c.source) != nil })
		b := f.ban(c.source)
		if !c.by(b.By) || b.Note != c.note || b.Until.Sub(b.From) != c.length {
			t.Errorf("%s: %+v", c.source, b)
		}
		f.pardon(c.jail, c.source)
	}
	f.knock("forever", "203.0.113.9") // both actions; the longer ban stays
	f.until("the ban of 203.0.113.9", func() bool { return f.ban("203.0.113.9") != nil })
	f.knock("api", "192.0.2.1") // a trunk
	f.knock("api", "203.0.113.10")
	f.until("the ban of 203.0.113.10", func() bool { return f.ban("203.0.113.10") != nil })
	if b := f.ban("203.0.113.9"); !b.Until.IsZero() || b.By == "api:fail2ban" {
		t.Errorf("%+v", b)
	}
	if f.ban("192.0.2.1") != nil {
		t.Error("a trunk is banned")
	}
}
