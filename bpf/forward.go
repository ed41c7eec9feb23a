package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

// MaxStreams is how many streams can be sent on in the kernel, two for each call.
const MaxStreams = 32768

// ErrStreams says that so many streams are sent on already.
var ErrStreams = errors.New("no room for another stream in the kernel")

// Stream is plain RTP that the kernel sends on instead of handing it up. All addresses are of one family.
type Stream struct {
	Local  netip.AddrPort // ours, that it comes to
	From   netip.AddrPort // the only source that is sent on; all others go up
	Source netip.AddrPort // ours, that it leaves from
	Target netip.AddrPort
	Types  [2]uint64 // RTP payload types that are sent on, a bit for each; all others go up
	Hop    Hop
}

// Hop is how an Ethernet frame leaves.
type Hop struct {
	Interface    int // index
	MTU          int // of IP packets; longer ones go up
	NextHop      [6]byte
	InterfaceMAC [6]byte
}

// Counted is what the kernel has sent on of a flow.
type Counted struct {
	Packets, Bytes  uint64 // of UDP payload
	SSRC, Timestamp uint32 // of the last packet, RFC 3550 §5.1
	Sequence        uint16
}

// Flow is room for one stream, with its counters. Its methods may be called from any goroutine, but for each of Forward, Stop and Close
// only from one at a time.
type Flow struct {
	f      *Filter
	slot   uint32
	at     *rawFlow
	memory *region // keeps at
	base   Counted
	local  netip.AddrPort // not valid: not forwarded
}

// rawFlow is edgeFlow in the memory that the kernel writes to.
type rawFlow struct {
	packets, bytes            atomic.Uint64
	ssrc, timestamp, sequence atomic.Uint32
	_                         [9]uint32
}

// streams is who has which place.
type streams struct {
	mu    sync.Mutex
	flows *region
	next  uint32         // the first place that nobody ever had
	free  []uint32       // the one that was given back first comes first: a packet under way may still count there
	ports map[uint16]int // how many streams come to a port
}

// openStreams ends the streams of a process that is gone.
func (f *Filter) openStreams() (err error) {
	f.streams.ports = map[uint16]int{}
	if f.streams.flows, err = newRegion(f.objs.Flows, MaxStreams*64); err != nil {
		return err
	}
	var all []edgeEndpoint
	var key edgeEndpoint
	var value edgeStream
	it := f.objs.Streams.Iterate()
	for it.Next(&key, &value) {
		all = append(all, key)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading the streams in the kernel: %w", err)
	}
	for _, k := range all {
		if err := f.objs.Streams.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("ending a stream in the kernel: %w", err)
		}
	}
	return f.ForwardUntil(0)
}

// ForwardUntil says until when, on CLOCK_MONOTONIC, streams are sent on. It is moved on again and again, so that they are not for long
// when nobody is there who would end them. 0: they are not.
func (f *Filter) ForwardUntil(t time.Duration) error {
	return f.mem.change(func(s *edgeSettings) { s.ForwardUntil = uint64(max(0, t)) })
}

// NewFlow takes room for a stream. It must be closed. The error is ErrStreams.
func (f *Filter) NewFlow() (*Flow, error) {
	s := &f.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.next
	switch {
	case s.next < MaxStreams:
		s.next++
	case len(s.free) > 0:
		slot, s.free = s.free[0], s.free[1:]
	default:
		return nil, ErrStreams
	}
	w := &Flow{f: f, slot: slot, memory: s.flows, at: rawFlows(s.flows, slot)}
	w.base = w.raw()
	return w, nil
}

// Forward has the kernel send a stream on, instead of the one before if there was one.
func (w *Flow) Forward(s Stream) error {
	v6 := s.Local.Addr().Is6()
	for _, a := range []netip.AddrPort{s.Local, s.From, s.Source, s.Target} {
		if !a.IsValid() || a.Addr().Is6() != v6 || a.Addr().Is4In6() || a.Addr().Zone() != "" {
			return fmt.Errorf("stream to %s: %s does not go with it", s.Local, a)
		}
	}
	if w.local.IsValid() && w.local != s.Local {
		if err := w.Stop(); err != nil {
			return err
		}
	}
	value := edgeStream{From: endpoint(s.From), Source: endpoint(s.Source), Target: endpoint(s.Target), Slot: w.slot, Types: s.Types,
		Ifindex: uint32(s.Hop.Interface), Mtu: uint32(s.Hop.MTU), NextHop: s.Hop.NextHop, InterfaceMac: s.Hop.InterfaceMAC}
	if err := w.f.objs.Streams.Put(endpoint(s.Local), &value); err != nil {
		return fmt.Errorf("giving the stream to %s to the kernel: %w", s.Local, permitted(err))
	}
	if !w.local.IsValid() {
		w.local = s.Local
		w.f.mark(s.Local.Port(), 1)
	}
	return nil
}

// Stop has the packets of the stream go up again. Without one it does nothing.
func (w *Flow) Stop() error {
	if !w.local.IsValid() {
		return nil
	}
	if err := w.f.objs.Streams.Delete(endpoint(w.local)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("ending the stream to %s in the kernel: %w", w.local, err)
	}
	w.f.mark(w.local.Port(), -1)
	w.local = netip.AddrPort{}
	return nil
}

// Close stops the stream and gives the room back. What it has counted must have been read before.
func (w *Flow) Close() error {
	err := w.Stop()
	if err != nil {
		return err // the kernel still counts there
	}
	w.f.streams.mu.Lock()
	defer w.f.streams.mu.Unlock()
	w.f.streams.free = append(w.f.streams.free, w.slot)
	return nil
}

// Counted is what was sent on since NewFlow. It costs some loads.
func (w *Flow) Counted() Counted {
	c := w.raw()
	c.Packets -= w.base.Packets
	c.Bytes -= w.base.Bytes
	return c
}

func (w *Flow) raw() Counted {
	return Counted{Packets: w.at.packets.Load(), Bytes: w.at.bytes.Load(), SSRC: w.at.ssrc.Load(), Timestamp: w.at.timestamp.Load(), Sequence: uint16(w.at.sequence.Load())}
}

// mark counts the streams of a port, and has the program look for them while there are any.
func (f *Filter) mark(port uint16, by int) {
	f.streams.mu.Lock()
	defer f.streams.mu.Unlock()
	n := f.streams.ports[port] + by
	w := &f.ports.words(65536)[port]
	if n > 0 {
		f.streams.ports[port] = n
		atomic.OrUint64(w, portForward)
		return
	}
	delete(f.streams.ports, port)
	atomic.AndUint64(w, ^uint64(portForward))
}

func endpoint(a netip.AddrPort) edgeEndpoint {
	return edgeEndpoint{At: edgeAddress{Word: words(a.Addr().As16())}, Port: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, a.Port()))}
}
