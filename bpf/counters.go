package bpf

import (
	"fmt"

	"brickhouse/bpf/table"
)

// Count is how many packets met one fate, on all CPUs together, since the maps were made.
type Count struct {
	Family  Family
	Reason  Reason
	Action  Action
	Packets uint64
	Bytes   uint64 // of the frames' first buffers: all of a frame, unless it is larger than a page
}

// ListCount is how many packets one list has ended, or would have.
type ListCount struct {
	List               table.List // None: those that no list is the reason for
	Dropped, Monitored uint64
}

// The room that the counters have, FAMILIES, REASONS and ACTIONS in xdp/verdict.h.
const (
	familySlots = 4
	reasonSlots = 32
	actionSlots = 8
)

// Counts are the filter's counters, those that have ever moved.
type Counts struct {
	Packets     []Count
	Lists       []ListCount
	SamplesLost uint64 // events that found no room
}

// Counts returns the counters.
func (f *Filter) Counts() (Counts, error) {
	var cpus []edgeCpu
	if err := f.objs.Cpus.Lookup(uint32(0), &cpus); err != nil {
		return Counts{}, fmt.Errorf("reading the filter's counters: %w", err)
	}
	var all Counts
	for i := range uint32(families) * reasonSlots * actionSlots {
		c := Count{
			Family: Family(i / actionSlots / reasonSlots),
			Reason: Reason(i / actionSlots % reasonSlots),
			Action: Action(i % actionSlots),
		}
		for j := range cpus {
			c.Packets += cpus[j].Counts[i].Packets
			c.Bytes += cpus[j].Counts[i].Bytes
		}
		if c.Packets > 0 {
			all.Packets = append(all.Packets, c)
		}
	}
	for l := range table.List(table.Lists) {
		c := ListCount{List: l}
		for j := range cpus {
			c.Dropped += cpus[j].Dropped[l].Packets
			c.Monitored += cpus[j].Monitored[l].Packets
		}
		if c.Dropped+c.Monitored > 0 {
			all.Lists = append(all.Lists, c)
		}
	}
	for j := range cpus {
		all.SamplesLost += cpus[j].Lost
	}
	return all, nil
}
