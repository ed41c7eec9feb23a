package guard

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"brickhouse/bpf"
	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// kernel is the guard's door to the kernel filter.
type kernel struct {
	filter *bpf.Filter
	events *bpf.Events
	names  map[int]string // of interfaces, by index
	modes  []InterfaceMode
	// What the rate of samples is made from.
	packets  uint64
	interval int
}

// reasonOf are the kernel's reasons in the words of all.
var reasonOf = map[bpf.Reason]verdict.Reason{
	bpf.ReasonNone:           verdict.None,
	bpf.ReasonHostBanned:     verdict.HostBanned,
	bpf.ReasonNetworkBanned:  verdict.NetworkBanned,
	bpf.ReasonBadPacket:      verdict.BadPacket,
	bpf.ReasonTooManyTags:    verdict.TooManyTags,
	bpf.ReasonMartianSource:  verdict.MartianSource,
	bpf.ReasonFragment:       verdict.Fragment,
	bpf.ReasonExtensionChain: verdict.ExtensionChain,
	bpf.ReasonPortClosed:     verdict.PortClosed,
	bpf.ReasonNotSIP:         verdict.NotSIP,
	bpf.ReasonSourceRate:     verdict.SourceRate,
	bpf.ReasonStrangersRate:  verdict.StrangersRate,
	bpf.ReasonConnectionRate: verdict.ConnectionRate,
}

// KernelReasons are the reasons that the kernel filter drops for, sorted.
func KernelReasons() []verdict.Reason {
	all := slices.Sorted(maps.Values(reasonOf))
	return slices.DeleteFunc(all, func(r verdict.Reason) bool { return r == verdict.None })
}

// openKernel loads the kernel filter, if it is wanted, and makes the tables in its memory, else in ours. With mode auto a failure is
// noted in g.why.
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
	g.kernel = &kernel{filter: f, events: events, names: map[int]string{}, interval: 1}
	g.set = f.Sources()
	g.view.set = g.set
	return nil
}

// attachLocked puts the filter on each interface. With mode auto an interface that does not take it is left to user space.
func (g *Guard) attachLocked() error {
	k := g.kernel
	if k == nil {
		return nil
	}
	g.guardPorts(k.filter)
	if err := g.applySettingsLocked(); err != nil {
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
		return g.dropKernelLocked(errors.New(notes(k.modes)))
	}
	return nil
}

// dropKernelLocked gives the kernel filter up, since nothing is attached or its tables can't be trusted. The tables move to our memory.
func (g *Guard) dropKernelLocked(why error) error {
	k := g.kernel
	g.kernel, g.why = nil, why.Error()
	err := g.set.MoveTo(table.Heap{})
	g.portsMu.Lock()
	g.portsOf = nil
	g.portsMu.Unlock()
	if err := errors.Join(k.stopEvents(), k.filter.Detach()); err != nil {
		g.kernelFaultLocked(err)
	}
	return err
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
		g.log.Error("the tables of sources can't be changed", "error", err, "faults", g.kernelFaults)
	}
}

// applySettingsLocked takes over what may change while the filter runs.
func (g *Guard) applySettingsLocked() error {
	monitored := g.cfg.monitored()
	g.view.monitor.Store(&monitored)
	samples := g.cfg.XDP.Samples
	g.view.sampler.limit.Store(int64(samples))
	g.watch.limit(samples)
	if mode, _ := g.modeLocked(); mode != ModeUserSpace && mode != ModeMixed {
		g.view.limits.Store(nil)
	} else if old := g.view.limits.Load(); old == nil || old.rates != g.cfg.Rates { // else what sources have used up stays
		g.view.limits.Store(newLimits(g.cfg.Rates))
	}
	if g.kernel == nil {
		return nil
	}
	capturing := g.watch.capturing()
	if capturing {
		samples = captureSamples
	}
	s := bpf.Settings{
		Samples: samples, Interval: g.kernel.interval, Full: capturing, Monitored: map[bpf.Reason]bool{},
		Fragments: map[FragmentPolicy]bpf.Fragments{FragmentsRate: bpf.FragmentsRate, FragmentsDrop: bpf.FragmentsDrop, FragmentsPass: bpf.FragmentsPass}[g.cfg.Fragments],
		Source:    g.cfg.Rates.Source.raw(), Known: g.cfg.Rates.Known.raw(), Limited: g.cfg.Rates.Limited.raw(),
		Strangers: g.cfg.Rates.Strangers.raw(), Connections: g.cfg.Rates.Connections.raw(),
	}
	for k, r := range reasonOf {
		s.Monitored[k] = monitored[r]
	}
	return g.kernel.filter.Set(s)
}

// captureSamples is how many dropped packets per second and CPU are handed over while somebody captures.
const captureSamples = 20_000

// reconcileLocked adopts the bans that only the kernel knows, unless a person's last word was to lift them. One that the journal knows
// has ended if it is not in force by now: the kernel's clock, in ticks, is up to a second behind.
func (g *Guard) reconcileLocked(saved folded, now time.Time) {
	adopted := 0
	for _, b := range g.kernel.filter.Inherited() {
		until := g.base.time(b.Until)
		p, err := bannable(b.Prefix)
		if err != nil || b.List >= listFeeds || g.bans[p] != nil || saved.lifted[p] || !in(until, now) || g.roomLocked(p) != nil {
			continue
		}
		if _, known := saved.active[p]; known {
			continue
		}
		reason := banReason(!isHost(p))
		ban := Ban{Prefix: p, Reason: reason, By: ByKernel, From: now, Until: until, Note: "found in the kernel; the journal does not know it"}
		g.putLocked(ban)
		g.journal.write(record{Op: opBan, Ban: &ban})
		adopted++
	}
	if adopted > 0 {
		g.log.Warn("bans that only the kernel knew were adopted", "bans", adopted)
	}
}

func (k *kernel) counts() ([]Count, bpf.Counts, error) {
	all, err := k.filter.Counts()
	if err != nil {
		return nil, all, err
	}
	out := make([]Count, 0, len(all.Packets))
	for _, c := range all.Packets {
		out = append(out, Count{
			Where: whereKernel, Family: c.Family.String(), Reason: reasonOf[c.Reason], Action: c.Action.String(), Packets: c.Packets, Bytes: c.Bytes,
		})
	}
	return out, all, nil
}

// adaptSamples chooses how many packets one sample stands for, so that about half of what may be sampled is. It is called once a second.
func (g *Guard) adaptSamplesLocked() {
	k := g.kernel
	if k == nil || g.cfg.XDP.Samples == 0 {
		return
	}
	_, all, err := k.counts()
	if err != nil {
		g.kernelFaultLocked(err)
		return
	}
	var n uint64
	for _, c := range all.Packets {
		n += c.Packets
	}
	rate := n - k.packets
	if k.packets == 0 || n < k.packets {
		rate = 0
	}
	k.packets = n
	next := int(rate)/max(1, g.cfg.XDP.Samples/2) + 1
	if next == k.interval || (next < 2*k.interval && 2*next > k.interval) {
		return
	}
	k.interval = next
	if err := g.applySettingsLocked(); err != nil {
		g.kernelFaultLocked(err)
	}
}

func (k *kernel) stopEvents() error { return k.events.Close() }

// readEvents takes the kernel's samples, until the reader is closed.
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
		dropped := e.Action == bpf.ActionDrop
		if e.Weight > 0 && e.Source.IsValid() {
			g.talkers.add(e.Source, dropped, e.Weight, reasonOf[e.Reason], at)
		}
		if dropped || e.Action == bpf.ActionMonitor {
			g.sampled(at, Drop{
				Where: whereKernel, Source: e.Source, Reason: reasonOf[e.Reason], Monitored: !dropped,
				Interface: k.names[e.Interface], Length: e.Length, Head: e.Head, List: g.nameOf(e.List),
			})
		}
	}
}

// Remove ends the kernel filter that a guard left behind, with all its bans in the kernel. That there is none is no error.
func Remove(x XDP) error { return bpf.Remove(bpf.Options{BPFFS: x.BPFFS, Name: x.Name}) }
