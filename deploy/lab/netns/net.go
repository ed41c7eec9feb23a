package netns

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// dir is where named network namespaces live (ip-netns(8)).
const dir = "/run/netns"

// ipDeadline bounds one run of the ip program; the machine may be busy.
const ipDeadline = 30 * time.Second

// Net is a topology that exists now.
type Net struct {
	ID      string // the random part of all its names
	plan    Plan
	janitor *janitor
}

// Create builds the plan. The caller must Close the Net; if it dies before, its janitor does. Needs root.
func Create(p Plan) (*Net, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("checking the plan: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("making network namespaces needs root")
	}
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	n := &Net{ID: hex.EncodeToString(b[:]), plan: p}
	if err := writeRecord(n.ID); err != nil { // before the first namespace, so that nothing is ever ownerless
		return nil, fmt.Errorf("recording the owner: %w", err)
	}
	var err error
	if n.janitor, err = startJanitor(n.ID, n.namespaces()); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the janitor: %w", err), n.Close())
	}
	s := p.script(n.ID)
	for _, ns := range s.order {
		if err := ipBatch(ns, s.text(ns)); err != nil {
			return nil, errors.Join(fmt.Errorf("building %s: %w", n.ID, err), n.Close())
		}
	}
	return n, nil
}

// namespaces are the names of all namespaces of n.
func (n *Net) namespaces() []string {
	names := []string{name(n.ID, wireHost)}
	for _, h := range n.plan.Hosts {
		names = append(names, name(n.ID, h.Name))
	}
	return names
}

// Host is the namespace of the host with that name in the plan.
func (n *Net) Host(host string) Namespace { return Namespace(name(n.ID, host)) }

// Wires is the namespace in which the bridges are; each bridge is an interface named like its wire.
func (n *Net) Wires() Namespace { return Namespace(name(n.ID, wireHost)) }

// SetLink takes a host's cable off a wire, or plugs it in again. The host sees its carrier go, as with a real cable.
func (n *Net) SetLink(host, wire string, up bool) error {
	state := "down"
	if up {
		state = "up"
	}
	if err := ipBatch(string(n.Wires()), fmt.Sprintf("link set %s %s\n", port(host, wire), state)); err != nil {
		return fmt.Errorf("setting the link of %s to %s %s: %w", host, wire, state, err)
	}
	return nil
}

// TakeFrames has the far end of a host's link receive frames that an XDP program sends by it (veth wants GRO there).
func (n *Net) TakeFrames(host, wire string) error {
	return ethtool(n.Wires(), "-K", port(host, wire), "gro", "on")
}

// FullChecksums has a host write the checksums of what it sends, as a real card does: between namespaces they are left out, and a
// packet that an XDP program sends on never gets one.
func (n *Net) FullChecksums(host, wire string) error {
	return ethtool(n.Host(host), "-K", wire, "tx", "off")
}

func ethtool(ns Namespace, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), ipDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", string(ns), "ethtool"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ethtool %s in %s: %w: %s", strings.Join(args, " "), ns, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// AddAddr gives a host one more address on a wire, which must lie in the wire's prefix.
func (n *Net) AddAddr(host, wire string, a netip.Addr) error {
	i := slices.IndexFunc(n.plan.Wires, func(w Wire) bool { return w.Name == wire })
	if i < 0 {
		return fmt.Errorf("no wire %q", wire)
	}
	w := n.plan.Wires[i]
	if !w.V4.Contains(a) && !w.V6.Contains(a) {
		return fmt.Errorf("address %s is not on wire %q", a, wire)
	}
	line := fmt.Sprintf("address add %s dev %s%s\n", netip.PrefixFrom(a, w.bits(a)), wire, nodad(a))
	if err := ipBatch(string(n.Host(host)), line); err != nil {
		return fmt.Errorf("adding address %s to %s: %w", a, host, err)
	}
	return nil
}

// Close removes every namespace of n; what still runs in them is killed. Closing twice does no harm.
func (n *Net) Close() error {
	err := destroy(n.ID, n.namespaces())
	if n.janitor != nil {
		err = errors.Join(err, n.janitor.stop())
		n.janitor = nil
	}
	return err
}

// destroy takes down the namespaces of one build and what it pinned, then its record.
func destroy(id string, namespaces []string) error {
	var errs []error
	for _, ns := range namespaces {
		if _, err := os.Stat(filepath.Join(dir, ns)); err != nil {
			continue
		}
		killAll(Namespace(ns))
		if err := ipBatch("", "netns del "+ns+"\n"); err != nil {
			errs = append(errs, fmt.Errorf("removing %s: %w", ns, err))
		}
	}
	if err := removePins(id); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, removeRecord(id))
	}
	return errors.Join(errs...)
}

// ipBatch runs the lines by ip(8) in a namespace ("" is the machine's own); the first line that fails ends it.
func ipBatch(ns, lines string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), ipDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
