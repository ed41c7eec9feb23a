package guard

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/bpf"
	"brickhouse/sbc/internal/nexthop"
)

// Media has the kernel filter send plain RTP on by itself. It keeps the streams that are wanted in step with routes and neighbours: what
// has no known next hop, or leaves by an interface that takes no frames from XDP, is not in force and comes up to the relay. Its methods
// may be called from any goroutine.
type Media struct {
	filter *bpf.Filter
	log    *slog.Logger

	mu      sync.Mutex // guards all that follows, and the streams
	closed  bool
	hops    *nexthop.Table
	takes   map[int]error // by interface: why it takes no frames
	streams map[*MediaStream]struct{}
	told    map[string]struct{} // reasons that were logged
	faults  uint64
}

// MediaFlow says what is sent on: packets to one of our ports from exactly one source, of some payload types.
type MediaFlow struct {
	Local, From    netip.AddrPort
	Source, Target netip.AddrPort // what they leave with
	Types          [2]uint64
}

// MediaStream is one direction of a call. It must be closed.
type MediaStream struct {
	m       *Media
	flow    *bpf.Flow
	wanted  bool
	want    MediaFlow
	applied bpf.Stream  // zero: not in force
	inForce atomic.Bool // applied is not zero
}

const (
	mediaEvery = time.Second     // how often routes and neighbours are looked at
	mediaLease = 3 * time.Second // how long the kernel goes on when nobody says so
	mediaTold  = 64              // most reasons that are logged
)

// errNoKernel is why nothing is sent on.
var errNoKernel = errors.New("no XDP program is attached")

// Media returns who sends media on in the kernel. The error says why nobody does.
func (g *Guard) Media() (*Media, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.kernel == nil || g.closed {
		return nil, errNoKernel
	}
	if g.media == nil {
		g.media = &Media{
			filter: g.kernel.filter, log: g.log, hops: nexthop.New(), takes: map[int]error{}, streams: map[*MediaStream]struct{}{}, told: map[string]struct{}{},
		}
		g.media.renew()
		g.done.Go(func() { g.media.run(g.stopped) })
	}
	return g.media, nil
}

func (m *Media) run(stop <-chan struct{}) {
	tick := time.NewTicker(mediaEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			m.close()
			return
		case <-tick.C:
			m.renew()
			m.refresh()
		}
	}
}

// renew tells the kernel that we are there.
func (m *Media) renew() {
	now, err := bpf.Monotonic()
	if err == nil {
		err = m.filter.ForwardUntil(now + mediaLease)
	}
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.faultLocked(err)
	}
}

// refresh follows routes, neighbours and interfaces.
func (m *Media) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hops.Refresh()
	clear(m.takes)
	for s := range m.streams {
		s.applyLocked()
	}
}

func (m *Media) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for s := range m.streams {
		s.stopLocked()
	}
	if err := m.filter.ForwardUntil(0); err != nil {
		m.faultLocked(err)
	}
}

// Stream makes room for a stream.
func (m *Media) Stream() (*MediaStream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	flow, err := m.filter.NewFlow()
	if err != nil {
		return nil, err
	}
	s := &MediaStream{m: m, flow: flow}
	m.streams[s] = struct{}{}
	return s, nil
}

// Streams counts the streams that are in force, and those that are not yet, or can't be.
func (m *Media) Streams() (inForce, waiting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.streams {
		switch {
		case s.InForce():
			inForce++
		case s.wanted:
			waiting++
		}
	}
	return inForce, waiting
}

// Forward has the kernel send f on, as soon as it can.
func (s *MediaStream) Forward(f MediaFlow) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.want, s.wanted = f, true
	s.applyLocked()
}

// Stop has its packets come up from now on.
func (s *MediaStream) Stop() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.wanted = false
	s.stopLocked()
}

// Counted is what was sent on since the stream was made.
func (s *MediaStream) Counted() (packets, bytes uint64) {
	c := s.flow.Counted()
	return c.Packets, c.Bytes
}

// InForce reports whether the kernel sends on now.
func (s *MediaStream) InForce() bool { return s.inForce.Load() }

// Close stops the stream and gives its room back.
func (s *MediaStream) Close() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.wanted = false
	delete(s.m.streams, s)
	s.stopLocked()
	if s.m.closed {
		return
	}
	if err := s.flow.Close(); err != nil {
		s.m.faultLocked(err)
	}
}

// applyLocked tells the kernel what it does not know yet.
func (s *MediaStream) applyLocked() {
	m := s.m
	if !s.wanted || m.closed {
		return
	}
	hop, err := m.hopLocked(s.want.Source.Addr(), s.want.Target.Addr())
	if err != nil {
		s.stopLocked()
		m.tellLocked(err)
		return
	}
	next := bpf.Stream{
		Local: s.want.Local, From: s.want.From, Source: s.want.Source, Target: s.want.Target, Types: s.want.Types,
		Hop: bpf.Hop{Interface: hop.Link, MTU: hop.MTU, NextHop: hop.Destination, InterfaceMAC: hop.Source},
	}
	if next == s.applied {
		return
	}
	if err := s.flow.Forward(next); err != nil {
		s.stopLocked()
		m.faultLocked(err)
		return
	}
	s.applied = next
	s.inForce.Store(true)
}

func (s *MediaStream) stopLocked() {
	if !s.InForce() {
		return
	}
	s.applied = bpf.Stream{}
	s.inForce.Store(false)
	if err := s.flow.Stop(); err != nil {
		s.m.faultLocked(err)
	}
}

// hopLocked is the next hop, if frames can be handed to its interface.
func (m *Media) hopLocked(source, target netip.Addr) (nexthop.Hop, error) {
	hop, err := m.hops.Resolve(source, target)
	if err != nil {
		return hop, err
	}
	why, known := m.takes[hop.Link]
	if !known {
		if why = nexthop.TakesFrames(hop.Link); why != nil {
			why = &noFrames{hop.Name, why}
		}
		m.takes[hop.Link] = why
	}
	return hop, why
}

// noFrames is why nothing is sent on by an interface.
type noFrames struct {
	name string
	why  error
}

// Error names the interface.
func (e *noFrames) Error() string {
	return "interface " + e.name + ": " + e.why.Error()
}

// tellLocked logs why a stream is not in force, once for each reason that will not pass by itself.
func (m *Media) tellLocked(why error) {
	var n *noFrames
	if !errors.As(why, &n) || len(m.told) >= mediaTold {
		return
	}
	if _, twice := m.told[why.Error()]; twice {
		return
	}
	m.told[why.Error()] = struct{}{}
	m.log.Warn("media are relayed in user space", "why", why)
}

func (m *Media) faultLocked(err error) {
	if m.faults++; m.faults == 1 || m.faults%1000 == 0 {
		m.log.Error("media streams in the kernel can't be changed", "error", err, "faults", m.faults)
	}
}
