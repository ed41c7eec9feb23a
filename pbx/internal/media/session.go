package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/mediaport"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// Session is the exchange's end of one call.
type Session struct {
	engine    *Engine
	act       Act
	pair      *mediaport.Pair
	onTimeout func()
	cname     string
	stop      chan struct{} // closed by Close
	running   sync.WaitGroup

	now   atomic.Pointer[negotiated]
	latch atomic.Pointer[netip.AddrPort] // source of the first packet; nil: none yet
	count counters

	mu     sync.Mutex // serialises offers and Close
	origin sdp.Origin
	wrote  []byte      // our last description with a zero origin
	lines  []sdp.Media // its lines
	closed bool

	out   sender
	frame frame

	// What the act uses.
	echoes bool
	spurt  bool                  // the last frame was sent: the next one does not begin a talkspurt (RFC 3551 §4.1)
	voice  atomic.Pointer[voice] // nil: nothing is said
	ear    atomic.Pointer[ear]   // nil: nothing is recorded
	keys   chan byte             // nil: keys are nobody's
	event  event                 // the last key that came in the media
	inband inband                // keys of far sides that have no events
	heard  []int16               // what hear decodes for it
	cancel context.CancelFunc    // ends a script; nil: there is none
}

type counters struct {
	packetsIn, packetsOut, bytesIn, bytesOut, strangers, malformed, rtcpIn atomic.Uint64
}

// Stats is a snapshot of a session's counters.
type Stats struct {
	Remote                netip.AddrPort // where we send
	PacketsIn, PacketsOut uint64         // RTP
	BytesIn, BytesOut     uint64         // UDP payload
	RTCPIn                uint64
	Strangers             uint64 // packets from another host than SDP names, or from another port than the first
	Malformed             uint64 // packets that are neither RTP nor RTCP
}

func newSession(e *Engine, act Act, pair *mediaport.Pair, onTimeout func()) (*Session, error) {
	var b [24]byte
	if _, err := io.ReadFull(e.random, b[:]); err != nil {
		return nil, fmt.Errorf("drawing session numbers: %w", err)
	}
	s := &Session{engine: e, act: act, pair: pair, onTimeout: onTimeout, stop: make(chan struct{})}
	s.cname = fmt.Sprintf("%x", b[:8])
	s.origin.ID = binary.BigEndian.Uint64(b[8:]) >> 2
	s.out.ssrc = binary.BigEndian.Uint32(b[16:])
	s.out.seq = binary.BigEndian.Uint16(b[20:])
	s.out.timestamp = uint32(binary.BigEndian.Uint16(b[22:])) << 8
	return s, nil
}

// start begins to hear and to speak.
func (s *Session) start() {
	s.act.begin(s)
	s.running.Add(3)
	go s.guarded(s.hear)
	go s.guarded(s.hearRTCP)
	go s.guarded(s.speak)
}

// guarded runs a loop of the session; a panic ends the loop, not the exchange.
func (s *Session) guarded(loop func()) {
	defer s.running.Done()
	defer func() {
		if p := recover(); p != nil {
			s.engine.log.Error("a media session panicked", "panic", p, "reason", verdict.Internal)
		}
	}()
	loop()
}

// Reoffer answers a later offer in the same call: hold, resume, another address or codec. The error is an *Error; then
// nothing has changed.
func (s *Session) Reoffer(offer []byte) ([]byte, error) {
	d, err := sdp.Parse(offer)
	if err != nil {
		return nil, fail(400, verdict.BadBody, err.Error())
	}
	n, failure := s.engine.negotiate(d, s.pair.Host)
	if failure != nil {
		return nil, failure
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, fail(500, verdict.Internal, "the session is closed")
	}
	return s.accept(d, n), nil
}

// accept puts what was negotiated into force and writes the answer.
func (s *Session) accept(offer *sdp.Session, n *negotiated) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useLocked(n)
	return s.tellLocked(n.describe(offer, s.pair.Host, s.pair.Port, sdp.Origin{}))
}

// tellLocked makes d, whose origin is left out, our description. The version moves with the content (RFC 3264 §8).
func (s *Session) tellLocked(d *sdp.Session) []byte {
	if content := d.Bytes(); !bytes.Equal(content, s.wrote) {
		s.wrote = content
		if s.origin.Version++; s.origin.Version == 1 {
			s.origin.Version = s.origin.ID
		}
	}
	d.Origin = s.origin
	s.lines = d.Media
	return d.Bytes()
}

// useLocked puts what was negotiated into force.
func (s *Session) useLocked(n *negotiated) {
	if !n.remote.Addr().IsValid() || n.remote.Addr().IsUnspecified() {
		if old := s.now.Load(); old != nil { // held by 0.0.0.0: what comes still comes from where it was
			n.remote, n.rtcp = old.remote, old.rtcp
		}
	}
	if !n.sameSource(s.now.Load()) {
		s.latch.Store(nil)
	}
	s.now.Store(n)
}

// Stats returns a snapshot. It works after Close, too.
func (s *Session) Stats() Stats {
	c := &s.count
	return Stats{
		Remote:    s.now.Load().remote,
		PacketsIn: c.packetsIn.Load(), PacketsOut: c.packetsOut.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		RTCPIn: c.rtcpIn.Load(), Strangers: c.strangers.Load(), Malformed: c.malformed.Load(),
	}
}

// Close ends the session with an RTCP BYE; a second call does nothing.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.stop)
	if s.cancel != nil {
		s.cancel()
	}
	s.sendRTCP(true)
	s.pair.Close()
	s.engine.forget(s)
}

// admit decides about a packet's source: the host that SDP names, and of its ports the first that spoke.
func (s *Session) admit(src netip.AddrPort) bool {
	n := s.now.Load()
	if src.Addr() != n.remote.Addr() {
		return false
	}
	at := s.latch.Load()
	if at == nil || src == n.remote && *at != src {
		moved := src
		s.latch.Store(&moved)
		return true
	}
	return *at == src
}

// read takes one datagram; false when the socket is closed.
func read(conn *net.UDPConn, b []byte) (int, netip.AddrPort, bool) {
	for {
		n, src, err := conn.ReadFromUDPAddrPort(b)
		if err == nil {
			return n, netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), true
		}
		if errors.Is(err, net.ErrClosed) {
			return 0, netip.AddrPort{}, false
		}
		time.Sleep(time.Millisecond) // the system is short of something; the socket is still good
	}
}
