// Package transporttest has what tests of the rooms above transport need: flows in memory, and a Handler that remembers.
package transporttest

import (
	"net/netip"
	"sync"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// End is one end of a Pipe.
type End struct {
	Flow *transport.Flow
	pipe *pipe
	far  *End
	in   chan []byte
	lose func(n int, b []byte) bool // of what is sent from here

	mu   sync.Mutex // guards sent, lose
	sent [][]byte
}

// pipe is what both ends share.
type pipe struct {
	mu     sync.Mutex // guards closed
	closed bool
	done   chan struct{}
	why    verdict.Reason
	live   sync.WaitGroup
}

// queue is how many messages may be under way in one direction; more are lost, as with UDP.
const queue = 4096

// Pipe connects two flows in memory: what is sent on one is parsed and arrives at the other's handler, in order, on a
// goroutine of that flow. With network transport.UDP the flows count as unreliable, and Lose drops messages. Both
// interfaces are virtual. Close ends both flows and waits for their goroutines.
func Pipe(network transport.Network, a, b transport.Handler) (ea, eb *End, err error) {
	p := &pipe{done: make(chan struct{})}
	addrs := [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5060"), netip.MustParseAddrPort("192.0.2.2:5060")}
	ends := [2]*End{{pipe: p, in: make(chan []byte, queue)}, {pipe: p, in: make(chan []byte, queue)}}
	ends[0].far, ends[1].far = ends[1], ends[0]
	for n, h := range []transport.Handler{a, b} {
		i, err := transport.NewVirtual(transport.Config{Name: "pipe", Network: network}, h)
		if err != nil {
			return nil, nil, err
		}
		ends[n].Flow, err = i.Attach(ends[n], transport.Attachment{Network: network, Local: addrs[n], Remote: addrs[1-n]})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, e := range ends {
		p.live.Go(e.run)
	}
	return ends[0], ends[1], nil
}

// run delivers what the far end sent.
func (e *End) run() {
	for {
		select {
		case b := <-e.in:
			e.Flow.Deliver(b)
		case <-e.pipe.done:
			e.Flow.Ended(e.pipe.why)
			return
		}
	}
}

// Send implements transport.Carrier.
func (e *End) Send(b []byte) error {
	e.mu.Lock()
	n := len(e.sent)
	e.sent = append(e.sent, b)
	lost := e.lose != nil && e.lose(n, b)
	e.mu.Unlock()
	if lost {
		return nil
	}
	select {
	case <-e.pipe.done:
		return transport.ErrClosed
	case e.far.in <- b:
	default: // lost
	}
	return nil
}

// Close implements transport.Carrier: it ends both flows.
func (e *End) Close(why verdict.Reason) { e.pipe.end(why) }

func (p *pipe) end(why verdict.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed, p.why = true, why
	close(p.done)
}

// Stop ends both flows and waits until their handlers know. Not to be called from a handler.
func (e *End) Stop() {
	e.pipe.end(verdict.Shutdown)
	e.pipe.live.Wait()
}

// Lose has fn decide which messages sent from this end are lost; n counts them from zero.
func (e *End) Lose(fn func(n int, b []byte) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lose = fn
}

// Sent returns what was sent from this end so far, lost messages included.
func (e *End) Sent() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([][]byte(nil), e.sent...)
}
