package filterbench

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// Baseline is a filter of the kernel's stock maps (xdp/baseline.bpf.c).
type Baseline struct {
	// FineClock asks the clock itself for each packet, as most programs do, and not for the time of the last tick, which is 15 to
	// 20 ns cheaper.
	FineClock bool

	objs baselineObjects
}

// Name is "baseline".
func (b *Baseline) Name() string { return "baseline" }

// Program is the loaded program.
func (b *Baseline) Program() *ebpf.Program { return b.objs.Baseline }

// Close gives its memory back.
func (b *Baseline) Close() error {
	if b.objs.Baseline == nil {
		return nil
	}
	err := b.objs.Close()
	b.objs = baselineObjects{}
	return err
}

// Fill makes all maps anew, each as large as the load needs, which is the best case for them.
func (b *Baseline) Fill(l Load) (time.Duration, error) {
	if err := b.Close(); err != nil {
		return 0, err
	}
	if err := b.load(l); err != nil {
		return 0, err
	}
	v := &baselineBan{Until: math.MaxUint64}
	hosts, sites := keys(l.Hosts, netip4), keys(l.Sites, site6)
	start := time.Now()
	if err := putAll(b.objs.Host4, hosts, *v); err != nil {
		return 0, err
	}
	if err := putAll(b.objs.Site6, sites, *v); err != nil {
		return 0, err
	}
	took := time.Since(start)
	for _, p := range l.Networks {
		if err := putNet(b.objs.Network4, b.objs.Network6, p, v); err != nil {
			return 0, err
		}
	}
	for _, p := range l.Allowed {
		if err := putNet(b.objs.Allow4, b.objs.Allow6, p, uint32(1)); err != nil {
			return 0, err
		}
	}
	return took, nil
}

func (b *Baseline) load(l Load) error {
	spec, err := loadBaseline()
	if err != nil {
		return fmt.Errorf("reading the baseline: %w", err)
	}
	interval, burst := uint64(0), uint64(0)
	switch l.Limits {
	case LimitsOff:
	case LimitsWide:
		interval, burst = 1, 1<<40
	case LimitsTight:
		interval = uint64(time.Second / SourceRate)
		burst = SourceBurst * interval
	}
	fine := uint32(0)
	if b.FineClock {
		fine = 1
	}
	for name, v := range map[string]any{"interval": interval, "burst": burst, "fine_clock": fine} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("setting the baseline's %s: %w", name, err)
		}
	}
	spec.Maps["host4"].MaxEntries = uint32(max(1024, len(l.Hosts)))
	spec.Maps["site6"].MaxEntries = uint32(max(1024, len(l.Sites)))
	for _, name := range []string{"network4", "network6"} {
		spec.Maps[name].MaxEntries = uint32(max(1024, len(l.Networks)))
	}
	if err := spec.LoadAndAssign(&b.objs, nil); err != nil {
		return fmt.Errorf("loading the baseline: %w", err)
	}
	return nil
}

// Memory counts all maps.
func (b *Baseline) Memory() (Memory, error) {
	hosts, err := MemoryOf(b.objs.Host4)
	if err != nil {
		return Memory{}, err
	}
	o := &b.objs
	others, err := MemoryOf(o.Allow4, o.Allow6, o.Site6, o.Network4, o.Network6, o.Rate4, o.Rate6, o.Reasons, o.Lists)
	return Memory{Hosts: hosts, All: hosts + others}, err
}

func keys[K any](ps []netip.Prefix, of func(netip.Addr) K) []K {
	all := make([]K, len(ps))
	for i, p := range ps {
		all[i] = of(p.Addr())
	}
	return all
}

func netip4(a netip.Addr) [4]byte { return a.As4() }

func site6(a netip.Addr) [8]byte {
	b := a.As16()
	return [8]byte(b[:8])
}

// batch is how many entries one system call writes: more makes it no faster.
const batch = 65536

func putAll[K, V any](m *ebpf.Map, keys []K, v V) error {
	values := make([]V, min(batch, len(keys)))
	for i := range values {
		values[i] = v
	}
	for len(keys) > 0 {
		n := min(batch, len(keys))
		if _, err := m.BatchUpdate(keys[:n], values[:n], nil); err != nil {
			return fmt.Errorf("filling %s: %w", m, err)
		}
		keys = keys[n:]
	}
	return nil
}

func putNet(m4, m6 *ebpf.Map, p netip.Prefix, v any) error {
	var err error
	if p.Addr().Is4() {
		a := p.Addr().As4()
		err = m4.Put(&baselineNet4{Bits: uint32(p.Bits()), Addr: binary.NativeEndian.Uint32(a[:])}, v)
	} else {
		a := p.Addr().As16()
		k := baselineNet6{Bits: uint32(p.Bits())}
		for i := range k.Addr {
			k.Addr[i] = binary.NativeEndian.Uint32(a[4*i:])
		}
		err = m6.Put(&k, v)
	}
	if err != nil {
		return fmt.Errorf("putting %s into the baseline: %w", p, err)
	}
	return nil
}
