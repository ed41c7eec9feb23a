package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Bounds of what one look-up may lead to. A name that says more is cut off, not refused.
const (
	maxHops      = 16 // of one gateway
	maxAddresses = 8  // of one name
	maxServices  = 8  // NAPTR records that are followed
)

// ErrNoHop is the fault of a gateway that leads nowhere.
var ErrNoHop = errors.New("no address")

// Hosts looks host names up without name servers of our choice: the host's file of names, or the system's resolver.
// *net.Resolver is one.
type Hosts interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Locator finds the hops of gateways. All methods may be called from any goroutine.
type Locator struct {
	cfg     LocatorConfig
	records *records
}

// LocatorConfig is what a Locator needs.
type LocatorConfig struct {
	DNS      DNS      // name servers; nil: Names and Fallback alone
	Names    Hosts    // asked before DNS: the host's own file of names; may be nil
	Fallback Hosts    // asked for addresses that DNS does not know; may be nil
	Networks []string // the transports that we have, the preferred first
	Random   func(n int) int
	Clock    Clock
}

// NewLocator returns a Locator that knows nothing yet.
func NewLocator(cfg LocatorConfig) *Locator {
	return &Locator{cfg: cfg, records: newRecords(cfg.DNS, cfg.Clock)}
}

// Locate returns the addresses of a gateway, in the order in which they are to be tried.
func (l *Locator) Locate(ctx context.Context, g Gateway) ([]Hop, error) {
	network := g.Network
	if network == Auto {
		network = UDP // RFC 3263 §4.1: where nothing says more
	}
	if a, err := netip.ParseAddr(g.Host); err == nil {
		port := g.Port
		if port == 0 {
			port = defaultPort(network)
		}
		return []Hop{{network, netip.AddrPortFrom(a.Unmap(), port), g.Host}}, nil
	}
	if g.Port != 0 { // RFC 3263 §4.2: no SRV with a port
		return l.addresses(ctx, g.Host, g.Host, network, g.Port)
	}
	hops, err := l.services(ctx, g)
	if len(hops) > 0 || err != nil {
		return hops, err
	}
	return l.addresses(ctx, g.Host, g.Host, network, defaultPort(network))
}

// service is a name with SRV records, and the transport that they are for.
type service struct{ name, network string }

// services follows NAPTR and SRV records. It returns neither hops nor an error where there are none.
func (l *Locator) services(ctx context.Context, g Gateway) ([]Hop, error) {
	var hops []Hop
	var last error
	found := false
	for _, s := range l.naptr(ctx, g) {
		got, exists, err := l.srv(ctx, s, g.Host)
		found, last = found || exists, errors.Join(last, err)
		hops = append(hops, got...)
	}
	if !found {
		return nil, nil // RFC 3263 §4.2: then the name itself is a host
	}
	if len(hops) == 0 {
		return nil, fmt.Errorf("resolving %s: %w", g.Host, errors.Join(ErrNoHop, last))
	}
	return hops[:min(len(hops), maxHops)], nil
}

// naptr returns the services to ask for (RFC 3263 §4.1): those that NAPTR records name, if the transport is open, else the
// usual names.
func (l *Locator) naptr(ctx context.Context, g Gateway) []service {
	networks := []string{g.Network}
	if g.Network == Auto {
		networks = l.cfg.Networks
		rrs, err := l.records.get(ctx, g.Host, dns.TypeNAPTR)
		if list := fromNAPTR(rrs, networks); err == nil && len(list) > 0 {
			return list
		}
	}
	var out []service
	for _, n := range networks {
		out = append(out, service{prefixes[n] + g.Host, n})
	}
	return out
}

// prefixes of the names of SRV records (RFC 3263 §4.2).
var prefixes = map[string]string{UDP: "_sip._udp.", TCP: "_sip._tcp.", TLS: "_sips._tcp."}

// naptrServices are the services of RFC 3263 §4.1.
var naptrServices = map[string]string{"SIP+D2U": UDP, "SIP+D2T": TCP, "SIPS+D2T": TLS}

func fromNAPTR(rrs []dns.RR, networks []string) []service {
	list := typed[*dns.NAPTR](rrs)
	slices.SortStableFunc(list, func(a, b *dns.NAPTR) int { // RFC 3403 §4.1
		return (int(a.Order)<<16 | int(a.Preference)) - (int(b.Order)<<16 | int(b.Preference))
	})
	var out []service
	for _, r := range list {
		network, ok := naptrServices[strings.ToUpper(r.Service)]
		if !ok || !strings.EqualFold(r.Flags, "s") || r.Regexp != "" || !slices.Contains(networks, network) {
			continue
		}
		if out = append(out, service{strings.TrimSuffix(r.Replacement, "."), network}); len(out) == maxServices {
			break
		}
	}
	return out
}

// srv returns the hops of one service. exists tells whether there are SRV records at all, even such that say "not here".
func (l *Locator) srv(ctx context.Context, s service, domain string) (hops []Hop, exists bool, err error) {
	rrs, err := l.records.get(ctx, s.name, dns.TypeSRV)
	if err != nil { // none; or no name server answers, and the host's own file of names may know the name itself
		return nil, false, nil
	}
	list := Order(typed[*dns.SRV](rrs), func(r *dns.SRV) Weighted { return Weighted{int(r.Priority), int(r.Weight)} }, l.cfg.Random)
	var last error
	for _, r := range list {
		target := strings.TrimSuffix(r.Target, ".")
		if target == "" || r.Port == 0 { // RFC 2782: the service is not available here
			continue
		}
		got, err := l.addresses(ctx, target, domain, s.network, r.Port)
		last = errors.Join(last, err)
		if hops = append(hops, got...); len(hops) >= maxHops {
			break
		}
	}
	return hops, true, last
}

// addresses returns a host's addresses as hops.
func (l *Locator) addresses(ctx context.Context, host, name, network string, port uint16) ([]Hop, error) {
	list, err := l.lookup(ctx, host)
	var hops []Hop
	for _, a := range list {
		a = a.Unmap().WithZone("")
		if a.IsUnspecified() || a.IsMulticast() || !a.IsValid() {
			continue
		}
		if hops = append(hops, Hop{network, netip.AddrPortFrom(a, port), name}); len(hops) == maxAddresses {
			break
		}
	}
	if len(hops) == 0 {
		return nil, fmt.Errorf("resolving %s: %w", host, errors.Join(ErrNoHop, err))
	}
	return hops, nil
}

// lookup asks the host's own file of names, then DNS, then the system.
func (l *Locator) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if l.cfg.Names != nil {
		if list, err := l.cfg.Names.LookupNetIP(ctx, "ip", host); err == nil && len(list) > 0 {
			return list, nil
		}
	}
	four, err4 := l.records.get(ctx, host, dns.TypeA)
	six, err6 := l.records.get(ctx, host, dns.TypeAAAA)
	var out []netip.Addr
	for _, r := range typed[*dns.A](four) {
		if a, ok := netip.AddrFromSlice(r.A.To4()); ok {
			out = append(out, a)
		}
	}
	for _, r := range typed[*dns.AAAA](six) {
		if a, ok := netip.AddrFromSlice(r.AAAA.To16()); ok {
			out = append(out, a)
		}
	}
	if len(out) > 0 || l.cfg.Fallback == nil {
		return out, errors.Join(err4, err6)
	}
	return l.records.fallback(ctx, l.cfg.Fallback, host)
}

// typed keeps the records of one type.
func typed[T dns.RR](rrs []dns.RR) []T {
	var out []T
	for _, rr := range rrs {
		if r, ok := rr.(T); ok {
			out = append(out, r)
		}
	}
	return out
}
