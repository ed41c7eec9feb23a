package netns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespace is the name of a network namespace; "" is the one this process is in.
type Namespace string

// Path is the file that names it, for nsenter(1).
func (n Namespace) Path() string { return filepath.Join(dir, string(n)) }

// Do runs fn on a thread that is in the namespace. A socket that fn itself opens belongs to the namespace for good;
// a goroutine that fn starts does not, so dial literal addresses (a name, or several addresses, would be tried by
// goroutines of their own). Unlike `ip netns exec`, /sys stays as it is: pinned BPF objects are reachable.
//
// A panic in fn comes back as an error; runtime.Goexit (t.FailNow) in fn comes back as an error too.
func (n Namespace) Do(fn func() error) error {
	if n == "" {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		err := fmt.Errorf("in namespace %s: the function did not return", n)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("in namespace %s: panic: %v", n, p)
			}
			done <- err
		}()
		// Never unlocked: the thread ends with the goroutine, and nobody else ever runs in a foreign namespace.
		runtime.LockOSThread()
		if e := n.enter(); e != nil {
			err = e
			return
		}
		err = fn()
	}()
	return <-done
}

// enter moves the calling thread into the namespace.
func (n Namespace) enter() error {
	f, err := os.Open(n.Path())
	if err != nil {
		return fmt.Errorf("entering namespace %s: %w", n, err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering namespace %s: %w", n, err)
	}
	return nil
}

// Launcher starts programs in namespaces from one thread that lives as long as the Launcher, so that the kernel can
// be told to kill them when this process dies (PR_SET_PDEATHSIG is bound to the thread that forks). However a test
// binary ends, nothing that it started stays.
type Launcher struct {
	jobs chan job
}

type job struct {
	ns   Namespace
	cmd  *exec.Cmd
	done chan error
}

// NewLauncher starts the thread. Close kills everything that was started and still runs.
func NewLauncher() *Launcher {
	l := &Launcher{jobs: make(chan job)}
	go l.run()
	return l
}

// Close ends the thread; the kernel kills whatever it started. Start must not be called afterwards.
func (l *Launcher) Close() { close(l.jobs) }

// Start starts cmd in the namespace. The process is the program itself: its pid is cmd.Process.Pid.
func (l *Launcher) Start(ns Namespace, cmd *exec.Cmd) error {
	j := job{ns: ns, cmd: cmd, done: make(chan error, 1)}
	l.jobs <- j
	return <-j.done
}

func (l *Launcher) run() {
	runtime.LockOSThread() // never unlocked, see Do
	home, err := os.Open("/proc/thread-self/ns/net")
	for j := range l.jobs {
		if err != nil {
			j.done <- fmt.Errorf("opening the launcher's own namespace: %w", err)
			continue
		}
		j.done <- l.start(j, int(home.Fd()))
	}
	if home != nil {
		home.Close()
	}
}

func (l *Launcher) start(j job, home int) error {
	if j.cmd.SysProcAttr == nil {
		j.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	j.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if j.ns != "" {
		if err := j.ns.enter(); err != nil {
			return err
		}
		defer func() { _ = unix.Setns(home, unix.CLONE_NEWNET) }()
	}
	if err := j.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", j.cmd.Path, err)
	}
	return nil
}
