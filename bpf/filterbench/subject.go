package filterbench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// Limits is how a filter's rate limits are set.
type Limits int

// The settings.
const (
	LimitsOff Limits = iota
	// LimitsWide has them on, so wide that no packet of a benchmark is over them: per source and for all strangers together.
	LimitsWide
	// LimitsTight has them on as the rates below say: so low that what a slow or busy machine takes for a sample changes nothing.
	LimitsTight
)

// Rates of LimitsTight.
const (
	SourceRate  = 1    // packets a second from one source
	SourceBurst = 10   // packets that a source may send at once
	AllRate     = 100  // packets a second from all unknown sources together
	AllBurst    = 1000 // packets that they may send at once
)

// Load is what a filter is filled with.
type Load struct {
	Hosts    []netip.Prefix // banned IPv4 hosts
	Sites    []netip.Prefix // banned IPv6 /64s
	Networks []netip.Prefix // other banned networks, IPv4 and IPv6
	Allowed  []netip.Prefix // never banned
	Limits   Limits

	Plausibility bool     // look at the first bytes of SIP over UDP
	Pinholes     bool     // media ports are closed but for Open
	Open         []uint16 // open media ports
}

// Media ports of a Load with pinholes.
const (
	FirstMediaPort = 16384
	MediaPorts     = 16384
)

// NewLoad has n banned hosts and sites each, and networks banned networks of either family, all different. The allow list has 110
// entries, which no traffic here is from.
func NewLoad(n, networks int) Load {
	l := Load{
		Hosts:   numbered(host4, 0, n),
		Sites:   numbered(Site6, 0, n),
		Limits:  LimitsWide,
		Allowed: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:fffe::/48")},
	}
	l.Networks = distinct(append(numbered(Network4, 0, networks), numbered(Network6, 0, networks)...))
	for i := range byte(54) {
		l.Allowed = append(l.Allowed,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, i * 4}), 30),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, i}), 64))
	}
	return l
}

// Memory is what a filter's tables take, in bytes.
type Memory struct {
	Hosts uint64 // the table of banned IPv4 hosts
	All   uint64
}

// Subject is a filter under test.
type Subject interface {
	Name() string
	// Fill gives the filter exactly this load, and says how long that took, without the time to bring the load in the filter's shape.
	// ErrCapacity or ErrFeature, if it can't.
	Fill(Load) (time.Duration, error)
	// Program is what to measure, until the next Fill.
	Program() *ebpf.Program
	Memory() (Memory, error)
	Close() error
}

// Why a filter can't take a load; the rows for it stay empty.
var (
	ErrCapacity = errors.New("the filter can't hold that much")
	ErrFeature  = errors.New("the filter can't do that")
)

// MemoryOf sums up the memory of maps, as the kernel counts it.
func MemoryOf(maps ...*ebpf.Map) (uint64, error) {
	var sum uint64
	for _, m := range maps {
		info, err := m.Info()
		if err != nil {
			return 0, fmt.Errorf("asking for the size of %s: %w", m, err)
		}
		n, _ := info.Memlock() // an empty trie has no memory, which is told as not known
		sum += n
	}
	return sum, nil
}
