package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Never is the end of a ban that lasts until it is lifted.
const Never = time.Duration(-1)

// Monotonic is the time on the clock that bans are measured by, CLOCK_MONOTONIC: since boot, without sleep.
func Monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Ban is one entry of the kernel's tables of bans.
type Ban struct {
	Prefix netip.Prefix
	Until  time.Duration // on the clock Monotonic; or Never
}

// ErrPrefix tells that a prefix can stand in no table.
var ErrPrefix = errors.New("no prefix that the filter can hold")

// slot returns the table that holds p, and p's key in it.
func (f *Filter) slot(p netip.Prefix) (*ebpf.Map, any, error) {
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
		return nil, nil, fmt.Errorf("%w: %s", ErrPrefix, p)
	}
	a, bits := p.Addr(), p.Bits()
	switch {
	case a.Is4() && bits == 32:
		return f.objs.Host4, a.As4(), nil
	case a.Is4():
		return f.objs.Network4, net4Key(p), nil
	case bits == 128:
		return f.objs.Host6, a.As16(), nil
	case bits == 64 && a.IsUnspecified(): // the program does not look there: ::/64 holds the loopback address
		return nil, nil, fmt.Errorf("%w: %s", ErrPrefix, p)
	case bits == 64:
		b := a.As16()
		return f.objs.Site6, [8]byte(b[:8]), nil
	default:
		return f.objs.Network6, net6Key(p), nil
	}
}

func net4Key(p netip.Prefix) *edgeNet4 {
	return &edgeNet4{Bits: uint32(p.Bits()), Addr: word(p.Addr().As4())}
}

func net6Key(p netip.Prefix) *edgeNet6 {
	return &edgeNet6{Bits: uint32(p.Bits()), Addr: words(p.Addr().As16())}
}

// Ban puts a ban into force, or changes when it ends. For networks only the longest prefix that covers a packet's source counts,
// so who bans a network within a banned network gives it the later end of both.
func (f *Filter) Ban(b Ban) error {
	m, key, err := f.slot(b.Prefix)
	if err != nil {
		return err
	}
	if err := m.Put(key, &edgeBan{Until: until(b.Until)}); err != nil {
		return fmt.Errorf("banning %s in the kernel: %w", b.Prefix, err)
	}
	return nil
}

func until(d time.Duration) uint64 {
	if d == Never {
		return ^uint64(0)
	}
	return uint64(max(0, d))
}

// batch is how many entries one system call reads or writes.
const batch = 4096

// BanAll puts many bans into force, with few system calls. It goes on after a failure and returns all of them.
func (f *Filter) BanAll(bans []Ban) error {
	var (
		errs  []error
		host4 writer[[4]byte]
		host6 writer[[16]byte]
		site6 writer[[8]byte]
	)
	host4.m, host6.m, site6.m = f.objs.Host4, f.objs.Host6, f.objs.Site6
	for _, b := range bans {
		_, key, err := f.slot(b.Prefix)
		v := edgeBan{Until: until(b.Until)}
		switch key := key.(type) {
		case [4]byte:
			err = host4.add(key, v)
		case [16]byte:
			err = host6.add(key, v)
		case [8]byte:
			err = site6.add(key, v)
		default:
			if err == nil {
				err = f.Ban(b)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, host4.flush(), host6.flush(), site6.flush())...)
}

// writer gathers entries for one map.
type writer[K any] struct {
	m      *ebpf.Map
	keys   []K
	values []edgeBan
}

func (w *writer[K]) add(k K, v edgeBan) error {
	w.keys, w.values = append(w.keys, k), append(w.values, v)
	if len(w.keys) < batch {
		return nil
	}
	return w.flush()
}

func (w *writer[K]) flush() error {
	if len(w.keys) == 0 {
		return nil
	}
	n, err := w.m.BatchUpdate(w.keys, w.values, nil)
	if err != nil {
		err = fmt.Errorf("banning %d sources in the kernel: %w", len(w.keys)-n, err)
	}
	w.keys, w.values = w.keys[:0], w.values[:0]
	return err
}

// Unban ends a ban. That there is none is no error.
func (f *Filter) Unban(p netip.Prefix) error {
	m, key, err := f.slot(p)
	if err != nil {
		return err
	}
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("ending the ban of %s in the kernel: %w", p, err)
	}
	return nil
}

// Bans returns all entries, also those that have ended and were not removed yet.
func (f *Filter) Bans() ([]Ban, error) {
	var all []Ban
	add := func(p netip.Prefix, b edgeBan) {
		u := Never
		if b.Until != ^uint64(0) {
			u = time.Duration(b.Until)
		}
		all = append(all, Ban{p, u})
	}
	o := &f.objs
	err := errors.Join(
		eachBatch(o.Host4, func(k [4]byte, b edgeBan) { add(netip.PrefixFrom(netip.AddrFrom4(k), 32), b) }),
		eachBatch(o.Host6, func(k [16]byte, b edgeBan) { add(netip.PrefixFrom(netip.AddrFrom16(k), 128), b) }),
		eachBatch(o.Site6, func(k [8]byte, b edgeBan) {
			var a [16]byte
			copy(a[:], k[:])
			add(netip.PrefixFrom(netip.AddrFrom16(a), 64), b)
		}),
		each(o.Network4, func(k edgeNet4, b edgeBan) { add(k.prefix(), b) }),
		each(o.Network6, func(k edgeNet6, b edgeBan) { add(k.prefix(), b) }),
	)
	return all, err
}

func (k edgeNet4) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4(unword(k.Addr)), int(k.Bits))
}

func (k edgeNet6) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16(unwords(k.Addr)), int(k.Bits))
}

func each[K, V any](m *ebpf.Map, do func(K, V)) error {
	var (
		k  K
		v  V
		it = m.Iterate()
	)
	for it.Next(&k, &v) {
		do(k, v)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading the kernel's %s: %w", m, err)
	}
	return nil
}

// eachBatch is each for hash tables, with few system calls.
func eachBatch[K, V any](m *ebpf.Map, do func(K, V)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batch), make([]V, batch)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			do(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // that was the last
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the kernel's %s: %w", m, err)
		}
	}
}

// SetAllowed makes the allow list exactly ps. An entry that stays is in force throughout, a new one before an old one goes.
func (f *Filter) SetAllowed(ps []netip.Prefix) error {
	want := map[netip.Prefix]bool{}
	for _, p := range ps {
		m, key, err := f.allowSlot(p)
		if err != nil {
			return err
		}
		if err := m.Put(key, uint32(1)); err != nil {
			return fmt.Errorf("allowing %s in the kernel: %w", p, err)
		}
		want[p] = true
	}
	have, err := f.Allowed()
	if err != nil {
		return err
	}
	for _, p := range have {
		if want[p] {
			continue
		}
		m, key, err := f.allowSlot(p)
		if err != nil {
			return err
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("no longer allowing %s in the kernel: %w", p, err)
		}
	}
	return nil
}

func (f *Filter) allowSlot(p netip.Prefix) (*ebpf.Map, any, error) {
	switch {
	case !p.IsValid() || p != p.Masked() || p.Addr().Is4In6():
		return nil, nil, fmt.Errorf("%w: %s", ErrPrefix, p)
	case p.Addr().Is4():
		return f.objs.Allow4, net4Key(p), nil
	}
	return f.objs.Allow6, net6Key(p), nil
}

// Allowed returns the allow list.
func (f *Filter) Allowed() ([]netip.Prefix, error) {
	var all []netip.Prefix
	err := errors.Join(
		each(f.objs.Allow4, func(k edgeNet4, _ uint32) { all = append(all, k.prefix()) }),
		each(f.objs.Allow6, func(k edgeNet6, _ uint32) { all = append(all, k.prefix()) }),
	)
	return all, err
}

// Settings may be changed while the filter runs.
type Settings struct {
	Monitor bool // count what would be dropped, drop nothing
	Samples int  // most drop events per second and CPU
}

// Set changes the settings.
func (f *Filter) Set(s Settings) error {
	v := edgeSettings{Samples: uint32(max(0, s.Samples))}
	if s.Monitor {
		v.Monitor = 1
	}
	if err := f.objs.Config.Put(uint32(0), &v); err != nil {
		return fmt.Errorf("changing the filter's settings: %w", err)
	}
	return nil
}
