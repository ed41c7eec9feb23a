package lab

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// fake records what a test would be told, so that failures can be tested.
type fake struct {
	*testing.T
	mu     sync.Mutex
	errors []string
}

func (f *fake) Errorf(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, a...))
}

func (f *fake) Fatalf(format string, a ...any) { f.Errorf(format, a...); runtime.Goexit() }
func (f *fake) Failed() bool                   { f.mu.Lock(); defer f.mu.Unlock(); return len(f.errors) > 0 }
func (f *fake) Logf(string, ...any)            {}

// fails runs fn, which must report a failure that contains want.
func fails(t *testing.T, f *fake, want string, fn func()) {
	t.Helper()
	f.errors = nil
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	<-done
	if got := strings.Join(f.errors, "\n"); got == "" || !strings.Contains(got, want) {
		t.Errorf("reported %q, want something with %q", got, want)
	}
	f.errors = nil
}
