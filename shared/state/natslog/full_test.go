package natslog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"brickhouse/shared/state"
)

// TestDiskFull fills the disk under a log, makes room again, and expects everything to become durable by itself.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("needs root that may mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	ballast := filepath.Join(disk, "ballast")
	dir := filepath.Join(disk, "state")
	l := mustOpen(t, dir)
	seen := map[string]bool{}
	last := make(chan struct{})
	go l.Follow(t.Context(), "rows", nil, func(cs []state.Change) { //nolint:errcheck // it ends with the test
		for _, c := range cs {
			if seen[c.ID] = true; len(seen) == 100 {
				close(last)
			}
		}
	}, func() {})
	l.Append(change("k0", 1, "v"), nil)
	flush(t, l)
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	acked := make(chan string, 100)
	for i := 1; i < 100; i++ {
		l.Append(change(fmt.Sprint("k", i), 1, strings.Repeat("v", 50_000)), func(_ uint64, err error) {
			if err != nil {
				t.Error(err)
			}
			acked <- fmt.Sprint("k", i)
		})
	}
	for end := time.Now().Add(time.Minute); l.Stats().Resent == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the disk never became full: the test tests nothing")
		}
	}
	if st := l.Stats(); st.Waiting == 0 || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 99 {
		select {
		case <-acked:
		case <-time.After(time.Minute):
			t.Fatalf("not durable a minute after there is room: %+v", l.Stats())
		}
	}
	select {
	case <-last:
	case <-time.After(time.Minute):
		t.Error("a follower missed something")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, mustOpen(t, dir)); len(got) != 100 {
		t.Errorf("%d rows of 100", len(got))
	}
}
