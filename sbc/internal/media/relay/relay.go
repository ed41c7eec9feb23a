// Package relay forwards the media of a call between two sides. It knows addresses, RTP, RTCP and keys, but neither SIP nor SDP.
//
// Signalling writes a Rule and swaps it in; the packet loops only read it. They take no lock for RTP and make no garbage:
//
//	socket of a side ─► form ─► payload type ─► latch (plain) or open (SRTP), then latch ─► seal (SRTP) ─► socket of the other
//
// There is one goroutine for each socket, four for a call; each owns its buffers and the RTP half of the contexts it uses. What is not
// forwarded is counted by reason.
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/shared/mediaport"
	"brickhouse/shared/verdict"
)

// maxPacket is the largest datagram taken; what is longer is no voice.
const maxPacket = 2000

// Session relays one call. It is made by Open, relays once it has a Rule, and ends with Close.
type Session struct {
	pairs  [2]*mediaport.Pair
	rule   atomic.Pointer[rule] // nil: nothing is relayed
	closed atomic.Bool
	counts [2]counters // by the side that the packets came from
	cname  [2][]byte   // what the side is told as CNAME
	log    *slog.Logger

	stranger atomic.Pointer[func(side int, src netip.AddrPort)] // nil: nobody wants to know

	mu      sync.Mutex // serialises Set and Close
	running sync.WaitGroup
	once    sync.Once // release
}

// Open binds a pair of ports on each side's host and starts to read them. Until Set, everything is dropped. The error is
// mediaport.ErrExhausted or the system's.
func Open(pool *mediaport.Pool, hosts [2]netip.Addr, cnames [2]string, log *slog.Logger) (*Session, error) {
	s := &Session{log: log}
	for i, host := range hosts {
		pair, err := pool.Open(host)
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
	for i := range s.pairs {
		s.start(i, s.pairs[i].RTP, false)
		s.start(i, s.pairs[i].RTCP, true)
	}
	return s, nil
}

// Port returns the RTP port of a side; RTCP has the next one.
func (s *Session) Port(side int) uint16 { return s.pairs[side].Port }

// Set swaps the rule. Latched addresses are kept where the rule's addresses are the same as before.
func (s *Session) Set(r Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed.Load() {
		s.rule.Store(newRule(r, s.rule.Load()))
	}
}

// Close ends the relay at once. The ports stay bound for drain and swallow what still comes; then they are given back.
// It does not wait; Wait does. A later Close(0) cuts the draining short.
func (s *Session) Close(drain time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.closed.Swap(true)
	s.rule.Store(nil)
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
		s.running.Done()
	})
}

// Wait returns when a closed session has given its ports back and all its goroutines have ended.
func (s *Session) Wait() { s.running.Wait() }

// reader is what the goroutine of one socket owns.
type reader struct {
	s      *Session
	side   int
	rtcp   bool // reads the RTCP socket
	conn   *net.UDPConn
	sealer sealer
	buf    [maxPacket + room]byte
	spare  [maxPacket + room]byte
	told   time.Time // of a stranger, last
}

// room is left behind each packet for what SRTP adds, and one byte to see that a datagram was too long.
const room = 32

func (s *Session) start(side int, conn *net.UDPConn, rtcp bool) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		r := &reader{s: s, side: side, rtcp: rtcp, conn: conn}
		for r.loop() {
		}
	}()
}

// loop reads until the socket is closed. It reports true if it must be entered again: a panic costs one packet.
func (r *reader) loop() (again bool) {
	defer func() {
		if p := recover(); p != nil {
			r.s.counts[r.side].drop(dropInternal)
			r.s.log.Error("relaying a packet panicked", "panic", p, "reason", verdict.Internal)
			again = true
		}
	}()
	for {
		n, src, err := r.conn.ReadFromUDPAddrPort(r.buf[:maxPacket+1])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return false
			}
			time.Sleep(time.Millisecond) // the system is short of something; the socket is still good
			continue
		}
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if why := r.packet(r.buf[:n:len(r.buf)], src); why != dropNone {
			r.s.counts[r.side].drop(why)
			r.refused(why, src)
		}
	}
}
