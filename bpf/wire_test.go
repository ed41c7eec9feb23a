package bpf

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

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

// load loads the filter and puts into force what it finds, as its user does.
func (w *wire) load(t *testing.T) *Filter {
	t.Helper()
	f := w.loadOnly(t)
	takeBans(t, f)
	return f
}

func (w *wire) loadOnly(t *testing.T) *Filter {
	t.Helper()
	f, err := Load(Options{BPFFS: w.bpffs, Name: "bh-test"})
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func takeBans(t *testing.T, f *Filter) {
	t.Helper()
	for _, b := range f.Inherited() {
		must(t, f.Sources().Ban(b.Prefix, max(b.List, listOne), b.Until))
	}
	must(t, f.Sources().Rebuild())
}

func (w *wire) attach(t *testing.T, f *Filter, name string, mode Mode) Attachment {
	t.Helper()
	a, err := f.Attach(name, mode)
	must(t, err)
	return a
}
