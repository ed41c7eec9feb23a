package cdr

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrCursor says that a cursor is none of ours.
var ErrCursor = errors.New("no such place in the call records")

// Query says which records are looked for.
type Query struct {
	Since, Until time.Time // of the end: from Since on, before Until; zero: any
	Party        string    // number that called, was called or was dialled; empty: any
	Trace        string    // empty: any
	Limit        int       // at most so many
}

func (q *Query) wants(l *Line) bool {
	if q.Party != "" && q.Party != l.Caller && q.Party != l.Callee && q.Party != l.Dialled || q.Trace != "" && q.Trace != l.Trace {
		return false
	}
	if q.Since.IsZero() && q.Until.IsZero() {
		return true
	}
	end, err := parse(l.End)
	return err == nil && !end.Before(q.Since) && (q.Until.IsZero() || end.Before(q.Until))
}

// days are the names of the files that may hold what is looked for, the oldest first.
func (q *Query) days(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "cdr-*.jsonl"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, path := range names {
		name := filepath.Base(path)
		if name < dayFile(q.Since) && !q.Since.IsZero() || !q.Until.IsZero() && name > dayFile(q.Until) {
			continue
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out, nil
}

// Page returns records in the order in which they were written, from the place after on (empty: the first), and the place where the next page
// begins. Records are only ever added at the end: who keeps the last place and asks again gets each record once. Errors: ErrCursor.
func Page(dir string, after string, q Query) (lines []Line, next string, err error) {
	day, offset, err := parseCursor(after)
	if err != nil {
		return nil, "", err
	}
	names, err := q.days(dir)
	if err != nil {
		return nil, "", err
	}
	next = after
	for _, name := range names {
		switch {
		case name < day:
			continue
		case name > day:
			offset = 0
		}
		end, err := scan(filepath.Join(dir, name), offset, func(l Line) bool {
			if q.wants(&l) {
				lines = append(lines, l)
			}
			return len(lines) < q.Limit
		})
		if err != nil {
			return nil, "", err
		}
		next = strings.TrimSuffix(strings.TrimPrefix(name, "cdr-"), ".jsonl") + ":" + strconv.FormatInt(end, 10)
		if len(lines) >= q.Limit {
			break
		}
	}
	return lines, next, nil
}

// parseCursor reads a place: a day and an offset in its file.
func parseCursor(s string) (day string, offset int64, err error) {
	if s == "" {
		return "", 0, nil
	}
	date, at, ok := strings.Cut(s, ":")
	t, derr := time.Parse(time.DateOnly, date)
	offset, oerr := strconv.ParseInt(at, 10, 64)
	if !ok || derr != nil || oerr != nil || offset < 0 {
		return "", 0, fmt.Errorf("%w: %q", ErrCursor, s)
	}
	return dayFile(t), offset, nil
}

// Latest returns the last records that are looked for, the newest first.
func Latest(dir string, q Query) ([]Line, error) {
	names, err := q.days(dir)
	if err != nil {
		return nil, err
	}
	var out []Line
	for _, name := range slices.Backward(names) {
		var last []Line // of this day, at most as many as are wanted still, and as many again
		_, err := scan(filepath.Join(dir, name), 0, func(l Line) bool {
			if q.wants(&l) {
				last = append(last, l)
			}
			if most := q.Limit - len(out); len(last) > 2*most {
				last = append(last[:0], last[len(last)-most:]...)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		for _, l := range slices.Backward(last) {
			if len(out) == q.Limit {
				return out, nil
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// scan gives the records of a file from offset on to f, until f returns false, and returns where the next begins. A last line that is not whole
// is being written; a file that is not there any more has no records.
func scan(path string, offset int64, f func(Line) bool) (end int64, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return offset, nil
	}
	if err != nil {
		return offset, err
	}
	defer file.Close()
	if offset > 0 { // a place is behind a line feed
		var before [1]byte
		if n, _ := file.ReadAt(before[:], offset-1); n != 1 || before[0] != '\n' {
			return offset, fmt.Errorf("%w: offset %d in %s", ErrCursor, offset, filepath.Base(path))
		}
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	b := bufio.NewReaderSize(file, 64<<10)
	for {
		text, err := b.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, err
		}
		offset += int64(len(text))
		var l Line
		if err := json.Unmarshal(text, &l); err != nil {
			return offset, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		if !f(l) {
			return offset, nil
		}
	}
}

// Forget removes the files of the days before a moment's, and returns how many.
func Forget(dir string, before time.Time) (int, error) {
	names, err := (&Query{Until: before}).days(dir)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, name := range names {
		if name >= dayFile(before) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
