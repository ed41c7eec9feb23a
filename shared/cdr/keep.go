package cdr

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// keeping is one turn of the disk's part.
type keeping struct {
	journal *journal
	owed    []*op   // that are in the journal and wait until it is on disk
	finals  []final // to bring to their days' files

	err     error // the journal is not on disk
	sunk    int   // so many of finals are in their files
	sinkErr error // why not all
}

// keepAll is the goroutine of the disk's part. It alone has the day's file.
func (w *Writer) keepAll() {
	var d *day
	for k := range w.keep {
		if k.err = k.journal.sync(); k.err == nil && len(k.finals) > 0 {
			d, k.sunk, k.sinkErr = w.sink(d, k.finals)
		}
		for _, o := range k.owed {
			if o.kind != kindEnd {
				o.done <- k.err
			}
		}
		w.kept <- k
	}
	if d != nil {
		d.f.Close()
	}
	close(w.kept)
}

// endKeeping ends the goroutine of the disk's part.
func (w *Writer) endKeeping() {
	close(w.keep)
	for range w.kept { // nothing is under way any more: it is only closed
	}
}

// sink brings what ended to its day's file, d if that is the one. It returns how many are there, and the file that it has open then.
func (w *Writer) sink(d *day, finals []final) (*day, int, error) {
	done := 0
	for done < len(finals) {
		name := finals[done].file
		if d != nil && d.name != name {
			d.f.Close()
			d = nil
		}
		if d == nil {
			var err error
			if d, err = openDay(w.fs, w.dir, name); err != nil {
				return nil, done, err
			}
		}
		var lines []byte
		n := done
		for ; n < len(finals) && finals[n].file == name; n++ {
			lines = append(append(lines, finals[n].line...), '\n')
		}
		if err := d.write(lines); err != nil {
			return d, done, err
		}
		done = n
	}
	return d, done, nil
}

// mend begins a new journal after the disk refused the old one: what such a one holds, nobody knows. Until that succeeds no call begins.
func (w *Writer) mend() error {
	if w.broken == nil {
		return nil
	}
	if w.busy {
		return w.broken
	}
	if err := w.renew(w.state()); err != nil {
		return errors.Join(w.broken, err)
	}
	w.broken = nil
	return nil
}

// state is a journal's lines of all that is open, and of what is not in its day's file yet.
func (w *Writer) state() (b []byte, err error) {
	for id, r := range w.open {
		begin := r
		begin.Answer = time.Time{}
		if b, err = appendEntry(b, entry{Kind: kindBegin, Rec: &begin, At: format(w.now())}); err != nil {
			return nil, err
		}
		if r.Answer.IsZero() {
			continue
		}
		if b, err = appendEntry(b, entry{Kind: kindAnswer, ID: id, At: format(r.Answer)}); err != nil {
			return nil, err
		}
	}
	for _, f := range w.sinking {
		if b, err = appendEntry(b, f.entry()); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// renew puts a new journal in the place of the old one.
func (w *Writer) renew(lines []byte, err error) error {
	if err != nil {
		return err
	}
	j, err := newJournal(w.fs, w.dir, lines)
	if err != nil {
		return err
	}
	w.journal.f.Close()
	w.journal = j
	return nil
}

// compact makes a long journal short: what is done is left out. When it fails, the long one goes on.
func (w *Writer) compact() {
	if w.journal.size < compactOver || len(w.sinking) > 0 || w.busy || w.broken != nil {
		return
	}
	b, err := w.state()
	if err == nil && int64(len(b)) > w.journal.size/2 {
		return
	}
	if err := w.renew(b, err); err != nil {
		w.note(fmt.Errorf("shortening %s: %w", filepath.Join(w.dir, journalFile), err))
	}
}

func sortByStart(rs []Record) {
	slices.SortFunc(rs, func(a, b Record) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}
