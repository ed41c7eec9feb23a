package score

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"brickhouse/shared/verdict"
)

// Bounds of a replay.
const (
	maxReplayBans    = 131_072 // bans in force at a time; over it, the oldest is taken for ended
	maxReplaySources = 50_000  // sources that are told
	replayHistory    = 65_536  // ended bans that make repeaters
)

// Report tells what a recording would have led to under two configurations.
type Report struct {
	Records int       `json:"records"` // offences that were scored
	Bad     int       `json:"bad"`     // lines that are no records
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Before  Totals    `json:"before"`
	After   Totals    `json:"after"`
	Sources []Change  `json:"sources"` // who would have been banned, in the order of the first ban
	Omitted int       `json:"omitted"` // further bans of sources that are not told, since they are too many
}

// Totals are the decisions of one configuration.
type Totals struct {
	Sources   int `json:"sources"`   // that would have been banned, among those told
	Bans      int `json:"bans"`      // some sources more than once
	Holds     int `json:"holds"`     // of single flows
	Limits    int `json:"limits"`    // instead of bans, while the circuit breaker was open
	Monitored int `json:"monitored"` // by rules in monitor mode
	Trips     int `json:"trips"`     // of the circuit breaker
}

// Change is what would have become of one source, before and after; nil: it would not have been banned.
type Change struct {
	Source netip.Prefix `json:"source"`
	Before *Sentence    `json:"before,omitempty"`
	After  *Sentence    `json:"after,omitempty"`
}

// Sentence is the bans of one source: the first, and how many there are.
type Sentence struct {
	At      time.Time      `json:"at"`
	Rule    string         `json:"rule"`
	Reason  verdict.Reason `json:"reason"`
	Length  time.Duration  `json:"length_ns"`
	Known   int            `json:"known"` // good registrations behind it at that time
	Bans    int            `json:"bans"`  // all of them
	Longest time.Duration  `json:"longest_ns"`
}

// Replay runs recorded offences through two configurations, which have passed Check. What offences were not recorded, since a ban was
// in force, it can't know. It reads one record at a time, and its memory is bounded.
func Replay(records iter.Seq2[Record, error], before, after Config) (Report, error) {
	for name, c := range map[string]Config{"before": before, "after": after} {
		if fs := c.Check(); len(fs) > 0 {
			return Report{}, fmt.Errorf("configuration %s: %w", name, fs[0])
		}
	}
	c := comparison{report: Report{Sources: []Change{}}, index: map[netip.Prefix]int{}}
	c.before, c.after = newTrial(before, &c.report.Before), newTrial(after, &c.report.After)
	for rec, err := range records {
		if errors.Is(err, ErrBadRecord) {
			c.report.Bad++
			continue
		}
		if err != nil {
			return c.report, err
		}
		c.take(rec)
	}
	slices.SortStableFunc(c.report.Sources, func(x, y Change) int {
		return cmp.Or(x.first().Compare(y.first()), x.Source.Addr().Compare(y.Source.Addr()))
	})
	return c.report, nil
}

// comparison is a replay under way.
type comparison struct {
	report        Report
	index         map[netip.Prefix]int // into the report's sources
	before, after *trial
}

// take scores a record under both configurations.
func (c *comparison) take(rec Record) {
	r := &c.report
	if r.Records++; r.From.IsZero() || rec.At.Before(r.From) {
		r.From = rec.At
	}
	if rec.At.After(r.To) {
		r.To = rec.At
	}
	if d, ok := c.before.take(rec); ok {
		if s := c.told(d.Prefix); s != nil {
			s.Before = s.Before.and(d, rec.At, &r.Before)
		}
	}
	if d, ok := c.after.take(rec); ok {
		if s := c.told(d.Prefix); s != nil {
			s.After = s.After.and(d, rec.At, &r.After)
		}
	}
}

// told is where the bans of p are told; nil if there is no room for one more source.
func (c *comparison) told(p netip.Prefix) *Change {
	i, ok := c.index[p]
	if !ok {
		if len(c.report.Sources) >= maxReplaySources {
			c.report.Omitted++
			return nil
		}
		i = len(c.report.Sources)
		c.index[p] = i
		c.report.Sources = append(c.report.Sources, Change{Source: p})
	}
	return &c.report.Sources[i]
}

// and adds a ban.
func (s *Sentence) and(d Decision, at time.Time, t *Totals) *Sentence {
	if s == nil {
		t.Sources++
		s = &Sentence{At: at, Rule: d.Rule, Reason: d.Reason, Length: d.Length, Known: d.Known}
	}
	s.Bans++
	s.Longest = max(s.Longest, d.Length)
	return s
}

func (c Change) first() time.Time {
	switch {
	case c.Before == nil:
		return c.After.At
	case c.After == nil || c.Before.At.Before(c.After.At):
		return c.Before.At
	}
	return c.After.At
}

// trial is one configuration on a recording.
type trial struct {
	engine  *Engine
	history *History
	bans    map[netip.Prefix]*list.Element // of trialBan
	order   *list.List                     // oldest first
	totals  *Totals
	record  Record // the one that is scored
	env     Env
	forget  time.Time // when the engine's tables were last tidied
}

type trialBan struct {
	prefix netip.Prefix
	until  time.Time
}

func newTrial(cfg Config, totals *Totals) *trial {
	t := &trial{engine: New(cfg), history: NewHistory(replayHistory), bans: map[netip.Prefix]*list.Element{}, order: list.New(), totals: totals}
	t.env = Env{
		// Of others than the one who offends the record tells nothing; the circuit breaker takes them for gone then, which
		// makes the share of those that are banned a little smaller.
		Known: func(site netip.Prefix) int {
			if site == Site(t.record.Source.Addr()) {
				return t.record.Known
			}
			return 0
		},
		KnownTotal: func() int { return t.record.KnownTotal },
		Prior:      t.history.Count,
	}
	return t
}

// take scores a record, and returns the ban that follows.
func (t *trial) take(r Record) (ban Decision, ok bool) {
	t.record = r
	site := Site(r.Source.Addr())
	if e := t.bans[site]; e != nil {
		if b := e.Value.(trialBan); b.until.After(r.At) {
			return ban, false
		}
		t.end(e)
	}
	if d := r.At.Sub(t.forget); d > time.Minute || d < 0 {
		t.engine.Forget(r.At)
		t.forget = r.At
	}
	for _, d := range t.engine.Offence(r.Offence(), r.At, t.env) {
		if d.Tripped {
			t.totals.Trips++
		}
		switch d.Kind {
		case Hold:
			t.totals.Holds++
		case Limit:
			t.totals.Limits++
		case Monitor:
			t.totals.Monitored++
		case Ban:
			t.totals.Bans++
			t.begin(d.Prefix, r.At.Add(d.Length))
			ban, ok = d, true
		}
	}
	return ban, ok
}

func (t *trial) begin(p netip.Prefix, until time.Time) {
	for t.order.Len() >= maxReplayBans {
		t.end(t.order.Front())
	}
	t.bans[p] = t.order.PushBack(trialBan{p, until})
}

func (t *trial) end(e *list.Element) {
	b := t.order.Remove(e).(trialBan)
	delete(t.bans, b.prefix)
	t.history.Add(b.prefix, b.until)
}
