package natslog_test

import (
	"testing"
	"time"

	"brickhouse/shared/state"
	"brickhouse/shared/state/natslog"
)

// lingering opens a log whose rows are written only when they last for d.
func lingering(t *testing.T, dir string, d time.Duration) *natslog.Log {
	t.Helper()
	cfg := config(dir)
	cfg.Linger = map[string]time.Duration{"rows": d}
	l, err := natslog.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func gone(id string, seq uint64) state.Change {
	c := change(id, seq, "")
	c.Val, c.Del = nil, true
	return c
}

func TestShortLivedRowIsNeverWritten(t *testing.T) {
	dir := t.TempDir()
	l := lingering(t, dir, time.Hour)
	done := make(chan error, 3)
	acked := func(_ uint64, err error) { done <- err }
	l.Append(change("call", 1, "setup"), acked)
	l.Append(change("call", 2, "up"), acked)
	l.Append(gone("call", 3), acked)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if st := l.Stats(); st.Waiting != 0 || st.Acked != 3 {
		t.Errorf("%+v", st)
	}
	flush(t, l)
	if got := rows(t, l); len(got) != 0 {
		t.Errorf("written: %v", got)
	}
}

func TestLastingRowIsWrittenInItsNewestForm(t *testing.T) {
	l := lingering(t, t.TempDir(), time.Millisecond)
	done := make(chan error, 2)
	acked := func(_ uint64, err error) { done <- err }
	l.Append(change("call", 1, "setup"), acked)
	l.Append(change("call", 2, "up"), acked)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := rows(t, l); got["call"] != "up" {
		t.Errorf("%v", got)
	}
	l.Append(gone("call", 3), acked) // lingers, too, and is written: the log has the row
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := rows(t, l); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestFlushDoesNotWaitForTheLinger(t *testing.T) {
	dir := t.TempDir()
	l := lingering(t, dir, time.Hour)
	l.Append(change("a", 1, "1"), nil)
	l.Append(change("b", 1, "1"), nil)
	l.Append(gone("b", 2), nil)
	flush(t, l)
	if got := rows(t, l); len(got) != 1 || got["a"] != "1" {
		t.Errorf("%v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, mustOpen(t, dir)); len(got) != 1 {
		t.Errorf("after a restart: %v", got)
	}
}
