// Package admission tells who a request comes from: which trunk a source address belongs to. It is pure.
package admission

import (
	"fmt"
	"net/netip"
	"sort"
)

// Table finds the trunk of a source address. It never changes; a reload makes a new one.
type Table struct {
	entries []entry // the longest prefix first
}

type entry struct {
	prefix netip.Prefix
	trunk  string
}

// New makes a table of trunk names and their source networks. A network that two trunks claim is an error: nobody could
// say whose call it is.
func New(trunks map[string][]netip.Prefix) (*Table, error) {
	t := &Table{}
	owner := map[netip.Prefix]string{}
	for name, prefixes := range trunks {
		for _, p := range prefixes {
			p = p.Masked()
			if other, taken := owner[p]; taken && other != name {
				return nil, fmt.Errorf("trunks %s and %s both claim %s", min(name, other), max(name, other), p)
			}
			owner[p] = name
			t.entries = append(t.entries, entry{p, name})
		}
	}
	sort.Slice(t.entries, func(i, j int) bool { return t.entries[i].prefix.Bits() > t.entries[j].prefix.Bits() })
	return t, nil
}

// Trunk returns the trunk that the source belongs to: that with the longest matching network.
func (t *Table) Trunk(src netip.Addr) (string, bool) {
	src = src.Unmap()
	for _, e := range t.entries {
		if e.prefix.Contains(src) {
			return e.trunk, true
		}
	}
	return "", false
}

// Sources returns every network in the table.
func (t *Table) Sources() []netip.Prefix {
	out := make([]netip.Prefix, len(t.entries))
	for i, e := range t.entries {
		out[i] = e.prefix
	}
	return out
}
