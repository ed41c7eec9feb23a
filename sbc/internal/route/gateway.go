package route

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Where a gateway listens unless it says otherwise (RFC 3261 §19.1.2).
const (
	DefaultPort    = 5060
	DefaultTLSPort = 5061
)

// The transports of a gateway. Auto lets DNS choose (RFC 3263 §4.1).
const (
	UDP  = "udp"
	TCP  = "tcp"
	TLS  = "tls"
	Auto = "auto"
)

// Gateway is one way into a carrier's network.
type Gateway struct {
	Host    string // name or address
	Port    uint16 // 0: where DNS says, or the default
	Network string // UDP, TCP, TLS or Auto
	Weighted
}

// Hop is an address to try.
type Hop struct {
	Network string // UDP, TCP or TLS
	Addr    netip.AddrPort
	Host    string // what the certificate of the far end must name, over TLS (RFC 5922 §7.2)
}

// String is "udp 198.51.100.7:5060".
func (h Hop) String() string { return h.Network + " " + h.Addr.String() }

// ParseGateway reads "host", "host:port", "[v6]:port".
func ParseGateway(s, network string) (Gateway, error) {
	g := Gateway{Network: network}
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

// Named reports whether the gateway's address has to be looked up.
func (g Gateway) Named() bool { return !isAddr(g.Host) }

// String is the gateway as a person writes it: "gw.example.com:5060".
func (g Gateway) String() string {
	switch {
	case g.Port == 0:
		return g.Host
	case isAddr(g.Host):
		return netip.AddrPortFrom(netip.MustParseAddr(g.Host), g.Port).String()
	}
	return g.Host + ":" + strconv.Itoa(int(g.Port))
}

// defaultPort is where a host listens that says nothing about it.
func defaultPort(network string) uint16 {
	if network == TLS {
		return DefaultTLSPort
	}
	return DefaultPort
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
