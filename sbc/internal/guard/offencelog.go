package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"brickhouse/sbc/internal/score"
	"brickhouse/shared/conffile"
)

// Offences are recorded in two files of JSON lines: when the one that is written has half of the size that both may take, it
// replaces the older one. Nothing is synced: a crash of the machine may lose the last second.
const (
	recordName  = "offences.jsonl"
	oldName     = "offences.jsonl.1"
	recordQueue = 4096      // offences that wait for the disk; over it they are counted as dropped
	recordBatch = 256 << 10 // bytes that are written at a time
	minRecord   = 64 << 10
)

// Recording configures the record of offences, which replay reads.
type Recording struct {
	On      bool          `yaml:"on" doc:"Record offences, so that 'sbc ban replay' can tell what other thresholds would have done. A record names addresses and the accounts that were tried."`
	MaxSize conffile.Size `yaml:"max_size" doc:"Most that the record takes on disk. Over it, the older half is replaced."`
}

func (r Recording) check() []Fault {
	if r.MaxSize < minRecord || r.MaxSize > 64*conffile.GiB {
		return []Fault{{"record.max_size", fmt.Sprintf("%s is not between 64KiB and 64GiB", r.MaxSize)}}
	}
	return nil
}

// recorder writes offences in the background. Who records one never waits.
type recorder struct {
	log   *slog.Logger
	dir   string
	queue chan queued
	quit  chan struct{} // closed by close, when nothing is put any more
	done  chan struct{} // closed by the writer

	on      atomic.Bool
	max     atomic.Int64 // bytes of one file
	written atomic.Uint64
	dropped atomic.Uint64
	faults  atomic.Uint64

	mu   sync.Mutex // guards what follows; the writer and readers of the files take it
	file *os.File   // nil: not open
	size int64
	torn bool // the last line may not be whole
}

// queued is a record, or a wish to know when all before it is written.
type queued struct {
	record score.Record
	synced chan struct{} // closed by the writer
}

func openRecorder(dir string, cfg Recording, log *slog.Logger) *recorder {
	r := &recorder{log: log, dir: dir, queue: make(chan queued, recordQueue), quit: make(chan struct{}), done: make(chan struct{})}
	r.set(cfg)
	go r.writer()
	return r
}

func (r *recorder) set(cfg Recording) {
	r.on.Store(cfg.On)
	r.max.Store(int64(cfg.MaxSize) / 2)
}

// put hands a record to the writer, or drops it if the writer is too far behind.
func (r *recorder) put(rec score.Record) {
	if !r.on.Load() {
		return
	}
	select {
	case r.queue <- queued{record: rec}:
	default:
		r.dropped.Add(1)
	}
}

func (r *recorder) counts() (written, dropped, faults uint64) {
	return r.written.Load(), r.dropped.Load(), r.faults.Load()
}

// close writes what waits, and ends the writer. Nothing may be put after it is called.
func (r *recorder) close() {
	close(r.quit)
	<-r.done
}

func (r *recorder) writer() {
	defer close(r.done)
	defer r.shut()
	for {
		select {
		case q := <-r.queue:
			r.batch(q)
		case <-r.quit:
			for {
				select {
				case q := <-r.queue:
					r.batch(q)
				default:
					return
				}
			}
		}
	}
}

// batch writes q and what waits behind it.
func (r *recorder) batch(q queued) {
	var lines []byte
	var n uint64
	for {
		if q.synced != nil {
			r.write(lines, n)
			close(q.synced)
			return
		}
		var err error
		if lines, err = q.record.Append(lines); err != nil {
			r.fault(err)
		} else {
			n++
		}
		if len(lines) >= recordBatch {
			break
		}
		select {
		case q = <-r.queue:
			continue
		default:
		}
		break
	}
	r.write(lines, n)
}

// write appends lines to the file; what can't be written is lost.
func (r *recorder) write(lines []byte, n uint64) {
	if len(lines) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.readyLocked(int64(len(lines))); err != nil {
		r.fault(err)
		return
	}
	if r.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	m, err := r.file.Write(lines)
	r.size += int64(m)
	if r.torn = err != nil; err != nil {
		r.fault(err)
		return
	}
	r.written.Add(n)
}

// readyLocked opens the file, and puts it in the old one's place if it has no room for more.
func (r *recorder) readyLocked(more int64) error {
	if r.file == nil {
		if err := r.openLocked(); err != nil {
			return err
		}
	}
	if r.size == 0 || r.size+more <= r.max.Load() {
		return nil
	}
	if err := os.Rename(r.path(recordName), r.path(oldName)); err != nil {
		return err
	}
	r.file.Close()
	r.file = nil
	return r.openLocked()
}

func (r *recorder) openLocked() error {
	f, err := os.OpenFile(r.path(recordName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.file, r.size, r.torn = f, info.Size(), info.Size() > 0 // whoever wrote it may have been killed
	return nil
}

func (r *recorder) fault(err error) {
	if n := r.faults.Add(1); n == 1 || n%1000 == 0 {
		r.log.Error("offences can't be recorded; they are scored all the same", "error", err, "faults", n)
	}
}

func (r *recorder) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		r.file.Close()
	}
}

func (r *recorder) path(name string) string { return filepath.Join(r.dir, name) }

// files opens what is recorded, oldest first. The caller closes them.
func (r *recorder) files() ([]*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var opened []*os.File
	for _, name := range []string{oldName, recordName} {
		f, err := os.Open(r.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
			return nil, fmt.Errorf("opening the record of offences: %w", err)
		}
		opened = append(opened, f)
	}
	return opened, nil
}
