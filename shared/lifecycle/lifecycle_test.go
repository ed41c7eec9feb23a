package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// journal is what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
	grown chan struct{}
}

func newJournal() *journal { return &journal{grown: make(chan struct{}, 100)} }

func (j *journal) add(line string) {
	j.mu.Lock()
	j.lines = append(j.lines, line)
	j.mu.Unlock()
	j.grown <- struct{}{}
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}

// wait returns once the line is there.
func (j *journal) wait(t *testing.T, line string) {
	t.Helper()
	for end := time.After(20 * time.Second); ; {
		for _, l := range j.all() {
			if l == line {
				return
			}
		}
		select {
		case <-j.grown:
		case <-end:
			t.Fatalf("%q did not happen: %q", line, j.all())
		}
	}
}

// part writes into the journal what is done with it.
func (j *journal) part(name string) Component {
	note := func(what string) func(context.Context) error {
		return func(context.Context) error { j.add(what + " " + name); return nil }
	}
	return Component{Name: name, Start: note("start"), Stop: note("stop"), Reload: note("reload")}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// run runs r in the background.
func run(ctx context.Context, r *Runner) (chan<- os.Signal, <-chan error) {
	signals, done := make(chan os.Signal), make(chan error, 1)
	go func() { done <- r.Run(ctx, signals) }()
	return signals, done
}

func result(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
		return nil
	}
}

func want(t *testing.T, j *journal, lines ...string) {
	t.Helper()
	if got := j.all(); !reflect.DeepEqual(got, lines) {
		t.Errorf("got %q, want %q", got, lines)
	}
}

func TestOrder(t *testing.T) {
	j := newJournal()
	r := New(quiet(), nil)
	r.Add(j.part("a"), Component{Name: "empty"}, j.part("b"), j.part("c"))
	signals, done := run(context.Background(), r)
	j.wait(t, "start c")
	signals <- syscall.SIGHUP
	j.wait(t, "reload c")
	signals <- syscall.SIGTERM
	if err := result(t, done); err != nil {
		t.Error(err)
	}
	want(t, j, "start a", "start b", "start c", "reload a", "reload b", "reload c", "stop c", "stop b", "stop a")
}

func TestEndOfContextStops(t *testing.T) {
	j := newJournal()
	r := New(quiet(), nil)
	r.Add(j.part("a"))
	ctx, cancel := context.WithCancel(context.Background())
	_, done := run(ctx, r)
	j.wait(t, "start a")
	cancel()
	if err := result(t, done); err != nil {
		t.Error(err)
	}
	want(t, j, "start a", "stop a")
}

func TestFailedStartStopsWhatRuns(t *testing.T) {
	j := newJournal()
	boom := errors.New("port 5061 is taken")
	bad := j.part("b")
	bad.Start = func(context.Context) error { return boom }
	r := New(quiet(), nil)
	r.Add(j.part("a"), bad, j.part("c"))
	_, done := run(context.Background(), r)
	if err := result(t, done); !errors.Is(err, boom) || err.Error() != "starting b: port 5061 is taken" {
		t.Error(err)
	}
	want(t, j, "start a", "stop a")
}

func TestFailStops(t *testing.T) {
	j := newJournal()
	boom := errors.New("socket is gone")
	r := New(quiet(), nil)
	r.Add(j.part("a"))
	_, done := run(context.Background(), r)
	j.wait(t, "start a")
	for range 3 {
		r.Fail("listener", boom) // only the first counts, none blocks
	}
	if err := result(t, done); !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "listener: socket is gone") {
		t.Error(err)
	}
	want(t, j, "start a", "stop a")
}

func TestFailedStopDoesNotHoldUpTheOthers(t *testing.T) {
	j := newJournal()
	boom := errors.New("disk is full")
	bad := j.part("b")
	bad.Stop = func(context.Context) error { return boom }
	r := New(quiet(), nil)
	r.Add(j.part("a"), bad)
	signals, done := run(context.Background(), r)
	j.wait(t, "start b")
	signals <- os.Interrupt
	if err := result(t, done); !errors.Is(err, boom) {
		t.Error(err)
	}
	want(t, j, "start a", "start b", "stop a")
}

func TestFailedReloadGoesOn(t *testing.T) {
	j := newJournal()
	bad := j.part("a")
	bad.Reload = func(context.Context) error { j.add("reload a fails"); return errors.New("no such file") }
	r := New(quiet(), nil)
	r.Add(bad, j.part("b"))
	signals, done := run(context.Background(), r)
	j.wait(t, "start b")
	signals <- syscall.SIGHUP
	j.wait(t, "reload b")
	signals <- syscall.SIGTERM
	if err := result(t, done); err != nil {
		t.Error(err)
	}
}

func TestStartDeadline(t *testing.T) {
	for name, start := range map[string]func(context.Context) error{
		"heeds its context": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"does not":          func(context.Context) error { select {} },
	} {
		r := New(quiet(), nil)
		r.Add(Component{Name: "slow", Start: start, StartDeadline: 10 * time.Millisecond})
		_, done := run(context.Background(), r)
		if err := result(t, done); err == nil || !strings.HasPrefix(err.Error(), "starting slow: not done after 10ms") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStopDeadline(t *testing.T) {
	j := newJournal()
	slow := j.part("b")
	slow.Stop = func(context.Context) error { select {} }
	slow.StopDeadline = 10 * time.Millisecond
	r := New(quiet(), nil)
	r.Add(j.part("a"), slow)
	signals, done := run(context.Background(), r)
	j.wait(t, "start b")
	signals <- syscall.SIGTERM
	if err := result(t, done); err == nil || !strings.HasPrefix(err.Error(), "stopping b: not done after 10ms") {
		t.Error(err)
	}
	want(t, j, "start a", "start b", "stop a")
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	j := newJournal()
	slow := j.part("b")
	slow.Stop = func(ctx context.Context) error { j.add("draining"); select {} }
	slow.StopDeadline = time.Hour
	r := New(quiet(), nil)
	r.Add(j.part("a"), slow)
	signals, done := run(context.Background(), r)
	j.wait(t, "start b")
	signals <- syscall.SIGTERM
	j.wait(t, "draining")
	signals <- syscall.SIGHUP // does not count
	signals <- os.Interrupt
	if err := result(t, done); !errors.Is(err, ErrForced) {
		t.Error(err)
	}
	want(t, j, "start a", "start b", "draining")
}

func TestSignalWhileStarting(t *testing.T) {
	j := newJournal()
	slow := j.part("b")
	slow.Start = func(ctx context.Context) error { j.add("starting"); <-ctx.Done(); return ctx.Err() }
	r := New(quiet(), nil)
	r.Add(j.part("a"), slow, j.part("c"))
	signals, done := run(context.Background(), r)
	j.wait(t, "starting")
	signals <- os.Interrupt
	if err := result(t, done); err != nil {
		t.Error(err)
	}
	want(t, j, "start a", "starting", "stop a")
}

func TestFailWhileStarting(t *testing.T) {
	boom := errors.New("boom")
	r := New(quiet(), nil)
	r.Add(Component{Name: "a", Start: func(ctx context.Context) error {
		r.Fail("helper", boom)
		<-ctx.Done()
		return ctx.Err()
	}})
	_, done := run(context.Background(), r)
	if err := result(t, done); !errors.Is(err, boom) {
		t.Error(err)
	}
}

func TestSignals(t *testing.T) {
	ch, stop := Signals()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-ch:
		if s != syscall.SIGHUP {
			t.Error(s)
		}
	case <-time.After(20 * time.Second):
		t.Error("no signal")
	}
}

// manager plays systemd: it returns the messages that arrive.
func manager(t *testing.T, addr string) (*net.UnixConn, func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, func() string {
		buf := make([]byte, 1024)
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func env(addr string) func(string) string {
	return func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return addr
		}
		return ""
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	for _, addr := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@bh-notify-%d", os.Getpid())} {
		_, next := manager(t, addr)
		j := newJournal()
		r := New(quiet(), NewNotifier(env(addr)))
		r.Add(j.part("a"))
		signals, done := run(context.Background(), r)
		if got := next(); got != "READY=1" {
			t.Error(got)
		}
		signals <- syscall.SIGHUP
		if got := next(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
			t.Error(got)
		}
		if got := next(); got != "READY=1" {
			t.Error(got)
		}
		signals <- syscall.SIGTERM
		if got := next(); got != "STOPPING=1" {
			t.Error(got)
		}
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	}
}

func TestNotifier(t *testing.T) {
	for _, addr := range []string{"", "relative", "vsock:1:2"} {
		if NewNotifier(env(addr)) != nil {
			t.Errorf("%q was taken", addr)
		}
	}
	var none *Notifier
	if err := errors.Join(none.Ready(), none.Stopping(), none.Reloading(), none.Status("x")); err != nil {
		t.Error(err)
	}
	if err := NewNotifier(env("/nonexistent/notify")).Ready(); err == nil {
		t.Error("no error")
	}
	addr := filepath.Join(t.TempDir(), "notify")
	_, next := manager(t, addr)
	if err := NewNotifier(env(addr)).Status("3 calls"); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "STATUS=3 calls" {
		t.Error(got)
	}
}
