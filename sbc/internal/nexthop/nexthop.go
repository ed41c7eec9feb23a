// Package nexthop tells how an IP packet would leave this machine: by which Ethernet interface, and to which address there. It is for whoever
// writes frames without the kernel's help, and so has to ask what the kernel knows of routes and neighbours.
package nexthop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Why there is no hop. Test with errors.Is.
var (
	ErrUnresolved = errors.New("the next hop's Ethernet address is not known yet") // a packet sent by a socket finds it out
	ErrNoEthernet = errors.New("the way leads over no Ethernet")
)

// Hop is how a packet leaves.
type Hop struct {
	Link        int    // index of the interface
	Name        string // its name
	MTU         int    // longest IP packet
	Destination [6]byte
	Source      [6]byte // the interface's own
}

// Table remembers what the kernel said until Refresh. It belongs to one goroutine.
type Table struct {
	now        func() time.Time
	routes     map[route]way
	links      map[int]*link
	neighbours map[int]*neighbours
}

type route struct{ source, destination netip.Addr }

// way is a route without what neighbours and links are.
type way struct {
	link int
	via  netip.Addr
	mtu  int // 0: the link's
	at   time.Time
	err  error
}

type link struct {
	name string
	mtu  int
	mac  [6]byte
	err  error
}

type neighbours struct {
	at  time.Time
	mac map[netip.Addr][6]byte
}

// How long answers are used: a route until the next Refresh after routeLife; a list of neighbours, where one is missing, for neighbourLife.
const (
	routeLife     = 10 * time.Second
	neighbourLife = 200 * time.Millisecond
)

// New makes an empty table.
func New() *Table {
	return &Table{now: time.Now, routes: map[route]way{}, links: map[int]*link{}, neighbours: map[int]*neighbours{}}
}

// Refresh has links, neighbours and old routes asked for anew.
func (t *Table) Refresh() {
	clear(t.links)
	clear(t.neighbours)
	now := t.now()
	for k, w := range t.routes {
		if now.Sub(w.at) >= routeLife || w.err != nil {
			delete(t.routes, k)
		}
	}
}

// Resolve tells how a packet from one of our addresses gets to destination.
func (t *Table) Resolve(source, destination netip.Addr) (Hop, error) {
	key := route{source, destination}
	w, ok := t.routes[key]
	if !ok {
		w = ask(key)
		w.at = t.now()
		t.routes[key] = w
	}
	if w.err != nil {
		return Hop{}, w.err
	}
	l := t.link(w.link)
	if l.err != nil {
		return Hop{}, l.err
	}
	h := Hop{Link: w.link, Name: l.name, MTU: l.mtu, Source: l.mac}
	if w.mtu > 0 {
		h.MTU = min(h.MTU, w.mtu)
	}
	if h.Destination, ok = t.neighbour(w.link, w.via); !ok {
		return h, fmt.Errorf("%s on %s: %w", w.via, l.name, ErrUnresolved)
	}
	return h, nil
}

// ask asks the kernel for a route.
func ask(r route) way {
	rs, err := netlink.RouteGetWithOptions(net.IP(r.destination.AsSlice()), &netlink.RouteGetOptions{SrcAddr: net.IP(r.source.AsSlice())})
	if err != nil || len(rs) == 0 {
		return way{err: fmt.Errorf("route to %s: %w", r.destination, err)}
	}
	w := way{link: rs[0].LinkIndex, via: r.destination, mtu: rs[0].MTU}
	if rs[0].Type != unix.RTN_UNICAST {
		w.err = fmt.Errorf("route to %s is for no other machine: %w", r.destination, ErrNoEthernet)
	}
	if gw, ok := netip.AddrFromSlice(rs[0].Gw); ok && !gw.IsUnspecified() {
		w.via = gw.Unmap()
	}
	if v, ok := rs[0].Via.(*netlink.Via); ok { // an IPv4 route over an IPv6 gateway
		if gw, ok := netip.AddrFromSlice(v.Addr); ok {
			w.via = gw.Unmap()
		}
	}
	return w
}

func (t *Table) link(index int) *link {
	if l := t.links[index]; l != nil {
		return l
	}
	l := &link{}
	t.links[index] = l
	nl, err := netlink.LinkByIndex(index)
	if err != nil {
		l.err = fmt.Errorf("interface %d: %w", index, err)
		return l
	}
	at := nl.Attrs()
	l.name, l.mtu = at.Name, at.MTU
	if copy(l.mac[:], at.HardwareAddr) != len(l.mac) || at.EncapType != "ether" {
		l.err = fmt.Errorf("interface %s: %w", at.Name, ErrNoEthernet)
	}
	return l
}

// usable are the states of neighbours that the kernel itself sends to without asking first.
const usable = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT | unix.NUD_NOARP

func (t *Table) neighbour(link int, a netip.Addr) ([6]byte, bool) {
	ns := t.neighbours[link]
	if ns != nil {
		if mac, ok := ns.mac[a]; ok || t.now().Sub(ns.at) < neighbourLife {
			return mac, ok
		}
	}
	ns = &neighbours{at: t.now(), mac: map[netip.Addr][6]byte{}}
	t.neighbours[link] = ns
	all, err := netlink.NeighList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return [6]byte{}, false
	}
	for _, n := range all {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && n.State&usable != 0 && len(n.HardwareAddr) == 6 {
			ns.mac[ip.Unmap()] = [6]byte(n.HardwareAddr)
		}
	}
	mac, ok := ns.mac[a]
	return mac, ok
}
