// Package netns builds a little internet out of Linux network namespaces and takes it down again.
//
// A Plan says what is wanted: wires (Ethernet segments), hosts, and which host hangs on which wire with which addresses.
// Create makes it: one namespace per host, one more that holds a bridge per wire, a veth pair per link. Nothing has a
// default route, nothing forwards, and the only addresses are those of the documentation and benchmark ranges, so
// no packet can leave. All names begin with Prefix and a random part; two builds never meet.
//
// What a dead run left behind is found by its record (see Sweep); a Janitor process takes it down the moment the
// run dies, however it dies.
package netns

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Prefix begins the name of every namespace made here.
const Prefix = "bh-"

// wireHost is the namespace that holds the bridges: no program runs in it, captures are taken there.
const wireHost = "wire"

// Plan is a topology as values; it says nothing about how it is made.
type Plan struct {
	Wires []Wire
	Hosts []HostPlan
}

// Wire is one Ethernet segment: a bridge with a port for each link. Its name is at most six letters.
type Wire struct {
	Name   string
	V4, V6 netip.Prefix // what addresses on it may be; V6 may be zero
}

// HostPlan is one machine: a namespace of its own. Its name is at most eight letters.
type HostPlan struct {
	Name  string
	Links []Link
}

// Link joins a host to a wire. Inside the host the interface is named like the wire.
type Link struct {
	Wire  string
	Addrs []netip.Addr
}

// allowed are the ranges that belong to nobody (RFC 2544, RFC 5180, RFC 5737, RFC 3849), so that a mistake
// in a plan can never take a real address away from the machine.
var allowed = []string{"198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "2001:2::/48"}

var wordRE = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// Validate tells the first fault of the plan.
func (p Plan) Validate() error {
	wires := map[string]Wire{}
	for _, w := range p.Wires {
		if !wordRE.MatchString(w.Name) || len(w.Name) > 6 {
			return fmt.Errorf("wire %q: a name is one to six lower-case letters or digits", w.Name)
		}
		if _, twice := wires[w.Name]; twice {
			return fmt.Errorf("wire %q: named twice", w.Name)
		}
		wires[w.Name] = w
	}
	hosts, addrs := map[string]bool{wireHost: true}, map[netip.Addr]string{}
	for _, h := range p.Hosts {
		if !wordRE.MatchString(h.Name) || len(h.Name) > 8 {
			return fmt.Errorf("host %q: a name is one to eight lower-case letters or digits", h.Name)
		}
		if hosts[h.Name] {
			return fmt.Errorf("host %q: named twice or reserved", h.Name)
		}
		hosts[h.Name] = true
		for _, l := range h.Links {
			if err := l.validate(wires, addrs, h.Name); err != nil {
				return fmt.Errorf("host %q: %w", h.Name, err)
			}
		}
	}
	return nil
}

func (l Link) validate(wires map[string]Wire, addrs map[netip.Addr]string, host string) error {
	w, ok := wires[l.Wire]
	if !ok {
		return fmt.Errorf("no wire %q", l.Wire)
	}
	for _, a := range l.Addrs {
		if !w.V4.Contains(a) && !w.V6.Contains(a) {
			return fmt.Errorf("address %s is not on wire %q", a, w.Name)
		}
		if !slices.ContainsFunc(allowed, func(s string) bool { return netip.MustParsePrefix(s).Contains(a) }) {
			return fmt.Errorf("address %s is outside the documentation and benchmark ranges", a)
		}
		if other, taken := addrs[a]; taken {
			return fmt.Errorf("address %s belongs to %q already", a, other)
		}
		addrs[a] = host
	}
	return nil
}

// script is a list of `ip -batch` lines for each namespace; the key "" is the machine's own.
type script struct {
	order []string
	lines map[string][]string
}

func (s *script) add(ns, format string, a ...any) {
	if s.lines == nil {
		s.lines = map[string][]string{}
	}
	if _, seen := s.lines[ns]; !seen {
		s.order = append(s.order, ns)
	}
	s.lines[ns] = append(s.lines[ns], fmt.Sprintf(format, a...))
}

// text is what ip reads on its standard input for one namespace.
func (s *script) text(ns string) string { return strings.Join(s.lines[ns], "\n") + "\n" }

// name is the namespace of a host in the build called id.
func name(id, host string) string { return Prefix + id + "-" + host }

// script turns the plan into the commands that make it, for the build called id.
func (p Plan) script(id string) script {
	var s script
	wireNS := name(id, wireHost)
	s.add("", "netns add %s", wireNS)
	for _, h := range p.Hosts {
		s.add("", "netns add %s", name(id, h.Name))
	}
	for _, h := range p.Hosts {
		for _, l := range h.Links {
			s.add("", "link add %s netns %s type veth peer name %s netns %s", l.Wire, name(id, h.Name), port(h.Name, l.Wire), wireNS)
		}
	}
	s.add(wireNS, "link set lo up")
	for _, w := range p.Wires {
		s.add(wireNS, "link add %s type bridge stp_state 0 forward_delay 0 mcast_snooping 0", w.Name)
		s.add(wireNS, "link set %s addrgenmode none", w.Name)
		s.add(wireNS, "link set %s up", w.Name)
	}
	for _, h := range p.Hosts {
		for _, l := range h.Links {
			s.add(wireNS, "link set %s addrgenmode none", port(h.Name, l.Wire))
			s.add(wireNS, "link set %s master %s up", port(h.Name, l.Wire), l.Wire)
		}
	}
	for _, h := range p.Hosts {
		p.hostScript(&s, id, h)
	}
	return s
}

func (p Plan) hostScript(s *script, id string, h HostPlan) {
	ns := name(id, h.Name)
	s.add(ns, "link set lo up")
	for _, l := range h.Links {
		w := p.Wires[slices.IndexFunc(p.Wires, func(w Wire) bool { return w.Name == l.Wire })]
		for _, a := range l.Addrs {
			s.add(ns, "address add %s dev %s%s", netip.PrefixFrom(a, w.bits(a)), l.Wire, nodad(a))
		}
		s.add(ns, "link set %s up", l.Wire)
	}
}

func (w Wire) bits(a netip.Addr) int {
	if a.Is4() {
		return w.V4.Bits()
	}
	return w.V6.Bits()
}

// nodad makes an IPv6 address usable at once: nobody else can hold it here (RFC 4862 §5.4 would wait a second).
func nodad(a netip.Addr) string {
	if a.Is6() {
		return " nodad"
	}
	return ""
}

// port is the bridge's end of a host's link.
func port(host, wire string) string { return host + "." + wire }
