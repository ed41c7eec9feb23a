package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// wire is a border's network namespace, in which the test's thread runs, and one outside, joined by a veth pair: bh0 in the
// border's, bh1 outside.
type wire struct {
	bpffs     string
	outside   netns.NsHandle
	in        *net.UDPConn // at the border, on 10.99.0.1:5060
	bad, good *net.UDPConn // outside, from 10.99.0.2 and 10.99.0.3
	n         int
}

func newWire(t *testing.T) *wire {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread() // never unlocked: the thread dies with the test, and its namespaces with it
	w := &wire{bpffs: t.TempDir()}
	t.Cleanup(func() { _ = unix.Unmount(w.bpffs, unix.MNT_DETACH) })
	must(t, unix.Mount("bpf", w.bpffs, "bpf", 0, "mode=0700"))
	var err error
	w.outside, err = netns.New()
	must(t, err)
	border, err := netns.New()
	must(t, err)
	t.Cleanup(func() { w.outside.Close(); border.Close() })
	w.addVeth(t)
	w.in = listen(t, "10.99.0.1:5060")
	must(t, netns.Set(w.outside))
	w.bad, w.good = listen(t, "10.99.0.2:5060"), listen(t, "10.99.0.3:5060")
	must(t, netns.Set(border))
	return w
}

func (w *wire) addVeth(t *testing.T) {
	t.Helper()
	border, err := netns.Get()
	must(t, err)
	defer border.Close()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "bh0"}, PeerName: "bh1"}))
	peer, err := netlink.LinkByName("bh1")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, int(w.outside)))
	raise(t, "lo", "127.0.0.2/8")
	raise(t, "bh0", "10.99.0.1/24")
	must(t, netns.Set(w.outside))
	raise(t, "bh1", "10.99.0.2/24", "10.99.0.3/24")
	must(t, netns.Set(border))
}

func raise(t *testing.T, name string, addrs ...string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, netlink.AddrAdd(l, addr))
	}
	must(t, netlink.LinkSetUp(l))
}

func listen(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *wire) send(t *testing.T, from *net.UDPConn, text string) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte(text), netip.MustParseAddrPort("10.99.0.1:5060")); err != nil {
		t.Fatal(err)
	}
}

// hears reports whether the border hears from. The witness is sent after it on the same wire, so no clock is needed to know that
// a packet does not come.
func (w *wire) hears(t *testing.T, from, witness *net.UDPConn) bool {
	t.Helper()
	w.n++
	last := fmt.Sprintf("witness %d", w.n)
	w.send(t, from, fmt.Sprintf("question %d", w.n))
	w.send(t, witness, last)
	heard := false
	buf := make([]byte, 100)
	for {
		must(t, w.in.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, err := w.in.Read(buf)
		if err != nil {
			t.Fatalf("the witness is not heard: %v", err)
		}
		switch string(buf[:n]) {
		case last:
			return heard
		case fmt.Sprintf("question %d", w.n):
			heard = true
		}
	}
}

func (w *wire) expect(t *testing.T, what string, badHeard bool) {
	t.Helper()
	if got := w.hears(t, w.bad, w.good); got != badHeard {
		t.Errorf("%s: the banned source is heard: %v, want %v", what, got, badHeard)
	}
}

func (w *wire) load(t *testing.T) *Filter {
	t.Helper()
	f, err := Load(Options{BPFFS: w.bpffs, Name: "bh-test"})
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func (w *wire) attach(t *testing.T, f *Filter, name string, mode Mode) Attachment {
	t.Helper()
	a, err := f.Attach(name, mode)
	must(t, err)
	return a
}

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
	if c := counts(t, f)[fate{FamilyIPv4, ReasonHostBanned, ActionDrop}]; c.Packets != 3 {
		t.Errorf("%d packets counted as dropped, want 3", c.Packets)
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

// While the program is replaced again and again, not one packet of a banned source gets through.
func TestRootReplaceUnderFlood(t *testing.T) {
	w := newWire(t)
	f := w.load(t)
	ban(t, f, time.Hour, "10.99.0.2/32")
	w.attach(t, f, "bh0", ModeNative)
	stop, flooded := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				flooded <- n
				return
			default:
				if _, err := w.bad.WriteToUDPAddrPort([]byte("flood"), netip.MustParseAddrPort("10.99.0.1:5060")); err == nil {
					n++
				}
			}
		}
	}()
	for range 20 {
		must(t, f.Close())
		f = w.load(t)
		if a := w.attach(t, f, "bh0", ModeNative); !a.TookOver {
			t.Fatalf("%+v, want taken over", a)
		}
	}
	close(stop)
	n := <-flooded
	w.send(t, w.good, "end")
	buf := make([]byte, 100)
	must(t, w.in.SetReadDeadline(time.Now().Add(10*time.Second)))
	if l, err := w.in.Read(buf); err != nil || string(buf[:l]) != "end" {
		t.Errorf("heard %q %v in the flood, want only its end", buf[:l], err)
	}
	if c := counts(t, f)[fate{FamilyIPv4, ReasonHostBanned, ActionDrop}]; n == 0 || c.Packets != uint64(n) {
		t.Errorf("%d packets of %d counted as dropped", c.Packets, n)
	}
	must(t, f.Detach())
}

const childEnv = "BH_BPF_CHILD"

// TestMain makes this binary play the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		select {}
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	f, err := Load(Options{BPFFS: dir, Name: "bh-test"})
	if err != nil {
		return err
	}
	n, err := Monotonic()
	if err != nil {
		return err
	}
	if err := f.Ban(Ban{netip.MustParsePrefix("10.99.0.2/32"), n + 3*time.Second}); err != nil {
		return err
	}
	_, err = f.Attach("bh0", ModeNative)
	return err
}

// Bans drop while the process is dead, and end while it is dead.
func TestRootKilled(t *testing.T) {
	w := newWire(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+w.bpffs)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start()) // in this thread's namespaces
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the process says %q", line)
	}
	w.expect(t, "while it lives", false)
	if _, err := Load(Options{BPFFS: w.bpffs, Name: "bh-test"}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second process has the same pins: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for deadline, dropped := time.Now().Add(20*time.Second), false; ; time.Sleep(20 * time.Millisecond) {
		heard := w.hears(t, w.bad, w.good)
		if heard && !dropped {
			t.Fatal("the ban ended with the process")
		}
		if dropped = true; heard {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the ban does not end while no process runs")
		}
	}
	f := w.load(t)
	if c := counts(t, f)[fate{FamilyIPv4, ReasonHostBanned, ActionDrop}]; c.Packets < 2 {
		t.Errorf("%d packets counted as dropped", c.Packets)
	}
	must(t, f.Close())
	must(t, Remove(Options{BPFFS: w.bpffs, Name: "bh-test"}))
	w.nothingLeft(t)
	must(t, Remove(Options{BPFFS: w.bpffs, Name: "bh-test"})) // nothing there: no error
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
	pin := filepath.Join(w.bpffs, "bh-test", layout, "host4")
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
