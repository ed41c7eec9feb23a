package lab

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"brickhouse/deploy/lab/netns"
)

// patience is how long anything may take that is not told otherwise. The machine may be busy: it is a deadline against
// hanging and says nothing about speed.
const patience = 30 * time.Second

// KeepEnv names a directory under which configurations, logs, recordings and captures of all runs are kept.
const KeepEnv = "BH_LAB_KEEP"

// TB is what the lab needs of a testing.TB; a program that only builds the lab brings its own.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
}

// Lab is the little internet of one test.
type Lab struct {
	Internet, Core, Voice *Wire // three Ethernet segments; the voice VLAN is a segment of its own

	Remote, Remote2   *Host // phones somewhere on the Internet, behind two addresses
	Carrier, Attacker *Host // also on the Internet
	DMZ               *Host // the border: a foot on Internet, a foot on Core
	Exchange          *Host // a foot on Core, a foot on Voice
	Vault             *Host // on Core
	Desk, Desk2       *Host // phones on Voice

	Dir string // for files of this run

	t        TB
	net      *netns.Net // nil on loopback
	launcher *netns.Launcher
	shift    uint16 // added to ports below 10000; 0 in namespaces
}

// port is what stands for a well-known port in this run.
func (l *Lab) port(p uint16) uint16 {
	if p < 10000 {
		return p + l.shift
	}
	return p
}

// Wire is one Ethernet segment.
type Wire struct {
	Name   string
	Prefix netip.Prefix // the IPv4 addresses on it
	lab    *Lab
}

// Enter is the command with which a person runs a program, such as tcpdump, where the wire's bridge is: an interface
// named like the wire. Empty on loopback.
func (w *Wire) Enter() string {
	if w.lab.net == nil {
		return ""
	}
	return "nsenter --net=" + w.lab.net.Wires().Path()
}

// New builds the lab in network namespaces. It skips the test if it is not run by root.
func New(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := netns.Sweep(); err != nil {
		t.Logf("lab: sweeping what dead runs left: %v", err)
	}
	p := plan()
	n, err := netns.Create(p)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return newLab(t, p, n)
}

// NewLoopback lays the same hosts on addresses of 127/8 that this run alone uses. It needs no rights. What it cannot do:
// IPv6, several hosts with one socket on a wildcard address, cutting cables, and (without root) captures.
func NewLoopback(t TB) *Lab {
	t.Helper()
	l := newLab(t, loopbackPlan(byte(64+rand.IntN(63)), byte(rand.IntN(64)*4)), nil)
	l.shift = uint16(5000 + 10*rand.IntN(1000)) // stays below the ephemeral ports
	return l
}

// Everywhere runs a story on loopback and, if root runs the test, in namespaces.
func Everywhere(t *testing.T, story func(*testing.T, *Lab)) {
	t.Helper()
	t.Run("loopback", func(t *testing.T) { story(t, NewLoopback(t)) })
	t.Run("namespaces", func(t *testing.T) { story(t, New(t)) })
}

// Namespaced tells whether the hosts are namespaces, with IPv6, cables and captures.
func (l *Lab) Namespaced() bool { return l.net != nil }

// PinDir is a directory on bpffs for this run alone, for the border's XDP maps and link. Namespaces only.
func (l *Lab) PinDir() string {
	l.t.Helper()
	if l.net == nil {
		l.t.Fatalf("lab: loopback has no XDP of its own")
	}
	dir, err := l.net.PinDir()
	if err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	return dir
}

var badFileChars = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

func newLab(t TB, p netns.Plan, n *netns.Net) *Lab {
	l := &Lab{t: t, net: n, launcher: netns.NewLauncher(), Dir: t.TempDir()}
	if keep := os.Getenv(KeepEnv); keep != "" {
		l.Dir = filepath.Join(keep, badFileChars.ReplaceAllString(t.Name(), "_")+time.Now().Format("-150405.000"))
		if err := os.MkdirAll(l.Dir, 0o755); err != nil {
			t.Fatalf("lab: %s: %v", KeepEnv, err)
		}
		t.Logf("lab: files are kept in %s", l.Dir)
	}
	t.Cleanup(l.close)
	wires := map[string]*Wire{}
	for _, w := range p.Wires {
		wires[w.Name] = &Wire{Name: w.Name, Prefix: w.V4, lab: l}
	}
	l.Internet, l.Core, l.Voice = wires["inet"], wires["core"], wires["voice"]
	for _, hp := range p.Hosts {
		h := &Host{Name: hp.Name, lab: l, addrs: map[*Wire][]netip.Addr{}}
		if n != nil {
			h.ns = n.Host(hp.Name)
		}
		for _, link := range hp.Links {
			w := wires[link.Wire]
			h.wires = append(h.wires, w)
			h.addrs[w] = link.Addrs
		}
		*l.hosts()[hp.Name] = h
	}
	return l
}

// Hosts are all hosts, in the order of the drawing.
func (l *Lab) Hosts() []*Host {
	return []*Host{l.Remote, l.Remote2, l.Carrier, l.Attacker, l.DMZ, l.Exchange, l.Vault, l.Desk, l.Desk2}
}

// hosts are the fields by the plan's names.
func (l *Lab) hosts() map[string]**Host {
	return map[string]**Host{
		"remote": &l.Remote, "remote2": &l.Remote2, "carrier": &l.Carrier, "attacker": &l.Attacker, "border": &l.DMZ,
		"exchange": &l.Exchange, "vault": &l.Vault, "desk": &l.Desk, "desk2": &l.Desk2,
	}
}

func (l *Lab) close() {
	l.launcher.Close()
	if l.net == nil {
		return
	}
	if err := l.net.Close(); err != nil {
		l.t.Errorf("lab: taking down: %v", err)
	}
}

// plan is the drawing at the top of this package.
func plan() netns.Plan {
	v4, v6 := netip.MustParsePrefix, netip.MustParsePrefix
	p := netns.Plan{Wires: []netns.Wire{
		{Name: "inet", V4: v4("198.18.0.0/16"), V6: v6("2001:db8:18::/64")},
		{Name: "core", V4: v4("198.19.0.0/24"), V6: v6("2001:db8:19::/64")},
		{Name: "voice", V4: v4("198.19.64.0/24"), V6: v6("2001:db8:1964::/64")},
	}}
	on := func(wire string, addrs ...string) netns.Link {
		l := netns.Link{Wire: wire}
		for _, a := range addrs {
			l.Addrs = append(l.Addrs, netip.MustParseAddr(a))
		}
		return l
	}
	host := func(name string, links ...netns.Link) {
		p.Hosts = append(p.Hosts, netns.HostPlan{Name: name, Links: links})
	}
	host("border", on("inet", "198.18.0.1", "2001:db8:18::1"), on("core", "198.19.0.1", "2001:db8:19::1"))
	host("exchange", on("core", "198.19.0.10", "2001:db8:19::10"), on("voice", "198.19.64.10", "2001:db8:1964::10"))
	host("vault", on("core", "198.19.0.20", "2001:db8:19::20"))
	host("remote", on("inet", "198.18.1.1", "2001:db8:18::1:1"))
	host("remote2", on("inet", "198.18.2.1", "2001:db8:18::2:1"))
	host("carrier", on("inet", "198.18.3.1", "2001:db8:18::3:1"))
	host("attacker", on("inet", "198.18.66.1", "2001:db8:18::66:1"))
	host("desk", on("voice", "198.19.64.101", "2001:db8:1964::101"))
	host("desk2", on("voice", "198.19.64.102", "2001:db8:1964::102"))
	return p
}

// loopbackPlan is the same drawing with the addresses 127.a.b.x on Internet, 127.a.b+1.x on Core and 127.a.b+2.x on Voice.
func loopbackPlan(a, b byte) netns.Plan {
	p := plan()
	third := map[string]byte{"inet": b, "core": b + 1, "voice": b + 2}
	for i := range p.Wires {
		p.Wires[i].V4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, a, third[p.Wires[i].Name], 0}), 24)
		p.Wires[i].V6 = netip.Prefix{}
	}
	for i := range p.Hosts {
		for j := range p.Hosts[i].Links {
			l := &p.Hosts[i].Links[j]
			l.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, a, third[l.Wire], byte(10 + i)})}
		}
	}
	return p
}

// file writes a file below the run's directory and returns its path.
func (l *Lab) file(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.Dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o600)
	}
	if err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	return path
}

// eventually polls until cond is true; at the deadline it fails the test with what was waited for.
func eventually(t TB, within time.Duration, what func() string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("lab: waited %s for %s", within, what())
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
}
