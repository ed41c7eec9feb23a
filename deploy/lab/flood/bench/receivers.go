package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Ours is the name of the receiver that all others are compared with.
const Ours = "brickhouse"

// receiver is one way to drop what banned sources send.
type receiver struct {
	name  string
	limit int  // most sources that it can ban; 0: as many as are asked for
	rate  int  // packets a second that it is sent; 0: as many as possible
	v6    bool // sent IPv6
	open  bool // packets reach the transport layer: they are dropped by a program, if at all
	note  string
	start func(w *wire, n int) (running, error)
}

// running is a receiver at work.
type running struct {
	threads []int // of a program, whose work counts too
	stop    func() error
}

// receivers are all that can be measured, in the order of the table.
func receivers() []receiver {
	return []receiver{
		{name: "drop", note: "bare XDP_DROP: reads nothing, bans nobody", start: func(w *wire, _ int) (running, error) { return bare(w) }},
		{name: Ours, start: func(w *wire, n int) (running, error) { return ours(w, n, source4) }},
		{name: "xdp-filter", limit: 10_000, note: "its table ends at 10,000", start: xdpFilter},
		{name: "ipset", note: "iptables raw, hash:ip", start: func(w *wire, n int) (running, error) { return ipset(w, n, "") }},
		{name: "ipset-timeout", note: "iptables raw, hash:ip with timeout", start: func(w *wire, n int) (running, error) { return ipset(w, n, "timeout 86400") }},
		{name: "nft-raw", note: "inet prerouting, priority raw, set", start: func(w *wire, n int) (running, error) {
			return nft(w, n, "inet", "type filter hook prerouting priority -300;", "")
		}},
		{name: "nft-ingress", note: "netdev ingress, set", start: func(w *wire, n int) (running, error) {
			return nft(w, n, "netdev", "type filter hook ingress device "+w.to+" priority -500;", "")
		}},
		{name: "nft-interval", note: "inet prerouting, priority raw, interval set as CIDR lists need", start: func(w *wire, n int) (running, error) {
			return nft(w, n, "inet", "type filter hook prerouting priority -300;", "flags interval;")
		}},
		{name: "pike", limit: 1000, rate: 40_000, open: true, note: "Kamailio, 1,000 sources at 40,000/s; process included", start: pike},
		{name: "drop-v6", v6: true, note: "bare XDP_DROP, IPv6", start: func(w *wire, _ int) (running, error) { return bare(w) }},
		{name: Ours + "-v6", v6: true, note: "IPv6 /128s", start: func(w *wire, n int) (running, error) { return ours(w, n, source6) }},
	}
}

// bare drops all that comes.
func bare(w *wire) (running, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bh_drop", Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()}})
	if err != nil {
		return running{}, fmt.Errorf("loading XDP_DROP: %w", err)
	}
	defer p.Close() // the link holds it
	var l link.Link
	err = w.bed.to.Do(func() error {
		i, err := netlink.LinkByName(w.to)
		if err != nil {
			return err
		}
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: i.Attrs().Index, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return running{}, fmt.Errorf("attaching XDP_DROP: %w", err)
	}
	return running{stop: l.Close}, nil
}

// filterPins is where xdp-filter pins its maps, whatever it is told.
const filterPins = "/sys/fs/bpf/xdp-filter"

// xdpFilter is that of xdp-tools, by source address. Its own command adds one address; the others are copies of that entry, for a process
// each would take minutes.
func xdpFilter(w *wire, n int) (running, error) {
	if _, err := os.Stat(filterPins); err == nil {
		return running{}, fmt.Errorf("xdp-filter is in use on this machine: %s is there", filterPins)
	}
	if _, err := w.bed.net.PinDir(); err != nil { // mounts the BPF file system
		return running{}, err
	}
	r := running{stop: func() error {
		_, err := w.bed.inside("", "xdp-filter", "unload", w.to)
		_ = os.Remove("/sys/fs/bpf/xdp") // libxdp leaves it behind; it stays if somebody uses it
		return err
	}}
	if _, err := w.bed.inside("", "xdp-filter", "load", "-m", "native", "-f", "ipv4", w.to); err != nil {
		return running{}, err
	}
	if _, err := w.bed.inside("", "xdp-filter", "ip", source4(0).String(), "-m", "src"); err != nil {
		return running{}, errors.Join(err, r.stop())
	}
	m, err := ebpf.LoadPinnedMap(filterPins+"/filter_ipv4", nil)
	if err != nil {
		return running{}, errors.Join(fmt.Errorf("opening xdp-filter's table: %w", err), r.stop())
	}
	defer m.Close()
	var entry []uint64
	err = m.Lookup(source4(0).As4(), &entry)
	for i := 1; i < n && err == nil; i++ {
		err = m.Put(source4(i).As4(), entry)
	}
	if err != nil {
		return running{}, errors.Join(fmt.Errorf("filling xdp-filter's table: %w", err), r.stop())
	}
	return r, nil
}

// ipset drops in iptables' raw table.
func ipset(w *wire, n int, options string) (running, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "create banned hash:ip maxelem %d %s\n", n, options)
	for i := range n {
		b.WriteString("add banned ")
		b.WriteString(source4(i).String())
		b.WriteByte('\n')
	}
	rule := []string{"PREROUTING", "-m", "set", "--match-set", "banned", "src", "-j", "DROP"}
	r := running{stop: func() error {
		_, err1 := w.bed.inside("", append([]string{"iptables", "-t", "raw", "-D"}, rule...)...)
		_, err2 := w.bed.inside("", "ipset", "destroy", "banned")
		return errors.Join(err1, err2)
	}}
	if _, err := w.bed.inside(b.String(), "ipset", "restore"); err != nil {
		return running{}, err
	}
	if _, err := w.bed.inside("", append([]string{"iptables", "-t", "raw", "-A"}, rule...)...); err != nil {
		_, err2 := w.bed.inside("", "ipset", "destroy", "banned")
		return running{}, errors.Join(err, err2)
	}
	return r, nil
}

// nft drops by a named set at a hook.
func nft(w *wire, n int, family, hook, flags string) (running, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s bh {\n set banned { type ipv4_addr; %s size %d; elements = {\n", family, flags, max(n, 1))
	for i := range n {
		b.WriteString(source4(i).String())
		b.WriteString(",\n")
	}
	fmt.Fprintf(&b, "} }\n chain c { %s policy accept; ip saddr @banned counter drop; }\n}\n", hook)
	if _, err := w.bed.inside(b.String(), "nft", "-f", "-"); err != nil {
		return running{}, err
	}
	return running{stop: func() error {
		_, err := w.bed.inside("", "nft", "delete", "table", family, "bh")
		return err
	}}, nil
}

// threadsOf are the threads of a process and of all that it started.
func threadsOf(pid int) []int {
	var all []int
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		all = append(all, tid)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, tid))
		if err != nil {
			continue
		}
		for _, s := range strings.Fields(string(b)) {
			if c, err := strconv.Atoi(s); err == nil {
				all = append(all, threadsOf(c)...)
			}
		}
	}
	return all
}
