package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"brickhouse/bpf/table"
)

// region is a map in our memory, for as long as anybody can reach it.
type region struct{ data []byte }

// newRegion maps the values of an array into our memory: bytes of them.
func newRegion(m *ebpf.Map, bytes int) (*region, error) {
	page := os.Getpagesize()
	data, err := unix.Mmap(m.FD(), 0, (bytes+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mapping the kernel's %s: %w", m, err)
	}
	r := &region{data}
	runtime.AddCleanup(r, func(data []byte) { _ = unix.Munmap(data) }, data)
	return r, nil
}

func (r *region) lines(n int) []table.Line {
	return unsafe.Slice((*table.Line)(unsafe.Pointer(unsafe.SliceData(r.data))), n)
}

func (r *region) words(n int) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(r.data))), n)
}

// rawFlows is one place of the streams' counters.
func rawFlows(r *region, slot uint32) *rawFlow {
	return &unsafe.Slice((*rawFlow)(unsafe.Pointer(unsafe.SliceData(r.data))), MaxStreams)[slot]
}

// memory is the kernel's side of the tables (table.Memory). Its mutex guards the settings, which others change, too.
type memory struct {
	maps  *edgeObjects
	fixed [3]*region

	mu       sync.Mutex
	settings edgeSettings
	next     uint32                  // generation that Next made last
	made     [table.Tables]*ebpf.Map // its tables
	pending  *errgroup.Group         // what the kernel is still told about them
	deep     map[netip.Prefix]table.Meta
}

const tables = uint32(table.Tables)

// net6Inside marks a prefix in the trie that is longer than /64 (NET6_INSIDE).
const net6Inside = 1 << 32

// newMemory takes over what is in the maps.
func newMemory(maps *edgeObjects) (*memory, error) {
	m := &memory{maps: maps, pending: &errgroup.Group{}}
	for i, f := range []struct {
		m     *ebpf.Map
		lines int
	}{{maps.Dir4, table.Dir4Lines}, {maps.Dir6, table.Dir6Lines}, {maps.Dir6w, table.Dir6wLines}} {
		var err error
		if m.fixed[i], err = newRegion(f.m, f.lines*64); err != nil {
			return nil, err
		}
	}
	if err := maps.Config.Lookup(uint32(0), &m.settings); err != nil {
		return nil, fmt.Errorf("reading the filter's settings: %w", err)
	}
	m.deep = map[netip.Prefix]table.Meta{}
	var key edgeNet6
	var meta uint64
	it := maps.Deep6.Iterate()
	for it.Next(&key, &meta) {
		m.deep[netip.PrefixFrom(netip.AddrFrom16(unwords(key.Addr)), int(key.Bits))] = table.Meta(meta)
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("reading the kernel's trie: %w", err)
	}
	return m, nil
}

// Deep returns what the trie held when the filter was loaded.
func (m *memory) Deep() map[netip.Prefix]table.Meta { return m.deep }

// Fixed returns the presence filters.
func (m *memory) Fixed() (dir4, dir6, dir6w []table.Line, blank bool) {
	return m.fixed[0].lines(table.Dir4Lines), m.fixed[1].lines(table.Dir6Lines), m.fixed[2].lines(table.Dir6wLines), false
}

// close gives back what Next keeps. What is mapped into our memory goes when nobody can reach it.
func (m *memory) close() error {
	err := m.pending.Wait()
	for _, t := range m.made {
		err = errors.Join(err, t.Close())
	}
	m.made = [table.Tables]*ebpf.Map{}
	return err
}

// Next makes the maps of the next generation. Any change of a map of maps waits until no program runs that ran before, tens of
// milliseconds; so all of them are made at once, and while the caller fills the tables.
func (m *memory) Next(lines [table.Tables]int) (out [table.Tables][]table.Line, keep any, err error) {
	if err := m.close(); err != nil { // Flip's clearing away
		return out, nil, fmt.Errorf("giving back the tables of the last generation: %w", err)
	}
	m.mu.Lock()
	m.next = 1 - m.settings.Generation&1
	m.mu.Unlock()
	var regions []*region
	m.pending = &errgroup.Group{}
	for i, n := range lines {
		inner, err := ebpf.NewMap(&ebpf.MapSpec{
			Name: "table", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: uint32(n), Flags: unix.BPF_F_MMAPABLE | unix.BPF_F_INNER_MAP,
		})
		if err != nil {
			return out, nil, fmt.Errorf("making a table of %d lines: %w", n, permitted(err))
		}
		m.made[i] = inner
		r, err := newRegion(inner, n*64)
		if err != nil {
			return out, nil, fmt.Errorf("making a table of %d lines: %w", n, err)
		}
		at := m.next*tables + uint32(i)
		m.pending.Go(func() error { return m.maps.Tables.Put(at, inner) })
		regions = append(regions, r)
		out[i] = r.lines(n)
	}
	return out, regions, nil
}

// Flip lets the program read the generation that Next made, and gives the other one's maps back.
//
// A packet that began in the other one must find it whole, so a change of the map of maps that changes nothing comes first, for the
// sake of its wait.
func (m *memory) Flip(g table.Geometries, monitored uint64) error {
	if err := m.pending.Wait(); err != nil {
		return fmt.Errorf("giving new tables to the kernel: %w", err)
	}
	err := m.change(func(s *edgeSettings) {
		for to, g := range map[*edgeGeometry]table.Geometry{&s.Hosts4[m.next]: g.Hosts4, &s.Hosts6[m.next]: g.Hosts6, &s.Listed4[m.next]: g.Listed4} {
			*to = edgeGeometry{Buckets: g.Buckets, Seed: g.Seed, Shift: uint64(bits.Len64(g.Buckets) - 1)}
		}
		if g.Listed4.Buckets == 0 { // then nobody looks there
			s.Listed4[m.next] = edgeGeometry{}
		}
	})
	if err == nil { // only now: settings are not written in one piece
		err = m.change(func(s *edgeSettings) { s.Generation, s.MonitoredLists = m.next, monitored })
	}
	if err != nil {
		return err
	}
	if err := m.maps.Tables.Put(m.next*tables, m.made[0]); err != nil {
		return fmt.Errorf("changing over to new tables: %w", err)
	}
	other := 1 - m.next
	m.pending = &errgroup.Group{}
	for i := range tables {
		m.pending.Go(func() error {
			if err := m.maps.Tables.Delete(other*tables + i); !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
			return nil
		})
	}
	return nil
}

// Levels says which lengths of IPv6 prefixes there are entries of.
func (m *memory) Levels(levels uint64) error {
	return m.change(func(s *edgeSettings) { s.Levels = levels })
}

// change changes the settings.
func (m *memory) change(do func(*edgeSettings)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.settings
	do(&next)
	if next == m.settings {
		return nil
	}
	if err := m.maps.Config.Put(uint32(0), &next); err != nil {
		return fmt.Errorf("changing the filter's settings: %w", err)
	}
	m.settings = next
	return nil
}

// Trie changes an entry of the trie of IPv6 prefixes.
func (m *memory) Trie(p netip.Prefix, meta table.Meta) error {
	key := &edgeNet6{Bits: uint32(p.Bits()), Addr: words(p.Addr().As16())}
	var err error
	if meta == 0 {
		if err = m.maps.Deep6.Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
			err = nil
		}
	} else {
		value := uint64(meta)
		if p.Bits() > 64 {
			value |= net6Inside
		}
		err = m.maps.Deep6.Put(key, value)
	}
	if err != nil {
		return fmt.Errorf("entry of %s in the kernel: %w", p, err)
	}
	return nil
}

// Short says whether the trie has prefixes shorter than /20.
func (m *memory) Short(has bool) error {
	return m.change(func(s *edgeSettings) {
		s.Short6 = 0
		if has {
			s.Short6 = 1
		}
	})
}

// bans reads the bans of hosts and sites off the generation in force.
func (m *memory) bans() ([]Ban, error) {
	return bansIn(m.maps.Tables, m.settings.Generation&1*tables, table.Hosts4, table.Hosts6, table.Listed4)
}

// bansIn reads the bans of hosts and sites off some tables of the generation that begins at first.
func bansIn(of *ebpf.Map, first uint32, which ...uint32) ([]Ban, error) {
	var lines [table.Tables][]table.Line
	var keep []*region
	for _, t := range which {
		var inner *ebpf.Map
		err := of.Lookup(first+t, &inner)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's tables: %w", err)
		}
		n := int(inner.MaxEntries())
		r, err := newRegion(inner, n*64)
		inner.Close()
		if err != nil {
			return nil, err
		}
		lines[t], keep = r.lines(n), append(keep, r)
	}
	var all []Ban
	table.Bans(lines, func(p netip.Prefix, l table.List, until table.Tick) {
		all = append(all, Ban{Prefix: p, List: l, Until: until})
	})
	runtime.KeepAlive(keep)
	return all, nil
}

// Ban is a ban as the kernel's tables hold it.
type Ban struct {
	Prefix netip.Prefix
	List   table.List // of layout v1: table.None
	Until  table.Tick
}

// Addresses are in network byte order in the kernel; words makes the integers that the generated types have of them.
func words(b [16]byte) (w [4]uint32) {
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

func unwords(w [4]uint32) (b [16]byte) {
	for i, n := range w {
		binary.NativeEndian.PutUint32(b[4*i:], n)
	}
	return b
}
