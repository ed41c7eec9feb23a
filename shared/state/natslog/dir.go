package natslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"brickhouse/shared/state"
)

// Files of a state directory.
const (
	lockFile   = "lock"            // held with flock; says the holder's process id
	markerFile = "brickhouse.json" // says that the directory is ours, and its format
	storeDir   = "log"             // the server's
)

// format of the directory.
const format = 1

type marker struct {
	Kind   string `json:"kind"`
	Format int    `json:"format"`
}

const kind = "brickhouse-state"

// directory is a state directory that we hold.
type directory struct {
	path string
	lock *os.File
}

// takeDirectory makes the directory if need be, makes sure that it is ours, and locks it.
func takeDirectory(path string) (*directory, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: no path", state.ErrForeign)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	d := &directory{path: path}
	if err := d.known(); err != nil {
		return nil, err
	}
	if err := d.flock(); err != nil {
		return nil, err
	}
	if err := d.mark(); err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// known fails for a directory in which something else lives.
func (d *directory) known() error {
	files, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(d.path, markerFile))
	if errors.Is(err, os.ErrNotExist) {
		for _, f := range files {
			if f.Name() != lockFile && f.Name() != markerFile+".tmp" { // a first start may have died there
				return fmt.Errorf("%w: it holds %q and no %s; name an empty directory or a new one", state.ErrForeign, f.Name(), markerFile)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	var m marker
	if err := json.Unmarshal(b, &m); err != nil || m.Kind != kind {
		return fmt.Errorf("%w: %s is not one of ours", state.ErrForeign, markerFile)
	}
	if m.Format != format {
		return fmt.Errorf("%w: format %d, this program knows format %d", state.ErrForeign, m.Format, format)
	}
	return nil
}

// flock locks the directory for this process. The lock goes with the process, however it ends.
func (d *directory) flock() error {
	f, err := os.OpenFile(filepath.Join(d.path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("locking: %w", err)
		}
		holder := make([]byte, 32)
		n, _ := f.Read(holder)
		return fmt.Errorf("%w, pid %s; stop that first", state.ErrLocked, strings.TrimSpace(string(holder[:n])))
	}
	d.lock = f
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(fmt.Sprintln(os.Getpid())), 0)
	return err
}

// mark says that the directory is ours.
func (d *directory) mark() error {
	name := filepath.Join(d.path, markerFile)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	b, err := json.Marshal(marker{Kind: kind, Format: format})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return d.sync()
}

// sync makes the directory's entries durable, and those below it that the server makes once.
func (d *directory) sync() error {
	return filepath.WalkDir(d.path, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

func (d *directory) store() string { return filepath.Join(d.path, storeDir) }

func (d *directory) release() {
	if d.lock != nil {
		d.lock.Close() // drops the lock
		d.lock = nil
	}
}

// inspect returns the names of the streams on disk, after it has read all of them for damage. It changes nothing.
func (d *directory) inspect() ([]string, error) {
	root := filepath.Join(d.store(), "jetstream", "$G", "streams")
	dirs, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range dirs {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") { // half deleted
			continue
		}
		if _, err := os.Stat(filepath.Join(root, e.Name(), "meta.sum")); errors.Is(err, os.ErrNotExist) {
			if empty(filepath.Join(root, e.Name(), "msgs")) {
				continue // killed while the stream was being made: nothing was written to it
			}
			return nil, fmt.Errorf("%w: %s has no meta.sum", state.ErrCorrupt, filepath.Join(root, e.Name()))
		}
		if err := scanStream(e.Name(), filepath.Join(root, e.Name(), "msgs")); err != nil {
			return nil, err
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// empty reports whether no block in dir has a byte.
func empty(dir string) bool {
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if info, err := f.Info(); err != nil || strings.HasSuffix(f.Name(), ".blk") && info.Size() > 0 {
			return false
		}
	}
	return true
}
