package bpf

import (
	"encoding/binary"
	"fmt"
)

// Count is how many packets met one fate, on all CPUs together, since the maps were made.
type Count struct {
	Family  Family
	Reason  Reason
	Action  Action
	Packets uint64
	Bytes   uint64 // of the frames' first buffers: all of a frame, unless it is larger than a page
}

// reasonSlots is the room that the counters have for reasons, REASONS in xdp/verdict.h.
const reasonSlots = 32

// Counts returns the counters that have ever moved.
func (f *Filter) Counts() ([]Count, error) {
	var all []Count
	for i := uint32(0); i < uint32(families)*reasonSlots*uint32(actions); i++ {
		var cpus []edgeCount
		if err := f.objs.Counts.Lookup(i, &cpus); err != nil {
			return nil, fmt.Errorf("reading the filter's counters: %w", err)
		}
		c := Count{
			Family: Family(i / uint32(actions) / reasonSlots),
			Reason: Reason(i / uint32(actions) % reasonSlots),
			Action: Action(i % uint32(actions)),
		}
		for _, n := range cpus {
			c.Packets += n.Packets
			c.Bytes += n.Bytes
		}
		if c.Packets > 0 {
			all = append(all, c)
		}
	}
	return all, nil
}

// Addresses are in network byte order in the kernel; word and words make the integers that the generated types have of them.
func word(b [4]byte) uint32   { return binary.NativeEndian.Uint32(b[:]) }
func unword(w uint32) [4]byte { return [4]byte(binary.NativeEndian.AppendUint32(nil, w)) }

func words(b [16]byte) (w [4]uint32) {
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

func unwords(w [4]uint32) (b [16]byte) {
	for i, n := range w {
		binary.NativeEndian.PutUint32(b[4*i:], n)
	}
	return b
}
