package table

import "net/netip"

// Heap is memory for tables that only user space reads.
type Heap struct{}

// Fixed returns empty presence filters.
func (Heap) Fixed() (dir4, dir6, dir6w []Line, blank bool) {
	return make([]Line, Dir4Lines), make([]Line, Dir6Lines), make([]Line, Dir6wLines), true
}

// Next returns empty tables.
func (Heap) Next(lines [Tables]int) (tables [Tables][]Line, keep any, err error) {
	for i, n := range lines {
		tables[i] = make([]Line, n)
	}
	return tables, nil, nil
}

// Flip does nothing: Set holds the tables itself.
func (Heap) Flip(Geometries, uint64) error { return nil }

// Levels does nothing.
func (Heap) Levels(uint64) error { return nil }

// Trie does nothing: Set looks into its own copy.
func (Heap) Trie(netip.Prefix, Meta) error { return nil }

// Short does nothing.
func (Heap) Short(bool) error { return nil }

// Deep returns an empty map.
func (Heap) Deep() map[netip.Prefix]Meta { return map[netip.Prefix]Meta{} }
