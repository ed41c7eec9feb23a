package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/verdict"
)

// stream is one TCP or TLS connection, perhaps with a WebSocket on it.
//
//	handshake ──► open ──► ending ──► closed
//	    └────────────────────┘
//
// Its reader goroutine owns it: only that one delivers messages and, at the end, tells the handler. Writers are started
// when there is something to write and end when there is nothing left, so an idle connection costs one goroutine.
type stream struct {
	iface   *Interface
	flow    *Flow // set before the first read
	conn    net.Conn
	tcp     *net.TCPConn
	dialled bool
	web     *wsFramer // set by upgrade, before the flow is known to anybody; nil: no WebSocket
	heart   heart
	spoke   bool // has sent a message; the reader's
	trusted atomic.Bool
	done    chan struct{} // closed by end

	mu      sync.Mutex // guards all below
	ending  bool
	why     verdict.Reason
	greeted bool   // a WebSocket is open: it ends with a close frame
	echo    []byte // the close frame that answers the peer's
	queue   [][]byte
	queued  int           // bytes in queue and being written
	writing chan struct{} // of the running writer, closed when it ends; nil if none runs
}

// newStream wraps a connection that is not yet handshaken.
func newStream(i *Interface, conn *net.TCPConn, dialled bool) *stream {
	s := &stream{iface: i, conn: conn, tcp: conn, dialled: dialled, done: make(chan struct{})}
	s.trusted.Store(dialled) // whom we call is in the configuration
	return s
}

// keepAlive finds peers that vanished without a word, on connections that may be silent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// open makes the flow of a connection whose handshake is done.
func (s *stream) open(network Network) error {
	_ = s.tcp.SetKeepAliveConfig(keepAlive) // a hint
	s.flow = &Flow{
		iface: s.iface, network: network, id: newConnID(), link: s,
		local:  unmapped(s.tcp.LocalAddr().(*net.TCPAddr).AddrPort()),
		remote: unmapped(s.tcp.RemoteAddr().(*net.TCPAddr).AddrPort()),
	}
	if !s.iface.register(s.flow) {
		return ErrClosed
	}
	s.mu.Lock()
	s.greeted = s.web != nil
	s.mu.Unlock()
	return nil
}

// handshake runs TLS within the deadline.
func (s *stream) handshake(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, s.iface.cfg.Limits.HandshakeTimeout)
	defer cancel()
	s.conn = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake with %s: %w", s.tcp.RemoteAddr(), err)
	}
	return nil
}

// guard runs the goroutine of the connection. A panic that got past those around the handler ends this connection only.
func (s *stream) guard(remote netip.AddrPort, run func()) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		s.iface.reportPanic(remote, r)
		s.abort(verdict.Internal)
		s.iface.conns.remove(s)
		if s.flow == nil {
			s.iface.dropped(remote, verdict.Internal, nil)
			return
		}
		s.iface.unregister(s.flow)
		s.iface.closedFlow(s.flow, verdict.Internal)
	}()
	run()
}

// read is the reader: it delivers until the connection ends, then tells the handler.
func (s *stream) read() {
	why, linger := s.readLoop()
	s.close(why)
	s.drain(linger)
	_ = s.conn.Close()
	s.iface.conns.remove(s)
	s.iface.unregister(s.flow)
	s.mu.Lock()
	why = s.why
	s.mu.Unlock()
	s.iface.closedFlow(s.flow, why)
}

// readLoop reads, cuts and delivers. It returns why it ended, and whether the peer may still be writing to us.
func (s *stream) readLoop() (why verdict.Reason, linger bool) {
	var fr cutter = newFramer(s.iface.cfg.Limits.MaxMessage)
	if s.web != nil {
		fr = s.web
	}
	clock := newReadClock(s.iface.cfg.Limits, time.Now())
	clock.arrived(time.Now(), 1, fr.partial()) // what came with the upgrade
	for {
		if why = s.frames(fr, &clock, time.Now()); why != verdict.None {
			return why, true
		}
		_ = s.conn.SetReadDeadline(sooner(clock.deadline(s.trusted.Load(), fr.partial()), s.heart.due(s.trusted.Load())))
		if s.isEnding() {
			return verdict.None, false // whoever ended it set a deadline before we did
		}
		n, err := s.conn.Read(fr.space())
		fr.fed(n)
		clock.arrived(time.Now(), n, fr.partial())
		if err == nil {
			continue
		}
		if why = s.frames(fr, &clock, time.Now()); why != verdict.None {
			return why, true
		}
		switch {
		case s.isEnding():
			return verdict.None, false
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The deadline may have moved: the peer was trusted while we waited.
			now := time.Now()
			if why = clock.expired(s.trusted.Load(), fr.partial(), now); why != verdict.None {
				return why, false
			}
			if why = s.beat(now, clock.heard); why != verdict.None {
				return why, false
			}
		default:
			return verdict.TransportFailure, false
		}
	}
}

// cutter finds messages in a byte stream: framer, or wsFramer.
type cutter interface {
	space() []byte
	fed(n int)
	partial() bool
	next() (kind frame, data []byte, fault verdict.Verdict)
}

// frames delivers what is complete.
func (s *stream) frames(fr cutter, clock *readClock, now time.Time) verdict.Reason {
	for !s.isEnding() {
		kind, data, fault := fr.next()
		switch kind {
		case frameNone:
			return verdict.None
		case framePing:
			if s.trusted.Load() || !clock.last.IsZero() { // it gains a stranger no time, but who says nothing gets nothing
				_ = s.send(pong) // RFC 5626 §4.4.1; a failure ends the connection by itself
			}
		case frameMessage:
			clock.complete(now)
			if s.iface.deliver(s.flow, data) && !s.spoke && !s.dialled {
				s.spoke = true
				s.iface.conns.spoke(s)
			}
		case frameFault:
			s.iface.unparsed(s.flow, data, fault)
			return fault.Reason
		case frameWSPing:
			_ = s.enqueue(wsFrame(wsPong, data)) // RFC 6455 §5.5.2
		case framePong:
		case frameClose:
			s.mu.Lock()
			s.echo = wsEcho(data)
			s.mu.Unlock()
			return verdict.TransportFailure
		}
	}
	return verdict.None
}

var pong = []byte("\r\n")

// send queues one message for the writer.
func (s *stream) send(b []byte) error {
	if s.web != nil {
		b = wsMessage(b)
	}
	return s.enqueue(b)
}

// enqueue queues bytes for the writer.
func (s *stream) enqueue(b []byte) error {
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return fmt.Errorf("sending to %s: %w", s.tcp.RemoteAddr(), ErrClosed)
	}
	if s.queued+len(b) > s.iface.cfg.Limits.SendQueue {
		s.mu.Unlock()
		s.abort(verdict.QueueFull)
		return fmt.Errorf("sending to %s: %w", s.tcp.RemoteAddr(), ErrQueueFull)
	}
	s.enqueueLocked(b)
	s.mu.Unlock()
	return nil
}

func (s *stream) enqueueLocked(b []byte) {
	s.queue = append(s.queue, b)
	s.queued += len(b)
	if s.writing == nil {
		s.writing = make(chan struct{})
		s.iface.writers.Go(s.write)
	}
}

// write writes what is queued, and ends.
func (s *stream) write() {
	for {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		if len(batch) == 0 {
			close(s.writing)
			s.writing = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		size := 0
		for _, b := range batch {
			size += len(b)
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.iface.cfg.Limits.WriteTimeout))
		if err := s.writeBatch(batch, size); err != nil {
			s.abort(verdict.TransportFailure)
		}
		s.mu.Lock()
		s.queued -= size
		s.mu.Unlock()
	}
}

// writeBatch writes several messages with as few calls, and TLS records, as possible.
func (s *stream) writeBatch(batch [][]byte, size int) error {
	if len(batch) == 1 {
		_, err := s.conn.Write(batch[0])
		return err
	}
	if s.conn == net.Conn(s.tcp) {
		bufs := net.Buffers(batch)
		_, err := bufs.WriteTo(s.tcp)
		return err
	}
	joined := make([]byte, 0, size)
	for _, b := range batch {
		joined = append(joined, b...)
	}
	_, err := s.conn.Write(joined)
	return err
}

// end marks the connection as ending, for the first reason given. It reports whether it was the first.
func (s *stream) end(why verdict.Reason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.ending, s.why = true, why
	close(s.done)
	return true
}

// close ends the connection after what is queued is written: the reader does it.
func (s *stream) close(why verdict.Reason) {
	s.mu.Lock()
	if s.greeted && !s.ending {
		last := s.echo
		if last == nil {
			last = wsGoodbye(why)
		}
		s.enqueueLocked(last)
	}
	s.mu.Unlock()
	if s.end(why) {
		_ = s.tcp.SetReadDeadline(longAgo)
	}
}

// abort ends the connection now; what is queued is lost.
func (s *stream) abort(why verdict.Reason) {
	s.end(why)
	s.mu.Lock()
	s.queue = nil
	s.mu.Unlock()
	_ = s.tcp.SetLinger(0)
	_ = s.tcp.Close()
}

var longAgo = time.Unix(1, 0)

// drain waits for the writer, and, after a framing fault, for the peer to read our answer: closing a socket with unread
// input would reset the connection and lose it. Both are bounded.
func (s *stream) drain(linger bool) {
	s.mu.Lock()
	writing := s.writing
	s.mu.Unlock()
	if writing != nil {
		<-writing // ends by the write deadline
	}
	if linger {
		s.linger()
	}
}

// linger lets the peer read what we wrote before the connection ends.
func (s *stream) linger() {
	if c, ok := s.conn.(*tls.Conn); ok {
		_ = c.CloseWrite()
	}
	_ = s.tcp.CloseWrite()
	_ = s.tcp.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, s.tcp, lingerBytes)
}

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

func (s *stream) isEnding() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *stream) closed() <-chan struct{} { return s.done }

// trust lifts the stranger's limits if there is room.
func (s *stream) trust() bool {
	if s.trusted.Load() {
		return true
	}
	if !s.iface.conns.trust(s) {
		return false
	}
	s.trusted.Store(true)
	return true
}

func (s *stream) peerCertificates() []*x509.Certificate {
	c, ok := s.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	st := c.ConnectionState()
	if len(st.VerifiedChains) == 0 {
		return nil
	}
	return st.PeerCertificates
}
