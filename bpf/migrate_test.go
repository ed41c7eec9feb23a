package bpf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"brickhouse/bpf/table"
)

// oldLayout puts the program of layout v1 on bh0, pinned as it was then, with bans in its maps. testdata/edge_v1.o is that program as
// it was released.
func (w *wire) oldLayout(t *testing.T, until map[netip.Prefix]uint64) {
	t.Helper()
	dir := filepath.Join(w.bpffs, "bh-test", "v1")
	must(t, os.MkdirAll(dir, 0o700))
	spec, err := ebpf.LoadCollectionSpec("testdata/edge_v1.o")
	must(t, err)
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}})
	must(t, err)
	defer c.Close()
	for p, u := range until {
		a := p.Addr().AsSlice()
		name, key := "host4", a
		switch bits := p.Bits(); {
		case p.Addr().Is4() && bits < 32, p.Addr().Is6() && bits < 128 && bits != 64:
			name, key = "network4", append(binary.LittleEndian.AppendUint32(nil, uint32(bits)), a...)
			if p.Addr().Is6() {
				name = "network6"
			}
		case bits == 128:
			name = "host6"
		case bits == 64:
			name, key = "site6", a[:8]
		}
		must(t, c.Maps[name].Put(key, [2]uint64{u}))
	}
	nl, err := netlink.LinkByName("bh0")
	must(t, err)
	l, err := link.AttachXDP(link.XDPOptions{Program: c.Programs["edge"], Interface: nl.Attrs().Index, Flags: link.XDPDriverMode})
	must(t, err)
	must(t, l.Pin(filepath.Join(dir, linkPin+strconv.Itoa(nl.Attrs().Index))))
	must(t, l.Close())
}

// The bans of the previous layout move into this one, and under a flood nothing passes while they do.
func TestRootMigrate(t *testing.T) {
	w := newWire(t)
	end := now(t) + time.Hour
	w.oldLayout(t, map[netip.Prefix]uint64{
		netip.MustParsePrefix("10.99.0.2/32"):       ^uint64(0),
		netip.MustParsePrefix("192.0.2.7/32"):       uint64(end),
		netip.MustParsePrefix("198.51.100.0/22"):    uint64(end),
		netip.MustParsePrefix("2001:db8::7/128"):    uint64(end),
		netip.MustParsePrefix("2001:db8:0:1::/64"):  ^uint64(0),
		netip.MustParsePrefix("2001:db8:8000::/33"): uint64(end),
	})
	w.expect(t, "the previous layout", false)
	stop := w.flood(t)
	f := w.loadOnly(t)
	got := map[netip.Prefix]table.Tick{}
	for _, b := range f.Inherited() {
		if got[b.Prefix] = b.Until; b.List != table.None {
			t.Errorf("%v is of list %d", b.Prefix, b.List)
		}
	}
	for p, want := range map[string]table.Tick{"10.99.0.2/32": table.Forever, "192.0.2.7/32": table.TickOf(end), "198.51.100.0/22": table.TickOf(end),
		"2001:db8::7/128": table.TickOf(end), "2001:db8:0:1::/64": table.Forever, "2001:db8:8000::/33": table.TickOf(end)} {
		if u := got[netip.MustParsePrefix(p)]; u != want {
			t.Errorf("%s until %d, want %d", p, u, want)
		}
	}
	if len(got) != 6 {
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
	if _, err := os.Stat(filepath.Join(w.bpffs, "bh-test", "v1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins of the previous layout are left: %v", err)
	}
	w.expect(t, "this layout", false)
	must(t, f.Close())
	w.expect(t, "closed", false)
	f = w.load(t)
	if a := w.attach(t, f, "bh0", ModeAuto); !a.TookOver {
		t.Errorf("%+v, want taken over", a)
	}
	for _, in := range []frame{{src: "192.0.2.7"}, {src: "2001:db8:0:1::5"}} {
		if ret, got := run(t, f, in.bytes()); ret != xdpDrop {
			t.Errorf("%s: %v", in.src, got)
		}
	}
	must(t, f.Detach())
	w.nothingLeft(t)
	w.expect(t, "detached", true)
}

// Whoever dies between two steps of a migration leaves a filter that works and can be taken up again.
func TestRootMigrateInterrupted(t *testing.T) {
	w := newWire(t)
	w.oldLayout(t, map[netip.Prefix]uint64{netip.MustParsePrefix("10.99.0.2/32"): ^uint64(0)})
	stop := w.flood(t)
	w.loadOnly(t).abort(t)
	f := w.load(t)
	f.abort(t) // bans are in the new tables, nothing is attached
	f = w.load(t)
	w.attach(t, f, "bh0", ModeAuto)
	f.abort(t) // attached, and the old pins are still there
	f = w.load(t)
	if len(f.Inherited()) < 1 {
		t.Error("nothing was inherited")
	}
	w.attach(t, f, "bh0", ModeAuto)
	must(t, f.Release())
	stop()
	w.silent(t)
	must(t, f.Detach())
	w.nothingLeft(t)
}

// abort leaves everything as the kernel does when a process dies.
func (f *Filter) abort(t *testing.T) {
	t.Helper()
	must(t, f.close())
}

// While an older version has the previous layout open, this one does not begin, and leaves it alone; Remove removes both.
func TestRootMigrateInUse(t *testing.T) {
	w := newWire(t)
	w.oldLayout(t, map[netip.Prefix]uint64{netip.MustParsePrefix("10.99.0.2/32"): ^uint64(0)})
	lock, err := os.Open(filepath.Join(w.bpffs, "bh-test", "v1"))
	must(t, err)
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	if _, err := Load(Options{BPFFS: w.bpffs, Name: "bh-test"}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
	w.expect(t, "the previous layout goes on", false)
	if _, err := os.Stat(filepath.Join(w.bpffs, "bh-test", layout)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused Load left pins: %v", err)
	}
	must(t, lock.Close())
	must(t, Remove(Options{BPFFS: w.bpffs, Name: "bh-test"}))
	w.nothingLeft(t)
	w.expect(t, "removed", true)
}
