// Package route finds the next hop of a call to a trunk: which gateways, in which order, at which addresses.
package route

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strconv"
)

// DefaultPort is where a gateway listens unless it says otherwise (RFC 3261 §19.1.2).
const (
	DefaultPort    = 5060
	DefaultTLSPort = 5061
)

// Gateway is one way into a carrier's network.
type Gateway struct {
	Host     string // name or address
	Port     uint16
	Network  string // "udp", "tcp" or "tls"
	Priority int    // the lowest is tried first; equals in their order
}

// Named reports whether the gateway's address has to be looked up.
func (g Gateway) Named() bool { return !isAddr(g.Host) }

// Trunk is a carrier reached by route.
type Trunk struct {
	Name     string
	Gateways []Gateway
}

// Resolver looks host names up. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Hop is an address to try.
type Hop struct {
	Gateway Gateway
	Addr    netip.AddrPort
}

// ParseGateway reads "host", "host:port", "[v6]:port".
func ParseGateway(s, network string) (Gateway, error) {
	g := Gateway{Network: network, Port: DefaultPort}
	if network == "tls" {
		g.Port = DefaultTLSPort
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		g.Host = s
		if a, err := netip.ParseAddr(s); err == nil {
			g.Host = a.String()
		} else if !validHost(s) {
			return g, fmt.Errorf("%q is neither host nor host:port", s)
		}
		return g, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !validHost(host) && !isAddr(host) {
		return g, fmt.Errorf("%q is neither host nor host:port", s)
	}
	g.Host, g.Port = host, uint16(n)
	return g, nil
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

// Hops returns every address of a trunk's gateways, in the order in which they are to be tried. A gateway whose name
// can't be resolved is left out; an error says that none is left.
func (t *Trunk) Hops(ctx context.Context, r Resolver) ([]Hop, error) {
	gateways := append([]Gateway(nil), t.Gateways...)
	sort.SliceStable(gateways, func(i, j int) bool { return gateways[i].Priority < gateways[j].Priority })
	var hops []Hop
	var last error
	for _, g := range gateways {
		addrs, err := lookup(ctx, r, g.Host)
		if err != nil {
			last = err
			continue
		}
		for _, a := range addrs {
			hops = append(hops, Hop{Gateway: g, Addr: netip.AddrPortFrom(a.Unmap(), g.Port)})
		}
	}
	if len(hops) == 0 {
		return nil, fmt.Errorf("resolving the gateways of trunk %s: %w", t.Name, last)
	}
	return hops, nil
}

// Named reports whether a gateway's name has to be looked up.
func (t *Trunk) Named() bool {
	return slices.ContainsFunc(t.Gateways, Gateway.Named)
}

func lookup(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return r.LookupNetIP(ctx, "ip", host)
}
