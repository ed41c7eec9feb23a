package relay

import (
	"runtime"
	"sync"
	"sync/atomic"

	"brickhouse/shared/datagram"
)

// Readers read the sockets of all sessions, on one goroutine for each processor.
type Readers struct {
	loops   []*loop
	turn    atomic.Uint64
	running sync.WaitGroup
}

// loop is one of the goroutines with what it owns.
type loop struct {
	poller *datagram.Poller
	buffers
}

// NewReaders starts the goroutines. Close ends them.
func NewReaders() (*Readers, error) {
	r := &Readers{}
	for range runtime.GOMAXPROCS(0) {
		p, err := datagram.NewPoller()
		if err != nil {
			r.Close()
			return nil, err
		}
		r.loops = append(r.loops, &loop{poller: p})
		r.running.Go(p.Run)
	}
	return r, nil
}

// next is the loop for a new session: they take turns.
func (r *Readers) next() *loop { return r.loops[r.turn.Add(1)%uint64(len(r.loops))] }

// Close ends the goroutines and waits for them. Sessions must have been closed before.
func (r *Readers) Close() {
	for _, l := range r.loops {
		_ = l.poller.Close() // it ends Run, which is all that matters
	}
	r.running.Wait()
}
