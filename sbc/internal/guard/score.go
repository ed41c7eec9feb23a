package guard

import (
	"container/list"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// source is who is scored: a verified one by its site, with port 0, an unverified one by its address and port.
type source struct {
	prefix netip.Prefix
	port   uint16
}

// mark is one offence as a rule counts it.
type mark struct {
	at     time.Time
	weight int
}

// scored is what a source has done lately.
type scored struct {
	source   source
	marks    [][]mark // by rule; at most the threshold of each, since a weight is at least 1
	evidence []Evidence
	last     time.Time
}

// scoreTable holds the scored sources, up to a limit; over it, the one that was quiet longest is forgotten.
type scoreTable struct {
	limit   int
	entries map[source]*list.Element // of *scored
	order   *list.List               // quiet longest first
	evicted uint64
}

func newScoreTable(limit int) *scoreTable {
	return &scoreTable{limit: limit, entries: map[source]*list.Element{}, order: list.New()}
}

func (t *scoreTable) get(s source) *scored {
	if e := t.entries[s]; e != nil {
		return e.Value.(*scored)
	}
	return nil
}

// touch returns the entry of s, made if it is new, as the one that was active last.
func (t *scoreTable) touch(s source, rules int, now time.Time) *scored {
	e := t.entries[s]
	if e == nil {
		for t.order.Len() >= t.limit {
			t.remove(t.order.Front())
			t.evicted++
		}
		e = t.order.PushBack(&scored{source: s, marks: make([][]mark, rules)})
		t.entries[s] = e
	}
	t.order.MoveToBack(e)
	sc := e.Value.(*scored)
	sc.last = now
	return sc
}

func (t *scoreTable) remove(e *list.Element) {
	delete(t.entries, e.Value.(*scored).source)
	t.order.Remove(e)
}

// forget removes the sources that did nothing since before.
func (t *scoreTable) forget(before time.Time) {
	for e := t.order.Front(); e != nil && e.Value.(*scored).last.Before(before); e = t.order.Front() {
		t.remove(e)
	}
}

// add counts an offence under rule i and returns the sum within the rule's window.
func (s *scored) add(i int, r Rule, m mark, now time.Time) int {
	s.marks[i] = append(fresh(s.marks[i], r.Window, now), m)
	return sum(s.marks[i])
}

// fresh leaves out the marks that are older than the window.
func fresh(ms []mark, window time.Duration, now time.Time) []mark {
	kept := ms[:0]
	for _, m := range ms {
		if now.Sub(m.at) < window {
			kept = append(kept, m)
		}
	}
	return kept
}

func sum(ms []mark) int {
	n := 0
	for _, m := range ms {
		n += m.weight
	}
	return n
}

func (s *scored) keep(e Evidence, limit int) {
	s.evidence = append(s.evidence, e)
	if over := len(s.evidence) - limit; over > 0 {
		s.evidence = append(s.evidence[:0], s.evidence[over:]...)
	}
}

// Offence tells the guard what a source did wrong. It never waits for a disk: a ban that follows from it is in force when it
// returns, and in the journal a little later.
func (g *Guard) Offence(o Offence) {
	now := g.clock()
	addr := plain(o.Source.Addr())
	if !addr.IsValid() || addr.IsUnspecified() {
		return
	}
	if o.At.IsZero() || o.At.After(now) {
		o.At = now
	}
	ev := Evidence{
		At: o.At, Source: netip.AddrPortFrom(addr, o.Source.Port()), Reason: o.Reason,
		AOR: clean(o.AOR, 64), Detail: clean(o.Detail, 96), Interface: o.Interface,
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.offences++
	if _, _, ok := g.view.allowed(addr); ok {
		return
	}
	if g.view.banned(addr) {
		return // what was under way when the ban came; in monitor mode, all that follows
	}
	g.scoreLocked(ev, o.Verified, now)
}

// scoreLocked counts ev under each rule that knows its reason; the first whose threshold is reached decides.
func (g *Guard) scoreLocked(ev Evidence, verified bool, now time.Time) {
	table, src := g.proven, source{prefix: site(ev.Source.Addr())}
	if !verified {
		table, src = g.unproven, source{prefix: netip.PrefixFrom(ev.Source.Addr(), ev.Source.Addr().BitLen()), port: ev.Source.Port()}
	}
	var s *scored
	broken := -1
	for i, r := range g.cfg.Rules {
		w := r.Weights[ev.Reason]
		if w == 0 {
			continue
		}
		if s == nil {
			s = table.touch(src, len(g.cfg.Rules), now)
			s.keep(ev, g.cfg.Evidence)
		}
		if s.add(i, r, mark{ev.At, w}, now) >= r.Threshold && broken < 0 {
			broken = i
		}
	}
	if broken < 0 {
		return
	}
	evidence := append([]Evidence(nil), s.evidence...)
	if verified {
		g.banByRuleLocked(src.prefix, g.cfg.Rules[broken], ev.Reason, evidence, now)
	} else {
		g.holdLocked(ev, now)
	}
	// What has been paid for is not counted again.
	for i := range s.marks {
		s.marks[i] = nil
	}
}

// holdLocked shuts an unverified source out by address and port, for a short time, in user space.
func (g *Guard) holdLocked(ev Evidence, now time.Time) {
	if g.cfg.Hold <= 0 {
		return
	}
	h := Held{Source: ev.Source, Reason: ev.Reason, Until: now.Add(g.cfg.Hold)}
	for len(g.held) >= g.cfg.MaxHolds {
		g.releaseLocked()
		g.holdsEvicted++
	}
	g.view.holds.set(h.Source, h.Until)
	g.held = append(g.held, h)
	g.log.Debug("unverified source is on hold", "source", h.Source, "reason", h.Reason, "until", h.Until)
	g.watch.publish(Event{At: now, Kind: EventHold, Held: &h})
}

// releaseLocked ends the oldest hold. A later one of the same source stays.
func (g *Guard) releaseLocked() {
	h := g.held[0]
	g.held = g.held[1:]
	if t, ok := g.view.holds.get(h.Source); ok && !t.After(h.Until) {
		g.view.holds.delete(h.Source)
	}
}

// scores tells how near to a threshold a source is.
func (s *scored) scores(rules []Rule, now time.Time) []Score {
	var out []Score
	for i, r := range rules {
		if n := sum(fresh(append([]mark(nil), s.marks[i]...), r.Window, now)); n > 0 {
			out = append(out, Score{Rule: r.Name, Sum: n, Threshold: r.Threshold, Window: r.Window})
		}
	}
	return out
}

// longestWindow is how long an offence can count.
func longestWindow(rules []Rule) time.Duration {
	var w time.Duration
	for _, r := range rules {
		w = max(w, r.Window)
	}
	return w
}

// clean makes a stranger's text fit for a journal line and a terminal: printable, and at most limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), 4*limit)])
	if len(s) > limit {
		s = strings.TrimRightFunc(s[:limit], func(r rune) bool { return r == unicode.ReplacementChar })
	}
	return s
}
