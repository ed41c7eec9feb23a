package bpf

import (
	"fmt"
	"net/netip"
	"sync/atomic"
)

// What stands behind a local port, as xdp/maps.h numbers it.
const (
	portSIPUDP = 1
	portSIPTCP = 2
	portMedia  = 4
	portOpen   = 8

	portForward = 16
)

// Ports say what the border listens on. All media ports are closed until they are opened.
type Ports struct {
	SIPUDP, SIPTCP []uint16
	MediaFirst     uint16 // 0: media ports are not guarded
	MediaLast      uint16
}

// SetPorts takes over what is behind the local ports. There must be no stream yet.
func (f *Filter) SetPorts(p Ports) {
	next := make([]uint64, 65536)
	for _, n := range p.SIPUDP {
		next[n] |= portSIPUDP
	}
	for _, n := range p.SIPTCP {
		next[n] |= portSIPTCP
	}
	for n := int(p.MediaFirst); p.MediaFirst != 0 && n <= int(p.MediaLast); n++ {
		next[n] |= portMedia
	}
	have := f.ports.words(65536)
	for i, w := range next {
		atomic.StoreUint64(&have[i], w)
	}
}

// OpenPort lets datagrams to a media port pass, or no longer. It costs a store.
func (f *Filter) OpenPort(port uint16, open bool) {
	w := &f.ports.words(65536)[port]
	if open {
		atomic.OrUint64(w, portOpen)
	} else {
		atomic.AndUint64(w, ^uint64(portOpen))
	}
}

// IsOpen reports whether datagrams to a media port pass.
func (f *Filter) IsOpen(port uint16) bool {
	w := atomic.LoadUint64(&f.ports.words(65536)[port])
	return w&portMedia == 0 || w&portOpen != 0
}

// MaxOwn is at how many addresses media ports can be closed.
const MaxOwn = 1024

// SetOwn says at which local addresses media ports are closed: what is sent to others passes through this machine and is not ours to
// close. None: at all.
func (f *Filter) SetOwn(own []netip.Addr) error {
	if len(own) > MaxOwn {
		return fmt.Errorf("media ports can be closed at %d addresses, not at %d", MaxOwn, len(own))
	}
	keep := map[edgeAddress]bool{}
	for _, a := range own {
		keep[edgeAddress{Word: words(a.As16())}] = true
	}
	var gone []edgeAddress
	var key edgeAddress
	var value uint32
	it := f.objs.Own.Iterate()
	for it.Next(&key, &value) {
		if !keep[key] {
			gone = append(gone, key)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading the addresses of media ports: %w", err)
	}
	for _, k := range gone { // first, so that there is room
		if err := f.objs.Own.Delete(k); err != nil {
			return fmt.Errorf("changing the addresses of media ports: %w", err)
		}
	}
	for k := range keep {
		if err := f.objs.Own.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("changing the addresses of media ports: %w", err)
		}
	}
	return f.mem.change(func(s *edgeSettings) {
		s.OwnOnly = 0
		if len(own) > 0 {
			s.OwnOnly = 1
		}
	})
}
