package cdr

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// run is the writer's goroutine. What is to be kept it writes to the journal at once; the disk's part, which takes milliseconds, is done
// beside by keep, so that who begins a call does not wait for it.
func (w *Writer) run() {
	defer close(w.done)
	defer w.release()
	defer w.endKeeping()
	tick := time.NewTicker(w.tick)
	defer tick.Stop()
	batch := make([]*op, 0, maxBatch)
	for {
		select {
		case o := <-w.ops:
			w.take(w.more(append(batch[:0], o)))
		case r := <-w.kept:
			w.settle(r)
		case <-w.due.C:
			w.armed = time.Time{}
			w.push()
		case <-tick.C:
			w.beat()
		case <-w.quit:
			w.last()
			return
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
		w.take(batch)
	}
	w.flush()
	w.beat()
	w.flush()
}

// flush brings what is written to the disk, and waits for it.
func (w *Writer) flush() {
	if w.busy {
		w.settle(<-w.kept)
	}
	w.sunk = time.Time{}
	if w.push(); w.busy {
		w.settle(<-w.kept)
	}
}

// take writes a batch to the journal. Who begins a call is told at once, the others when it is on disk.
func (w *Writer) take(batch []*op) {
	err := w.mend()
	var buf []byte
	var undo []func()
	results := make([]error, len(batch))
	for i, o := range batch {
		if results[i] = err; err != nil {
			continue
		}
		var back func()
		buf, back, results[i] = w.stage(buf, o)
		if back != nil {
			undo = append(undo, back)
		}
	}
	if len(buf) > 0 {
		err = w.write(buf)
	}
	if err != nil {
		slices.Reverse(undo)
		for _, f := range undo {
			f()
		}
	}
	for i, o := range batch {
		switch {
		case results[i] != nil && err == nil:
			o.done <- results[i]
		case err != nil:
			if o.kind == kindEnd && w.isOpen(o.rec.ID) {
				w.again = append(w.again, o.rec)
			}
			o.done <- err
		case o.kind == kindBegin:
			o.done <- nil
		default:
			w.owed = append(w.owed, o)
		}
	}
	w.note(err)
	switch {
	case err != nil:
	case len(w.owed) > 0:
		w.arm(w.pushed.Add(gather))
	case len(buf) > 0:
		w.arm(time.Now().Add(lazily))
	}
}

func (w *Writer) isOpen(id string) bool {
	_, ok := w.open[id]
	return ok
}

// write appends lines to the journal. They are not on disk yet.
func (w *Writer) write(b []byte) error {
	err := w.journal.write(b)
	if errors.Is(err, errTorn) {
		w.broken = err
	}
	return err
}

// arm has push called at a time, if it is not called sooner.
func (w *Writer) arm(at time.Time) {
	if w.armed.IsZero() || at.Before(w.armed) {
		w.armed = at
		w.due.Reset(time.Until(at))
	}
}

// push hands the disk's part to keep, unless that is busy: settle comes back to it.
func (w *Writer) push() {
	if w.busy || w.mend() != nil {
		return
	}
	w.pushed = time.Now()
	k := keeping{journal: w.journal, owed: w.owed}
	w.owed = nil
	// Where calls end faster than that, their records come to their day's file together.
	if len(w.sinking) > 0 && (len(k.owed) < crowd || w.pushed.Sub(w.sunk) >= sinkEvery) {
		k.finals, w.sunk = slices.Clone(w.sinking), w.pushed
	}
	w.busy = true
	w.keep <- k
}

// settle notes what came of the disk's part, and tells those whose calls have ended.
func (w *Writer) settle(k keeping) {
	w.busy = false
	if k.err != nil {
		w.broken = k.err
	}
	err := k.err
	if len(k.finals) > 0 && err == nil {
		w.sinkErr = k.sinkErr
		err = w.brought(k.finals[:k.sunk])
	}
	w.note(err)
	for _, o := range k.owed {
		if o.kind == kindEnd {
			o.done <- k.err
		}
	}
	w.compact()
	switch {
	case w.broken != nil: // beat tries to mend it, and whoever comes before
	case len(w.owed) > 0:
		w.arm(w.pushed.Add(gather))
	case len(w.sinking) > 0 && w.sinkErr == nil:
		w.arm(w.sunk.Add(sinkEvery))
	}
}

// brought notes that records are in their days' files. That needs no fsync: a start that misses it finds them there.
func (w *Writer) brought(finals []final) error {
	var notes []byte
	for _, f := range finals {
		delete(w.waiting, f.id)
		var err error
		if notes, err = appendEntry(notes, entry{Kind: kindDone, ID: f.id}); err != nil {
			return err
		}
	}
	w.sinking = slices.Delete(w.sinking, 0, len(finals))
	w.mu.Lock()
	w.stats.Written += uint64(len(finals))
	w.mu.Unlock()
	return w.write(notes)
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

// beat tries again what failed, and notes that we live while calls are open.
func (w *Writer) beat() {
	err := w.mend()
	again := w.again
	w.again = nil
	for _, r := range again {
		if err != nil {
			w.again = append(w.again, r)
			continue
		}
		buf, back, e := w.stage(nil, &op{kind: kindEnd, rec: r})
		if errors.Is(e, ErrUnknown) { // its owner tried again too, and was faster
			continue
		}
		if e == nil {
			if e = w.write(buf); e != nil {
				back()
			}
		}
		if e != nil {
			w.again, err = append(w.again, r), e
		}
	}
	if len(w.open) > 0 && err == nil {
		b, e := appendEntry(nil, entry{Kind: kindTick, At: format(w.now())})
		if e == nil {
			e = w.write(b)
		}
		err = errors.Join(err, e)
	}
	w.note(err)
	w.compact()
	if len(w.sinking)+len(w.owed) > 0 {
		w.arm(time.Now())
	}
}

// note keeps the statistics.
func (w *Writer) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Open, w.stats.Waiting, w.stats.Owed, w.stats.Err = len(w.open), len(w.sinking), len(w.again), errors.Join(err, w.sinkErr)
	if w.broken != nil {
		w.stats.Owed += len(w.sinking)
	}
}
