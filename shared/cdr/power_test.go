package cdr

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// platters hold what a loss of power leaves: of each file what was there at its last fsync.
type platters struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (p *platters) filesystem() filesystem {
	fs := diskFiles()
	fs.open = func(path string, flags int) (file, error) {
		f, err := diskFiles().open(path, flags)
		return &platterFile{f, p, path}, err
	}
	return fs
}

type platterFile struct {
	file
	p    *platters
	path string
}

func (f *platterFile) Sync() error {
	path := f.path
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) { // renamed
		path = strings.TrimSuffix(path, ".tmp")
		b, err = os.ReadFile(path)
	}
	if err == nil {
		err = f.file.Sync()
	}
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	f.p.files[strings.TrimSuffix(filepath.Base(path), ".tmp")] = b
	return err
}

// opened is what is found after a loss of power at this moment.
func (p *platters) opened(t *testing.T) map[string]Record {
	t.Helper()
	dir := t.TempDir()
	p.mu.Lock()
	for name, b := range p.files {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	p.mu.Unlock()
	w, _, err := open(dir, time.Now, unsynced(), time.Hour)
	must(t, err)
	must(t, w.Close())
	return all(t, dir)
}

// What Answer and End have acknowledged, and the call that it is of, a loss of power leaves; and a call that is only begun after a moment.
func TestPowerCut(t *testing.T) {
	p := &platters{files: map[string][]byte{}}
	w, _, err := open(t.TempDir(), func() time.Time { return epoch }, p.filesystem(), time.Hour)
	must(t, err)
	for i := range 20 {
		id := fmt.Sprint("a", i)
		must(t, w.Begin(record(id)))
		must(t, w.Answer(id, epoch.Add(time.Second)))
		if got := p.opened(t)[id]; got.Answer.IsZero() || got.Reason != verdict.SystemFailure {
			t.Fatalf("%s was answered: %+v", id, got)
		}
		must(t, w.End(ended(id)))
		if got := p.opened(t)[id]; got != ended(id) {
			t.Fatalf("%s has ended: %+v", id, got)
		}
	}
	must(t, w.Begin(record("rings")))
	waitFor(t, "a call that nobody answers to be on disk", func() bool { return p.opened(t)["rings"].ID != "" })
	must(t, w.Close())
}

// Who begins a call does not wait for the disk.
func TestBeginDoesNotWait(t *testing.T) {
	stuck, release := make(chan struct{}, 1), make(chan struct{})
	disk := diskFiles()
	disk.open = func(path string, flags int) (file, error) {
		f, err := diskFiles().open(path, flags)
		if strings.HasSuffix(path, ".tmp") {
			return stuckFile{f, stuck, release}, err
		}
		return f, err
	}
	free := make(chan struct{})
	go func() { // opening syncs, too
		<-stuck
		release <- struct{}{}
		close(free)
	}()
	w, _, err := open(t.TempDir(), time.Now, disk, time.Hour)
	must(t, err)
	<-free
	must(t, w.Begin(record("a")))
	answered := make(chan error, 1)
	go func() { answered <- w.Answer("a", time.Now()) }()
	<-stuck // the disk is at it
	for i := range 100 {
		must(t, w.Begin(record(fmt.Sprint("b", i))))
	}
	select {
	case err := <-answered:
		t.Errorf("the answer is acknowledged before the disk has it: %v", err)
	default:
	}
	close(release)
	must(t, <-answered)
	must(t, w.Close())
}

// stuckFile waits in each fsync.
type stuckFile struct {
	file
	stuck, release chan struct{}
}

func (f stuckFile) Sync() error {
	select {
	case f.stuck <- struct{}{}:
	default:
	}
	<-f.release
	return f.file.Sync()
}
