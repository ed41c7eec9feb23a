package cdr

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// run is the writer's goroutine.
func (w *Writer) run() {
	defer close(w.done)
	defer w.release()
	tick := time.NewTicker(w.tick)
	defer tick.Stop()
	late := time.NewTimer(sinkEvery)
	defer late.Stop()
	batch := make([]*op, 0, maxBatch)
	var last time.Time
	for {
		batch = batch[:0]
		select {
		case o := <-w.ops:
			batch = append(batch, o)
		case <-tick.C:
			w.beat()
			continue
		case <-late.C:
			w.note(w.sink())
			continue
		case <-w.quit:
			w.last()
			return
		}
		// Where operations come faster than the disk takes them one by one, they share an fsync.
		time.Sleep(gather - time.Since(last))
		last = time.Now()
		w.commit(w.more(batch))
		if len(w.sinking) > 0 {
			late.Reset(sinkEvery)
		}
	}
}

// more takes what has come in meanwhile.
func (w *Writer) more(batch []*op) []*op {
	for len(batch) < maxBatch {
		select {
		case o := <-w.ops:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// last finishes what was handed over before Close.
func (w *Writer) last() {
	if batch := w.more(nil); len(batch) > 0 {
		w.commit(batch)
	}
	w.beat()
}

// commit writes a batch to the journal, tells its callers, and then brings what ended to its day's file.
func (w *Writer) commit(batch []*op) {
	var buf []byte
	var undo []func()
	results := make([]error, len(batch))
	for i, o := range batch {
		var back func()
		buf, back, results[i] = w.stage(buf, o)
		if back != nil {
			undo = append(undo, back)
		}
	}
	var err error
	if len(buf) > 0 {
		err = w.journal.write(buf, true)
	}
	if err != nil {
		slices.Reverse(undo)
		for _, f := range undo {
			f()
		}
		for i, o := range batch {
			if results[i] != nil {
				continue
			}
			results[i] = err
			if o.kind == kindEnd {
				w.again = append(w.again, o.rec)
			}
		}
	}
	for i, o := range batch {
		if o.kind != kindEnd {
			o.done <- results[i]
		}
	}
	if err == nil && (len(batch) < crowd || time.Since(w.sunk) >= sinkEvery) {
		err = w.sink() // what can't be sunk now is safe in the journal
	}
	w.note(err)
	for i, o := range batch {
		if o.kind == kindEnd {
			o.done <- results[i]
		}
	}
	w.compact()
}

// stage adds an operation's line to buf and changes the state; back undoes that change.
func (w *Writer) stage(buf []byte, o *op) (out []byte, back func(), err error) {
	e := entry{Kind: o.kind, At: format(w.now())}
	switch o.kind {
	case kindBegin:
		id := o.rec.ID
		if _, ok := w.open[id]; ok || w.waiting[id] {
			return buf, nil, fmt.Errorf("%w: %q", ErrDuplicate, id)
		}
		e.Rec = &o.rec
		w.open[id] = o.rec
		back = func() { delete(w.open, id) }
	case kindAnswer:
		old, ok := w.open[o.id]
		if !ok {
			return buf, nil, fmt.Errorf("%w: %q", ErrUnknown, o.id)
		}
		e.ID, e.At = o.id, format(o.at)
		r := old
		r.Answer = o.at
		w.open[o.id] = r
		back = func() { w.open[o.id] = old }
	case kindEnd:
		old, ok := w.open[o.rec.ID]
		if !ok {
			return buf, nil, fmt.Errorf("%w: %q", ErrUnknown, o.rec.ID)
		}
		f, err := finish(o.rec)
		if err != nil {
			return buf, nil, err
		}
		e = f.entry()
		e.At = format(w.now())
		delete(w.open, f.id)
		w.sinking, w.waiting[f.id] = append(w.sinking, f), true
		back = func() {
			w.open[f.id] = old
			w.sinking = w.sinking[:len(w.sinking)-1]
			delete(w.waiting, f.id)
		}
	default:
		return buf, nil, errLine
	}
	out, err = appendEntry(buf, e)
	if err != nil {
		back()
		return buf, nil, err
	}
	return out, back, nil
}

// sink brings what ended to its day's file, then notes in the journal that it is there. That note needs no fsync: a
// start that misses it finds the record in the file.
func (w *Writer) sink() error {
	w.sunk = time.Now()
	for len(w.sinking) > 0 {
		name := w.sinking[0].file
		if w.day == nil || w.day.name != name {
			if w.day != nil {
				w.day.f.Close()
				w.day = nil
			}
			d, err := openDay(w.fs, w.dir, name)
			if err != nil {
				return err
			}
			w.day = d
		}
		var lines, notes []byte
		var err error
		n := 0
		for ; n < len(w.sinking) && w.sinking[n].file == name; n++ {
			lines = append(append(lines, w.sinking[n].line...), '\n')
			if notes, err = appendEntry(notes, entry{Kind: kindDone, ID: w.sinking[n].id}); err != nil {
				return err
			}
		}
		if err := w.day.write(lines); err != nil {
			return err
		}
		for _, f := range w.sinking[:n] {
			delete(w.waiting, f.id)
		}
		w.sinking = slices.Delete(w.sinking, 0, n)
		w.mu.Lock()
		w.stats.Written += uint64(n)
		w.mu.Unlock()
		if err := w.journal.write(notes, false); err != nil {
			return err
		}
	}
	return nil
}

// beat tries again what failed, and notes that we live while calls are open.
func (w *Writer) beat() {
	var err error
	again := w.again
	w.again = nil
	for _, r := range again {
		buf, back, e := w.stage(nil, &op{kind: kindEnd, rec: r})
		if errors.Is(e, ErrUnknown) { // its owner tried again too, and was faster
			continue
		}
		if e == nil {
			if e = w.journal.write(buf, true); e != nil {
				back()
			}
		}
		if e != nil {
			w.again, err = append(w.again, r), e
		}
	}
	if len(w.sinking) > 0 {
		err = errors.Join(err, w.sink())
	}
	if len(w.open) > 0 {
		b, e := appendEntry(nil, entry{Kind: kindTick, At: format(w.now())})
		if e == nil {
			e = w.journal.write(b, false)
		}
		err = errors.Join(err, e)
	}
	w.note(err)
	w.compact()
}

// note keeps the statistics.
func (w *Writer) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Open, w.stats.Waiting, w.stats.Owed, w.stats.Err = len(w.open), len(w.sinking), len(w.again), err
}

// compact makes a long journal short: what is done is left out. When it fails, the long one goes on.
func (w *Writer) compact() {
	if w.journal.size < compactOver || len(w.sinking) > 0 {
		return
	}
	var b []byte
	for id, r := range w.open {
		begin := r
		begin.Answer = time.Time{}
		lines, err := appendEntry(b, entry{Kind: kindBegin, Rec: &begin, At: format(w.now())})
		if err == nil && !r.Answer.IsZero() {
			lines, err = appendEntry(lines, entry{Kind: kindAnswer, ID: id, At: format(r.Answer)})
		}
		if err != nil {
			return
		}
		b = lines
	}
	if int64(len(b)) > w.journal.size/2 {
		return
	}
	j, err := newJournal(w.fs, w.dir, b)
	if err != nil {
		w.note(err)
		return
	}
	w.journal.f.Close()
	w.journal = j
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
