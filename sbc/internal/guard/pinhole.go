package guard

import (
	"fmt"
	"os"
	"strconv"
	"strings"

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
	f.SetPorts(p)
	g.portsMu.Lock()
	g.portsOf = f
	g.portsMu.Unlock()
	if g.unguarded != "" {
		g.log.Warn(g.unguarded)
	}
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
