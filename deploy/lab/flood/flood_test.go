package flood

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"brickhouse/deploy/lab/netns"
)

var (
	here, there = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	to4, to6    = netip.MustParseAddrPort("198.18.0.1:5060"), netip.MustParseAddrPort("[2001:db8:18::1]:5060")
)

// Checksums are right for every source, and stay so when the source changes.
func TestFrameChecksums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		to  netip.AddrPort
		src netip.Prefix
	}{{to4, netip.MustParsePrefix("0.0.0.0/0")}, {to6, netip.MustParsePrefix("::/0")}} {
		for n := range 100 {
			f, err := NewFrame(here, there, c.to, make([]byte, n))
			if err != nil {
				t.Fatal(err)
			}
			for range 100 {
				src := Within(c.src)(r)
				f.From(src)
				ip := f.Bytes[etherHeader:]
				got := fold(sum(0, ip[:ipv4Header]))
				if c.to.Addr().Is6() {
					udp := ip[ipv6Header : ipv6Header+udpHeader+n]
					got = fold(sum(sum(uint32(len(udp))+udpProtocol, ip[8:ipv6Header]), udp))
					if binary.BigEndian.Uint16(udp) != src.Port() {
						t.Fatalf("source port of %x", udp)
					}
				}
				if got != 0 {
					t.Fatalf("to %s from %s: the sum is off by %x in %x", c.to, src, got, f.Bytes)
				}
			}
		}
	}
}

func TestFrameFaults(t *testing.T) {
	if _, err := NewFrame(here, there, to4, make([]byte, MaxPayload+1)); err == nil {
		t.Error("a payload that is too long was taken")
	}
	if _, err := NewFrame(here[:5], there, to4, nil); err == nil {
		t.Error("five bytes were taken for an Ethernet address")
	}
}

func TestSources(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range []string{"198.51.100.0/22", "192.0.2.1/32", "2001:db8::/61", "0.0.0.0/0"} {
		p := netip.MustParsePrefix(s)
		seen := map[netip.Addr]bool{}
		for range 1000 {
			a := Within(p)(r)
			if !p.Contains(a.Addr()) || a.Port() < firstPort {
				t.Fatalf("%s is not in %s", a, p)
			}
			seen[a.Addr()] = true
		}
		if p.IsSingleIP() != (len(seen) == 1) || !p.IsSingleIP() && len(seen) < 500 {
			t.Errorf("%s: %d addresses in a thousand", p, len(seen))
		}
	}
	list := []netip.AddrPort{to4, netip.AddrPortFrom(to6.Addr(), 0)}
	for range 100 {
		if a := Among(list...)(r); a != to4 && (a.Addr() != to6.Addr() || a.Port() == 0) {
			t.Errorf("%s is not on the list", a)
		}
	}
}

func TestFloodFaults(t *testing.T) {
	for _, f := range []Flood{
		{}, {Sources: Among(to4)}, {Sources: Among(to4), To: to4, For: MaxFor + 1},
		{Sources: Among(to4), To: to4, Interface: "nosuch0", MAC: there, CPU: -1},
	} {
		if s, err := f.Run(context.Background()); err == nil || s.Packets > 0 {
			t.Errorf("%+v: %+v %v", f, s, err)
		}
	}
}

// What is sent arrives, with its sources, and neither more nor longer than was said.
func TestRootFlood(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	wire := netns.Wire{Name: "w", V4: netip.MustParsePrefix("198.18.0.0/16"), V6: netip.MustParsePrefix("2001:db8:18::/64")}
	link := func(addrs ...string) []netns.Link {
		l := netns.Link{Wire: "w"}
		for _, a := range addrs {
			l.Addrs = append(l.Addrs, netip.MustParseAddr(a))
		}
		return []netns.Link{l}
	}
	n, err := netns.Create(netns.Plan{Wires: []netns.Wire{wire}, Hosts: []netns.HostPlan{
		{Name: "from", Links: link("198.18.0.2", "2001:db8:18::2")}, {Name: "to", Links: link("198.18.0.1", "2001:db8:18::1")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	for _, c := range []struct {
		to   netip.AddrPort
		from netip.Prefix
	}{{to4, netip.MustParsePrefix("198.18.128.0/17")}, {to6, netip.MustParsePrefix("2001:db8:18::/64")}} {
		arrives(t, n, c.to, c.from)
	}
}

func arrives(t *testing.T, n *netns.Net, to netip.AddrPort, from netip.Prefix) {
	const count = 500
	var in *net.UDPConn
	var mac net.HardwareAddr
	err := n.Host("to").Do(func() (err error) {
		i, err := net.InterfaceByName("w")
		if err != nil {
			return err
		}
		mac = i.HardwareAddr
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		return in.SetReadBuffer(4 << 20)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = n.Host("from").Do(func() error {
		s, err := Flood{Interface: "w", MAC: mac, To: to, Sources: Within(from), Count: count, Rate: 5000, CPU: 0}.Run(context.Background())
		if s.Packets != count {
			t.Errorf("%+v, want %d packets", s, count)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	seen := map[netip.AddrPort]bool{}
	for len(seen) < count/2 { // a wire may lose some when the machine is busy
		if err := in.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		l, src, err := in.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("%d of %d arrived: %v", len(seen), count, err)
		}
		if src = netip.AddrPortFrom(src.Addr().Unmap().WithZone(""), src.Port()); !from.Contains(src.Addr()) || string(buf[:l]) != string(Options(to)) {
			t.Fatalf("%q from %s", buf[:l], src)
		}
		seen[src] = true
	}
	err = n.Host("from").Do(func() error {
		s, err := Flood{Interface: "w", MAC: mac, To: to, Sources: Within(from), For: 50 * time.Millisecond, CPU: -1}.Run(context.Background())
		if s.Packets == 0 || s.Took < 50*time.Millisecond {
			t.Errorf("%+v", s)
		}
		t.Logf("%.0f packets a second", float64(s.Packets)/s.Took.Seconds())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
