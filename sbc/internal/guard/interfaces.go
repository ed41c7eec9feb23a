package guard

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// InterfacesFor names the network interfaces that have the given addresses: what XDP.Interfaces should be for listeners there. An
// unspecified address stands for all interfaces that are up, the loopback left out.
func InterfacesFor(addrs ...netip.Addr) ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the network interfaces: %w", err)
	}
	var names []string
	for _, a := range addrs {
		found := false
		for _, i := range all {
			has := a.IsUnspecified() && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0
			if !has {
				if has, err = hasAddr(i, plain(a)); err != nil {
					return nil, err
				}
			}
			if has {
				found = true
				names = append(names, i.Name)
			}
		}
		if !found {
			return nil, fmt.Errorf("no network interface has the address %s", a)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func hasAddr(i net.Interface, a netip.Addr) (bool, error) {
	all, err := addresses(i)
	// The whole of 127.0.0.0/8 is the loopback's, whatever it lists (RFC 1122 §3.2.1.3).
	return slices.Contains(all, a) || len(all) > 0 && a.IsLoopback() && a.Is4() && i.Flags&net.FlagLoopback != 0, err
}

// addresses are those of an interface.
func addresses(i net.Interface) ([]netip.Addr, error) {
	nets, err := i.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of interface %s: %w", i.Name, err)
	}
	var all []netip.Addr
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			all = append(all, plain(p.Addr()))
		}
	}
	return all, nil
}
