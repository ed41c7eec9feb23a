package relay

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/datagram"
)

// Readers read the sockets of all sessions, on one thread for each processor.
type Readers struct {
	loops   []*loop
	turn    atomic.Uint64
	running sync.WaitGroup
	kernel  Kernel        // nil: all packets come to us
	moved   chan *Session // whose latches moved
	stop    chan struct{} // closed by Close
	closed  sync.Once
	raised  bool // GOMAXPROCS
}

// loop is one of the goroutines with what it owns.
type loop struct {
	poller *datagram.Poller
	buffers
}

// NewReaders starts the threads. Close ends them. gather is how long a packet may wait for others that are then forwarded in the same turn,
// see datagram.NewPoller. Each thread gets a processor more in the scheduler's count, so that it takes none from other goroutines.
func NewReaders(gather time.Duration) (*Readers, error) {
	r := &Readers{stop: make(chan struct{})}
	for range min(runtime.GOMAXPROCS(0), runtime.NumCPU()) {
		p, err := datagram.NewPoller(gather)
		if err != nil {
			r.Close()
			return nil, err
		}
		r.loops = append(r.loops, &loop{poller: p})
		r.running.Go(p.Run)
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + len(r.loops))
	r.raised = true
	return r, nil
}

// next is the loop for a new session: they take turns.
func (r *Readers) next() *loop { return r.loops[r.turn.Add(1)%uint64(len(r.loops))] }

// Close ends the goroutines and waits for them. Sessions must have been closed before.
func (r *Readers) Close() {
	r.closed.Do(func() { close(r.stop) })
	for _, l := range r.loops {
		_ = l.poller.Close() // it ends Run, which is all that matters
	}
	r.running.Wait()
	if r.raised {
		r.raised = false
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-len(r.loops)))
	}
}
