package openfiles

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The test runs itself with a low limit, which it could not raise again without the privilege.
func TestRaise(t *testing.T) {
	if os.Getenv("OPENFILES") != "" {
		low := unix.Rlimit{Cur: 64, Max: 128}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ ask, get int }{{60, 60}, {100, 100}, {128, 128}} {
			if got, err := Raise(c.ask); got != c.get || err != nil {
				t.Errorf("%d: %d, %v", c.ask, got, err)
			}
		}
		if got, err := Raise(512); got != 128 && got != 512 || err != nil { // with the privilege, all of it
			t.Errorf("above the hard limit: %d, %v", got, err)
		}
		return
	}
	c := exec.Command(os.Args[0], "-test.run", "^TestRaise$", "-test.v")
	c.Env = append(os.Environ(), "OPENFILES=1")
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct{ allowed, others, each, most, want int }{
		{50_000, 1_000, 4, 10_000, 10_000},
		{20_000, 4_000, 4, 10_000, 4_000},
		{1_024, 4_000, 4, 10_000, 1},
	} {
		if got := Share(c.allowed, c.others, c.each, c.most); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
