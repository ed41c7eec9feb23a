package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"brickhouse/deploy/lab/netns"
	"github.com/vishvananda/netlink"
)

// The ends of the veth. The names of the plan's hosts are those of their namespaces.
const (
	hostFrom, hostTo = "from", "to"
	commandWithin    = time.Minute // of one command of a peer; a million elements take nft some seconds
)

var (
	target4 = netip.MustParseAddrPort("198.18.0.1:5060")
	target6 = netip.MustParseAddrPort("[2001:db8:18::1]:5060")
)

// bed is two namespaces; each receiver gets a new veth between them.
type bed struct {
	net      *netns.Net
	from, to netns.Namespace
	sendCPU  int
	recvCPU  int
}

func newBed(sendCPU, recvCPU int) (*bed, error) {
	n, err := netns.Create(netns.Plan{Hosts: []netns.HostPlan{{Name: hostFrom}, {Name: hostTo}}})
	if err != nil {
		return nil, err
	}
	return &bed{net: n, from: n.Host(hostFrom), to: n.Host(hostTo), sendCPU: sendCPU, recvCPU: recvCPU}, nil
}

func (b *bed) close() error { return b.net.Close() }

// wire is a veth: packets go from one end to the other.
type wire struct {
	bed      *bed
	from, to string // interfaces
	index    int    // of from
	src, dst net.HardwareAddr
	thread   int // the kernel's, that receives
}

// wire lays a new one, whose receiving end has a kernel thread on the receiving CPU.
func (b *bed) wire() (*wire, error) {
	w := &wire{bed: b, from: "ft" + b.net.ID, to: "fr" + b.net.ID}
	steps := [][]string{
		{"ip", "-n", string(b.from), "link", "add", w.from, "type", "veth", "peer", "name", w.to, "netns", string(b.to)},
		{"ip", "-n", string(b.to), "address", "add", target4.Addr().String() + "/16", "dev", w.to},
		{"ip", "-n", string(b.to), "address", "add", target6.Addr().String() + "/64", "dev", w.to, "nodad"},
		{"ip", "-n", string(b.to), "link", "set", w.to, "up"},
		{"ip", "-n", string(b.from), "link", "set", w.from, "up"},
		{"ip", "netns", "exec", string(b.to), "ethtool", "-K", w.to, "gro", "on"},      // or the veth has no NAPI
		{"ip", "netns", "exec", string(b.from), "ethtool", "-K", w.from, "tso", "off"}, // or packets go round it
		// ip-netns(8) mounts the /sys in which the interface is.
		{"ip", "netns", "exec", string(b.to), "sh", "-c", "echo 1 >/sys/class/net/" + w.to + "/threaded"},
		{"ip", "netns", "exec", string(b.to), "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf." + w.to + ".rp_filter=0"},
	}
	for _, s := range steps {
		if _, err := command("", s...); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	if err := w.look(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// look finds out what the kernel made, and moves the receiving thread.
func (w *wire) look() error {
	err := w.bed.from.Do(func() error {
		i, err := net.InterfaceByName(w.from)
		if err == nil {
			w.index, w.src = i.Index, i.HardwareAddr
		}
		return err
	})
	if err != nil {
		return err
	}
	err = w.bed.to.Do(func() error {
		i, err := net.InterfaceByName(w.to)
		if err == nil {
			w.dst = i.HardwareAddr
		}
		return err
	})
	if err != nil {
		return err
	}
	if w.thread, err = napiThread(w.to); err != nil {
		return err
	}
	return settle(w.thread, w.bed.recvCPU)
}

func (w *wire) close() error {
	_, err := command("", "ip", "-n", string(w.bed.from), "link", "del", w.from)
	return err
}

// arrival is what the receiving end has counted.
type arrival struct {
	packets   uint64 // that its driver took
	delivered uint64 // that the IP layer handed to a transport: they were not dropped
}

func (w *wire) arrival() (a arrival, err error) {
	err = w.bed.to.Do(func() error {
		l, err := netlink.LinkByName(w.to)
		if err != nil {
			return err
		}
		a.packets = l.Attrs().Statistics.RxPackets
		if a.delivered, err = delivered("/proc/thread-self/net/snmp", `(?m)^Udp: (\d+) (\d+)`); err != nil {
			return err
		}
		six, err := delivered("/proc/thread-self/net/snmp6", `(?m)^Udp6InDatagrams\s+(\d+)\nUdp6NoPorts\s+(\d+)`)
		a.delivered += six
		return err
	})
	return a, err
}

// delivered are the UDP datagrams that found a socket or none, in a table of proc(5).
func delivered(file, pattern string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(pattern).FindSubmatch(b)
	if m == nil {
		return 0, fmt.Errorf("%s has no counters of UDP", file)
	}
	in, err1 := strconv.ParseUint(string(m[1]), 10, 64)
	lost, err2 := strconv.ParseUint(string(m[2]), 10, 64)
	return in + lost, errors.Join(err1, err2)
}

// inside runs a peer's command on the receiving end. Unlike ip-netns(8) it leaves pinned BPF objects in sight.
func (b *bed) inside(stdin string, args ...string) (string, error) {
	return command(stdin, append([]string{"nsenter", "--net=" + b.to.Path()}, args...)...)
}

// command runs a program and returns what it prints; an error holds the end of that.
func command(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, text[max(0, len(text)-300):])
	}
	return string(out), nil
}
