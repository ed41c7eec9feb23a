package bpf

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A filter lives on when it is closed, is taken over when it is loaded again, and leaves nothing when it is detached.
func TestRootAttach(t *testing.T) {
	w := newWire(t)
	w.expect(t, "without a filter", true)
	f := w.load(t)
	ban(t, f, time.Hour, "10.99.0.2/32")
	w.expect(t, "loaded, not attached", true)
	if a := w.attach(t, f, "bh0", ModeAuto); a.Mode != ModeNative || a.TookOver || a.Note != "" {
		t.Errorf("%+v, want native and new", a)
	}
	w.expect(t, "attached", false)
	if again := w.attach(t, f, "bh0", ModeAuto); again != f.Attachments()[0] || len(f.Attachments()) != 1 {
		t.Errorf("attached twice: %v", f.Attachments())
	}
	must(t, f.Close())
	w.expect(t, "closed", false)
	f = w.load(t)
	if a := w.attach(t, f, "bh0", ModeAuto); a.Mode != ModeNative || !a.TookOver {
		t.Errorf("%+v, want taken over", a)
	}
	w.expect(t, "taken over", false)
	if n := dropped(t, f, FamilyIPv4, ReasonHostBanned); n != 3 {
		t.Errorf("%d packets counted as dropped, want 3", n)
	}
	must(t, f.Detach())
	w.expect(t, "detached", true)
	w.nothingLeft(t)
}

func (w *wire) nothingLeft(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(w.bpffs, "bh-test*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left in the BPF file system: %v", left)
	}
	for _, name := range []string{"bh0", "lo"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			t.Errorf("%s still has XDP program %d", name, x.ProgId)
		}
	}
}

// The loopback has no driver: generic, and it says so. Several interfaces share one table.
func TestRootLoopback(t *testing.T) {
	w := newWire(t)
	f := w.load(t)
	ban(t, f, time.Hour, "10.99.0.2/32", "127.0.0.2/32")
	w.attach(t, f, "bh0", ModeAuto)
	if a := w.attach(t, f, "lo", ModeAuto); a.Mode != ModeGeneric || !strings.Contains(a.Note, "no native XDP") {
		t.Errorf("%+v, want generic and why", a)
	}
	if _, err := f.Attach("nosuch0", ModeAuto); err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("%v, want an error that names the interface", err)
	}
	w.in.Close()
	w.in = listen(t, "127.0.0.1:5060")
	say := func(c *net.UDPConn, s string) {
		t.Helper()
		if _, err := c.WriteToUDPAddrPort([]byte(s), netip.MustParseAddrPort("127.0.0.1:5060")); err != nil {
			t.Fatal(err)
		}
	}
	say(listen(t, "127.0.0.2:5060"), "banned")
	say(listen(t, "127.0.0.3:5060"), "honest")
	buf := make([]byte, 100)
	must(t, w.in.SetReadDeadline(time.Now().Add(10*time.Second)))
	if n, err := w.in.Read(buf); err != nil || string(buf[:n]) != "honest" {
		t.Errorf("heard %q %v on lo, want only the honest one", buf[:n], err)
	}
	must(t, f.Close())
	f = w.load(t)
	if a := w.attach(t, f, "lo", ModeAuto); a.Mode != ModeGeneric || !a.TookOver || a.Note == "" {
		t.Errorf("%+v, want taken over and generic, with a note", a)
	}
	must(t, f.Release()) // bh0 is no longer wanted
	if l, err := netlink.LinkByName("bh0"); err != nil || (l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached) {
		t.Errorf("bh0 was not released: %v", err)
	}
	must(t, f.Detach())
	w.nothingLeft(t)
}

// A link's mode changes when another is asked for; a pin of an interface that is gone is replaced.
func TestRootAttachAnew(t *testing.T) {
	w := newWire(t)
	f := w.load(t)
	ban(t, f, time.Hour, "10.99.0.2/32")
	w.attach(t, f, "bh0", ModeNative)
	must(t, f.Close())
	f = w.load(t)
	if a := w.attach(t, f, "bh0", ModeGeneric); a.Mode != ModeGeneric || a.TookOver {
		t.Errorf("%+v, want generic", a)
	}
	w.expect(t, "generic", false)
	must(t, f.Close())

	l, err := netlink.LinkByName("bh0")
	must(t, err)
	old := l.Attrs().Index
	must(t, netlink.LinkDel(l))
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "bh0", Index: old}, PeerName: "bh2"}))
	f = w.load(t)
	if a := w.attach(t, f, "bh0", ModeAuto); a.Mode != ModeNative || a.TookOver || a.Index != old {
		t.Errorf("%+v, want a new link on interface %d", a, old)
	}
	must(t, f.Detach())
	w.nothingLeft(t)
}

// Another's program is named, with the remedy, and left alone.
func TestRootOccupied(t *testing.T) {
	w := newWire(t)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "xdp_dispatcher", Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
	must(t, err)
	defer p.Close()
	nl, err := netlink.LinkByName("bh0")
	must(t, err)
	other, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: nl.Attrs().Index, Flags: link.XDPGenericMode})
	must(t, err)
	f := w.load(t)
	for _, mode := range []Mode{ModeAuto, ModeNative, ModeGeneric} {
		_, err = f.Attach("bh0", mode)
		var o *OccupiedError
		if !errors.As(err, &o) || o.Program != "xdp_dispatcher" || o.ID == 0 || !strings.Contains(err.Error(), "xdp-loader unload bh0 --all") {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if s := (&OccupiedError{Interface: "eth0", ID: 7}).Error(); !strings.Contains(s, "ip link set dev eth0 xdp off") || !strings.Contains(s, "program 7") {
		t.Error(s)
	}
	must(t, other.Close())
	w.attach(t, f, "bh0", ModeAuto)
	must(t, f.Detach())
	w.nothingLeft(t)
}

// What can't be loaded says what is missing and leaves nothing behind.
func TestRootLoadFaults(t *testing.T) {
	w := newWire(t)
	for _, name := range []string{"", "a.b", "a/b"} {
		if _, err := Load(Options{BPFFS: w.bpffs, Name: name}); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
	if _, err := Load(Options{BPFFS: "/proc/nosuch", Name: "bh-test"}); err == nil {
		t.Error("a BPF file system can't be at /proc/nosuch")
	}

	// A map of another layout under our name.
	f := w.load(t)
	must(t, f.Close())
	w.nothingLeft(t) // it was attached nowhere
	f = w.load(t)
	w.attach(t, f, "bh0", ModeAuto)
	must(t, f.Close())
	pin := filepath.Join(w.bpffs, "bh-test", layout, "ports")
	must(t, os.Remove(pin))
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 10})
	must(t, err)
	defer m.Close()
	must(t, m.Pin(pin))
	if _, err := Load(Options{BPFFS: w.bpffs, Name: "bh-test"}); !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), "remove ") {
		t.Errorf("%v, want ErrLayout and a remedy", err)
	}
	must(t, Remove(Options{BPFFS: w.bpffs, Name: "bh-test"}))

	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and die with it: this thread alone is no longer root
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
			done <- e
			return
		}
		var err error
		for _, o := range []Options{{}, {BPFFS: "/root/bh-nosuch", Name: "bh-test"}, {BPFFS: w.bpffs, Name: "bh-test"}, {BPFFS: "/proc", Name: "bh-test"}} {
			if _, err = Load(o); !errors.Is(err, ErrNotPermitted) {
				break
			}
		}
		done <- err
	}()
	if err := <-done; !errors.Is(err, ErrNotPermitted) {
		t.Errorf("%v, want ErrNotPermitted", err)
	}
	w.nothingLeft(t)
}

// Where no BPF file system is, one is mounted.
func TestRootMount(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	f, err := Load(Options{BPFFS: dir, Name: "bh-test"})
	must(t, err)
	if ok, err := isBPFFS(dir); err != nil || !ok {
		t.Errorf("%v %v", ok, err)
	}
	if (f.Note() != "") != privateMounts() {
		t.Errorf("note %q, private mounts: %v", f.Note(), privateMounts())
	}
	must(t, f.Detach())
}
