package guard

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// The widest networks that can be banned: a wider one is more likely a slip than a wish.
const (
	widest4 = 8
	widest6 = 16
)

// maxNetworks is how many bans of networks, neither hosts nor IPv6 /64s, there can be beside those of lists.
const maxNetworks = 16_384

// maxPast is how many ended bans are remembered.
const maxPast = 10_000

// Ban shuts a source or network out for a time, or Forever; a ban of the same prefix is replaced. It returns when the ban is in
// force and in the journal. If only the journal failed, the ban is in force all the same and the error says so. ErrAllowed: the
// prefix is within the allow list, which would win.
func (g *Guard) Ban(p netip.Prefix, length time.Duration, by, note string) error {
	p, err := bannable(p)
	if err != nil {
		return err
	}
	if length <= 0 {
		return fmt.Errorf("banning %s: length %s is not above 0", p, length)
	}
	if by = clean(by, 64); by == "" || by == ByRule || by == ByKernel {
		return fmt.Errorf("banning %s: %q is no name of a person", p, by)
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return ErrClosed
	}
	now := g.clock()
	b := Ban{Prefix: p, Reason: verdict.ManualBan, By: by, Note: clean(note, 200), From: now}
	if length != Forever {
		b.Until = now.Add(length)
	}
	if q, group, ok := g.allowedWithin(p); ok {
		g.mu.Unlock()
		return fmt.Errorf("banning %s: %w (%s %s)", p, ErrAllowed, group, q)
	}
	if old := g.bans[p]; old != nil {
		b.Evidence = old.Evidence
	}
	if err := g.roomLocked(p); err != nil {
		g.mu.Unlock()
		return fmt.Errorf("banning %s: %w", p, err)
	}
	written := g.banLocked(b)
	g.mu.Unlock()
	if err := written(); err != nil {
		return fmt.Errorf("ban of %s is in force, but not in the journal: %w", p, err)
	}
	return nil
}

// bannable brings a prefix into the form in which bans are kept, and refuses those that nobody can mean.
func bannable(p netip.Prefix) (netip.Prefix, error) {
	q, err := normal(p)
	if err != nil {
		return q, err
	}
	a := q.Addr()
	switch {
	case a.Is4() && q.Bits() < widest4, a.Is6() && q.Bits() < widest6:
		return q, fmt.Errorf("%s: %w: at least /%d for IPv4, /%d for IPv6", q, ErrTooWide, widest4, widest6)
	case a.IsMulticast(), a.IsUnspecified(), a.Is6() && q.Bits() >= 64 && site(a).Bits() != 64: // 0.0.0.0/8; all of ::/64, with the loopback
		return q, fmt.Errorf("%s: %w", q, ErrBadPrefix)
	}
	return q, nil
}

// allowedWithin returns the allow-list entry that covers all of p.
func (g *Guard) allowedWithin(p netip.Prefix) (netip.Prefix, string, bool) {
	allow := g.view.allow.Load()
	for _, bits := range allow.lengths(p.Addr()) {
		if bits > p.Bits() {
			continue
		}
		q, _ := p.Addr().Prefix(bits)
		if group, ok := allow.m[q]; ok {
			return q, group, true
		}
	}
	return netip.Prefix{}, "", false
}

// roomLocked returns ErrFull if there is no room for a ban of p.
func (g *Guard) roomLocked(p netip.Prefix) error {
	if g.bans[p] != nil {
		return nil
	}
	if g.families[family(p)] >= g.cfg.MaxBans {
		return ErrFull
	}
	if !isHost(p) && g.networks >= maxNetworks {
		return ErrFull
	}
	return nil
}

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

func (g *Guard) banByRuleLocked(p netip.Prefix, r Rule, reason verdict.Reason, evidence []Evidence, now time.Time) {
	b := Ban{Prefix: p, Reason: reason, Rule: r.Name, By: ByRule, From: now, Until: now.Add(r.Ban), Evidence: evidence}
	if _, err := bannable(p); err != nil {
		return // the loopback address
	}
	if err := g.roomLocked(p); err != nil {
		if g.refused++; g.refused == 1 || g.refused%1000 == 0 {
			g.log.Error("a rule's ban is refused", "prefix", p, "rule", r.Name, "error", err, "refused", g.refused)
		}
		return
	}
	g.banLocked(b)
}

// banLocked puts b into force and hands it to the journal; written waits until it is there.
func (g *Guard) banLocked(b Ban) (written func() error) {
	g.made++
	g.putLocked(b)
	g.log.Info("banned", "prefix", b.Prefix, "reason", b.Reason, "rule", b.Rule, "by", b.By, "until", b.Until)
	shown := b
	g.watch.publish(Event{At: b.From, Kind: EventBan, Ban: &shown})
	return g.journal.write(record{Op: opBan, Ban: &b})
}

// putLocked puts b into force.
func (g *Guard) putLocked(b Ban) {
	g.rememberLocked(&b)
	if !b.Until.IsZero() {
		heap.Push(&g.ends, end{b.Until, b.Prefix})
	}
	g.enforceLocked(&b)
}

func (g *Guard) rememberLocked(b *Ban) {
	if g.bans[b.Prefix] == nil {
		g.families[family(b.Prefix)]++
		if !isHost(b.Prefix) {
			g.networks++
		}
	}
	g.bans[b.Prefix] = b
}

// Unban lifts a ban. It returns when that is in the journal. ErrNoBan: there is none of exactly that prefix.
func (g *Guard) Unban(p netip.Prefix, by, note string) error {
	p, err := normal(p)
	if err != nil {
		return err
	}
	if by = clean(by, 64); by == "" {
		return fmt.Errorf("lifting the ban of %s: nobody does it", p)
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return ErrClosed
	}
	now := g.clock()
	b, limited := g.bans[p], g.unlimitLocked(p, now)
	if b == nil || !in(b.Until, now) {
		g.mu.Unlock()
		if limited {
			g.log.Info("strict rate lifted", "prefix", p, "by", by, "note", clean(note, 200))
			return nil
		}
		return fmt.Errorf("%s: %w", p, ErrNoBan)
	}
	ended := Past{Ban: *b, Ended: now, EndedBy: by, EndNote: clean(note, 200)}
	g.removeLocked(ended)
	g.log.Info("ban lifted", "prefix", p, "by", by, "note", ended.EndNote)
	g.watch.publish(Event{At: now, Kind: EventUnban, Ban: &ended.Ban, By: by, Note: ended.EndNote})
	written := g.journal.write(record{Op: opUnban, Prefix: p, At: now, By: by, Note: ended.EndNote})
	g.mu.Unlock()
	if err := written(); err != nil {
		return fmt.Errorf("ban of %s is lifted, but not in the journal: %w", p, err)
	}
	return nil
}

func (g *Guard) removeLocked(p Past) {
	delete(g.bans, p.Prefix)
	g.families[family(p.Prefix)]--
	if !isHost(p.Prefix) {
		g.networks--
	}
	if err := g.set.Unban(p.Prefix); err != nil {
		g.kernelFaultLocked(err)
	}
	g.past = remember(g.past, p)
	g.endedLocked(p)
}

// byExpiry ends a ban that ended by itself.
const byExpiry = "expiry"

func remember(past []Past, p Past) []Past {
	if past = append(past, p); len(past) > maxPast+maxPast/4 {
		past = append([]Past(nil), past[len(past)-maxPast:]...)
	}
	return past
}

func (g *Guard) expireLocked(now time.Time) {
	for len(g.ends) > 0 && !g.ends[0].at.After(now) {
		e := heap.Pop(&g.ends).(end)
		b := g.bans[e.prefix]
		if b == nil || in(b.Until, now) {
			continue // lifted, or changed since
		}
		g.removeLocked(Past{Ban: *b, Ended: b.Until, EndedBy: byExpiry})
		shown := *b
		shown.Evidence = nil
		g.watch.publish(Event{At: now, Kind: EventExpire, Ban: &shown})
	}
}

// end is when a ban ends, at the time that was planned when it was made.
type end struct {
	at     time.Time
	prefix netip.Prefix
}

// endHeap has the earliest end first (container/heap).
type endHeap []end

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h endHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *endHeap) Push(x any)        { *h = append(*h, x.(end)) }
func (h *endHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// loadBansLocked brings back what the journal holds, and what only the kernel knows.
func (g *Guard) loadBansLocked(saved folded) {
	now := g.clock()
	known := map[netip.Prefix]time.Time{}
	if g.kernel != nil {
		for _, b := range g.kernel.filter.Inherited() {
			known[b.Prefix] = g.base.time(b.Until)
		}
	}
	for p, b := range saved.active {
		b.Until = resume(b, now, known)
		if !in(b.Until, now) {
			g.past = remember(g.past, Past{Ban: b, Ended: b.Until, EndedBy: byExpiry})
			continue
		}
		g.rememberLocked(&b)
		if !b.Until.IsZero() {
			g.ends = append(g.ends, end{b.Until, p})
		}
		g.enforceLocked(&b)
	}
	slices.SortStableFunc(g.past, func(a, b Past) int { return a.Ended.Compare(b.Ended) })
	for _, p := range g.past {
		g.endedLocked(p)
	}
	heap.Init(&g.ends)
	if g.kernel != nil {
		g.reconcileLocked(saved, now)
	}
}

// resume is when a ban from the journal ends. The wall clock may have been set since it was written: the kernel's clock knows better
// if it still has the ban, but for the tick that it rounds up to; and in no case does a ban last longer than it was given.
func resume(b Ban, now time.Time, kernel map[netip.Prefix]time.Time) time.Time {
	if b.Until.IsZero() {
		return b.Until
	}
	left := b.Until.Sub(now)
	if t, ok := kernel[b.Prefix]; ok && isHost(b.Prefix) && !t.IsZero() {
		if by := t.Sub(now); (by - left).Abs() > 2*table.Tick(1).Duration() {
			left = by
		}
	}
	return now.Add(min(left, b.Until.Sub(b.From)))
}
