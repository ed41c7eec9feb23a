package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"brickhouse/deploy/lab/netns"
)

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"up"}} {
		var out, errs bytes.Buffer
		if code := run(args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%v: exit %d, %q", args, code, errs.String())
		}
	}
}

// From the hint on the screen to a clean machine.
func TestUpAndDown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var errs bytes.Buffer
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	go func() { done <- run(nil, w, &errs); w.Close() }()
	var seen bytes.Buffer
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 4096); !strings.Contains(seen.String(), "Ctrl-C takes it down."); {
		n, err := r.Read(b)
		if err != nil {
			t.Fatalf("%v after %q, %q", err, seen.String(), errs.String())
		}
		seen.Write(b[:n])
	}
	_, enter, _ := strings.Cut(seen.String(), "A shell on the border:      nsenter --net=")
	border, _, _ := strings.Cut(enter, "\n")
	if !strings.HasPrefix(filepath.Base(border), netns.Prefix) {
		t.Errorf("no way in: %s", seen.String())
	}
	if _, err := os.Stat(border); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"198.18.0.1", "198.19.0.10", "2001:db8:18::1", "/sys/fs/bpf/bh-"} {
		if !strings.Contains(seen.String(), want) {
			t.Errorf("%s is not told: %s", want, seen.String())
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit %d: %s", code, errs.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("still up a minute after SIGTERM")
	}
	if _, err := os.Stat(border); !os.IsNotExist(err) {
		t.Errorf("the border's namespace is still there: %v", err)
	}
}

func TestSweepCommand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var out, errs bytes.Buffer
	if code := run([]string{"-sweep"}, &out, &errs); code != 0 {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

// A failure in the middle is one line and a clean end, not a stack trace.
func TestFailureCleansUp(t *testing.T) {
	var out, errs bytes.Buffer
	p := &person{out: &out, errs: &errs}
	dir := ""
	code := func() (code int) {
		defer func() { code = p.end(recover(), code) }()
		dir = p.TempDir()
		p.Fatalf("lab: no luck")
		return 0
	}()
	if code != 1 || errs.String() != "lab: no luck\n" {
		t.Errorf("exit %d, %q", code, errs.String())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}
