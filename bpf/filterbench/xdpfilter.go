package filterbench

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
)

// XDPFilter is Debian's xdp-filter (package xdp-tools), the program that looks at addresses only. It bans IPv4 hosts, at most 10,000,
// has no networks, ends, lists or limits, and does not look behind VLAN tags.
type XDPFilter struct {
	coll *ebpf.Collection
	prog *ebpf.Program
}

const (
	xdpFilterObject = "/usr/lib/%s-linux-gnu/bpf/xdpfilt_alw_ip.o"
	xdpFilterBans   = 10000
	xdpFilterSource = 1 // flag of an entry: matches as source
)

// OpenXDPFilter reads the installed object. ErrNotExist, if there is none.
func OpenXDPFilter() (*XDPFilter, error) {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	name := fmt.Sprintf(xdpFilterObject, arch)
	if _, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("xdp-filter of package xdp-tools: %w", err)
	}
	spec, err := ebpf.LoadCollectionSpec(name)
	if err != nil {
		return nil, fmt.Errorf("reading xdp-filter: %w", err)
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	for _, p := range spec.Programs {
		p.Type = ebpf.XDP
	}
	x := &XDPFilter{}
	if x.coll, err = ebpf.NewCollection(spec); err != nil {
		return nil, fmt.Errorf("loading xdp-filter: %w", err)
	}
	if len(x.coll.Programs) != 1 || x.coll.Maps["filter_ipv4"] == nil {
		x.coll.Close()
		return nil, fmt.Errorf("loading xdp-filter: %s is not as known", name)
	}
	for _, p := range x.coll.Programs {
		x.prog = p
	}
	return x, nil
}

// Name is "xdp-filter".
func (x *XDPFilter) Name() string { return "xdp-filter" }

// Program is the loaded program.
func (x *XDPFilter) Program() *ebpf.Program { return x.prog }

// Fill adds the IPv4 hosts, and leaves all else out. It can be filled once.
func (x *XDPFilter) Fill(l Load) (time.Duration, error) {
	if len(l.Hosts) > xdpFilterBans {
		return 0, fmt.Errorf("%w: %d hosts, xdp-filter holds %d", ErrCapacity, len(l.Hosts), xdpFilterBans)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return 0, fmt.Errorf("counting CPUs: %w", err)
	}
	values := make([]uint64, cpus)
	for i := range values {
		values[i] = xdpFilterSource
	}
	start := time.Now()
	for _, h := range l.Hosts {
		if err := x.coll.Maps["filter_ipv4"].Put(h.Addr().As4(), values); err != nil {
			return 0, fmt.Errorf("filling xdp-filter: %w", err)
		}
	}
	return time.Since(start), nil
}

// Memory counts all maps.
func (x *XDPFilter) Memory() (m Memory, err error) {
	for name, mm := range x.coll.Maps {
		n, err := MemoryOf(mm)
		if err != nil {
			return Memory{}, err
		}
		m.All += n
		if name == "filter_ipv4" {
			m.Hosts = n
		}
	}
	return m, nil
}

// Close gives its memory back.
func (x *XDPFilter) Close() error {
	x.coll.Close()
	return nil
}
