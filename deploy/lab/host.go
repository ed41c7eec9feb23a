package lab

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"brickhouse/deploy/lab/netns"
)

// Host is one machine of the lab: a namespace, or addresses on loopback.
type Host struct {
	Name  string
	lab   *Lab
	ns    netns.Namespace // "" on loopback
	wires []*Wire         // the first is the one a stranger would name
	addrs map[*Wire][]netip.Addr
	slots int // programs that were given ports of their own
}

// Addr is the host's IPv4 address on a wire, or on its first wire if none is named.
func (h *Host) Addr(on ...*Wire) netip.Addr {
	h.lab.t.Helper()
	w := h.wires[0]
	if len(on) > 0 {
		w = on[0]
	}
	if len(h.addrs[w]) == 0 {
		h.lab.t.Fatalf("lab: %s is not on wire %s", h.Name, w.Name)
	}
	return h.addrs[w][0]
}

// Addr6 is the host's IPv6 address on its first wire or the one named; invalid on loopback.
func (h *Host) Addr6(on ...*Wire) netip.Addr {
	w := h.wires[0]
	if len(on) > 0 {
		w = on[0]
	}
	for _, a := range h.addrs[w] {
		if a.Is6() {
			return a
		}
	}
	return netip.Addr{}
}

// Port is the host's IPv4 address on a wire, with a port. On loopback each run adds a number of its own to every port
// below 10000, because there a stranger's wildcard socket takes its port on all addresses; use Port for what you
// configure and for what you dial alike.
func (h *Host) Port(on *Wire, port uint16) netip.AddrPort {
	h.lab.t.Helper()
	return netip.AddrPortFrom(h.Addr(on), h.lab.port(port))
}

// Addrs are all addresses of the host, of both families.
func (h *Host) Addrs() []netip.Addr {
	var all []netip.Addr
	for _, w := range h.wires {
		all = append(all, h.addrs[w]...)
	}
	return all
}

// Wires are the segments that the host hangs on; the first is the one a stranger would name.
func (h *Host) Wires() []*Wire { return h.wires }

// AddrsOn are the host's addresses on a wire.
func (h *Host) AddrsOn(w *Wire) []netip.Addr { return h.addrs[w] }

// AddAddr gives the host one more address on its first wire, so that one attacker may be many. On loopback every
// address is there already.
func (h *Host) AddAddr(a netip.Addr) {
	h.lab.t.Helper()
	w := h.wires[0]
	if h.lab.net != nil {
		if err := h.lab.net.AddAddr(h.Name, w.Name, a); err != nil {
			h.lab.t.Fatalf("lab: %v", err)
		}
	}
	h.addrs[w] = append(h.addrs[w], a)
}

// Unplug takes the host's cable off a wire; Plug puts it back. Namespaces only.
func (h *Host) Unplug(w *Wire) { h.lab.t.Helper(); h.setLink(w, false) }

// Plug puts the cable back.
func (h *Host) Plug(w *Wire) { h.lab.t.Helper(); h.setLink(w, true) }

// TakeFrames lets the host's XDP program send frames to its wires.
func (h *Host) TakeFrames() {
	h.lab.t.Helper()
	for _, w := range h.wires {
		if err := h.lab.net.TakeFrames(h.Name, w.Name); err != nil {
			h.lab.t.Fatalf("lab: %v", err)
		}
	}
}

// FullChecksums has the host write the checksums of what it sends, as a real card does.
func (h *Host) FullChecksums() {
	h.lab.t.Helper()
	for _, w := range h.wires {
		if err := h.lab.net.FullChecksums(h.Name, w.Name); err != nil {
			h.lab.t.Fatalf("lab: %v", err)
		}
	}
}

func (h *Host) setLink(w *Wire, up bool) {
	h.lab.t.Helper()
	if h.lab.net == nil {
		h.lab.t.Fatalf("lab: loopback has no cables")
	}
	if err := h.lab.net.SetLink(h.Name, w.Name, up); err != nil {
		h.lab.t.Fatalf("lab: %v", err)
	}
}

// Do runs fn on the host: a socket that fn itself opens belongs to the host for good. See netns.Namespace.Do for what that
// means to goroutines. It is how a test phone written in Go gets into the lab.
func (h *Host) Do(fn func() error) error { return h.ns.Do(fn) }

// Enter is the command with which a person gets a shell, or runs a program, on the host. Unlike `ip netns exec` it leaves
// /sys as it is, with the pinned BPF objects. Empty on loopback.
func (h *Host) Enter() string {
	if h.ns == "" {
		return ""
	}
	return "nsenter --net=" + h.ns.Path()
}

// Dial connects from the host to a literal address.
func (h *Host) Dial(network string, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() (err error) {
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: h.local(network, to)}
		c, err = d.Dial(network, to.String())
		return err
	})
	return c, err
}

// local is the address to dial from: on loopback the kernel would take 127.0.0.1 for every host.
func (h *Host) local(network string, to netip.AddrPort) net.Addr {
	if h.ns != "" {
		return nil
	}
	from := h.addrs[h.wires[0]][0]
	for _, w := range h.wires {
		if w.Prefix.Contains(to.Addr()) {
			from = h.addrs[w][0]
		}
	}
	if network == "udp" {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
}

// HTTP is a client whose connections begin on the host; URLs must hold literal addresses.
func (h *Host) HTTP() *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, err
			}
			return h.Dial(network, to)
		}},
	}
}

// slot hands out numbers 0, 1, 2… so that several programs on one host get ports of their own; on loopback, where some
// bind their media to the wildcard address, all hosts share the numbers.
func (h *Host) slot() uint16 {
	if h.lab.net == nil {
		h = h.lab.DMZ
	}
	h.slots++
	return uint16(h.slots - 1)
}
