package cdr

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// written is a write that a writer made, as a crash could cut it.
type written struct {
	file   string // base name
	fresh  bool   // made aside and renamed: the file begins here
	b      []byte
	begun  []string // acknowledged before this write
	ended  []string
	answer []string
}

// recorder notes all writes in their order.
type recorder struct {
	mu     sync.Mutex
	writes []written
	acked  written // what was acknowledged so far
}

func (r *recorder) filesystem() filesystem {
	fs := diskFiles()
	fs.open = func(path string, flags int) (file, error) {
		f, err := diskFiles().open(path, flags)
		name, aside := strings.CutSuffix(filepath.Base(path), ".tmp")
		return &recordedFile{file: f, r: r, name: name, fresh: aside}, err
	}
	return fs
}

func (r *recorder) note(kind kind, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kind {
	case kindBegin:
		r.acked.begun = append(r.acked.begun[:len(r.acked.begun):len(r.acked.begun)], id)
	case kindAnswer:
		r.acked.answer = append(r.acked.answer[:len(r.acked.answer):len(r.acked.answer)], id)
	default:
		r.acked.ended = append(r.acked.ended[:len(r.acked.ended):len(r.acked.ended)], id)
	}
}

type recordedFile struct {
	file
	r     *recorder
	name  string
	fresh bool // the next write is made aside, and renamed
}

func (f *recordedFile) Write(b []byte) (int, error) {
	f.r.mu.Lock()
	w := f.r.acked
	w.file, w.fresh, w.b = f.name, f.fresh, append([]byte(nil), b...)
	f.r.writes = append(f.r.writes, w)
	f.fresh = false
	f.r.mu.Unlock()
	return f.file.Write(b)
}

// TestCrashAtEveryByte cuts the sequence of all writes of some calls at every byte, and opens what is left: each call that
// was begun has exactly one record, and those that had ended have theirs.
func TestCrashAtEveryByte(t *testing.T) {
	rec := &recorder{}
	w, _, err := open(t.TempDir(), func() time.Time { return epoch }, rec.filesystem(), time.Hour)
	must(t, err)
	step := func(k kind, id string, err error) { must(t, err); rec.note(k, id) }
	for i := range 3 {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		step(kindBegin, a, w.Begin(record(a)))
		step(kindBegin, b, w.Begin(record(b)))
		step(kindAnswer, a, w.Answer(a, epoch.Add(time.Second)))
		step(kindEnd, a, w.End(ended(a)))
		if i != 1 {
			r := record(b)
			r.End, r.Disposition, r.Reason = epoch, Busy, verdict.Busy // ends in another file than a
			step(kindEnd, b, w.End(r))
		}
	}
	must(t, w.Close())
	cuts := 0
	for i, wr := range rec.writes {
		for n := range len(wr.b) + 1 {
			cuts++
			checkCut(t, rec.writes, i, n)
		}
	}
	if cuts < 3000 {
		t.Errorf("only %d cuts", cuts)
	}
}

// checkCut opens the state after the first writes and n bytes of write last.
func checkCut(t *testing.T, writes []written, last, n int) {
	t.Helper()
	files := map[string][]byte{}
	for i, wr := range writes[:last+1] {
		b := wr.b
		if i == last {
			b = b[:n]
		}
		if wr.fresh { // it is there whole or not at all
			if len(b) < len(wr.b) {
				continue
			}
			files[wr.file] = nil
		}
		files[wr.file] = append(files[wr.file], b...)
	}
	dir, err := os.MkdirTemp("/dev/shm", "bh-cdr-") // in memory where there is such a place: thousands of directories
	if err != nil {
		dir, err = os.MkdirTemp(t.TempDir(), "")
	}
	must(t, err)
	defer os.RemoveAll(dir)
	for name, b := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	where := fmt.Sprintf("write %d to %s cut at %d of %d", last, writes[last].file, n, len(writes[last].b))
	for range 2 { // the second start finds nothing to do
		w, _, err := open(dir, time.Now, unsynced(), time.Hour)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		must(t, w.Close())
	}
	got := all(t, dir)
	for _, id := range writes[last].ended {
		if got[id].Reason == verdict.SystemFailure || got[id].ID == "" {
			t.Fatalf("%s: end of %s is lost: %+v", where, id, got[id])
		}
	}
	for _, id := range writes[last].begun {
		if got[id].ID == "" {
			t.Fatalf("%s: %s is lost", where, id)
		}
	}
	for _, id := range writes[last].answer {
		if got[id].Answer.IsZero() {
			t.Fatalf("%s: the answer of %s is lost", where, id)
		}
	}
}

// unsynced is a filesystem whose fsync does nothing: the test makes its own crashes.
func unsynced() filesystem {
	return filesystem{
		open: func(path string, flags int) (file, error) {
			f, err := diskFiles().open(path, flags)
			return lazyFile{f}, err
		},
		rename: os.Rename,
		sync:   func(string) error { return nil },
	}
}

type lazyFile struct{ file }

func (lazyFile) Sync() error { return nil }

// fullDisk fails writes, after some bytes of each, while full is set.
type fullDisk struct {
	mu   sync.Mutex
	full map[string]bool // by the beginning of a file's name
	sync bool            // fsync fails, not write
}

func (d *fullDisk) set(prefix string, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full[prefix] = full
}

func (d *fullDisk) is(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, full := range d.full {
		if full && strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func (d *fullDisk) filesystem() filesystem {
	disk := diskFiles()
	disk.open = func(path string, flags int) (file, error) {
		f, err := diskFiles().open(path, flags)
		return &fullFile{f, d, filepath.Base(path)}, err
	}
	return disk
}

type fullFile struct {
	file
	d    *fullDisk
	name string
}

func (f *fullFile) Write(b []byte) (int, error) {
	if f.d.is(f.name) && !f.d.sync {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, syscall.ENOSPC
	}
	return f.file.Write(b)
}

func (f *fullFile) Sync() error {
	if f.d.is(f.name) && f.d.sync {
		return syscall.EIO
	}
	return f.file.Sync()
}

// A day's file that can't be written costs nothing: records wait in the journal.
func TestDayFileFull(t *testing.T) {
	for _, sync := range []bool{false, true} {
		dir := t.TempDir()
		d := &fullDisk{full: map[string]bool{}, sync: sync}
		w, _, err := open(dir, time.Now, d.filesystem(), time.Millisecond)
		must(t, err)
		must(t, errors.Join(w.Begin(record("before")), w.End(ended("before"))))
		d.set("cdr-", true)
		for i := range 5 {
			id := fmt.Sprint(i)
			must(t, errors.Join(w.Begin(record(id)), w.End(ended(id))))
		}
		if st := w.Stats(); st.Waiting != 5 || st.Err == nil {
			t.Errorf("%+v", st)
		}
		// Where only the fsync fails, lines are there for a moment at each try.
		waitFor(t, "one record to be there", func() bool { return len(all(t, dir)) == 1 })
		d.set("cdr-", false)
		waitFor(t, "all are written", func() bool { return w.Stats().Waiting == 0 && w.Stats().Err == nil })
		must(t, w.Close())
		if got := all(t, dir); len(got) != 6 {
			t.Errorf("%d records after", len(got))
		}
	}
}

// A journal that can't be written refuses new calls; the end of one that was begun is not lost as long as we live.
func TestJournalFull(t *testing.T) {
	for _, sync := range []bool{false, true} {
		dir := t.TempDir()
		d := &fullDisk{full: map[string]bool{}, sync: sync}
		w, _, err := open(dir, time.Now, d.filesystem(), time.Millisecond)
		must(t, err)
		must(t, w.Begin(record("a")))
		must(t, w.Begin(record("cut")))
		d.set(journalFile, true)
		want := syscall.ENOSPC
		if sync {
			want = syscall.EIO
			must(t, w.Begin(record("late"))) // the disk is not asked for it at once
			waitFor(t, "the disk to refuse", func() bool { return w.Stats().Err != nil })
		}
		if err := w.Begin(record("b")); !errors.Is(err, want) || !strings.Contains(err.Error(), journalFile) {
			t.Errorf("begin: %v", err)
		}
		if err := w.Answer("a", epoch); !errors.Is(err, want) {
			t.Errorf("answer: %v", err)
		}
		if err := w.End(ended("a")); !errors.Is(err, want) {
			t.Errorf("end: %v", err)
		}
		d.set(journalFile, false)
		waitFor(t, "the end is written", func() bool { st := w.Stats(); return st.Owed == 0 && st.Err == nil })
		must(t, w.Begin(record("b"))) // it was not begun before
		must(t, w.End(ended("b")))
		if err := w.End(ended("a")); !errors.Is(err, ErrUnknown) {
			t.Errorf("a second end: %v", err)
		}
		must(t, w.Close())
		_, cut := mustOpen(t, dir, time.Now)
		wantCut := []string{"cut"}
		if sync {
			wantCut = append(wantCut, "late")
		}
		for i, id := range wantCut {
			if len(cut) != len(wantCut) || cut[i].ID != id {
				t.Errorf("cut: %+v, want %v", cut, wantCut)
			}
		}
		got := all(t, dir)
		if len(got) != 2+len(wantCut) || got["a"] != ended("a") {
			t.Errorf("%+v", got)
		}
	}
}
