package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/bpf"
	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// Options are what the guard needs beside its configuration.
type Options struct {
	Dir   string                    // directory of the journal; made if it is not there; one guard at a time
	Allow map[string][]netip.Prefix // first groups of the allow list, in force before any ban; see SetAllow
	Ports Ports                     // local ports of signalling and media; they don't change while the guard runs
	Load  func(SetList)             // puts lists into force before the first packet is judged; nil: there are none. It must not call the guard
	Log   *slog.Logger              // nil: no log
	Clock func() time.Time          // nil: time.Now
}

// SetList puts a list into force; see Guard.SetList.
type SetList func(name string, kind FeedKind, ps []netip.Prefix) error

// Guard holds bans, scores and the allow list. Its methods may be called from any goroutine.
type Guard struct {
	log   *slog.Logger
	clock func() time.Time
	base  timebase
	view  *view
	ports Ports

	journal     *journal
	watch       *watchers
	talkers     talkers
	stop        context.CancelFunc
	stopped     <-chan struct{} // closed by stop
	lastDropLog atomic.Int64    // the second in which a sample of what was dropped was last logged
	done        sync.WaitGroup
	importing   sync.Mutex // held, before mu, while a person's list is imported or dropped

	// mu guards all that follows, and is held while view is changed. Lock order: mu, then the journal's, then the watchers'.
	mu           sync.Mutex
	closed       bool
	cfg          Config
	set          *table.Set
	kernel       *kernel      // nil: user space only
	media        *Media       // nil: nobody asked for it
	why          string       // what speaks against a better mode
	unguarded    string       // why media ports are not closed
	toldOwn      []netip.Addr // at which addresses they are, as the kernel filter was told
	ownAt        time.Time    // when that was last looked at
	groups       map[string][]netip.Prefix
	feeds        map[string]*feed
	limited      map[netip.Prefix]time.Time // until when a source is held to a strict rate
	marked       map[netip.Prefix]time.Time // until when the tables know a source as good
	bans         map[netip.Prefix]*Ban
	families     [2]int // number of bans, IPv4 and IPv6
	networks     int    // bans that are not of hosts or IPv6 /64s
	ends         endHeap
	past         []Past // oldest first
	scoring      scoring
	held         []Held                    // oldest first
	offences     map[verdict.Reason]uint64 // since start; only reasons that we know are told
	made         uint64
	refused      uint64
	holdsEvicted uint64
	kernelFaults uint64

	portsMu sync.Mutex
	portsOf *bpf.Filter // that guards media ports; nil: none does
}

// Open starts the guard: it reads the journal, puts the allow list and then all bans that have not ended into force, and attaches
// the kernel filter. With mode auto, whatever the kernel filter lacks leads to user space, and Mode says why; with native or generic
// it is an error. A wrong configuration is a Fault.
func Open(cfg Config, o Options) (_ *Guard, err error) {
	if fs := cfg.Check(); len(fs) > 0 {
		return nil, fmt.Errorf("configuration of the guard: %w", fs[0])
	}
	g := &Guard{
		log: o.Log, clock: o.Clock, cfg: cfg, ports: o.Ports,
		groups: map[string][]netip.Prefix{}, bans: map[netip.Prefix]*Ban{}, feeds: map[string]*feed{}, limited: map[netip.Prefix]time.Time{}, marked: map[netip.Prefix]time.Time{}, offences: map[verdict.Reason]uint64{},
	}
	if g.log == nil {
		g.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if g.clock == nil {
		g.clock = time.Now
	}
	if g.base, err = newTimebase(g.clock()); err != nil {
		return nil, err
	}
	g.set = table.New(table.Heap{})
	g.view = newView(g.clock, g.base, g.set)
	g.scoring = g.newScoring(cfg)
	g.watch = newWatchers(g.capturing)
	saved, err := g.openJournal(o.Dir)
	if err != nil {
		return nil, err
	}
	g.scoring.recorder = openRecorder(o.Dir, cfg.Record, g.log)
	defer func() {
		if err != nil {
			_ = g.Close() // the first fault is told
		}
	}()
	for group, ps := range o.Allow {
		if g.groups[group], err = allowable(ps); err != nil {
			return nil, fmt.Errorf("allow list, group %s: %w", group, err)
		}
	}
	if g.groups[groupConfig], err = allowable(cfg.Allow); err != nil {
		return nil, fmt.Errorf("allow list: %w", err)
	}
	if err := g.enforce(saved, o.Load); err != nil {
		return nil, err
	}
	g.start()
	return g, nil
}

// enforce puts everything into force: the allow list before the bans, the bans before the packets.
func (g *Guard) enforce(saved folded, load func(SetList)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.openKernel(); err != nil {
		return err
	}
	g.past = saved.past
	err := errors.Join(g.set.SetMonitored(g.monitoredListsLocked()), g.applyAllowLocked())
	if err == nil {
		g.loadBansLocked(saved)
		g.loadImportsLocked()
		if load != nil {
			load(g.setListLocked)
		}
		err = g.set.Rebuild()
	}
	if err != nil {
		if g.kernel == nil || g.cfg.XDP.Mode != XDPAuto {
			return err
		}
		if err := g.dropKernelLocked(err); err != nil {
			return err
		}
	}
	return errors.Join(g.attachLocked(), g.applySettingsLocked())
}

func (g *Guard) start() {
	ctx, stop := context.WithCancel(context.Background())
	g.stop, g.stopped = stop, ctx.Done()
	g.done.Go(func() { g.sweeper(ctx) })
	g.done.Go(func() { g.forwardSamples(ctx) })
	if g.kernel != nil {
		g.done.Go(g.readEvents)
	}
	mode, why := g.Mode()
	if mode == ModeNative {
		g.log.Info("bans are in force in the kernel", "mode", mode)
	} else {
		g.log.Warn("bans are in force, but not in the kernel's fastest way", "mode", mode, "why", why)
	}
}

// sweeper removes what has ended. Nothing depends on its pace: the end of a ban is compared with the clock wherever it counts.
func (g *Guard) sweeper(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.sweep()
		}
	}
}

func (g *Guard) sweep() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock()
	g.expireLocked(now)
	g.expireSourcesLocked(now)
	g.adaptSamplesLocked()
	g.refreshOwnLocked(now)
	g.tidyLocked(now)
}

// Reload takes a new configuration over without losing bans: rules, allow list, limits, monitor mode and samples. Counts towards a
// threshold begin anew. How the kernel filter is attached can't change while it runs.
func (g *Guard) Reload(cfg Config) error {
	if fs := cfg.Check(); len(fs) > 0 {
		return fmt.Errorf("configuration of the guard: %w", fs[0])
	}
	allow, err := allowable(cfg.Allow)
	if err != nil {
		return fmt.Errorf("allow list: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	a, b := g.cfg.XDP, cfg.XDP
	if a.Mode != b.Mode || a.BPFFS != b.BPFFS || a.Name != b.Name || !slices.Equal(a.Interfaces, b.Interfaces) {
		return Fault{"xdp", "mode, interfaces, bpffs and name change only with a restart"}
	}
	old := g.groups[groupConfig]
	g.groups[groupConfig] = allow
	if err := g.applyAllowLocked(); err != nil {
		g.groups[groupConfig] = old
		return errors.Join(err, g.applyAllowLocked())
	}
	g.cfg = cfg
	g.rescoreLocked(cfg)
	for _, b := range g.bans { // the numbers of the rules may have changed
		g.enforceLocked(b)
	}
	return errors.Join(g.set.SetMonitored(g.monitoredListsLocked()), g.applySettingsLocked())
}

// capturing has whole packets handed over while anybody captures.
func (g *Guard) capturing() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	if err := g.applySettingsLocked(); err != nil {
		g.kernelFaultLocked(err)
	}
}

// Close ends the guard. The kernel filter and its bans stay in force.
func (g *Guard) Close() error { return g.end(false) }

// Detach ends the guard and the kernel filter on all interfaces; it leaves nothing in the kernel. The journal stays.
func (g *Guard) Detach() error { return g.end(true) }

func (g *Guard) end(detach bool) error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	k := g.kernel
	g.kernel = nil
	g.mu.Unlock()
	g.portsMu.Lock()
	g.portsOf = nil
	g.portsMu.Unlock()
	if g.stop != nil {
		g.stop()
	}
	g.watch.close()
	var errs []error
	if k != nil {
		errs = append(errs, k.stopEvents())
		g.done.Wait()
		if detach {
			errs = append(errs, k.filter.Detach())
		} else {
			errs = append(errs, k.filter.Close())
		}
	}
	g.done.Wait()
	g.scoring.recorder.close()
	return errors.Join(append(errs, g.journal.close())...)
}

// Mode tells where bans are enforced, and what speaks against a better mode; why is empty with ModeNative.
func (g *Guard) Mode() (mode Mode, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.modeLocked()
}

// Interfaces tells how each configured interface is filtered.
func (g *Guard) Interfaces() []InterfaceMode {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.interfacesLocked()
}

// Stats returns the guard's numbers. The kernel's counters live as long as its maps, longer than this process.
func (g *Guard) Stats() (Stats, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{
		Interfaces: g.interfacesLocked(),
		Bans:       len(g.bans), Holds: len(g.held), Allowed: len(g.view.allow.Load().m),
		BansMade: g.made, BansRefused: g.refused,
		HoldsEvicted:  g.holdsEvicted,
		JournalFaults: g.journal.faultCount(), KernelFaults: g.kernelFaults,
	}
	s.Mode, s.Why = g.modeLocked()
	s.OffencesBy = maps.Clone(g.offences)
	for _, n := range g.offences {
		s.Offences += n
	}
	if g.media != nil {
		s.MediaInKernel, s.MediaWaiting = g.media.Streams()
	}
	s.LimitedNow, s.Unguarded, s.Feeds = len(g.limited), g.unguarded, g.feedStatsLocked()
	_, _, s.TableBytes = g.set.Len()
	g.countLocked(&s, g.clock())
	for i, reason := range userReasons {
		for f, family := range []string{"ipv4", "ipv6"} {
			for a, action := range userActions {
				if n := g.view.counts[i][f][a].Load(); n > 0 {
					s.Counts = append(s.Counts, Count{Where: whereUser, Family: family, Reason: reason, Action: action, Packets: n})
				}
			}
		}
	}
	if g.kernel == nil {
		return s, nil
	}
	counts, all, err := g.kernel.counts()
	s.Counts = append(s.Counts, counts...)
	for _, l := range all.Lists {
		if name := g.listName(l.List); name != "" {
			s.Lists = append(s.Lists, ListCount{Name: name, Dropped: l.Dropped, Monitored: l.Monitored})
		}
	}
	s.SamplesLost = all.SamplesLost
	return s, err
}

// Top returns the sources that send the most, of what passed and of what was dropped, the heaviest first.
func (g *Guard) Top(n int) (passed, dropped []Talker) { return g.talkers.top(n, g.clock()) }

// List returns the bans in force, the newest first, without their evidence.
func (g *Guard) List() []Ban {
	g.mu.Lock()
	now := g.clock()
	all := make([]Ban, 0, len(g.bans))
	for _, b := range g.bans {
		if in(b.Until, now) {
			c := *b
			c.Evidence = nil
			all = append(all, c)
		}
	}
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b Ban) int {
		return cmp.Or(b.From.Compare(a.From), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return all
}

// Why tells all that is known about an address; false if that is nothing.
func (g *Guard) Why(addr netip.Addr) (Explanation, bool) {
	addr = plain(addr)
	e := Explanation{Addr: addr, Verdict: verdict.Passed}
	if !addr.IsValid() {
		return e, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock()
	for bits := addr.BitLen(); bits >= 0; bits-- {
		p, _ := addr.Prefix(bits)
		if b := g.bans[p]; b != nil && in(b.Until, now) {
			e.Bans = append(e.Bans, *b)
		}
	}
	f := g.view.set.Lookup(addr, table.Now(g.base.of(now)))
	if f.Ban != 0 {
		e.Verdict = verdict.Dropped(banReason(f.Network))
		if f.Ban.List() >= listFeeds {
			e.Listed = g.listName(f.Ban.List())
		}
	}
	if f.Noted != 0 {
		e.Noted = g.listName(f.Noted.List())
	}
	e.Limited = g.limitedUntilLocked(addr, now)
	if p, group, ok := g.view.allowed(addr); ok {
		e.Allowed, e.Verdict = group+" "+p.String(), verdict.Passed
	}
	for _, h := range g.held {
		if h.Source.Addr() == addr && h.Until.After(now) {
			e.Held = append(e.Held, h)
		}
	}
	g.explainLocked(&e, now)
	for i := len(g.past) - 1; i >= 0; i-- {
		if g.past[i].Prefix.Contains(addr) {
			e.History = append(e.History, g.past[i])
		}
	}
	e.Outcome = e.Verdict.String()
	known := e.Allowed+e.Noted != "" || !e.Limited.IsZero() || len(e.Bans)+len(e.Held)+len(e.Scores)+len(e.FlowScores)+len(e.Evidence)+len(e.History)+e.Known > 0
	return e, known
}

// Watch tells what happens from now on, until ctx ends or the guard is closed; then the channel is closed. A watcher that is too
// slow misses events, and Lost in the next one says how many.
func (g *Guard) Watch(ctx context.Context) <-chan Event { return g.watch.add(ctx, false) }

// Capture is Watch for dropped packets, with as much of each as the kernel filter hands over: up to 1,536 bytes.
func (g *Guard) Capture(ctx context.Context) <-chan Event { return g.watch.add(ctx, true) }
