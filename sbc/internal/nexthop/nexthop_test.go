package nexthop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wired moves the test into a namespace with a veth pair: nh0, at 10.77.0.1/24, and nh1 in another one.
func wired(t *testing.T) (nh0 netlink.Link) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread dies with the test
	other, err := netns.New()
	must(t, err)
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { other.Close(); ns.Close() })
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "nh0"}, PeerName: "nh1"}))
	nh1, err := netlink.LinkByName("nh1")
	must(t, err)
	must(t, netlink.LinkSetNsFd(nh1, int(other)))
	must(t, netns.Set(other))
	up(t, "nh1")
	must(t, netns.Set(ns))
	up(t, "nh0", "10.77.0.1/24", "fd77::1/64")
	up(t, "lo")
	nh0, err = netlink.LinkByName("nh0")
	must(t, err)
	return nh0
}

func up(t *testing.T, name string, addrs ...string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = 0x02 // IFA_F_NODAD: usable at once
		must(t, netlink.AddrAdd(l, addr))
	}
}

func neighbour(t *testing.T, l netlink.Link, ip, mac string, state int) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	must(t, err)
	must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: state, IP: net.ParseIP(ip), HardwareAddr: hw}))
}

var (
	us4, us6 = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::1")
	macOne   = [6]byte{2, 0, 0, 0, 0, 1}
	macTwo   = [6]byte{2, 0, 0, 0, 0, 2}
)

func TestResolve(t *testing.T) {
	l := wired(t)
	_, everywhere, err := net.ParseCIDR("198.51.100.0/24")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{Dst: everywhere, Gw: net.ParseIP("10.77.0.9"), MTU: 1400}))
	neighbour(t, l, "10.77.0.7", "02:00:00:00:00:01", netlink.NUD_PERMANENT)
	neighbour(t, l, "10.77.0.9", "02:00:00:00:00:02", netlink.NUD_STALE)
	neighbour(t, l, "fd77::7", "02:00:00:00:00:01", netlink.NUD_PERMANENT)
	table := New()
	now := time.Now()
	table.now = func() time.Time { return now }
	for _, c := range []struct {
		name     string
		src, dst netip.Addr
		mac      [6]byte
		mtu      int
		err      error
	}{
		{"on the link", us4, netip.MustParseAddr("10.77.0.7"), macOne, 1500, nil},
		{"behind a gateway", us4, netip.MustParseAddr("198.51.100.4"), macTwo, 1400, nil},
		{"IPv6", us6, netip.MustParseAddr("fd77::7"), macOne, 1500, nil},
		{"nobody has asked for it", us4, netip.MustParseAddr("10.77.0.8"), [6]byte{}, 0, ErrUnresolved},
		{"ourselves", us4, us4, [6]byte{}, 0, ErrNoEthernet},
		{"no route", us4, netip.MustParseAddr("203.0.113.1"), [6]byte{}, 0, errAny},
	} {
		h, err := table.Resolve(c.src, c.dst)
		if c.err != nil {
			if err == nil || c.err != errAny && !errors.Is(err, c.err) {
				t.Errorf("%s: %+v %v", c.name, h, err)
			}
			continue
		}
		want := Hop{Link: l.Attrs().Index, Name: "nh0", MTU: c.mtu, Destination: c.mac, Source: [6]byte(l.Attrs().HardwareAddr)}
		if err != nil || h != want {
			t.Errorf("%s: %+v %v, want %+v", c.name, h, err, want)
		}
	}
	// What changes is seen after a Refresh; a route only when it is old.
	neighbour(t, l, "10.77.0.7", "02:00:00:00:00:02", netlink.NUD_PERMANENT)
	must(t, netlink.RouteReplace(&netlink.Route{Dst: everywhere, Gw: net.ParseIP("10.77.0.7")}))
	table.Refresh()
	if h, err := table.Resolve(us4, netip.MustParseAddr("10.77.0.7")); err != nil || h.Destination != macTwo {
		t.Errorf("a new address of a neighbour: %+v %v", h, err)
	}
	now = now.Add(routeLife)
	table.Refresh()
	if h, err := table.Resolve(us4, netip.MustParseAddr("198.51.100.4")); err != nil || h.MTU != 1500 {
		t.Errorf("a new route: %+v %v", h, err)
	}
	neighbour(t, l, "10.77.0.7", "02:00:00:00:00:02", netlink.NUD_FAILED)
	table.Refresh()
	if h, err := table.Resolve(us4, netip.MustParseAddr("10.77.0.7")); !errors.Is(err, ErrUnresolved) {
		t.Errorf("a neighbour that is gone: %+v %v", h, err)
	}
}

var errAny = errors.New("any")

// A veth's driver takes frames when the other end can receive them as such: with GRO on, or a program of its own.
func TestTakesFrames(t *testing.T) {
	l := wired(t)
	if err := TakesFrames(l.Attrs().Index); !errors.Is(err, ErrRefuses) {
		if errors.Is(err, ErrUnknown) {
			t.Skip(err)
		}
		t.Errorf("%v, want ErrRefuses", err)
	}
	if err := TakesFrames(1 << 20); err == nil {
		t.Error("an interface that is not there takes frames")
	}
}
