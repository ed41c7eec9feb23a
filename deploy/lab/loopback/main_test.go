package loopback

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long anything may take that is not told otherwise. It is a deadline against hanging and says nothing
// about speed: the machine may be busy.
const patience = 30 * time.Second

// Where TestMain left the programs. They are the same for all tests and are written once, before any runs.
var binDir string

func TestMain(m *testing.M) {
	flag.Parse()
	if !given("test.parallel") {
		_ = flag.Set("test.parallel", "8") // tests mostly wait
	}
	os.Exit(run(m))
}

func given(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bh-loopback-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"sbc", "pbx"} {
		if err := build(dir, name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	binDir = dir
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // a second at each end of a program is long
	return m.Run()
}

// build makes a program: with the race detector where there is a C compiler for it, otherwise as it is shipped.
func build(dir, name string) error {
	out, first := filepath.Join(dir, name), []byte(nil)
	for _, mode := range [][]string{{"CGO_ENABLED=1", "-race"}, {"CGO_ENABLED=0", "-trimpath"}} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		cmd := exec.CommandContext(ctx, "go", "build", mode[1], "-ldflags", "-X main.version=0.0-loopback", "-o", out, "brickhouse/"+name)
		cmd.Env = append(os.Environ(), mode[0])
		said, err := cmd.CombinedOutput()
		cancel()
		if err == nil {
			return nil
		}
		first = append(first, said...)
	}
	return fmt.Errorf("building %s: %s", name, strings.TrimSpace(string(first)))
}

// within is a context that ends with the test or after a while.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until cond returns "", which says what is still missing.
func eventually(t testing.TB, what string, cond func() string) {
	t.Helper()
	eventuallyFor(t, patience, what, cond)
}

// eventuallyFor is eventually with another deadline.
func eventuallyFor(t testing.TB, limit time.Duration, what string, cond func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		missing := cond()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %s", limit, what, missing)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
