// Package relay forwards the media of a call between two sides. It knows addresses, RTP, RTCP and keys, but neither SIP nor SDP.
//
// Signalling writes a Rule and swaps it in; the packet loops only read it. They take no lock for RTP and make no garbage:
//
//	socket of a side ─► form ─► payload type ─► latch (plain) or open (SRTP), then latch ─► seal (SRTP) ─► socket of the other
//
// The four sockets of a call are read by one goroutine, which is one of a few that read all calls (Readers). It owns its buffers and the
// RTP half of the contexts that its calls use. What is not forwarded is counted by reason.
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/datagram"
	"brickhouse/shared/mediaport"
	"brickhouse/shared/verdict"
)

// maxPacket is the largest datagram taken; what is longer is no voice.
const maxPacket = 2000

// Session relays one call. It is made by Open, relays once it has a Rule, and ends with Close.
type Session struct {
	pairs   [2]*mediaport.Sockets
	watch   [4]watched
	loop    *loop
	rule    atomic.Pointer[rule] // nil: nothing is relayed
	closed  atomic.Bool
	counts  [2]counters // by the side that the packets came from
	cname   [2][]byte   // what the side is told as CNAME
	hearing [2]hearing
	log     *slog.Logger

	stranger atomic.Pointer[func(side int, src netip.AddrPort)] // nil: nobody wants to know
	asked    [2]atomic.Int64                                    // until when a side may answer our offer, Unix nanoseconds; 0: it has

	kernel  Kernel          // nil: all packets come to us
	moved   chan<- *Session // where a moved latch is told
	waiting atomic.Bool     // in moved
	sentOn  [2]atomic.Pointer[KernelStream]

	mu       sync.Mutex // serialises Set, Close, OnReleased and what is handed over to the kernel
	handed   [2]handed
	running  sync.WaitGroup
	once     sync.Once // release
	released func()    // called when the ports were given back; may be nil
}

// watched is a socket under the key that the poller knows it by.
type watched struct {
	socket *datagram.Socket
	key    uint64
}

// Open binds a pair of ports on each side's host and has them read. Until Set, everything is dropped. The error is
// mediaport.ErrExhausted or the system's.
func (r *Readers) Open(pool *mediaport.Pool, hosts [2]netip.Addr, cnames [2]string, log *slog.Logger) (*Session, error) {
	s := &Session{log: log, loop: r.next(), kernel: r.kernel, moved: r.moved}
	for i, host := range hosts {
		pair, err := pool.OpenSockets(host)
		if err != nil {
			if i == 1 {
				s.pairs[0].Close()
			}
			return nil, fmt.Errorf("opening media ports on %s: %w", host, err)
		}
		s.pairs[i] = pair
		s.cname[i] = []byte(cnames[i])
	}
	s.running.Add(1) // until release
	for i, pair := range s.pairs {
		for j, socket := range []*datagram.Socket{pair.RTP, pair.RTCP} {
			if err := s.read(2*i+j, socket); err != nil {
				s.Close(0)
				return nil, fmt.Errorf("reading media ports on %s: %w", pair.Host, err)
			}
		}
	}
	return s, nil
}

// read has the session's loop read socket n of four: RTP and RTCP of side 0, then of side 1.
func (s *Session) read(n int, socket *datagram.Socket) error {
	r := &reader{s: s, side: n / 2, rtcp: n%2 == 1, conn: socket, buffers: &s.loop.buffers}
	key, err := s.loop.poller.Add(socket, r.ready)
	s.watch[n] = watched{socket, key}
	return err
}

// Port returns the RTP port of a side; RTCP has the next one.
func (s *Session) Port(side int) uint16 { return s.pairs[side].Port }

// Set swaps the rule. Latched addresses are kept where the rule's addresses are the same as before.
func (s *Session) Set(r Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return
	}
	next := newRule(r, s.rule.Load())
	s.takeBackLocked(next)
	s.rule.Store(next)
	s.handOverLocked(next)
}

// Close ends the relay at once. The ports stay bound for drain and swallow what still comes; then they are given back.
// It does not wait; Wait does. A later Close(0) cuts the draining short.
func (s *Session) Close(drain time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.closed.Swap(true)
	s.rule.Store(nil)
	s.closeKernelLocked()
	switch {
	case drain <= 0:
		s.release()
	case !again:
		time.AfterFunc(drain, s.release)
	}
}

func (s *Session) release() {
	s.once.Do(func() {
		s.pairs[0].Close()
		s.pairs[1].Close()
		for _, w := range s.watch {
			if w.socket != nil {
				s.loop.poller.Remove(w.socket, w.key)
			}
		}
		if s.released != nil {
			s.released()
		}
		s.running.Done()
	})
}

// OnReleased sets what is called once when a closed session has given its ports back. It must be set before Close.
func (s *Session) OnReleased(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = fn
}

// Wait returns when a closed session has given its ports back.
func (s *Session) Wait() { s.running.Wait() }

// reader is how the goroutine of a loop reads one socket.
type reader struct {
	*buffers
	s      *Session
	side   int
	rtcp   bool // reads the RTCP socket
	conn   *datagram.Socket
	sealer sealer
	told   time.Time // of a stranger, last
}

// buffers are a loop's: what it reads is forwarded before it reads on.
type buffers struct {
	buf, spare [maxPacket + room]byte
}

// room is left behind each packet for what SRTP adds, and one byte to see that a datagram was too long.
const room = 32

// drainAtOnce is how many packets are read from a socket in one turn when there are many: what belongs to its call is then at hand.
const drainAtOnce = 8

// ready takes one packet from the socket, or some; while there are more it is called again.
func (r *reader) ready(busy bool) {
	n := 1
	if busy {
		n = drainAtOnce
	}
	for range n {
		if !r.receive() {
			return
		}
	}
}

// receive takes one packet from the socket; false if there was none. A panic costs one packet.
func (r *reader) receive() (more bool) {
	defer func() {
		if p := recover(); p != nil {
			r.s.counts[r.side].drop(dropInternal)
			r.s.log.Error("relaying a packet panicked", "panic", p, "reason", verdict.Internal)
		}
	}()
	n, src, err := r.conn.Receive(r.buf[:maxPacket+1])
	switch {
	case err == nil:
	case errors.Is(err, datagram.ErrEmpty), errors.Is(err, datagram.ErrClosed):
		return false
	default:
		time.Sleep(time.Millisecond) // the system is short of something; the socket is still good
		return false
	}
	if why := r.packet(r.buf[:n:len(r.buf)], src); why != dropNone {
		r.s.counts[r.side].drop(why)
		r.refused(why, src)
	}
	return true
}
