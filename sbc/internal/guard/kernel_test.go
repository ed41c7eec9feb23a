package guard

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

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"brickhouse/bpf"
	"brickhouse/shared/verdict"
)

// wire is a border's network namespace, in which the test's thread runs, and one outside, joined by a veth pair; the border is
// 10.99.0.1 on bh0, outside are 10.99.0.2, .3 and .4.
type wire struct {
	bpffs   string
	ns      netns.NsHandle // outside
	in      *net.UDPConn
	outside map[string]*net.UDPConn
	n       int
}

// onWire is the configuration of a guard on a wire.
func onWire(bpffs string) Config {
	cfg := Default()
	cfg.XDP.Mode = XDPNative
	cfg.XDP.Interfaces = []string{"bh0"}
	cfg.Rates = Rates{}
	cfg.XDP.BPFFS, cfg.XDP.Name = bpffs, "bh-guard"
	return cfg
}

func newWire(t *testing.T) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread dies with the test, and its namespaces with it
	w := &wire{bpffs: t.TempDir(), outside: map[string]*net.UDPConn{}}
	must(t, unix.Mount("bpf", w.bpffs, "bpf", 0, "mode=0700"))
	t.Cleanup(func() { _ = unix.Unmount(w.bpffs, unix.MNT_DETACH) })
	outside, err := netns.New()
	must(t, err)
	w.ns = outside
	border, err := netns.New()
	must(t, err)
	t.Cleanup(func() { outside.Close(); border.Close() })
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "bh0"}, PeerName: "bh1"}))
	peer, err := netlink.LinkByName("bh1")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, int(outside)))
	raise(t, "lo")
	raise(t, "bh0", "10.99.0.1/24")
	w.in = listen(t, "10.99.0.1:5060")
	must(t, netns.Set(outside))
	raise(t, "bh1", "10.99.0.2/24", "10.99.0.3/24", "10.99.0.4/24")
	for _, a := range []string{"10.99.0.2", "10.99.0.3", "10.99.0.4"} {
		w.outside[a] = listen(t, a+":5060")
	}
	must(t, netns.Set(border))
	return w
}

func raise(t *testing.T, name string, addrs ...string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	for _, a := range addrs {
		parsed, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, netlink.AddrAdd(l, parsed))
	}
	must(t, netlink.LinkSetUp(l))
}

func listen(t *testing.T, a string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addrPort(a)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// hears reports whether the border hears src; 10.99.0.4 is the witness, sent after it on the same wire.
func (w *wire) hears(t *testing.T, src string) bool {
	t.Helper()
	w.n++
	question, last := fmt.Sprintf("SIP/2.0 question %d", w.n), fmt.Sprintf("SIP/2.0 witness %d", w.n)
	for _, m := range [][2]string{{src, question}, {"10.99.0.4", last}} {
		if _, err := w.outside[m[0]].WriteToUDPAddrPort([]byte(m[1]), addrPort("10.99.0.1:5060")); err != nil {
			t.Fatal(err)
		}
	}
	heard, buf := false, make([]byte, 100)
	for {
		must(t, w.in.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, err := w.in.Read(buf)
		if err != nil {
			t.Fatalf("the witness is not heard: %v", err)
		}
		switch string(buf[:n]) {
		case last:
			return heard
		case question:
			heard = true
		}
	}
}

func (w *wire) expect(t *testing.T, src string, want bool) {
	t.Helper()
	if got := w.hears(t, src); got != want {
		t.Errorf("%s is heard: %v, want %v", src, got, want)
	}
}

// kernelBans reads the kernel's tables while nobody changes them.
func kernelBans(g *Guard) ([]bpf.Ban, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kernel.filter.Bans()
}

func kernelDrops(t *testing.T, g *Guard, reason verdict.Reason) uint64 {
	t.Helper()
	s, err := g.Stats()
	must(t, err)
	for _, c := range s.Counts {
		if c.Where == "kernel" && c.Family == "ipv4" && c.Reason == reason && c.Action == "drop" {
			return c.Packets
		}
	}
	return 0
}

// The fifth failure bans: the next packet is dropped in the kernel, counted and sampled with its reason; it ends by itself; a phone
// behind another address goes on.
func TestRootBanInKernel(t *testing.T) {
	w := newWire(t)
	cfg := onWire(w.bpffs)
	cfg.Rules[0].Ban = 2 * time.Second
	g := open(t, cfg, Options{})
	defer g.Detach()
	if mode, why := g.Mode(); mode != ModeNative || why != "" {
		t.Errorf("%s %q", mode, why)
	}
	if is := g.Interfaces(); len(is) != 1 || is[0] != (InterfaceMode{"bh0", ModeNative, ""}) {
		t.Errorf("%+v", is)
	}
	events := g.Watch(t.Context())
	fail(g, "10.99.0.2", 4)
	w.expect(t, "10.99.0.2", true)
	fail(g, "10.99.0.2", 1)
	w.expect(t, "10.99.0.2", false)
	w.expect(t, "10.99.0.3", true)
	if n := kernelDrops(t, g, verdict.HostBanned); n != 1 {
		t.Errorf("%d packets counted, want 1", n)
	}
	if e := next(t, events); e.Kind != EventBan {
		t.Errorf("%+v", e)
	}
	if e := next(t, events); e.Kind != EventDrop || e.Drop.Where != "kernel" || e.Drop.Source != addr("10.99.0.2") || e.Drop.Reason != verdict.HostBanned ||
		e.Drop.Interface != "bh0" || e.Drop.Length != 14+28+len("SIP/2.0 question 2") || len(e.Drop.Head) == 0 || time.Since(e.At).Abs() > time.Minute {
		t.Errorf("%+v", e.Drop)
	}
	waitFor(t, "the ban has ended in the kernel", func() bool { return w.hears(t, "10.99.0.2") })
	if e, _ := g.Why(addr("10.99.0.2")); len(e.Bans) != 0 {
		t.Errorf("the kernel ended it before the guard: %+v", e.Bans)
	}
	waitFor(t, "the entry is removed", func() bool {
		all, err := kernelBans(g)
		return err == nil && len(all) == 0
	})
}

// Bans hold while the process is dead; the next one takes over filter and bans, adopts what its journal lacks, and forgets what a
// person lifted.
func TestRootKilled(t *testing.T) {
	w := newWire(t)
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_BPFFS="+w.bpffs)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "native \n" {
		t.Fatalf("the process says %q", line)
	}
	w.expect(t, "10.99.0.2", false)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for range 5 {
		w.expect(t, "10.99.0.2", false)
	}
	w.expect(t, "10.99.0.3", true)

	g := open(t, onWire(w.bpffs), Options{Dir: dir})
	e, _ := g.Why(addr("10.99.0.2"))
	if len(e.Bans) != 1 || e.Bans[0].Rule != "logins" || len(e.Bans[0].Evidence) != 5 || e.Bans[0].Left(time.Now()) > 5*time.Minute {
		t.Errorf("%+v", e.Bans)
	}
	w.expect(t, "10.99.0.2", false)
	if n := kernelDrops(t, g, verdict.HostBanned); n != 7 {
		t.Errorf("%d packets counted, want 7", n)
	}
	must(t, g.Unban(prefix("10.99.0.2/32"), "ann", ""))
	w.expect(t, "10.99.0.2", true)

	// As if the process had died between kernel and journal: a new ban, and a lifted one.
	for _, p := range []string{"10.99.0.2/32", "10.99.0.3/32", "2001:db8::/64"} {
		must(t, g.set.Ban(prefix(p), listPersons, g.base.tick(time.Now().Add(time.Hour))))
	}
	must(t, g.set.Ban(prefix("192.0.2.1/32"), listPersons, g.base.tick(time.Now().Add(-5*time.Second))))
	must(t, g.Close())
	for range 2 { // adopted once, it is in the journal
		g = open(t, onWire(w.bpffs), Options{Dir: dir})
		w.expect(t, "10.99.0.2", true)
		w.expect(t, "10.99.0.3", false)
		l := g.List()
		if len(l) != 2 || l[0].By != ByKernel || l[1].By != ByKernel || l[0].Left(time.Now()) < 59*time.Minute {
			t.Errorf("%+v", l)
		}
		if all, err := kernelBans(g); err != nil || len(all) != 2 {
			t.Errorf("%v %v", all, err)
		}
		must(t, g.Close())
	}
	must(t, Remove(onWire(w.bpffs).XDP))
	w.expect(t, "10.99.0.3", true)
}

// With the pins gone, as after a reboot, the journal alone brings the bans back; the allow list wins in the kernel too.
func TestRootAfterReboot(t *testing.T) {
	w := newWire(t)
	dir := t.TempDir()
	allow := map[string][]netip.Prefix{"trunks": Single(addr("10.99.0.4"))}
	g := open(t, onWire(w.bpffs), Options{Dir: dir, Allow: allow})
	fail(g, "10.99.0.2", 5)
	must(t, g.Ban(prefix("10.99.0.0/24"), Forever, "ann", ""))
	w.expect(t, "10.99.0.3", false) // and the witness, on the allow list, is heard
	must(t, g.Detach())
	w.expect(t, "10.99.0.2", true)
	if left, _ := filepath.Glob(filepath.Join(w.bpffs, "bh*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	g = open(t, onWire(w.bpffs), Options{Dir: dir, Allow: allow})
	w.expect(t, "10.99.0.2", false)
	w.expect(t, "10.99.0.3", false)
	must(t, g.SetAllow("operators", Single(addr("10.99.0.3"))))
	w.expect(t, "10.99.0.3", true)
	must(t, g.SetAllow("operators", nil))
	w.expect(t, "10.99.0.3", false)

	cfg := onWire(w.bpffs)
	cfg.XDP.Monitor = true
	must(t, g.Reload(cfg))
	w.expect(t, "10.99.0.3", true)
	must(t, g.Detach())
}

// The kernel sees only the longest prefix; the guard makes it last as long as the wider one.
func TestRootNetworksWithin(t *testing.T) {
	w := newWire(t)
	g := open(t, onWire(w.bpffs), Options{Allow: map[string][]netip.Prefix{"witness": Single(addr("10.99.0.4"))}})
	defer g.Detach()
	must(t, g.Ban(prefix("10.99.0.2/31"), time.Second, "ann", ""))
	must(t, g.Ban(prefix("10.99.0.0/24"), time.Hour, "ann", ""))
	waitFor(t, "the short ban has ended", func() bool { return len(g.List()) == 1 })
	w.expect(t, "10.99.0.2", false)
	must(t, g.Ban(prefix("10.99.0.2/31"), time.Hour, "ann", ""))
	must(t, g.Unban(prefix("10.99.0.0/24"), "ann", ""))
	w.expect(t, "10.99.0.2", false)
	must(t, g.Unban(prefix("10.99.0.2/31"), "ann", ""))
	w.expect(t, "10.99.0.2", true)
}

// What can't be had from the kernel is done in user space with auto, and is an error otherwise; either way it is said.
func TestRootFallback(t *testing.T) {
	w := newWire(t)
	blocker := open(t, onWire(w.bpffs), Options{})
	defer blocker.Detach()
	auto := func(change func(*XDP)) Config {
		cfg := onWire(w.bpffs)
		cfg.XDP.Mode, cfg.XDP.Name = XDPAuto, "bh-other"
		change(&cfg.XDP)
		return cfg
	}
	for name, tc := range map[string]struct {
		cfg  Config
		mode Mode
		why  string
	}{
		"occupied":    {auto(func(*XDP) {}), ModeUserSpace, `interface bh0: XDP program "edge"`},
		"same pins":   {auto(func(x *XDP) { x.Name = "bh-guard" }), ModeUserSpace, "in use by another process"},
		"no such one": {auto(func(x *XDP) { x.Interfaces = []string{"nosuch0"} }), ModeUserSpace, "interface nosuch0: "},
		"no bpffs":    {auto(func(x *XDP) { x.BPFFS = "/proc/nosuch" }), ModeUserSpace, "BPF file system"},
		"generic":     {auto(func(x *XDP) { x.Interfaces = []string{"lo"} }), ModeGeneric, "lo: no native XDP"},
		"mixed":       {auto(func(x *XDP) { x.Interfaces = []string{"lo", "bh0"} }), ModeMixed, "interface bh0: XDP program"},
	} {
		g := open(t, tc.cfg, Options{})
		mode, why := g.Mode()
		if mode != tc.mode || !strings.Contains(why, tc.why) {
			t.Errorf("%s: %s %q, want %s and %q", name, mode, why, tc.mode, tc.why)
		}
		if is := g.Interfaces(); len(is) != len(tc.cfg.XDP.Interfaces) || is[len(is)-1].Note == "" {
			t.Errorf("%s: %+v", name, is)
		}
		fail(g, "192.0.2.7", 5)
		expectAdmit(t, g, "192.0.2.7", hostBanned)
		must(t, g.Detach())
		if mode != ModeUserSpace {
			continue
		}
		tc.cfg.XDP.Mode = XDPNative
		if _, err := Open(tc.cfg, Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s, mode native: %v", name, err)
		}
	}
	var occupied *bpf.OccupiedError
	cfg := auto(func(x *XDP) { x.Mode = XDPGeneric })
	if _, err := Open(cfg, Options{Dir: t.TempDir()}); !errors.As(err, &occupied) {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(w.bpffs, "bh-other*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// A user without rights gets the same bans in user space, and is told why.
func TestRootNotPermitted(t *testing.T) {
	w := newWire(t)
	type result struct {
		mode Mode
		why  string
		err  error
	}
	dir, done := t.TempDir(), make(chan result)
	must(t, os.Chown(dir, 65534, 65534))
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
	go func() {
		runtime.LockOSThread() // and die with it: this thread alone is no longer root
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
			done <- result{err: e}
			return
		}
		cfg := onWire(w.bpffs)
		cfg.XDP.Mode = XDPAuto
		g, err := Open(cfg, Options{Dir: dir})
		if err != nil {
			done <- result{err: err}
			return
		}
		fail(g, "192.0.2.7", 5)
		if g.Admit(addr("192.0.2.7")).OK() {
			err = errors.New("no ban in user space")
		}
		mode, why := g.Mode()
		done <- result{mode, why, errors.Join(err, g.Close())}
	}()
	r := <-done
	if r.err != nil || r.mode != ModeUserSpace || !strings.Contains(r.why, "needs root") {
		t.Errorf("%+v", r)
	}
}

// 100,000 bans are in the kernel again after a restart.
func TestRootManyBans(t *testing.T) {
	w := newWire(t)
	dir := t.TempDir()
	cfg := onWire(w.bpffs)
	writeManyBans(t, dir, 100_000)
	for range 2 {
		start := time.Now()
		g := open(t, cfg, Options{Dir: dir})
		t.Logf("open: %v", time.Since(start))
		if all, err := kernelBans(g); err != nil || len(all) != 100_000 {
			t.Errorf("%d bans in the kernel, %v", len(all), err)
		}
		must(t, g.Close())
	}
	must(t, Remove(cfg.XDP))
}
