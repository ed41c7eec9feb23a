package cdr

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// file is an open file, and filesystem what opens it: a seam for tests that make writes fail.
type file interface {
	io.WriteSeeker
	io.Closer
	Sync() error
	Truncate(size int64) error
}

type filesystem struct {
	open   func(path string, flags int) (file, error)
	rename func(from, to string) error
	sync   func(dir string) error // makes a directory's entries durable
}

func diskFiles() filesystem {
	return filesystem{
		open:   func(path string, flags int) (file, error) { return os.OpenFile(path, flags, 0o600) },
		rename: os.Rename,
		sync:   syncDir,
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ErrLocked says that another process writes to the directory.
var ErrLocked = errors.New("in use by another process")

// lockDir keeps other processes out. The lock goes with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, err
	}
	return f, nil
}

// dayFile is the file of a record that ended at t.
func dayFile(t time.Time) string { return "cdr-" + t.UTC().Format(time.DateOnly) + ".jsonl" }

// day is a day's file, open for appending.
type day struct {
	name string
	f    file
	size int64
}

// openDay opens a day's file. What a crash left of a line at its end is cut off.
func openDay(fs filesystem, dir, name string) (*day, error) {
	path := filepath.Join(dir, name)
	good, fresh, err := wholeLines(path)
	if err != nil {
		return nil, err
	}
	f, err := fs.open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	d := &day{name: name, f: f, size: good}
	if err = d.back(); err == nil && fresh {
		err = fs.sync(dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

// wholeLines is the size of a file up to its last line feed, and whether there is no such file yet.
func wholeLines(path string) (good int64, fresh bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, false, err
	}
	buf := make([]byte, 4096)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, false, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, false, nil
		}
		end -= n
	}
	return 0, false, nil
}

// write appends lines and makes them durable. After an error the file is as it was.
func (d *day) write(b []byte) error {
	n, err := d.f.Write(b)
	if err == nil {
		err = d.f.Sync()
	}
	if err == nil {
		d.size += int64(n)
		return nil
	}
	return fmt.Errorf("writing %s: %w", d.name, errors.Join(err, d.back()))
}

func (d *day) back() error {
	if err := d.f.Truncate(d.size); err != nil {
		return err
	}
	_, err := d.f.Seek(d.size, io.SeekStart)
	return err
}

// maxLine is longer than any line that we write.
const maxLine = 1 << 20

// Read gives the records of a day's file to f, in their order, until f returns an error. A last line that is not whole
// is left out: it is being written.
func Read(r io.Reader, f func(Record) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		l, err := b.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var rec Record
		if len(l) > maxLine {
			return fmt.Errorf("%w: line %d has %d bytes", errRecord, n, len(l))
		}
		if err := json.Unmarshal(l, &rec); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := f(rec); err != nil {
			return err
		}
	}
}

// present tells which of the ids are in a day's file. Lines that are none of ours are passed over.
func present(path string, ids map[string]bool) (map[string]bool, error) {
	found := map[string]bool{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := bufio.NewReaderSize(f, 64<<10)
	for {
		l, err := b.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		var rec struct {
			ID string `json:"id"`
		}
		if strings.HasPrefix(l, `{"id":`) && json.Unmarshal([]byte(l), &rec) == nil && ids[rec.ID] {
			found[rec.ID] = true
		}
	}
}
