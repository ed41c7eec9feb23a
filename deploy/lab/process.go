package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program says how to start a program on a host.
type Program struct {
	Name        string         // in messages; the path's last part if empty
	Path        string         // looked up in PATH if it has no slash
	Args        []string       // without the program itself
	Env         []string       // added to our own
	Dir         string         // working directory
	Input       bool           // keep its standard input open, for Process.Say
	Ready       Ready          // when it counts as started; nil: at once
	ReadyWithin time.Duration  // 30 s if zero
	StopSignal  syscall.Signal // SIGTERM if zero
}

// Process is a program that runs, or ran, on a host.
type Process struct {
	prog Program
	host *Host
	t    TB

	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *output
	ended chan struct{} // closed when it has been waited for
	read  int           // how much of the output WaitLine has consumed
}

// Run starts a program on the host and waits until it is ready. It is stopped when the test ends, and its output
// is in the test's log if the test failed. A Go program that panicked or raced fails the test.
func (h *Host) Run(p Program) *Process {
	h.lab.t.Helper()
	if p.Name == "" {
		p.Name = filepath.Base(p.Path)
	}
	proc := &Process{prog: p, host: h, t: h.lab.t, out: &output{}}
	proc.t.Cleanup(proc.cleanup)
	proc.start()
	return proc
}

func (p *Process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.prog.Path, p.prog.Args...)
	p.cmd.Env, p.cmd.Dir = append(os.Environ(), p.prog.Env...), p.prog.Dir
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = 2 * time.Second
	if p.prog.Input {
		var err error
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			p.t.Fatalf("lab: %s: %v", p, err)
		}
	}
	if err := p.host.lab.launcher.Start(p.host.ns, p.cmd); err != nil {
		p.t.Fatalf("lab: %s: %v", p, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // the state is in cmd.ProcessState
		close(ended)
	}(p.cmd, p.ended)
	p.waitReady()
}

func (p *Process) waitReady() {
	p.t.Helper()
	if p.prog.Ready == nil {
		return
	}
	within := p.prog.ReadyWithin
	if within == 0 {
		within = patience
	}
	eventually(p.t, within, func() string { return fmt.Sprintf("%s to be ready\n%s", p, p.Tail(40)) }, func() bool {
		if !p.Running() {
			p.t.Fatalf("lab: %s ended before it was ready: %s\n%s", p, p.cmd.ProcessState, p.Tail(40))
		}
		return p.prog.Ready(p)
	})
}

// String names the process by program, host and number.
func (p *Process) String() string {
	if p.cmd == nil || p.cmd.Process == nil {
		return p.prog.Name + " on " + p.host.Name
	}
	return fmt.Sprintf("%s on %s (pid %d)", p.prog.Name, p.host.Name, p.cmd.Process.Pid)
}

// Pid is the program's own process number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Host is where it runs.
func (p *Process) Host() *Host { return p.host }

// Running tells whether it has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Signal sends a signal; nothing happens if it has ended.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("lab: %s: sending %s: %v", p, s, err)
	}
}

// Wait waits for its end and returns its exit code, or minus the signal that ended it.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("lab: waited %s for the end of %s\n%s", within, p, p.Tail(40))
	}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -int(ws.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop asks it to end, waits ten seconds, and returns its exit code. One that does not obey is killed and fails the test.
func (p *Process) Stop() int {
	p.t.Helper()
	s := p.prog.StopSignal
	if s == 0 {
		s = syscall.SIGTERM
	}
	if p.Running() {
		p.Signal(s)
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			p.t.Errorf("lab: %s did not end within 10 s of %s", p, s)
			p.Signal(syscall.SIGKILL)
		}
	}
	return p.Wait(patience)
}

// Kill ends it as a power cut would: SIGKILL.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Wait(patience)
}

// Start starts it again after Stop or Kill and waits until it is ready; its output goes on in the same place.
func (p *Process) Start() {
	p.t.Helper()
	if p.Running() {
		p.t.Fatalf("lab: %s still runs", p)
	}
	p.read = p.out.len()
	p.start()
}

// Say writes a line to its standard input (Program.Input).
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("lab: %s: saying %q: %v\n%s", p, line, err, p.Tail(40))
	}
}

// Output is all that it wrote, or the last eight megabytes of it.
func (p *Process) Output() string { return string(p.out.from(0)) }

// Tail is the last n lines of its output.
func (p *Process) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(p.Output(), "\n"), "\n")
	return "  | " + strings.Join(lines[max(0, len(lines)-n):], "\n  | ")
}

// WaitLine waits for the next line that matches and returns the match and its groups. Each call goes on after the last
// match; what does not match is passed over.
func (p *Process) WaitLine(re *regexp.Regexp, within time.Duration) []string {
	p.t.Helper()
	var got []string
	eventually(p.t, within, func() string { return fmt.Sprintf("%s to say %q\n%s", p, re, p.Tail(40)) }, func() bool {
		var end int
		got, end = p.out.match(re, p.read)
		if got != nil {
			p.read = end
			return true
		}
		if !p.Running() {
			p.t.Fatalf("lab: %s ended (%s) before it said %q\n%s", p, p.cmd.ProcessState, re, p.Tail(40))
		}
		return false
	})
	return got
}

// RSS is its resident memory in bytes; 0 after its end.
func (p *Process) RSS() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Pid()))
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// disaster is what a Go program must never say.
var disaster = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|WARNING: DATA RACE|SIGSEGV: .*)$`)

func (p *Process) cleanup() {
	if p.ended == nil { // it never started
		return
	}
	p.Stop()
	if why := disaster.FindString(p.Output()); why != "" {
		p.t.Errorf("lab: %s: %s", p, why)
	}
	name := fmt.Sprintf("%s-%s-%d.log", p.prog.Name, p.host.Name, p.Pid())
	_ = os.WriteFile(filepath.Join(p.host.lab.Dir, badFileChars.ReplaceAllString(name, "_")), p.out.from(0), 0o600)
	if p.t.Failed() {
		p.t.Logf("lab: %s, %s, said:\n%s", p, p.cmd.ProcessState, p.Tail(120))
	}
}

// outputLimit bounds what is kept of one program's output.
const outputLimit = 8 << 20

// output keeps what a program writes. Positions are counted from the first byte ever written.
type output struct {
	mu   sync.Mutex
	buf  []byte
	base int // position of buf[0]
}

// Write never fails.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if over := len(o.buf) - outputLimit; over > outputLimit/4 { // in large steps: each one copies
		o.buf = append([]byte(nil), o.buf[over:]...)
		o.base += over
	}
	return len(b), nil
}

func (o *output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.base + len(o.buf)
}

func (o *output) from(at int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf[min(max(0, at-o.base), len(o.buf)):])
}

// match finds the first match after a position, and the position after it.
func (o *output) match(re *regexp.Regexp, at int) (groups []string, end int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	skip := min(max(0, at-o.base), len(o.buf))
	m := re.FindSubmatchIndex(o.buf[skip:])
	if m == nil {
		return nil, 0
	}
	for i := 0; i < len(m); i += 2 {
		g := ""
		if m[i] >= 0 {
			g = string(o.buf[skip+m[i] : skip+m[i+1]])
		}
		groups = append(groups, g)
	}
	return groups, o.base + skip + m[1]
}
