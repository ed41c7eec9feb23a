package product

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"brickhouse/deploy/lab/flood"
)

// outer is the border's outer interface; every host calls its own so.
const outer = "inet"

// hardware is the Ethernet address of the border's outer interface.
func (p *Product) hardware(t *testing.T) (mac net.HardwareAddr) {
	t.Helper()
	err := p.Lab.DMZ.Do(func() error {
		i, err := net.InterfaceByName(outer)
		if err == nil {
			mac = i.HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// flood sends from the attacker's wire and returns when that is done.
func (p *Product) flood(t *testing.T, f flood.Flood) flood.Sent {
	t.Helper()
	return p.flooding(t, f)()
}

// flooding begins a flood; stop ends it and says what was sent.
func (p *Product) flooding(t *testing.T, f flood.Flood) (stop func() flood.Sent) {
	t.Helper()
	f.Interface, f.MAC = outer, p.hardware(t)
	if f.Count == 0 && f.For == 0 {
		f.For = flood.MaxFor
	}
	type result struct {
		sent flood.Sent
		err  error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		var r result
		r.err = p.Lab.Attacker.Do(func() (err error) {
			r.sent, err = f.Run(ctx)
			return err
		})
		done <- r
	}()
	bounded := f.Count > 0
	return func() flood.Sent {
		t.Helper()
		if !bounded {
			cancel()
		}
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.sent
	}
}

// witness sees every IPv4 packet that the border's filter lets through to the kernel, whoever listens.
type witness struct {
	t  *testing.T
	fd int
}

// witness opens one.
func (p *Product) witness(t *testing.T) *witness {
	t.Helper()
	w := &witness{t: t}
	err := p.Lab.DMZ.Do(func() error {
		i, err := net.InterfaceByName(outer)
		if err != nil {
			return err
		}
		const ipv4 = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network byte order
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: i.Index}))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(w.fd) })
	return w
}

// saw is how many packets from some prefixes came through since it was last asked. It must not have missed any.
func (w *witness) saw(from ...netip.Prefix) int {
	w.t.Helper()
	n := 0
	buf := make([]byte, 2048)
	for {
		l, _, err := unix.Recvfrom(w.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if l < 20 {
			continue
		}
		src := netip.AddrFrom4([4]byte(buf[12:16])) // RFC 791 §3.1
		if slices.ContainsFunc(from, func(p netip.Prefix) bool { return p.Contains(src) }) {
			n++
		}
	}
	s, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || s.Drops > 0 {
		w.t.Fatalf("the witness missed %d packets: %v", s.Drops, err)
	}
	return n
}

// awaits waits until a packet from a prefix comes through.
func (w *witness) awaits(from netip.Prefix) {
	w.t.Helper()
	until(w.t, waits, "packets from "+from.String()+" to pass", func() string {
		if w.saw(from) == 0 {
			return "none came"
		}
		return ""
	})
}

// xdpProgram is the number of the XDP program on the border's outer interface; 0 is none.
func (p *Product) xdpProgram(t *testing.T) (id uint32) {
	t.Helper()
	err := p.Lab.DMZ.Do(func() error {
		l, err := netlink.LinkByName(outer)
		if err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached {
			id = l.Attrs().Xdp.ProgId
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ban shuts prefixes out by hand.
func (p *Product) ban(t *testing.T, prefixes ...netip.Prefix) {
	t.Helper()
	for _, b := range prefixes {
		p.Command("sbc", "", "ban", "add", b.String(), "--for", "1h")
	}
	p.onlyBanned(t, prefixes...)
}

// onlyBanned wants that the list of bans holds these prefixes and no others.
func (p *Product) onlyBanned(t *testing.T, want ...netip.Prefix) {
	t.Helper()
	var bans []struct{ Prefix netip.Prefix }
	p.ask(t, &bans, "sbc", "ban", "list")
	for _, b := range bans {
		if !slices.Contains(want, b.Prefix) {
			t.Errorf("%s is banned", b.Prefix)
		}
	}
	if len(bans) != len(want) {
		t.Errorf("%d bans, want %d: %v", len(bans), len(want), bans)
	}
}

// droppedOf is how many packets the kernel has dropped since their source was banned, as a host or as part of a network.
func (s banStats) droppedOf(reasons ...string) (n uint64) {
	for _, c := range s.Counts {
		if c.Where == "kernel" && c.Action == "drop" && slices.Contains(reasons, c.Reason) {
			n += uint64(c.Packets)
		}
	}
	return n
}

// prefixes of the flooders, all on the outer wire.
var (
	bannedNet  = netip.MustParsePrefix("198.18.128.0/18")
	bannedHost = netip.MustParsePrefix("198.18.66.9/32")
	strangers  = netip.MustParsePrefix("198.18.200.0/24") // few enough for the border's neighbour table
)

// bannedSources are addresses of both.
func bannedSources() flood.Sources {
	network, host := flood.Within(bannedNet), flood.Within(bannedHost)
	return func(r *rand.Rand) netip.AddrPort {
		if r.IntN(2) == 0 {
			return network(r)
		}
		return host(r)
	}
}

// stops ends the border as its operator would.
func (p *Product) stops(t *testing.T) {
	t.Helper()
	if code := p.Border.Stop(); code != 0 {
		t.Errorf("the border ended with %d", code)
	}
}
