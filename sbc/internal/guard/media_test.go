package guard

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// cards make the wire as one between real cards: checksums are written by who sends, and the far end receives what an XDP program sends.
func cards(t *testing.T, outside netns.NsHandle, gro string) {
	t.Helper()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	must(t, netns.Set(outside))
	defer func() { must(t, netns.Set(here)) }()
	if out, err := exec.CommandContext(t.Context(), "ethtool", "-K", "bh1", "tx", "off", "gro", gro).CombinedOutput(); err != nil {
		t.Fatalf("ethtool: %v: %s", err, out)
	}
}

// voice is an RTP packet whose payload is a text.
func voice(text string) []byte { return append([]byte{0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}, text...) }

// says returns the next datagram of a socket as text, behind its RTP header, and whom it is from.
func says(t *testing.T, c *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 2000)
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil || n < 12 {
		t.Fatalf("nothing comes to %s: %d bytes, %v", c.LocalAddr(), n, err)
	}
	return string(b[12:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// Streams are in force only while the next hop is known and its interface takes frames, and follow both.
func TestRootMedia(t *testing.T) {
	if _, err := exec.LookPath("ethtool"); err != nil {
		t.Skip("needs ethtool")
	}
	w := newWire(t)
	var logged bytes.Buffer
	g := open(t, onWire(w.bpffs), Options{Ports: Ports{Media: PortRange{16384, 16399}}, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	defer g.Detach()
	up, out := listen(t, "10.99.0.1:16384"), listen(t, "10.99.0.1:16386")
	g.OpenPort(16384)
	from, to := w.outside["10.99.0.2"], w.outside["10.99.0.3"]
	m, err := g.Media()
	must(t, err)
	if again, _ := g.Media(); again != m {
		t.Error("a second one")
	}
	s, err := m.Stream()
	must(t, err)
	flow := MediaFlow{
		Local: addrPort("10.99.0.1:16384"), From: addrPort("10.99.0.2:5060"), Source: addrPort("10.99.0.1:16386"), Target: addrPort("10.99.0.3:5060"), Types: [2]uint64{1},
	}
	say := func(text string) {
		t.Helper()
		_, err := from.WriteToUDPAddrPort(voice(text), flow.Local)
		must(t, err)
	}
	expect := func(what string, inForce bool) {
		t.Helper()
		m.refresh()
		n, waiting := m.Streams()
		if s.InForce() != inForce || (n == 1) != inForce || (waiting == 1) == inForce {
			t.Fatalf("%s: in force %v, %d, %d waiting", what, s.InForce(), n, waiting)
		}
		say(what)
		c, by := up, flow.From
		if inForce {
			c, by = to, flow.Source
		}
		if got, src := says(t, c); got != what || src != by {
			t.Errorf("%s: %q from %s, want it from %s", what, got, src, by)
		}
	}
	s.Forward(flow)
	expect("nobody knows the next hop", false)
	_, err = out.WriteToUDPAddrPort(voice("from us"), flow.Target) // as the relay does
	must(t, err)
	says(t, to)
	expect("the interface takes no frames", false)
	if told := strings.Count(logged.String(), "interface bh0: its driver takes no frames from XDP"); told != 1 {
		if strings.Contains(logged.String(), "6.3 or newer") {
			t.Skip("the kernel does not tell what drivers can")
		}
		t.Errorf("told %d times:\n%s", told, logged.String())
	}
	cards(t, w.ns, "on")
	expect("in the kernel", true)
	if packets, octets := s.Counted(); packets != 1 || octets != 12+13 {
		t.Errorf("counted %d packets, %d bytes", packets, octets)
	}
	if st, err := g.Stats(); err != nil || st.MediaInKernel != 1 || st.MediaWaiting != 0 {
		t.Errorf("%+v %v", st, err)
	}
	bh0, err := netlink.LinkByName("bh0")
	must(t, err)
	must(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: bh0.Attrs().Index, IP: net.IPv4(10, 99, 0, 3)}))
	expect("the neighbour is forgotten", false)
	_, err = out.WriteToUDPAddrPort(voice("from us"), flow.Target)
	must(t, err)
	says(t, to)
	expect("and found again", true)
	s.Stop()
	say("stopped")
	if got, _ := says(t, up); got != "stopped" {
		t.Errorf("%q", got)
	}
	s.Forward(flow)
	must(t, g.Close())
	say("the guard is gone")
	if got, _ := says(t, up); got != "the guard is gone" {
		t.Errorf("%q", got)
	}
	s.Forward(flow) // who comes late does no harm
	s.Close()
	if _, err := m.Stream(); !errors.Is(err, ErrClosed) {
		t.Errorf("a stream of a closed guard: %v", err)
	}
	if _, err := g.Media(); err == nil {
		t.Error("a closed guard has media")
	}
}

func TestNoMediaWithoutKernel(t *testing.T) {
	if _, err := open(t, userSpace(), Options{}).Media(); err == nil {
		t.Error("somebody sends media on, and no XDP program is attached")
	}
}
