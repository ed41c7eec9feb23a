package lab

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Ready tells whether a program has started far enough; it is polled.
type Ready func(*Process) bool

// Says waits for a line of output that matches.
func Says(pattern string) Ready {
	re := regexp.MustCompile(pattern)
	return func(p *Process) bool { m, _ := p.out.match(re, p.read); return m != nil }
}

// Listening waits until the program, or a child of it, holds a socket at the address, or at the wildcard with its port: "tcp" in
// state LISTEN, or "udp". It asks the kernel and sends nothing, so a capture or a counter is not disturbed.
func Listening(network string, at netip.AddrPort) Ready {
	return func(p *Process) bool {
		mine := socketInodes(p.Pid())
		for _, table := range []string{network, network + "6"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.Pid(), table))
			if err != nil {
				continue
			}
			for _, s := range parseSockets(string(b)) {
				if s.serves(network, at) && mine[s.inode] {
					return true
				}
			}
		}
		return false
	}
}

// AllOf waits for every one of the conditions.
func AllOf(conditions ...Ready) Ready {
	return func(p *Process) bool {
		for _, c := range conditions {
			if !c(p) {
				return false
			}
		}
		return true
	}
}

// socket is a line of /proc/net/tcp or udp (proc(5)).
type socket struct {
	local netip.AddrPort
	state byte
	inode string
}

// serves tells whether the socket takes what is sent to the address.
func (s socket) serves(network string, at netip.AddrPort) bool {
	const listen, unconnected = 0x0a, 0x07
	want := byte(listen)
	if network == "udp" {
		want = unconnected
	}
	return s.state == want && s.local.Port() == at.Port() && (s.local.Addr() == at.Addr() || s.local.Addr().IsUnspecified())
}

// parseSockets reads such a table; lines that it does not understand are passed over.
func parseSockets(table string) []socket {
	var all []socket
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		local, ok := parseHexAddr(f[1])
		state, err := strconv.ParseUint(f[3], 16, 8)
		if ok && err == nil {
			all = append(all, socket{local: local, state: byte(state), inode: f[9]})
		}
	}
	return all
}

// parseHexAddr reads "0100007F:1F90": words of the address in the machine's byte order.
func parseHexAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

// socketInodes are the sockets that a process and its children have open.
func socketInodes(pid int) map[string]bool {
	inodes := map[string]bool{}
	for _, p := range append(children(pid), pid) {
		dir := fmt.Sprintf("/proc/%d/fd", p)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			target, err := os.Readlink(dir + "/" + e.Name())
			if s, is := strings.CutPrefix(target, "socket:["); err == nil && is {
				inodes[strings.TrimSuffix(s, "]")] = true
			}
		}
	}
	return inodes
}

// children are the processes that a process started, and those that they started.
func children(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var all []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, s := range strings.Fields(string(b)) {
			if c, err := strconv.Atoi(s); err == nil {
				all = append(append(all, c), children(c)...)
			}
		}
	}
	return all
}
