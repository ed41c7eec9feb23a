package cdr

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

var epoch = time.Date(2026, 11, 21, 23, 59, 58, 123_000_000, time.UTC)

// clock is a wall clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func record(id string) Record {
	return Record{
		ID: id, Trace: "t-" + id, Start: epoch, Caller: "1001", Callee: "1002", Dialled: "1002", Direction: Internal, Realm: "access",
	}
}

func ended(id string) Record {
	r := record(id)
	r.Answer, r.End = epoch.Add(time.Second), epoch.Add(3500*time.Millisecond)
	r.Disposition, r.Code, r.Reason, r.Trunk = Answered, 200, verdict.NormalClearing, "carrier"
	return r
}

func mustOpen(t testing.TB, dir string, now func() time.Time) (*Writer, []Record) {
	t.Helper()
	w, cut, err := Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, cut
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all returns the records of all files, by id, and fails when one stands twice.
func all(t testing.TB, dir string) map[string]Record {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "cdr-*.jsonl"))
	must(t, err)
	out := map[string]Record{}
	for _, name := range files {
		f, err := os.Open(name)
		must(t, err)
		must(t, Read(f, func(r Record) error {
			if _, ok := out[r.ID]; ok {
				t.Fatalf("%q is written twice", r.ID)
			}
			out[r.ID] = r
			return nil
		}))
		f.Close()
	}
	return out
}

func TestRecordLine(t *testing.T) {
	dir := t.TempDir()
	w, cut := mustOpen(t, dir, time.Now)
	if len(cut) != 0 {
		t.Errorf("cut: %v", cut)
	}
	must(t, w.Begin(record("c1")))
	must(t, w.Answer("c1", epoch.Add(time.Second)))
	must(t, w.End(ended("c1")))
	busy := record("c2")
	must(t, w.Begin(busy))
	busy.End, busy.Disposition, busy.Code, busy.Reason = epoch.Add(40*time.Millisecond), Busy, 486, verdict.Busy
	must(t, w.End(busy))
	must(t, w.Close())
	for name, want := range map[string]string{
		"cdr-2026-11-22.jsonl": `{"id":"c1","trace":"t-c1","start":"2026-11-21T23:59:58.123Z","answer":"2026-11-21T23:59:59.123Z",` +
			`"end":"2026-11-22T00:00:01.623Z","caller":"1001","callee":"1002","dialled":"1002","direction":"internal","trunk":"carrier",` +
			`"realm":"access","disposition":"answered","code":200,"reason":"normal-clearing","duration":3.5,"billable":3}` + "\n",
		"cdr-2026-11-21.jsonl": `{"id":"c2","trace":"t-c2","start":"2026-11-21T23:59:58.123Z","end":"2026-11-21T23:59:58.163Z",` +
			`"caller":"1001","callee":"1002","dialled":"1002","direction":"internal","trunk":"","realm":"access",` +
			`"disposition":"busy","code":486,"reason":"busy","duration":0.04,"billable":0}` + "\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s, %v:\ngot  %s\nwant %s", name, err, got, want)
		}
	}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		info, _ := e.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; path != dir && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	}))
}

// A record comes back as it was written; what a stranger may have sent is cut.
func TestRecordRoundTrip(t *testing.T) {
	r := ended("id")
	r.Dialled = strings.Repeat("9", 10*MaxText)
	b, err := r.MarshalJSON()
	must(t, err)
	var got Record
	must(t, got.UnmarshalJSON(b))
	r.Dialled = r.Dialled[:MaxText]
	if got != r {
		t.Errorf("got  %+v\nwant %+v", got, r)
	}
	for _, bad := range []string{`{`, `{"id":"x","start":"yesterday"}`, `[]`} {
		if err := new(Record).UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// Durations are those of the monotonic clock: a wall clock that is stepped while a call is up makes it no longer.
func TestDurations(t *testing.T) {
	start := time.Now()
	r := Record{ID: "x", Start: start, Answer: start.Add(time.Second), End: start.Add(61*time.Second + time.Millisecond)}
	if r.Duration() != 61*time.Second+time.Millisecond || r.Billable() != 61 {
		t.Errorf("%s, %d", r.Duration(), r.Billable())
	}
	r.Answer = time.Time{}
	if r.Billable() != 0 {
		t.Errorf("unanswered and billed for %d", r.Billable())
	}
	back := Record{Start: epoch, Answer: epoch, End: epoch.Add(-time.Hour)}
	if back.Duration() != 0 || back.Billable() != 0 {
		t.Errorf("negative: %s, %d", back.Duration(), back.Billable())
	}
	if (&Record{Start: epoch}).Duration() != 0 {
		t.Error("an open call has a duration")
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, time.Now)
	for i, tt := range []struct {
		err  error
		want error
	}{
		{w.Begin(Record{Start: epoch}), errRecord},
		{w.Begin(Record{ID: "x"}), errRecord},
		{w.Begin(record(strings.Repeat("x", MaxID+1))), errRecord},
		{w.End(ended("never begun")), ErrUnknown},
		{w.Answer("never begun", epoch), ErrUnknown},
		{w.Begin(record("a")), nil},
		{w.Begin(record("a")), ErrDuplicate},
		{w.End(record("a")), errRecord}, // has no end
		{w.End(ended("a")), nil},
		{w.End(ended("a")), ErrUnknown},
		{w.Close(), nil},
		{w.Close(), nil},
		{w.Begin(record("b")), ErrClosed},
		{w.End(ended("b")), ErrClosed},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("step %d: %v, want %v", i, tt.err, tt.want)
		}
	}
	if got := all(t, dir); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, time.Now)
	if _, _, err := Open(dir, time.Now); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second: %v", err)
	}
	must(t, w.Close())
	mustOpen(t, dir, time.Now)
}

// Calls that were open are closed at the next start: up to the last moment that is known.
func TestCutCalls(t *testing.T) {
	dir := t.TempDir()
	c := &clock{t: epoch}
	w, err := openTicking(dir, c.now)
	must(t, err)
	must(t, w.Begin(record("ringing")))
	must(t, w.Begin(record("up")))
	must(t, w.Begin(record("over")))
	must(t, w.Answer("up", epoch.Add(time.Second)))
	must(t, w.End(ended("over")))
	c.add(90 * time.Second)
	waitFor(t, "a tick", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, journalFile))
		return strings.Contains(string(b), format(c.now()))
	})
	must(t, w.Close())

	_, cut := mustOpen(t, dir, time.Now)
	ids := []string{}
	for _, r := range cut {
		ids = append(ids, r.ID)
	}
	if slices.Sort(ids); fmt.Sprint(ids) != "[ringing up]" {
		t.Fatalf("cut: %v", ids)
	}
	got := all(t, dir)
	if r := got["ringing"]; r.Reason != verdict.SystemFailure || r.Disposition != Failed || !r.End.Equal(epoch.Add(90*time.Second)) || r.Billable() != 0 {
		t.Errorf("%+v", r)
	}
	if r := got["up"]; r.Reason != verdict.SystemFailure || r.Disposition != Answered || r.Billable() != 89 || r.Caller != "1001" {
		t.Errorf("%+v", r)
	}
	if r := got["over"]; r != ended("over") {
		t.Errorf("%+v", r)
	}
}

func openTicking(dir string, now func() time.Time) (*Writer, error) {
	w, _, err := open(dir, now, diskFiles(), time.Millisecond)
	return w, err
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestForeignAndDamaged(t *testing.T) {
	head, err := appendEntry(nil, entry{Kind: kindHead, Format: journalFormat})
	must(t, err)
	future, err := appendEntry(nil, entry{Kind: kindHead, Format: 2})
	must(t, err)
	begin, err := appendEntry(nil, entry{Kind: kindBegin, Rec: &Record{ID: "a", Start: epoch}})
	must(t, err)
	for name, tt := range map[string]struct {
		journal, want string
	}{
		"foreign":        {"#!/bin/sh\necho hello\n", "no call journal of ours"},
		"foreign, short": {"x", "no call journal of ours"},
		"newer":          {string(future), "format 2"},
		"no head":        {string(begin), "format 0"},
		"damaged":        {string(head) + "x" + string(begin) + string(begin), "line 2"},
		"damaged head":   {"x" + string(head) + string(begin), "line 1"},
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, journalFile), []byte(tt.journal), 0o600))
		_, _, err := Open(dir, time.Now)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, journalFile)); string(b) != tt.journal {
			t.Errorf("%s: the file was changed", name)
		}
	}
	for name, journal := range map[string]string{
		"empty": "", "torn head": string(head[:20]), "zeros": strings.Repeat("\x00", 100), "zeros behind": string(head) + "\x00\x00",
		"torn": string(head) + string(begin[:len(begin)-1]), "garbage behind": string(head) + "garbage\n",
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, journalFile), []byte(journal), 0o600))
		w, cut, err := Open(dir, time.Now)
		if err != nil || len(cut) != 0 {
			t.Errorf("%s: %v, %v", name, cut, err)
			continue
		}
		must(t, w.Close())
	}
}

// Many at once: each exactly once, and the file is in whole lines all the time.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, time.Now)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("%d-%d", g, i)
				if err := errors.Join(w.Begin(record(id)), w.Answer(id, epoch), w.End(ended(id))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	waitFor(t, "all are in their files", func() bool { return w.Stats().Waiting == 0 }) // durable in the journal before
	if got := all(t, dir); len(got) != 320 {
		t.Errorf("%d records", len(got))
	}
	if st := w.Stats(); st.Open != 0 || st.Waiting != 0 || st.Owed != 0 || st.Written != 320 || st.Err != nil {
		t.Errorf("%+v", st)
	}
}

// A journal does not grow without end, and what is open outlives its shortening.
func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, dir, time.Now)
	must(t, w.Begin(record("long")))
	must(t, w.Answer("long", epoch.Add(time.Second)))
	pad := strings.Repeat("x", MaxText)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 120 {
				r := ended(fmt.Sprintf("%d-%d", g, i))
				r.Caller, r.Callee, r.Dialled, r.Trace = pad, pad, pad, pad
				if err := errors.Join(w.Begin(r), w.End(r)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, w.Close())
	info, err := os.Stat(filepath.Join(dir, journalFile))
	must(t, err)
	if info.Size() > compactOver+1<<19 {
		t.Errorf("journal has %d bytes", info.Size())
	}
	_, cut := mustOpen(t, dir, time.Now)
	if len(cut) != 1 || cut[0].ID != "long" || !cut[0].Answer.Equal(epoch.Add(time.Second)) {
		t.Errorf("cut: %+v", cut)
	}
	if got := all(t, dir); len(got) != 961 {
		t.Errorf("%d records", len(got))
	}
}

func FuzzReadJournal(f *testing.F) {
	b, _ := appendEntry(nil, entry{Kind: kindHead, Format: 1})
	b, _ = appendEntry(b, entry{Kind: kindBegin, Rec: &Record{ID: "a", Start: epoch}})
	b, _ = appendEntry(b, entry{Kind: kindEnd, ID: "a", File: "../x", Line: []byte(`{"id":"a"}`)})
	f.Add(b)
	f.Add([]byte{})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "j")
		must(t, os.WriteFile(path, b, 0o600))
		h, err := readJournal(path)
		if err != nil {
			return
		}
		for _, e := range h.ended {
			if strings.Contains(e.file, "/") {
				t.Errorf("file %q", e.file)
			}
		}
	})
}

func BenchmarkCall(b *testing.B) {
	w, _ := mustOpen(b, b.TempDir(), time.Now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		id := fmt.Sprintf("%p", pb)
		for i := 0; pb.Next(); i++ {
			r := ended(fmt.Sprint(id, i))
			if err := errors.Join(w.Begin(r), w.End(r)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
