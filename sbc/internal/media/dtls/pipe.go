package dtls

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/transport/v5/packetio"
)

// Bounds of a pipe.
const (
	maxQueue  = 32 // packets that wait for the handshake
	maxFlight = 8  // datagrams of one flight of ours
)

// pipe is the net.PacketConn that pion's handshake reads and writes: packets are put into it, and what it writes is sent.
type pipe struct {
	remote net.Addr
	to     netip.AddrPort
	in     *packetio.Buffer
	send   func([]byte, netip.AddrPort)

	mu     sync.Mutex
	muted  bool     // nothing is sent any more
	fresh  bool     // something came since the last write: the next write begins a flight
	flight [][]byte // what was sent since then
}

func newPipe(to netip.AddrPort, send func([]byte, netip.AddrPort)) *pipe {
	in := packetio.NewBuffer()
	in.SetLimitCount(maxQueue)
	return &pipe{remote: net.UDPAddrFromAddrPort(to), to: to, in: in, send: send}
}

// put queues a copy of a packet. False if the queue is full or closed.
func (p *pipe) put(pkt []byte) bool {
	p.mu.Lock()
	p.fresh = true
	p.mu.Unlock()
	_, err := p.in.Write(pkt, nil)
	return err == nil
}

// ReadFrom implements net.PacketConn.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := p.in.Read(b, nil)
	return n, p.remote, err
}

// WriteTo implements net.PacketConn.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.muted {
		return len(b), nil
	}
	if p.fresh {
		p.flight, p.fresh = nil, false
	}
	if len(p.flight) < maxFlight {
		p.flight = append(p.flight, append([]byte(nil), b...))
	}
	p.send(b, p.to)
	return len(b), nil
}

// mute keeps all that is written from now on from being sent.
func (p *pipe) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = true
}

// repeat sends the last flight again, record by record as it was: a phone that has some of it drops them as replayed.
func (p *pipe) repeat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.flight {
		p.send(b, p.to)
	}
}

// Close implements net.PacketConn.
func (p *pipe) Close() error { return p.in.Close() }

// LocalAddr implements net.PacketConn; nobody asks for more than that it is one.
func (p *pipe) LocalAddr() net.Addr { return &net.UDPAddr{} }

// SetDeadline implements net.PacketConn.
func (p *pipe) SetDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *pipe) SetReadDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn: writing never waits.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
