// Package mediaport allots pairs of UDP ports for RTP and RTCP.
//
// A pair is an even port and the odd one above it (RFC 3550 §11). It is chosen at random from the whole range, so that nobody can guess
// where the next call will be, and it rests after use, so that no call inherits packets that were meant for another.
package mediaport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"brickhouse/shared/datagram"
)

// ErrExhausted says that no pair is free on an address, or that the system has no more sockets for us.
var ErrExhausted = errors.New("no media port is free")

// expedited is the DSCP class EF (RFC 3246) in the place of the traffic class byte.
const expedited = 46 << 2

// receiveBuffer is how many bytes a media socket may hold unread: some 150 packets of G.711.
const receiveBuffer = 128 << 10

// attempts bounds how many pairs are tried when another program holds ports of our range.
const attempts = 64

// Config sizes a Pool.
type Config struct {
	Min, Max uint16        // the range, both ends included
	Rest     time.Duration // how long a port rests after use
	Now      func() time.Time
	Random   func(n int) int // uniform in [0, n); nil: crypto/rand
}

// Pool allots pairs of one range, for each local address separately. It is safe for concurrent use.
type Pool struct {
	cfg Config

	mu    sync.Mutex
	hosts map[netip.Addr]*table
}

// table is the state of the range on one address. Each even port is in exactly one of free, resting and a Pair.
type table struct {
	free    []uint16
	resting []rest // the oldest first
	used    int
}

type rest struct {
	port  uint16
	until time.Time
}

// Pair is two bound sockets as package net has them. It must be closed.
type Pair struct {
	RTP, RTCP *net.UDPConn
	lot
}

// Sockets is two bound sockets for who reads very many. It must be closed.
type Sockets struct {
	RTP, RTCP *datagram.Socket
	lot
}

// lot is a pair of ports that was allotted.
type lot struct {
	Port uint16 // of RTP; RTCP has the next
	Host netip.Addr

	pool *Pool
	once sync.Once
}

// New makes a pool. The range must hold at least one pair.
func New(cfg Config) (*Pool, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = random
	}
	if cfg.Min == 0 || cfg.Max <= cfg.Min || len(evenPorts(cfg.Min, cfg.Max)) == 0 {
		return nil, fmt.Errorf("media port range %d–%d holds no pair of ports", cfg.Min, cfg.Max)
	}
	return &Pool{cfg: cfg, hosts: make(map[netip.Addr]*table)}, nil
}

// Open binds a pair on host. The error is ErrExhausted if none can be had now, or what the system said.
func (p *Pool) Open(host netip.Addr) (*Pair, error) {
	pair := &Pair{}
	err := p.open(host, &pair.lot, func(port uint16) (err error) {
		pair.RTP, pair.RTCP, err = both(host, port, listen)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pair, nil
}

// OpenSockets is Open for Sockets.
func (p *Pool) OpenSockets(host netip.Addr) (*Sockets, error) {
	pair := &Sockets{}
	err := p.open(host, &pair.lot, func(port uint16) (err error) {
		pair.RTP, pair.RTCP, err = both(host, port, bind)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pair, nil
}

// open draws ports until bind takes one, and fills in the lot.
func (p *Pool) open(host netip.Addr, l *lot, bind func(port uint16) error) error {
	var last error
	for range attempts {
		port, ok := p.take(host)
		if !ok {
			if last != nil {
				return fmt.Errorf("%w: %w", ErrExhausted, last)
			}
			return ErrExhausted
		}
		err := bind(port)
		if err == nil {
			l.Port, l.Host, l.pool = port, host, p
			return nil
		}
		p.release(host, port)
		if short(err) {
			return fmt.Errorf("%w: %w", ErrExhausted, err)
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("binding media port %d on %s: %w", port, host, err)
		}
		last = err // another program's port: it rests like one of ours and is tried again later
	}
	return fmt.Errorf("%w: %w", ErrExhausted, last)
}

// short reports whether the system has no file or memory for one more socket.
func short(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Close closes both sockets and lets the ports rest. A second call does nothing.
func (p *Pair) Close() { p.end(p.RTP, p.RTCP) }

// Close closes both sockets and lets the ports rest. A second call does nothing.
func (s *Sockets) Close() { s.end(s.RTP, s.RTCP) }

func (l *lot) end(rtp, rtcp io.Closer) {
	l.once.Do(func() {
		_ = rtp.Close()
		_ = rtcp.Close()
		l.pool.release(l.Host, l.Port)
	})
}

// Count tells how many pairs of an address are free, in use and resting.
func (p *Pool) Count(host netip.Addr) (free, used, resting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tableLocked(host)
	p.wakeLocked(t)
	return len(t.free), t.used, len(t.resting)
}

func (p *Pool) take(host netip.Addr) (uint16, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tableLocked(host)
	p.wakeLocked(t)
	if len(t.free) == 0 {
		p.wakeEarlyLocked(t)
	}
	n := len(t.free)
	if n == 0 {
		return 0, false
	}
	i := p.cfg.Random(n)
	port := t.free[i]
	t.free[i] = t.free[n-1]
	t.free = t.free[:n-1]
	t.used++
	return port, true
}

func (p *Pool) release(host netip.Addr, port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tableLocked(host)
	t.used--
	t.resting = append(t.resting, rest{port, p.cfg.Now().Add(p.cfg.Rest)})
}

func (p *Pool) tableLocked(host netip.Addr) *table {
	t := p.hosts[host]
	if t == nil {
		t = &table{free: evenPorts(p.cfg.Min, p.cfg.Max)}
		p.hosts[host] = t
	}
	return t
}

// wakeLocked frees the ports that have rested enough.
func (p *Pool) wakeLocked(t *table) {
	now := p.cfg.Now()
	n := 0
	for n < len(t.resting) && !t.resting[n].until.After(now) {
		t.free = append(t.free, t.resting[n].port)
		n++
	}
	t.resting = t.resting[n:]
}

// earlyWake is the part of its rest that a port must have had before it is taken because no other is left.
const earlyWake = 6

// wakeEarlyLocked frees ports that have rested a while, when a call would fail otherwise: under load the choice among
// them is still random, and the packets of the call before have had their seconds to run out.
func (p *Pool) wakeEarlyLocked(t *table) {
	now := p.cfg.Now()
	enough := p.cfg.Rest - p.cfg.Rest/earlyWake
	n := 0
	for n < len(t.resting) && !t.resting[n].until.Add(-enough).After(now) {
		t.free = append(t.free, t.resting[n].port)
		n++
	}
	t.resting = t.resting[n:]
}

func evenPorts(lo, hi uint16) []uint16 {
	var ports []uint16
	for p := int(lo) + int(lo)%2; p+1 <= int(hi); p += 2 {
		ports = append(ports, uint16(p))
	}
	return ports
}

// both opens a port and the one above it.
func both[T io.Closer](host netip.Addr, port uint16, open func(netip.AddrPort) (T, error)) (rtp, rtcp T, err error) {
	if rtp, err = open(netip.AddrPortFrom(host, port)); err != nil {
		return rtp, rtcp, err
	}
	if rtcp, err = open(netip.AddrPortFrom(host, port+1)); err != nil {
		_ = rtp.Close()
	}
	return rtp, rtcp, err
}

func bind(at netip.AddrPort) (*datagram.Socket, error) {
	return datagram.Open(at, func(fd int) {
		markExpedited(fd, at.Addr().Is6())
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer) // less is taken, too: see listen
	})
}

func listen(at netip.AddrPort) (*net.UDPConn, error) {
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { markExpedited(int(fd), at.Addr().Is6()) })
	}}
	pc, err := lc.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("socket on %s is not UDP", at)
	}
	_ = conn.SetReadBuffer(receiveBuffer) // the system may give less; then bursts are lost, which media can bear
	return conn, nil
}

// markExpedited asks for voice's place in the network's queues. A system that refuses it still carries the packets.
func markExpedited(fd int, six bool) {
	if !six {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_TOS, expedited)
		return
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, expedited)
}

// random returns a uniform number in [0, n) that can't be foretold; n is at most 2^16, so the bias of the remainder is
// below 2^-48.
func random(n int) int {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return int(binary.BigEndian.Uint64(b[:]) % uint64(n))
}
