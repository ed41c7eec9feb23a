package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"brickhouse/bpf"
	"brickhouse/shared/verdict"
)

// kernel is the guard's door to the kernel filter.
type kernel struct {
	filter *bpf.Filter
	events *bpf.Events
	names  map[int]string // of interfaces, by index
	modes  []InterfaceMode
}

// reasonOf are the kernel's reasons in the words of all.
var reasonOf = map[bpf.Reason]verdict.Reason{
	bpf.ReasonNone:          verdict.None,
	bpf.ReasonHostBanned:    verdict.HostBanned,
	bpf.ReasonNetworkBanned: verdict.NetworkBanned,
	bpf.ReasonBadPacket:     verdict.BadPacket,
	bpf.ReasonTooManyTags:   verdict.TooManyTags,
	bpf.ReasonMartianSource: verdict.MartianSource,
}

// openKernel loads the kernel filter, if it is wanted. With mode auto a failure is noted in g.why.
func (g *Guard) openKernel() error {
	x := g.cfg.XDP
	switch {
	case x.Mode == XDPOff:
		g.why = "xdp.mode is off"
		return nil
	case len(x.Interfaces) == 0:
		g.why = "xdp.interfaces names none"
		return nil
	}
	f, err := bpf.Load(bpf.Options{BPFFS: x.BPFFS, Name: x.Name})
	if err != nil {
		if x.Mode != XDPAuto {
			return err
		}
		g.why = err.Error()
		return nil
	}
	events, err := f.Events()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	g.kernel = &kernel{filter: f, events: events, names: map[int]string{}}
	return nil
}

// attachLocked puts the filter on each interface. With mode auto an interface that does not take it is left to user space.
func (g *Guard) attachLocked() error {
	k := g.kernel
	if k == nil {
		return nil
	}
	if err := g.applySettingsLocked(false); err != nil {
		return err
	}
	mode := map[XDPMode]bpf.Mode{XDPAuto: bpf.ModeAuto, XDPNative: bpf.ModeNative, XDPGeneric: bpf.ModeGeneric}[g.cfg.XDP.Mode]
	attached := 0
	for _, name := range g.cfg.XDP.Interfaces {
		a, err := k.filter.Attach(name, mode)
		if err != nil {
			if mode != bpf.ModeAuto {
				return err
			}
			k.modes = append(k.modes, InterfaceMode{name, ModeUserSpace, err.Error()})
			continue
		}
		attached++
		k.names[a.Index] = name
		k.modes = append(k.modes, InterfaceMode{name, Mode(a.Mode.String()), a.Note})
	}
	if err := k.filter.Release(); err != nil {
		g.kernelFaultLocked(err)
	}
	if attached == 0 {
		g.dropKernelLocked(errors.New(notes(k.modes)))
	}
	return nil
}

// dropKernelLocked gives the kernel filter up: nothing is attached, or its tables can't be trusted.
func (g *Guard) dropKernelLocked(why error) {
	k := g.kernel
	g.kernel, g.why = nil, why.Error()
	if err := errors.Join(k.stopEvents(), k.filter.Detach()); err != nil {
		g.kernelFaultLocked(err)
	}
}

func (g *Guard) modeLocked() (Mode, string) {
	if g.kernel == nil {
		return ModeUserSpace, g.why
	}
	mode := ModeNative
	for _, m := range g.kernel.modes {
		switch {
		case m.Mode == ModeUserSpace:
			mode = ModeMixed
		case m.Mode == ModeGeneric && mode == ModeNative:
			mode = ModeGeneric
		}
	}
	why := notes(g.kernel.modes)
	if n := g.kernel.filter.Note(); n != "" {
		why = strings.TrimPrefix(why+"; "+n, "; ")
	}
	return mode, why
}

func (g *Guard) interfacesLocked() []InterfaceMode {
	if g.kernel != nil {
		return append([]InterfaceMode(nil), g.kernel.modes...)
	}
	var ms []InterfaceMode
	for _, name := range g.cfg.XDP.Interfaces {
		ms = append(ms, InterfaceMode{name, ModeUserSpace, g.why})
	}
	return ms
}

func notes(ms []InterfaceMode) string {
	var all []string
	for _, m := range ms {
		if m.Note == "" {
			continue
		}
		if !strings.Contains(m.Note, m.Name) {
			m.Note = m.Name + ": " + m.Note
		}
		all = append(all, m.Note)
	}
	return strings.Join(all, "; ")
}

func (g *Guard) kernelFaultLocked(err error) {
	if g.kernelFaults++; g.kernelFaults == 1 || g.kernelFaults%1000 == 0 {
		g.log.Error("the kernel filter's tables can't be changed; user space holds the ban", "error", err, "faults", g.kernelFaults)
	}
}

func (k *kernel) set(monitor bool, samples int) error {
	return k.filter.Set(bpf.Settings{Monitor: monitor, Samples: samples})
}

// deadline is the end of a ban on the kernel's clock.
func (g *Guard) deadline(until time.Time) (time.Duration, error) {
	if until.IsZero() {
		return bpf.Never, nil
	}
	now, err := bpf.Monotonic()
	return now + until.Sub(g.clock()), err
}

// pushKernelLocked makes the kernel agree with the ban of p.
func (g *Guard) pushKernelLocked(p netip.Prefix) {
	if g.kernel == nil {
		return
	}
	var err error
	if isHost(p) {
		err = g.putKernel(p, g.bans[p].Until)
	} else {
		err = g.putKernelNets(p)
	}
	if err != nil {
		g.kernelFaultLocked(err)
	}
}

// pullKernelLocked removes the ban of p, which has ended, from the kernel.
func (g *Guard) pullKernelLocked(p netip.Prefix) {
	if g.kernel == nil {
		return
	}
	err := g.kernel.filter.Unban(p)
	if !isHost(p) {
		err = errors.Join(err, g.putKernelNets(p))
	}
	if err != nil {
		g.kernelFaultLocked(err)
	}
}

func (g *Guard) putKernel(p netip.Prefix, until time.Time) error {
	d, err := g.deadline(until)
	if err != nil {
		return err
	}
	return g.kernel.filter.Ban(bpf.Ban{Prefix: p, Until: d})
}

// putKernelAll writes all bans.
func (g *Guard) putKernelAll() error {
	all := make([]bpf.Ban, 0, len(g.bans))
	nets := g.view.nets.Load()
	for p, b := range g.bans {
		until := b.Until
		if !isHost(p) {
			until = lastEnd(nets, p)
		}
		d, err := g.deadline(until)
		if err != nil {
			return err
		}
		all = append(all, bpf.Ban{Prefix: p, Until: d})
	}
	return g.kernel.filter.BanAll(all)
}

// putKernelNets writes the banned networks within p anew. The kernel looks at the longest prefix only, so each gets the latest end of
// all bans that cover it.
func (g *Guard) putKernelNets(p netip.Prefix) error {
	var errs []error
	nets := g.view.nets.Load()
	for q := range nets.m {
		if q.Bits() >= p.Bits() && p.Contains(q.Addr()) {
			errs = append(errs, g.putKernel(q, lastEnd(nets, q)))
		}
	}
	return errors.Join(errs...)
}

func lastEnd(nets *networks[time.Time], q netip.Prefix) time.Time {
	last := nets.m[q]
	for _, bits := range nets.lengths(q.Addr()) {
		if bits > q.Bits() {
			continue
		}
		p, _ := q.Addr().Prefix(bits)
		t, ok := nets.m[p]
		switch {
		case ok && t.IsZero():
			return t
		case ok && t.After(last):
			last = t
		}
	}
	return last
}

// bans returns the kernel's entries that are in force, with their ends on the wall clock.
func (k *kernel) bans(now time.Time) (map[netip.Prefix]time.Time, error) {
	all, err := k.filter.Bans()
	if err != nil {
		return nil, err
	}
	mono, err := bpf.Monotonic()
	if err != nil {
		return nil, err
	}
	m := map[netip.Prefix]time.Time{}
	for _, b := range all {
		if b.Until == bpf.Never {
			m[b.Prefix] = time.Time{}
		} else {
			m[b.Prefix] = now.Add(b.Until - mono)
		}
	}
	return m, nil
}

// reconcileLocked adopts what only the kernel knows, unless a person's last word was to lift it, removes what has ended, and writes
// what the kernel lacks.
func (g *Guard) reconcileLocked(known map[netip.Prefix]time.Time, lifted map[netip.Prefix]bool, now time.Time) error {
	var errs []error
	adopted := 0
	for p, until := range known {
		if g.bans[p] != nil {
			continue
		}
		if !in(until, now) || lifted[p] || g.roomLocked(p) != nil {
			errs = append(errs, g.kernel.filter.Unban(p))
			continue
		}
		reason := verdict.HostBanned
		if !isHost(p) {
			reason = verdict.NetworkBanned
		}
		b := Ban{Prefix: p, Reason: reason, By: ByKernel, From: now, Until: until, Note: "found in the kernel; the journal does not know it"}
		g.putLocked(b)
		g.journal.write(record{Op: opBan, Ban: &b})
		adopted++
	}
	errs = append(errs, g.putKernelAll())
	if adopted > 0 {
		g.log.Warn("bans that only the kernel knew were adopted", "bans", adopted)
	}
	return errors.Join(errs...)
}

func (k *kernel) counts() ([]Count, error) {
	all, err := k.filter.Counts()
	if err != nil {
		return nil, err
	}
	out := make([]Count, 0, len(all))
	for _, c := range all {
		out = append(out, Count{
			Where: whereKernel, Family: c.Family.String(), Reason: reasonOf[c.Reason], Action: c.Action.String(), Packets: c.Packets, Bytes: c.Bytes,
		})
	}
	return out, nil
}

func (k *kernel) stopEvents() error { return k.events.Close() }

// readEvents passes the kernel's samples on to watchers, until the reader is closed.
func (g *Guard) readEvents() {
	g.mu.Lock()
	k := g.kernel
	g.mu.Unlock()
	if k == nil {
		return
	}
	for {
		e, err := k.events.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			g.mu.Lock()
			g.kernelFaultLocked(fmt.Errorf("drop samples: %w", err))
			g.mu.Unlock()
			return
		}
		at := g.clock()
		if mono, err := bpf.Monotonic(); err == nil {
			at = at.Add(e.At - mono)
		}
		g.watch.publish(Event{At: at, Kind: EventDrop, Drop: &Drop{
			Where: whereKernel, Source: e.Source, Reason: reasonOf[e.Reason], Monitored: e.Action == bpf.ActionMonitor,
			Interface: k.names[e.Interface], Length: e.Length, Head: e.Head,
		}})
	}
}

// Remove ends the kernel filter that a guard left behind, with all its bans in the kernel. That there is none is no error.
func Remove(x XDP) error { return bpf.Remove(bpf.Options{BPFFS: x.BPFFS, Name: x.Name}) }
