package bpf

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"brickhouse/bpf/table"
)

// oldTables is how the tables stood in layouts v2 and v3: how many in a generation, and where in struct settings the geometries of generation 1
// are; 0: nowhere.
type oldTables struct {
	layout                  string
	tables                  int
	hosts4, hosts6, listed4 int
	shift                   bool // a geometry says the shift, too
}

var (
	tablesOfV2 = oldTables{layout: "v2", tables: 4, hosts4: 56 + 16, hosts6: 88 + 16}
	tablesOfV3 = oldTables{layout: "v3", tables: 5, hosts4: 64 + 24, hosts6: 112 + 24, listed4: 160 + 24, shift: true}
)

// memoryV2 is the kernel's side of the tables in an older layout (table.Memory), as far as its test needs it.
type memoryV2 struct {
	t    *testing.T
	maps map[string]*ebpf.Map
	held *[]*region
	oldTables
}

func (m memoryV2) Fixed() (dir4, dir6, dir6w []table.Line, blank bool) {
	lines := func(name string, n int) []table.Line {
		r, err := newRegion(m.maps[name], n*64)
		must(m.t, err)
		*m.held = append(*m.held, r)
		return r.lines(n)
	}
	return lines("dir4", table.Dir4Lines), lines("dir6", table.Dir6Lines), lines("dir6w", table.Dir6wLines), true
}

// Next makes the tables of generation 1.
func (m memoryV2) Next(lines [table.Tables]int) (out [table.Tables][]table.Line, keep any, err error) {
	var regions []*region
	for i, n := range lines {
		inner, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: uint32(n), Flags: unix.BPF_F_MMAPABLE | unix.BPF_F_INNER_MAP})
		must(m.t, err)
		defer inner.Close()
		r, err := newRegion(inner, n*64)
		must(m.t, err)
		if i < m.tables {
			must(m.t, m.maps["tables"].Put(uint32(m.tables+i), inner))
		}
		regions = append(regions, r)
		out[i] = r.lines(n)
	}
	return out, regions, nil
}

// Flip writes the settings as struct settings stood: generation first.
func (m memoryV2) Flip(g table.Geometries, _ uint64) error {
	s, err := m.maps["config"].LookupBytes(uint32(0))
	must(m.t, err)
	binary.NativeEndian.PutUint32(s, 1)
	for at, g := range map[int]table.Geometry{m.hosts4: g.Hosts4, m.hosts6: g.Hosts6, m.listed4: g.Listed4} {
		if at == 0 || g.Buckets == 0 {
			continue
		}
		binary.NativeEndian.PutUint64(s[at:], g.Buckets)
		binary.NativeEndian.PutUint64(s[at+8:], g.Seed)
		if m.shift {
			binary.NativeEndian.PutUint64(s[at+16:], uint64(bits.Len64(g.Buckets)-1))
		}
	}
	return m.maps["config"].Put(uint32(0), s)
}

func (memoryV2) Levels(uint64) error                 { return nil }
func (memoryV2) Trie(netip.Prefix, table.Meta) error { return nil }
func (memoryV2) Short(bool) error                    { return nil }
func (memoryV2) Deep() map[netip.Prefix]table.Meta   { return map[netip.Prefix]table.Meta{} }

// layoutOf puts the program of an older layout on bh0, pinned as it was then. testdata/edge_v….o is that program as it was released.
func (w *wire) layoutOf(t *testing.T, old oldTables, bans map[netip.Prefix]Ban) {
	t.Helper()
	dir := filepath.Join(w.bpffs, "bh-test", old.layout)
	must(t, os.MkdirAll(dir, 0o700))
	spec, err := ebpf.LoadCollectionSpec("testdata/edge_" + old.layout + ".o")
	must(t, err)
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}})
	must(t, err)
	defer c.Close()
	var held []*region
	s := table.New(memoryV2{t, c.Maps, &held, old})
	for p, b := range bans {
		must(t, s.Ban(p, b.List, b.Until))
	}
	must(t, s.Rebuild())
	runtime.KeepAlive(held)
	nl, err := netlink.LinkByName("bh0")
	must(t, err)
	l, err := link.AttachXDP(link.XDPOptions{Program: c.Programs["edge"], Interface: nl.Attrs().Index, Flags: link.XDPDriverMode})
	must(t, err)
	must(t, l.Pin(filepath.Join(dir, linkPin+strconv.Itoa(nl.Attrs().Index))))
	must(t, l.Close())
}

// The bans of layouts v2 and v3 move into this one, with their lists; under a flood nothing passes while they do, also when that is
// interrupted.
func TestRootMigrateV2(t *testing.T) { migrates(t, tablesOfV2) }

func TestRootMigrateV3(t *testing.T) { migrates(t, tablesOfV3) }

func migrates(t *testing.T, old oldTables) {
	w := newWire(t)
	end := table.TickOf(now(t) + time.Hour)
	bans := map[netip.Prefix]Ban{}
	for p, b := range map[string]Ban{
		"10.99.0.2/32": {List: listTwo, Until: table.Forever}, "192.0.2.7/32": {List: listOne, Until: end}, "2001:db8:0:1::/64": {List: listTwo, Until: end},
	} {
		bans[netip.MustParsePrefix(p)] = b
	}
	w.layoutOf(t, old, bans)
	w.expect(t, "the layout before", false)
	stop := w.flood(t)
	w.loadOnly(t).abort(t)
	f := w.loadOnly(t)
	got := map[netip.Prefix]Ban{}
	for _, b := range f.Inherited() {
		got[b.Prefix] = b
	}
	for p, want := range bans {
		if b := got[p]; b.List != want.List || b.Until != want.Until {
			t.Errorf("%s: %+v, want %+v", p, b, want)
		}
	}
	if len(got) != len(bans) {
		t.Errorf("inherited %v", got)
	}
	takeBans(t, f)
	if a := w.attach(t, f, "bh0", ModeAuto); !a.TookOver || a.Mode != ModeNative {
		t.Errorf("%+v, want taken over", a)
	}
	must(t, f.Release())
	if n := stop(); n == 0 {
		t.Error("nothing was sent")
	}
	w.silent(t)
	if _, err := os.Stat(filepath.Join(w.bpffs, "bh-test", old.layout)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins of the layout before are left: %v", err)
	}
	w.expect(t, "this layout", false)
	must(t, f.Detach())
	w.nothingLeft(t)
	w.expect(t, "detached", true)
}
