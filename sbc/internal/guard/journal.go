package guard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The journal is a file of JSON lines. A line counts when it is whole; what a crash left of the last one is cut off at the next start.
const (
	journalName = "bans.jsonl"
	maxLine     = 64 << 10
	maxPending  = 64 << 20 // bytes that wait for a disk that does not write
	compactOver = 4 << 20  // bytes from which on the journal is made anew when most of it is history
	retryAfter  = time.Second
)

// What a record says.
const (
	opBan   = "ban"   // Ban is in force from now on, in place of an earlier one of its prefix
	opUnban = "unban" // a person lifted the ban of Prefix
	opPast  = "past"  // a ban that has ended; written when the journal is made anew
	opList  = "list"  // a person imported List, or dropped it (no entries); for the record only
)

type record struct {
	V      int          `json:"v"`
	Op     string       `json:"op"`
	Ban    *Ban         `json:"ban,omitempty"`
	Past   *Past        `json:"past,omitempty"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	At     time.Time    `json:"at,omitzero"`
	By     string       `json:"by,omitempty"`
	Note   string       `json:"note,omitempty"`

	List    string `json:"list,omitempty"`
	Entries int    `json:"entries,omitempty"`
}

const journalVersion = 1

// maxListRecords is how many changes of imported lists are remembered when the journal is made anew.
const maxListRecords = 1000

// folded is what a journal amounts to.
type folded struct {
	active map[netip.Prefix]Ban  // not lifted; some may have expired
	past   []Past                // oldest first
	lifted map[netip.Prefix]bool // a person's last word was to lift it
	lists  []record              // what persons did with lists, oldest first
	bad    int                   // lines that are no records
	good   int64                 // bytes up to the end of the last whole line
}

// fold reads a journal. It takes whatever a crash may have left; only a reader that fails is an error.
func fold(r io.Reader) (folded, error) {
	f := folded{active: map[netip.Prefix]Ban{}, lifted: map[netip.Prefix]bool{}}
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		size := int64(len(line))
		for errors.Is(err, bufio.ErrBufferFull) { // no record is that long: skip the line
			line, err = in.ReadSlice('\n')
			size += int64(len(line))
			line = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return f, fmt.Errorf("reading the journal of bans: %w", err)
		}
		if err != nil { // without its line end it is not whole
			return f, nil
		}
		f.good += size
		var rec record
		if json.Unmarshal(line, &rec) != nil || !f.take(rec) {
			f.bad++
		}
	}
}

func (f *folded) take(r record) bool {
	if r.V != journalVersion {
		return false
	}
	switch {
	case r.Op == opBan && r.Ban != nil && r.Ban.Prefix.IsValid():
		if old, ok := f.active[r.Ban.Prefix]; ok && !in(old.Until, r.Ban.From) {
			f.past = remember(f.past, Past{Ban: old, Ended: old.Until, EndedBy: byExpiry})
		}
		f.active[r.Ban.Prefix] = *r.Ban
		delete(f.lifted, r.Ban.Prefix)
	case r.Op == opUnban && r.Prefix.IsValid():
		if old, ok := f.active[r.Prefix]; ok {
			f.past = remember(f.past, Past{Ban: old, Ended: r.At, EndedBy: r.By, EndNote: r.Note})
			delete(f.active, r.Prefix)
		}
		f.lifted[r.Prefix] = true
	case r.Op == opPast && r.Past != nil && r.Past.Prefix.IsValid():
		f.past = remember(f.past, *r.Past)
		if r.Past.EndedBy != byExpiry {
			f.lifted[r.Past.Prefix] = true
		}
	case r.Op == opList && r.List != "":
		if f.lists = append(f.lists, r); len(f.lists) > maxListRecords {
			f.lists = f.lists[1:]
		}
	default:
		return false
	}
	return true
}

// records is the shortest journal that amounts to f.
func (f folded) records() []record {
	rs := make([]record, 0, len(f.past)+len(f.active))
	for i := range f.past {
		rs = append(rs, record{V: journalVersion, Op: opPast, Past: &f.past[i]})
	}
	rs = append(rs, f.lists...)
	for _, b := range f.active {
		rs = append(rs, record{V: journalVersion, Op: opBan, Ban: &b})
	}
	return rs
}

// settle moves what has expired at the time now to the past.
func (f *folded) settle(now time.Time) {
	for p, b := range f.active {
		if !in(b.Until, now) {
			f.past = remember(f.past, Past{Ban: b, Ended: b.Until, EndedBy: byExpiry})
			delete(f.active, p)
		}
	}
}

// journal writes records in the background, many with one fsync.
type journal struct {
	log   *slog.Logger
	clock func() time.Time
	dir   *os.File // locked: one guard at a time
	path  string
	done  chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	wake    *sync.Cond // something to write, or something was written
	closed  bool
	pending []byte // lines to write
	queued  uint64 // number of the last record in pending
	written uint64 // number of the last record on disk
	failed  uint64 // number of the last record whose first try failed
	err     error  // of the last try
	faults  uint64

	// The writer's own.
	file *os.File
	size int64 // bytes on disk that count
	base int64 // bytes when the journal was last made anew; 0: not by this process
}

// openJournal reads the journal in dir and starts its writer.
func (g *Guard) openJournal(dir string) (folded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return folded{}, fmt.Errorf("directory of the journal of bans: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return folded{}, fmt.Errorf("directory of the journal of bans: %w", err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		return folded{}, fmt.Errorf("journal of bans in %s is in use by another process: %w", dir, err)
	}
	j := &journal{log: g.log, clock: g.clock, dir: d, path: filepath.Join(dir, journalName), done: make(chan struct{})}
	j.wake = sync.NewCond(&j.mu)
	saved, err := j.recover()
	if err != nil {
		d.Close()
		return folded{}, err
	}
	g.journal = j
	go j.writer()
	return saved, nil
}

// recover reads the journal, cuts a torn tail off and opens it for more.
func (j *journal) recover() (folded, error) {
	file, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return folded{}, fmt.Errorf("opening the journal of bans: %w", err)
	}
	saved, err := fold(file)
	if err != nil {
		file.Close()
		return folded{}, err
	}
	if saved.bad > 0 {
		j.log.Error("lines of the journal of bans can't be read and are left out", "file", j.path, "lines", saved.bad)
	}
	j.file, j.size = file, saved.good
	if err := errors.Join(j.rewind(), file.Sync(), j.dir.Sync()); err != nil {
		file.Close()
		return folded{}, fmt.Errorf("preparing the journal of bans: %w", err)
	}
	return saved, nil
}

// rewind drops what stands behind the last record that counts.
func (j *journal) rewind() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// write hands a record to the writer. wait returns when it is on disk, or with the error of the first try; it may be left out.
func (j *journal) write(r record) (wait func() error) {
	r.V = journalVersion
	line, err := json.Marshal(r)
	if err == nil && len(line) >= maxLine {
		err = fmt.Errorf("record of %d bytes", len(line))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil && len(j.pending) > maxPending {
		err = fmt.Errorf("too much waits for the disk: %w", j.err)
	}
	if err == nil && j.closed {
		err = ErrClosed
	}
	if err != nil {
		j.faults++
		return func() error { return err }
	}
	j.pending = append(append(j.pending, line...), '\n')
	j.queued++
	n := j.queued
	j.wake.Broadcast()
	return func() error { return j.wait(n) }
}

func (j *journal) wait(n uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.written < n && j.failed < n {
		j.wake.Wait()
	}
	if j.written >= n {
		return nil
	}
	return j.err
}

func (j *journal) faultCount() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.faults
}

// writer writes what is pending, all of it with one fsync, until the journal is closed. What can't be written is tried again.
func (j *journal) writer() {
	defer close(j.done)
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for len(j.pending) == 0 && !j.closed {
			j.wake.Wait()
		}
		if len(j.pending) == 0 {
			return
		}
		batch, upTo := j.pending, j.queued
		j.pending = nil
		j.mu.Unlock()
		err := j.put(batch)
		j.mu.Lock()
		if err == nil {
			j.written = upTo
			j.wake.Broadcast()
			continue
		}
		j.pending = append(batch, j.pending...)
		j.failed, j.err = upTo, err
		j.wake.Broadcast()
		if j.faults++; j.faults == 1 || j.faults%60 == 0 {
			j.log.Error("the journal of bans can't be written; bans are in force, but a restart may lose them", "error", err)
		}
		if j.closed {
			return
		}
		j.pauseLocked()
	}
}

// pauseLocked waits a while, or until the journal is closed.
func (j *journal) pauseLocked() {
	over := false
	t := time.AfterFunc(retryAfter, func() {
		j.mu.Lock()
		over = true
		j.wake.Broadcast()
		j.mu.Unlock()
	})
	defer t.Stop()
	for !over && !j.closed {
		j.wake.Wait()
	}
}

// put appends a batch and makes it durable; if that fails, nothing of it counts.
func (j *journal) put(batch []byte) error {
	if j.size > compactOver && j.size > 2*j.base {
		if err := j.compact(); err != nil {
			return err
		}
	}
	if err := j.rewind(); err != nil {
		return err
	}
	if _, err := j.file.Write(batch); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size += int64(len(batch))
	return nil
}

// compact makes the journal anew, without what has been overtaken. The old one counts until the new one is whole.
func (j *journal) compact() error {
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := fold(io.LimitReader(j.file, j.size))
	if err != nil {
		return err
	}
	f.settle(j.clock())
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, r := range f.records() {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("making the journal of bans anew: %w", err)
		}
	}
	next, err := j.replace(buf.Bytes())
	if err != nil {
		return fmt.Errorf("making the journal of bans anew: %w", err)
	}
	j.file.Close()
	j.file, j.size, j.base = next, int64(buf.Len()), int64(buf.Len())
	return nil
}

// replace puts a file with the given content in the journal's place.
func (j *journal) replace(content []byte) (*os.File, error) {
	f, err := replaceFile(j.path, content)
	if err != nil {
		return nil, err
	}
	// From here on the new file is the journal, come what may.
	if err := j.dir.Sync(); err != nil {
		j.log.Error("the journal's directory can't be made durable", "error", err)
	}
	return f, nil
}

// replaceFile puts a file with the given content in the place of path. Making the directory durable is left to the caller.
func replaceFile(path string, content []byte) (_ *os.File, err error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(tmp)
		}
	}()
	if _, err := f.Write(content); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return f, os.Rename(tmp, path)
}

// close writes what is pending, once more if need be, and ends the writer.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.wake.Broadcast()
	j.mu.Unlock()
	<-j.done
	j.mu.Lock()
	defer j.mu.Unlock()
	var err error
	if len(j.pending) > 0 {
		err = fmt.Errorf("journal of bans: %w", j.err)
	}
	return errors.Join(err, j.file.Close(), j.dir.Close())
}
