package loopback

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// socket is an open socket of a process.
type socket struct {
	network       string // "tcp" or "udp"
	local, remote netip.AddrPort
	listening     bool
}

func (k socket) String() string {
	if k.listening {
		return k.network + " on " + k.local.String()
	}
	return fmt.Sprintf("%s %s to %s", k.network, k.local, k.remote)
}

// sockets reads from /proc which Internet sockets a program has.
func (p *program) sockets() []socket {
	p.t.Helper()
	mine := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil || len(links) == 0 {
		p.t.Fatalf("%d open files, %v", len(links), err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	var out []socket
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6", "udplite"} {
		text, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			continue // IPv6 may be off
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || !mine[f[9]] {
				continue
			}
			k := socket{network: strings.TrimSuffix(table, "6"), local: procAddr(p, f[1]), remote: procAddr(p, f[2])}
			k.listening = k.network == "tcp" && f[3] == "0A" || k.network != "tcp" && k.remote.Port() == 0
			out = append(out, k)
		}
	}
	return out
}

// procAddr reads an address as /proc/net writes it: words in the machine's order, the port in the network's.
func procAddr(p *program, s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, err2 := hex.DecodeString(port)
	if err != nil || err2 != nil || len(b)%4 != 0 || len(n) != 2 {
		p.t.Fatalf("address %q in /proc/net", s)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(n[0])<<8|uint16(n[1]))
}

// Neither program listens anywhere but where it is told to, nor talks to anybody but those it is told of.
func TestSockets(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	at := func(network string, host int, port uint16) socket {
		return socket{network: network, local: netip.AddrPortFrom(s.ip(host), port), listening: true}
	}
	places := map[*program][]socket{
		s.border: {at("tcp", 1, tlsPort), at("udp", 2, trunkPort), at("tcp", 2, trunkPort)},
		s.pbx:    {at("tcp", 10, corePort), at("udp", 10, udpPort), at("tcp", 10, udpPort)},
	}
	media := map[*program]func(netip.AddrPort) bool{
		s.border: func(a netip.AddrPort) bool {
			return (a.Addr() == s.ip(1) || a.Addr() == s.ip(2) || a.Addr() == s.ip(3)) && a.Port() >= 20000 && a.Port() <= 20999
		},
		s.pbx: func(a netip.AddrPort) bool { return a.Addr() == s.ip(10) && a.Port() >= 30000 && a.Port() <= 30999 },
	}
	look := func(when string, ports map[*program]int) {
		t.Helper()
		for p, listening := range places {
			s.look(when, p, listening, media[p], ports[p])
		}
	}
	look("at rest", nil)
	gw := s.gateway(60, "udp", nil)
	a, b := s.register(s.config(remote, "1801")), s.register(s.config(insideUDP, "1802"))
	p := connect(t, a, b, "1802")
	q := connect(t, b, gw.Phone, "0123456")
	echo, err := s.register(s.config(insideTCP, "1803")).Call(within(t, patience), "*43")
	if err != nil {
		t.Fatal(err)
	}
	p.talk(t)
	q.talk(t)
	look("during calls", map[*program]int{s.border: 8, s.pbx: 2}) // RTP and RTCP at each side of each call
	p.hangup(t, true)
	q.hangup(t, true)
	if err := echo.Hangup(within(t, patience)); err != nil {
		t.Error(err)
	}
	eventually(t, "the media ports to be closed", func() string { // they swallow what comes late for a while
		for p := range places {
			for _, k := range p.sockets() {
				if k.network == "udp" && media[p](k.local) {
					return p.name + " has " + k.String()
				}
			}
		}
		return ""
	})
	look("after the calls", nil)
}

// look wants a program to have the sockets that it listens on, some media ports, the core link, and nothing else.
func (s *site) look(when string, p *program, places []socket, media func(netip.AddrPort) bool, want int) {
	s.t.Helper()
	found, ports := 0, 0
	for _, k := range p.sockets() {
		switch {
		case slices.ContainsFunc(places, func(w socket) bool { return k.listening && w.network == k.network && w.local == k.local }):
			found++
		case k.network == "udp" && media(k.local):
			ports++
		case k.network == "tcp" && !k.listening && slices.ContainsFunc(places, func(w socket) bool { return w.network == "tcp" && w.local == k.local }):
			// somebody who called us
		case p == s.border && k.network == "tcp" && k.remote == netip.AddrPortFrom(s.ip(10), corePort):
			// the core link
		default:
			s.t.Errorf("%s: %s has a socket %s", when, p.name, k)
		}
	}
	if found < len(places) {
		s.t.Errorf("%s: %s listens at %d of %d places: %v", when, p.name, found, len(places), p.sockets())
	}
	if ports != want {
		s.t.Errorf("%s: %s has %d media ports, not %d", when, p.name, ports, want)
	}
}
