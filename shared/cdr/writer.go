package cdr

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"brickhouse/shared/verdict"
)

// Errors that callers may act on. They come wrapped.
var (
	ErrClosed    = errors.New("call records are closed")
	ErrDuplicate = errors.New("call record is there already")
	ErrUnknown   = errors.New("no such call record is open")
	ErrSlow      = errors.New("disk is slow: not known to be written yet")
)

// Sizes and times of the writer.
const (
	maxBatch    = 512                   // operations that share an fsync
	tickEvery   = 10 * time.Second      // a crash's record is off by this much at most; failed writes are tried again
	answerLimit = 5 * time.Second       // how long a caller waits for the disk
	compactOver = 1 << 20               // bytes of journal
	gather      = 5 * time.Millisecond  // from one fsync of the journal to the next, where somebody waits for it,
	lazily      = 50 * time.Millisecond // and where nobody does
	crowd       = 4                     // operations in a batch: then records need not be in their day's file at once,
	sinkEvery   = 50 * time.Millisecond // but only so often
)

// Writer writes records. All methods may be called from any goroutine.
type Writer struct {
	dir  string
	now  func() time.Time
	fs   filesystem
	lock *os.File
	ops  chan *op
	quit chan struct{} // closed by Close
	done chan struct{} // closed when the goroutine has ended
	once sync.Once

	mu    sync.Mutex
	stats Stats

	keep chan keeping // to the goroutine of the disk's part
	kept chan keeping // and back

	// The rest belongs to the goroutine run.
	journal *journal
	broken  error // why the journal is not to be trusted
	open    map[string]Record
	sinking []final         // in the journal, not in their file yet
	waiting map[string]bool // their ids
	sinkErr error           // why they are not
	again   []Record        // ends that the journal did not take
	owed    []*op           // in the journal, to be told when it is on disk
	busy    bool            // the disk's part is under way
	pushed  time.Time       // when it last began
	sunk    time.Time       // when it last had records for their days' files
	due     *time.Timer     // of the next one
	armed   time.Time       // when that is; zero: it is not set
	tick    time.Duration
}

// Stats is how the writer is doing.
type Stats struct {
	Open    int    // calls begun and not ended
	Waiting int    // records in the journal that are not in their day's file yet
	Owed    int    // ended calls that are not even in the journal: the disk refuses
	Written uint64 // records in their files since Open
	Err     error  // the last failure, nil when the last write went well
}

// op is one call of Begin, Answer or End on its way to the goroutine.
type op struct {
	kind kind
	rec  Record // of begin and end
	id   string // of answer
	at   time.Time
	done chan error
}

// Open takes the directory (made with mode 0700 if need be), brings to an end what the last run left, and starts. It
// returns the records of calls that were cut: they are closed, with reason system-failure. now is the wall clock.
// Errors name the file; ErrLocked when another process has the directory.
func Open(dir string, now func() time.Time) (*Writer, []Record, error) {
	return open(dir, now, diskFiles(), tickEvery)
}

func open(dir string, now func() time.Time, fs filesystem, tick time.Duration) (_ *Writer, cut []Record, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening call records in %s: %w", dir, err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	w := &Writer{
		dir: dir, now: now, fs: fs, tick: tick,
		ops: make(chan *op, maxBatch), quit: make(chan struct{}), done: make(chan struct{}),
		open: map[string]Record{}, waiting: map[string]bool{},
		keep: make(chan keeping, 1), kept: make(chan keeping, 1), due: time.NewTimer(time.Hour),
	}
	w.due.Stop()
	if w.lock, err = lockDir(dir); err != nil {
		return nil, nil, err
	}
	if cut, err = w.recover(); err != nil {
		w.release()
		return nil, nil, err
	}
	go w.keepAll()
	go w.run()
	return w, cut, nil
}

// recover brings the last run's journal to an end. A crash in here loses nothing: the next start does it again.
func (w *Writer) recover() (cut []Record, err error) {
	h, err := readJournal(filepath.Join(w.dir, journalFile))
	if err != nil {
		return nil, err
	}
	for _, r := range h.open {
		cut = append(cut, closeCut(r, h.lastSeen))
	}
	sortByStart(cut)
	w.sinking = h.ended
	for _, r := range cut {
		f, err := finish(r)
		if err != nil {
			return nil, err
		}
		w.sinking = append(w.sinking, f)
	}
	// From here on they are ended, and stay so over another crash.
	lines, err := w.state()
	if err != nil {
		return nil, err
	}
	if w.journal, err = newJournal(w.fs, w.dir, lines); err != nil {
		return nil, err
	}
	if err := w.dropPresent(); err != nil {
		return nil, err
	}
	for _, f := range w.sinking {
		w.waiting[f.id] = true
	}
	d, n, err := w.sink(nil, w.sinking)
	if d != nil {
		d.f.Close()
	}
	if err = errors.Join(err, w.brought(w.sinking[:n])); err != nil {
		return nil, err
	}
	w.compact()
	return cut, nil
}

// closeCut ends the record of a call that nobody saw the end of. It is billed to the last moment that we know of.
func closeCut(r Record, lastSeen time.Time) Record {
	r.End = r.Start
	for _, t := range []time.Time{r.Answer, lastSeen} {
		if t.After(r.End) {
			r.End = t
		}
	}
	r.Reason, r.Disposition = verdict.SystemFailure, Failed
	if !r.Answer.IsZero() {
		r.Disposition = Answered
	}
	return r
}

// dropPresent takes out of sinking what the crash came too late for: it is in its file already.
func (w *Writer) dropPresent() error {
	byFile := map[string]map[string]bool{}
	for _, f := range w.sinking {
		if byFile[f.file] == nil {
			byFile[f.file] = map[string]bool{}
		}
		byFile[f.file][f.id] = true
	}
	left := w.sinking[:0:0]
	for name, ids := range byFile {
		found, err := present(filepath.Join(w.dir, name), ids)
		if err != nil {
			return err
		}
		byFile[name] = found
	}
	for _, f := range w.sinking {
		if !byFile[f.file][f.id] {
			left = append(left, f)
		}
	}
	w.sinking = left
	return nil
}

// Begin notes that a call attempt begins. When it returns, the end of this process can't lose that; a loss of power can't once the call's Answer
// has returned, and in any case 50 ms later. rec needs ID and Start. Errors: ErrDuplicate, ErrClosed, ErrSlow, or that the disk refuses; the call
// must then not go on.
func (w *Writer) Begin(rec Record) error {
	if err := rec.check(); err != nil {
		return err
	}
	return w.do(&op{kind: kindBegin, rec: rec, at: rec.Start})
}

// Answer notes when a call was answered, and returns when that is on disk. It is what a crash's record is made of.
func (w *Writer) Answer(id string, at time.Time) error {
	return w.do(&op{kind: kindAnswer, id: id, at: at})
}

// End notes how a call attempt ended, and returns when that is on disk: nothing can lose it then, and it is in its day's
// file, or will be as soon as that can be written. rec is the whole record, with the ID it was begun with. When the disk refuses, End returns that
// error and the writer goes on trying. Other errors: ErrUnknown, ErrClosed, ErrSlow.
func (w *Writer) End(rec Record) error {
	if err := rec.check(); err != nil {
		return err
	}
	if rec.End.IsZero() {
		return fmt.Errorf("%w: %q has no end", errRecord, rec.ID)
	}
	return w.do(&op{kind: kindEnd, rec: rec, at: rec.End})
}

func (w *Writer) do(o *op) error {
	o.done = make(chan error, 1)
	late := time.NewTimer(answerLimit)
	defer late.Stop()
	select {
	case w.ops <- o:
	case <-w.quit:
		return ErrClosed
	case <-late.C:
		return ErrSlow
	}
	select {
	case err := <-o.done:
		return err
	case <-w.done:
	case <-late.C:
		return ErrSlow
	}
	select { // the writer has ended; was our batch before that?
	case err := <-o.done:
		return err
	default:
		return ErrClosed
	}
}

// Stats tells how the writer is doing.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// Close writes what is waiting and lets go of the directory. Open calls stay open: the next start closes them. A second
// Close does nothing.
func (w *Writer) Close() error {
	w.once.Do(func() { close(w.quit) })
	<-w.done
	if st := w.Stats(); st.Waiting+st.Owed > 0 {
		return fmt.Errorf("closing call records in %s: %d are not in their files, %d are lost: %w", w.dir, st.Waiting, st.Owed, st.Err)
	}
	return nil
}

func (w *Writer) release() {
	if w.journal != nil {
		w.journal.f.Close()
	}
	w.lock.Close() // drops the lock
}
