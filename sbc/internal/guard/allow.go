package guard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// groupConfig is the group of the allow list that the configuration file gives.
const groupConfig = "config"

// SetAllow replaces one group of the allow list, as "own", "core" or "trunks"; an empty one ends it. What stays on the list stays
// in force throughout. The list wins over each ban, those that are there and those to come.
func (g *Guard) SetAllow(group string, prefixes []netip.Prefix) error {
	if group == "" || group == groupConfig {
		return fmt.Errorf("allow list: %q is no group that can be set", group)
	}
	ps, err := allowable(prefixes)
	if err != nil {
		return fmt.Errorf("allow list, group %s: %w", group, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	if slices.Equal(sorted(g.groups[group]), sorted(ps)) {
		return nil // the tables need not be made anew
	}
	if err := g.setGroupLocked(group, ps); err != nil {
		g.kernelFaultLocked(err)
		return err
	}
	return nil
}

func sorted(ps []netip.Prefix) []netip.Prefix {
	return slices.SortedFunc(slices.Values(ps), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
}

// setGroupLocked changes one group; if that fails, the list is what it was.
func (g *Guard) setGroupLocked(group string, ps []netip.Prefix) error {
	old := g.groups[group]
	g.groups[group] = ps
	err := g.applyAllowLocked()
	if err != nil {
		g.groups[group] = old
		err = errors.Join(err, g.applyAllowLocked())
	}
	if len(g.groups[group]) == 0 {
		delete(g.groups, group)
	}
	return err
}

// Single makes the prefixes of single addresses, for SetAllow.
func Single(addrs ...netip.Addr) []netip.Prefix {
	ps := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		a = plain(a)
		ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
	}
	return ps
}

// allowable brings prefixes into the form in which they are compared.
func allowable(in []netip.Prefix) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		q, err := allowableOne(p)
		if err != nil {
			return nil, err
		}
		out = append(out, q)
	}
	return out, nil
}

func allowableOne(p netip.Prefix) (netip.Prefix, error) {
	q, err := normal(p)
	switch {
	case err != nil:
		return q, err
	case q.Bits() == 0:
		return q, fmt.Errorf("%s: %w; to drop nothing at all, set monitor mode", p, ErrTooWide)
	case q.Addr().IsUnspecified() && (q.Addr().Is4() || q.Bits() < 64): // no sender has such, and the tables hold none
		return q, fmt.Errorf("%s: %w", p, ErrBadPrefix)
	}
	return q, nil
}

// normal is p with host bits cleared and an IPv4 network that is wrapped in IPv6 unwrapped.
func normal(p netip.Prefix) (netip.Prefix, error) {
	a, bits := p.Addr(), p.Bits()
	if !p.IsValid() {
		return p, fmt.Errorf("%s: %w", p, ErrBadPrefix)
	}
	if a.Is4In6() {
		if bits < 96 {
			return p, fmt.Errorf("%s: %w", p, ErrBadPrefix)
		}
		bits -= 96
	}
	return netip.PrefixFrom(plain(a), bits).Masked(), nil
}

func (g *Guard) applyAllowLocked() error {
	all := map[netip.Prefix]string{}
	for _, group := range slices.Sorted(maps.Keys(g.groups)) {
		for _, p := range g.groups[group] {
			if all[p] == "" {
				all[p] = group
			}
		}
	}
	g.view.allow.Store(newNetworks(all))
	return g.set.SetAllow(slices.Collect(maps.Keys(all)))
}
