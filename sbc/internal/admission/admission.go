// Package admission tells who a request comes from: which trunk a source address, a certificate's name or a registered
// contact belongs to. It is pure.
package admission

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"
)

// Claim is by what a trunk is known.
type Claim struct {
	Sources  []netip.Prefix // networks that its calls come from
	TLSNames []string       // names in its client certificate
	Token    string         // user part of the contact that we register at the carrier; empty: we don't
}

// Table finds the trunk of a request. It never changes; a reload makes a new one.
type Table struct {
	entries []entry // the longest prefix first
	names   map[string]string
	tokens  map[string]string
}

type entry struct {
	prefix netip.Prefix
	trunk  string
}

// New makes a table of trunk names and what they claim. What two trunks claim is an error: nobody could say whose call it is.
func New(trunks map[string]Claim) (*Table, error) {
	t := &Table{names: map[string]string{}, tokens: map[string]string{}}
	owner := map[netip.Prefix]string{}
	for trunk, c := range trunks {
		for _, p := range c.Sources {
			p = p.Masked()
			if other, taken := owner[p]; taken && other != trunk {
				return nil, twice(trunk, other, p.String())
			}
			owner[p] = trunk
			t.entries = append(t.entries, entry{p, trunk})
		}
		for _, n := range c.TLSNames {
			n = foldName(n)
			if other, taken := t.names[n]; taken && other != trunk {
				return nil, twice(trunk, other, n)
			}
			t.names[n] = trunk
		}
		if c.Token != "" {
			t.tokens[c.Token] = trunk
		}
	}
	sort.Slice(t.entries, func(i, j int) bool { return t.entries[i].prefix.Bits() > t.entries[j].prefix.Bits() })
	return t, nil
}

func twice(a, b, what string) error {
	return fmt.Errorf("trunks %s and %s both claim %s", min(a, b), max(a, b), what)
}

// foldName makes names equal that are: they have no case, and may end with a dot.
func foldName(n string) string { return strings.ToLower(strings.TrimSuffix(n, ".")) }

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

// Named returns the trunk that a proven name belongs to: the first of names that is one's. A wildcard in a certificate names
// nobody (RFC 5922 §7.2).
func (t *Table) Named(names []string) (string, bool) {
	for _, n := range names {
		if trunk, ok := t.names[foldName(n)]; ok {
			return trunk, true
		}
	}
	return "", false
}

// HasNames reports whether any trunk is known by its certificate.
func (t *Table) HasNames() bool { return len(t.names) > 0 }

// Registered returns the trunk at which a contact's user part was registered. Nobody but the carrier knows it.
func (t *Table) Registered(user string) (string, bool) {
	trunk, ok := t.tokens[user]
	return trunk, ok
}

// Sources returns every network in the table.
func (t *Table) Sources() []netip.Prefix {
	out := make([]netip.Prefix, len(t.entries))
	for i, e := range t.entries {
		out[i] = e.prefix
	}
	return out
}
