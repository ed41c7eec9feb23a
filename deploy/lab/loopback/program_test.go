package loopback

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is one of ours, running.
type program struct {
	t     testing.TB
	name  string
	args  []string
	cmd   *exec.Cmd
	ended chan struct{}
	out   *output
}

// output keeps what a program writes, over its restarts too.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write never fails.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// launch starts a program; it is stopped when the test ends, and must not have panicked or raced.
func launch(t testing.TB, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name, args: args, out: &output{}}
	p.start()
	t.Cleanup(p.cleanup)
	return p
}

func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(binDir, p.name), p.args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = p.out, p.out, 2*time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives a test that is killed
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("starting %s: %v", p.name, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // the state is in cmd.ProcessState
		close(ended)
	}(p.cmd, p.ended)
}

func (p *program) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("sending %s to %s: %v", s, p.name, err)
	}
}

// wait waits for the end and returns the exit status, or minus the signal.
func (p *program) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Errorf("%s does not end", p.name)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -int(ws.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the program as a power cut would.
func (p *program) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.wait()
}

// hup makes the program read its files again, and waits until it has. It returns how many parts failed, as the log says.
func (p *program) hup() (failed string) {
	p.t.Helper()
	before := len(reloaded.FindAllString(p.out.String(), -1))
	p.signal(syscall.SIGHUP)
	eventually(p.t, p.name+" to reload", func() string {
		if all := reloaded.FindAllStringSubmatch(p.out.String(), -1); len(all) > before {
			failed = all[before][1]
			return ""
		}
		return "nothing in the log yet"
	})
	return failed
}

var reloaded = regexp.MustCompile(`"msg":"reloaded",.*"failed":(\d+)`)

// disaster is what a Go program must never write.
var disaster = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|WARNING: DATA RACE|SIGSEGV: .*|goroutine \d+ \[.*)$|"internal-error"`)

func (p *program) cleanup() {
	if p.running() {
		p.signal(syscall.SIGTERM)
		if status := p.wait(); status != 0 {
			p.t.Errorf("%s ended with status %d after SIGTERM", p.name, status)
		}
	}
	said := p.out.String()
	if why := disaster.FindString(said); why != "" {
		p.t.Errorf("%s wrote %q", p.name, why)
	}
	if p.t.Failed() {
		lines := strings.Split(strings.TrimSpace(said), "\n")
		p.t.Logf("%s wrote:\n%s", p.name, strings.Join(lines[max(0, len(lines)-150):], "\n"))
	}
}

// ran is what a command that ended by itself left.
type ran struct {
	status         int
	stdout, stderr string
}

// command runs a command of a program to its end.
func command(t testing.TB, stdin, name string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, name), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader(stdin), &stdout, &stderr, 2*time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a command that has to succeed, and returns what it printed.
func must(t testing.TB, name string, args ...string) string {
	t.Helper()
	r := command(t, "", name, args...)
	if r.status != 0 {
		t.Fatalf("%s %v: status %d: %s", name, args, r.status, r.stderr)
	}
	return r.stdout
}
