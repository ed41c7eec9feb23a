package guard

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"brickhouse/bpf"
)

// OpenPort lets datagrams to a media port through; until then, and after ClosePort, the kernel filter drops them.
func (g *Guard) OpenPort(port uint16) { g.openPort(port, true) }

// ClosePort closes a media port.
func (g *Guard) ClosePort(port uint16) { g.openPort(port, false) }

func (g *Guard) openPort(port uint16, open bool) {
	g.portsMu.Lock()
	defer g.portsMu.Unlock()
	if g.portsOf != nil {
		g.portsOf.OpenPort(port, open)
	}
}

// guardPorts tells the kernel filter what it guards. All media ports are closed from then on: no call is older than the guard. A range
// that the system takes ports for our own questions from can't be closed, or the answers would be dropped.
func (g *Guard) guardPorts(f *bpf.Filter) {
	p := bpf.Ports{SIPUDP: g.ports.SIPUDP, SIPTCP: g.ports.SIPTCP}
	switch free, err := ephemeral(g.ports.Media, procPorts, procReserved); {
	case !g.cfg.Pinholes:
	case err != nil:
		g.unguarded = fmt.Sprintf("media ports are not closed: %v", err)
	case free != "":
		g.unguarded = "media ports are not closed: " + free
	default:
		p.MediaFirst, p.MediaLast = g.ports.Media.First, g.ports.Media.Last
	}
	if err := g.tellOwn(f); err != nil {
		g.unguarded, p.MediaFirst, p.MediaLast = fmt.Sprintf("media ports are not closed: %v", err), 0, 0
	}
	f.SetPorts(p)
	g.portsMu.Lock()
	g.portsOf = f
	g.portsMu.Unlock()
	if g.unguarded != "" {
		g.log.Warn(g.unguarded)
	}
}

// tellOwn tells the kernel filter at which addresses media ports are closed.
func (g *Guard) tellOwn(f *bpf.Filter) error {
	own, err := ownAddresses(g.ports.Own, g.cfg.XDP.Interfaces)
	if err != nil {
		return err
	}
	if slices.Equal(own, g.toldOwn) {
		return nil
	}
	if err := f.SetOwn(own); err != nil {
		return err
	}
	g.toldOwn = own
	return nil
}

// ownEvery is how often the addresses of the interfaces are looked at again, where they count.
const ownEvery = 10 * time.Second

// refreshOwnLocked follows the addresses of interfaces, which may come later and change.
func (g *Guard) refreshOwnLocked(now time.Time) {
	if g.kernel == nil || !slices.ContainsFunc(g.ports.Own, netip.Addr.IsUnspecified) && len(g.ports.Own) > 0 || now.Sub(g.ownAt).Abs() < ownEvery {
		return
	}
	g.ownAt = now
	if err := g.tellOwn(g.kernel.filter); err != nil {
		g.kernelFaultLocked(err)
	}
}

// ownAddresses are the addresses that own stands for, sorted.
func ownAddresses(own []netip.Addr, interfaces []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, a := range own {
		if a = plain(a); !a.IsUnspecified() {
			all = append(all, a)
		}
	}
	if len(all) < len(own) || len(own) == 0 {
		for _, name := range interfaces {
			i, err := net.InterfaceByName(name)
			if err != nil {
				continue // nothing is filtered there
			}
			as, err := addresses(*i)
			if err != nil {
				return nil, err
			}
			all = append(all, as...)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

const (
	procPorts    = "/proc/sys/net/ipv4/ip_local_port_range"
	procReserved = "/proc/sys/net/ipv4/ip_local_reserved_ports"
)

// ephemeral says which of the media ports the system may take for sockets that ask for none in particular, and the remedy.
func ephemeral(media PortRange, rangeFile, reservedFile string) (string, error) {
	if media.First == 0 {
		return "", nil
	}
	text, err := os.ReadFile(rangeFile)
	if err != nil {
		return "", fmt.Errorf("range of ephemeral ports: %w", err)
	}
	var first, last uint16
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return "", fmt.Errorf("range of ephemeral ports %q: %w", text, err)
	}
	from, to := max(first, media.First), min(last, media.Last)
	if from > to {
		return "", nil
	}
	reserved, _ := os.ReadFile(reservedFile) // as if none were, if it can't be read
	taken := parseRanges(string(reserved))
	for p := int(from); p <= int(to); p++ {
		if !taken[p] {
			return fmt.Sprintf("the system takes %d to %d for itself, too; run: sysctl net.ipv4.ip_local_reserved_ports=%d-%d", from, to, from, to), nil
		}
	}
	return "", nil
}

// parseRanges reads "1-4,9".
func parseRanges(s string) map[int]bool {
	in := map[int]bool{}
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		a, b, two := strings.Cut(part, "-")
		first, err := strconv.ParseUint(a, 10, 16)
		last := first
		if err == nil && two {
			last, err = strconv.ParseUint(b, 10, 16)
		}
		if err != nil {
			continue
		}
		for p := first; p <= last; p++ {
			in[int(p)] = true
		}
	}
	return in
}
