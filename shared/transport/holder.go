package transport

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holder says which process has the socket that is in the way of at, as far as /proc tells us: "name (pid 123)". Empty if it
// does not.
func holder(n Network, at netip.AddrPort) string {
	return holderIn("/proc", n, at)
}

func holderIn(proc string, n Network, at netip.AddrPort) string {
	table := "tcp"
	if n == UDP {
		table = "udp"
	}
	inodes := make(map[string]bool)
	for _, name := range []string{table, table + "6"} {
		f, err := os.Open(filepath.Join(proc, "net", name))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if inode, ok := socketInTheWay(lines.Text(), n, at); ok {
				inodes["socket:["+inode+"]"] = true
			}
		}
		_ = f.Close()
	}
	if len(inodes) == 0 {
		return ""
	}
	return processWith(proc, inodes)
}

// socketInTheWay reads one line of /proc/net/{tcp,udp}{,6} and returns the inode if the socket keeps at from being bound.
func socketInTheWay(line string, n Network, at netip.AddrPort) (inode string, ok bool) {
	f := strings.Fields(line)
	const listening = "0A"
	if len(f) < 10 || (n != UDP && f[3] != listening) {
		return "", false
	}
	a, ok := procAddr(f[1])
	if !ok || a.Port() != at.Port() {
		return "", false
	}
	held, want := a.Addr().Unmap(), at.Addr().Unmap()
	if held != want && !held.IsUnspecified() && !want.IsUnspecified() {
		return "", false
	}
	return f[9], true
}

// procAddr reads "0100007F:13C4": each 32-bit word of the address in host order (little-endian), the port in hex.
func procAddr(s string) (netip.AddrPort, bool) {
	host, ports, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	b, err := hex.DecodeString(host)
	port, err2 := strconv.ParseUint(ports, 16, 16)
	if err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for w := 0; w < len(b); w += 4 {
		b[w], b[w+1], b[w+2], b[w+3] = b[w+3], b[w+2], b[w+1], b[w]
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr, uint16(port)), ok
}

// processWith finds a process that holds one of the sockets.
func processWith(proc string, sockets map[string]bool) string {
	pids, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return ""
	}
	for _, dir := range pids {
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue // gone, or not ours to read
		}
		for _, fd := range fds {
			to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			if err != nil || !sockets[to] {
				continue
			}
			name, _ := os.ReadFile(filepath.Join(dir, "comm"))
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
		}
	}
	return ""
}
