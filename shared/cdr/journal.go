package cdr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// journalFile holds what is not in a day's file yet. Each line is a checksum, a blank, a JSON object and a line feed.
const journalFile = "journal"

// journalFormat is that of the head line. Another one is refused.
const journalFormat = 1

// kind is what a journal line says.
type kind string

const (
	kindHead   kind = "head"   // first line: Format
	kindBegin  kind = "begin"  // Rec was begun
	kindAnswer kind = "answer" // call ID was answered at At
	kindEnd    kind = "end"    // record ID is final: Line goes to File
	kindDone   kind = "done"   // record ID is in its file
	kindTick   kind = "tick"   // we lived at At
)

// entry is a journal line.
type entry struct {
	Kind   kind            `json:"k"`
	Format int             `json:"format,omitempty"`
	ID     string          `json:"id,omitempty"`
	At     string          `json:"at,omitempty"` // wall clock
	File   string          `json:"file,omitempty"`
	Rec    *Record         `json:"rec,omitempty"`  // of begin
	Line   json.RawMessage `json:"line,omitempty"` // of end: the record as it goes into its file, durations and all
}

// appendEntry writes a line.
func appendEntry(b []byte, e entry) ([]byte, error) {
	j, err := json.Marshal(e)
	if err != nil {
		return b, fmt.Errorf("encoding journal line: %w", err)
	}
	b = fmt.Appendf(b, "%08x ", crc32.ChecksumIEEE(j))
	return append(append(b, j...), '\n'), nil
}

var errLine = errors.New("bad journal line")

// parseEntry reads a line without its line feed.
func parseEntry(l []byte) (e entry, err error) {
	if len(l) < 10 || l[8] != ' ' {
		return e, errLine
	}
	sum, err := strconv.ParseUint(string(l[:8]), 16, 32)
	if err != nil || crc32.ChecksumIEEE(l[9:]) != uint32(sum) {
		return e, errLine
	}
	if err := json.Unmarshal(l[9:], &e); err != nil {
		return e, errLine
	}
	return e, nil
}

// history is what a journal tells.
type history struct {
	open     map[string]Record // begun and not ended
	ended    []final           // ended, and not known to be in their file; in the order of their end
	lastSeen time.Time         // latest time in it
}

// final is a record on its way to a day's file.
type final struct {
	id   string
	file string
	line []byte // without its line feed
}

// finish makes a record final.
func finish(r Record) (final, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return final{}, fmt.Errorf("encoding call record: %w", err)
	}
	return final{id: r.ID, file: dayFile(r.End), line: b}, nil
}

// entry is the journal line of a final record.
func (f final) entry() entry {
	return entry{Kind: kindEnd, ID: f.id, File: f.file, Line: f.line}
}

// readJournal reads a journal. A bad end is what a crash leaves, and is left out; a bad line with good ones behind it is
// damage, and an error that names the file.
func readJournal(path string) (*history, error) {
	h := &history{open: map[string]Record{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, err
	}
	for n, rest := 1, b; len(rest) > 0; n++ {
		l, next, whole := bytes.Cut(rest, []byte{'\n'})
		e, err := parseEntry(l)
		if !whole || err != nil {
			if n == 1 && !anyEntry(next) && !tornHead(l, whole) {
				return nil, fmt.Errorf("%s is no call journal of ours", path)
			}
			if anyEntry(next) {
				return nil, fmt.Errorf("%s is damaged at line %d, and good lines follow: restore it, or move it away to start a new one", path, n)
			}
			return h, nil
		}
		if n == 1 && (e.Kind != kindHead || e.Format != journalFormat) {
			return nil, fmt.Errorf("%s has format %d; this program knows format %d", path, e.Format, journalFormat)
		}
		h.take(e)
		rest = next
	}
	return h, nil
}

// tornHead reports whether an unreadable first line is what a crash leaves of the head: its beginning, or nothing that
// was ever written.
func tornHead(l []byte, whole bool) bool {
	head, err := appendEntry(nil, entry{Kind: kindHead, Format: journalFormat})
	return err == nil && !whole && (bytes.HasPrefix(head, l) || len(bytes.Trim(l, "\x00")) == 0)
}

// anyEntry reports whether a good line is in b.
func anyEntry(b []byte) bool {
	for l := range bytes.SplitSeq(b, []byte{'\n'}) {
		if _, err := parseEntry(l); err == nil {
			return true
		}
	}
	return false
}

func (h *history) take(e entry) {
	if at, err := parse(e.At); err == nil && at.After(h.lastSeen) {
		h.lastSeen = at
	}
	switch e.Kind {
	case kindBegin:
		if e.Rec != nil {
			h.open[e.Rec.ID] = *e.Rec
		}
	case kindAnswer:
		if r, ok := h.open[e.ID]; ok {
			r.Answer, _ = parse(e.At)
			h.open[e.ID] = r
		}
	case kindEnd:
		delete(h.open, e.ID)
		h.ended = append(h.ended, final{id: e.ID, file: filepath.Base(e.File), line: e.Line})
	case kindDone:
		for i := range h.ended {
			if h.ended[i].id == e.ID {
				h.ended = append(h.ended[:i], h.ended[i+1:]...)
				break
			}
		}
	case kindHead, kindTick:
	}
}

// journal is an open journal.
type journal struct {
	fs   filesystem
	dir  string
	f    file
	size int64 // up to here all is good
}

// newJournal writes a journal that holds only lines, in the place of any other, and opens it.
func newJournal(fs filesystem, dir string, lines []byte) (*journal, error) {
	path := filepath.Join(dir, journalFile)
	b, err := appendEntry(nil, entry{Kind: kindHead, Format: journalFormat})
	if err != nil {
		return nil, err
	}
	b = append(b, lines...)
	f, err := fs.open(path+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = fs.rename(path+".tmp", path)
	}
	if err == nil {
		err = fs.sync(dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	return &journal{fs: fs, dir: dir, f: f, size: int64(len(b))}, nil
}

// errTorn says that a failed write left something behind that can't be cut off.
var errTorn = errors.New("a torn line can't be cut off")

// write appends lines. After an error the journal is as it was, but for errTorn.
func (j *journal) write(b []byte) error {
	n, err := j.f.Write(b)
	if err == nil {
		j.size += int64(n)
		return nil
	}
	if e := j.back(); e != nil {
		err = errors.Join(err, errTorn, e)
	}
	return fmt.Errorf("writing %s: %w", filepath.Join(j.dir, journalFile), err)
}

// sync makes what was written durable. After an error nobody knows what is on disk (fsync(2)). Lines may be written meanwhile.
func (j *journal) sync() error {
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(j.dir, journalFile), err)
	}
	return nil
}

// back cuts off what a failed write left.
func (j *journal) back() error {
	if err := j.f.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.f.Seek(j.size, 0)
	return err
}
