package anchor

import (
	"net/netip"
	"sync"
	"time"

	"brickhouse/sbc/internal/media/relay"
)

// Pinholes is who lets media through to the ports that calls have, and keeps all others closed. Each port is opened once and
// closed once, however many calls have it on different addresses. The methods are called from any goroutine, and must not wait.
type Pinholes interface {
	OpenPort(port uint16)  // before any SDP names the port
	ClosePort(port uint16) // after the last call's sockets on it are closed
}

// Stranger is a source whose packets came to a media port of a call and are not the call's. The source of a datagram may be
// forged.
type Stranger struct {
	Call   string // id given to Open
	Realm  string
	Port   uint16 // RTP port of ours; the packet may have come to the RTCP port above it
	Source netip.AddrPort
	At     time.Time
}

// Bounds of what is told about strangers.
const (
	strangerQueue  = 64   // that wait to be told; more are lost
	strangersEvery = 1024 // hosts that are told of within strangerSpan
	strangerSpan   = time.Second
)

// Watch names who is told about ports and about strangers outside; either may be nil. It is called before the first Open. A
// stranger's host is told at most once a second, on a goroutine of the anchor.
func (a *Anchor) Watch(ports Pinholes, stranger func(Stranger)) {
	a.ports.out = ports
	if stranger == nil {
		return
	}
	a.strangers = make(chan Stranger, strangerQueue)
	a.done.Add(1)
	go a.tellStrangers(stranger)
}

// tellStrangers tells until the anchor is closed.
func (a *Anchor) tellStrangers(tell func(Stranger)) {
	defer a.done.Done()
	told := recent{hosts: make(map[netip.Addr]struct{})}
	for {
		select {
		case <-a.stop:
			return
		case s := <-a.strangers:
			if told.add(s.Source.Addr(), s.At) {
				tell(s)
			}
		}
	}
}

// recent are the hosts that were told of within the span that runs.
type recent struct {
	since time.Time
	hosts map[netip.Addr]struct{}
}

// add reports whether host may be told of now.
func (r *recent) add(host netip.Addr, now time.Time) bool {
	if now.Sub(r.since) >= strangerSpan {
		r.since = now
		clear(r.hosts)
	}
	if _, twice := r.hosts[host]; twice || len(r.hosts) >= strangersEvery {
		return false
	}
	r.hosts[host] = struct{}{}
	return true
}

// watchStrangersLocked has the relay tell of strangers on the sides that face the outside. It never waits.
func (s *Session) watchStrangersLocked(r *relay.Session) {
	queue := s.anchor.strangers
	if queue == nil {
		return
	}
	id, realms := s.id, [2]Realm{s.legs[A].endpoint.Realm, s.legs[B].endpoint.Realm}
	r.OnStranger(func(side int, src netip.AddrPort) {
		if realms[side].Trusted {
			return
		}
		select {
		case queue <- Stranger{Call: id, Realm: realms[side].Name, Port: r.Port(side), Source: src, At: time.Now()}:
		default:
		}
	})
}

// portBook counts who uses which port: the same one may be another call's on another address, and a port that is given back
// may have its next call before it is closed here.
type portBook struct {
	out Pinholes // nil: nobody wants to know

	mu    sync.Mutex // held while out is called, so that it is told in order
	users map[uint16]int
}

// open opens the ports of a relay.
func (b *portBook) open(r *relay.Session) {
	if b.out == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range portsOf(r) {
		b.users[p]++
		if b.users[p] == 1 {
			b.out.OpenPort(p)
		}
	}
}

// close closes those of its ports that nobody else uses.
func (b *portBook) close(r *relay.Session) {
	if b.out == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range portsOf(r) {
		b.users[p]--
		if b.users[p] == 0 {
			delete(b.users, p)
			b.out.ClosePort(p)
		}
	}
}

// portsOf are the ports of a relay: RTP and RTCP of both sides.
func portsOf(r *relay.Session) [4]uint16 {
	return [4]uint16{r.Port(0), r.Port(0) + 1, r.Port(1), r.Port(1) + 1}
}
