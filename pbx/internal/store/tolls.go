package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"brickhouse/shared/verdict"
)

// Toll is one external call: what it counts against the caps of the extension that caused it, of its trunk, and of all. It stays
// for a day after its end. A Toll that has not ended is a call that goes on, or is being set up.
type Toll struct {
	ID        string    `json:"id"`        // that of its call, or made of it
	Extension string    `json:"extension"` // that caused the call
	Trunk     string    `json:"trunk"`
	Number    string    `json:"number,omitempty"` // as the trunk gets it
	Started   time.Time `json:"started"`
	Answered  time.Time `json:"answered,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`

	row
}

// Standing is what the exchange holds against an extension.
type Standing struct {
	Extension string         `json:"extension"`
	Denied    []time.Time    `json:"denied,omitempty"` // external calls that were denied, of the last hour, oldest first
	Blocked   time.Time      `json:"blocked,omitzero"` // since when it is blocked for external calls; zero: it is not
	Why       verdict.Reason `json:"why,omitempty"`    // what blocked it
	Lifted    time.Time      `json:"lifted,omitzero"`  // when an operator last lifted a block: older calls don't count against the extension

	row
}

// Caps bound external calls. 0 means none at all.
type Caps struct {
	Concurrent, PerMinute, PerHour, PerDay int
	Talk                                   time.Duration // a day
}

// Limits are all that bounds one external call.
type Limits struct {
	Extension, Trunk, All Caps
	BlockDenied           int  // denied calls within an hour that block the extension; 0: never
	BlockDay              bool // a cap of the day blocks the extension
}

// Who is counted.
const (
	AllCalls        = "all calls" // every external call
	extensionPrefix = "extension "
	trunkPrefix     = "trunk "
)

// ExtensionCalls and TrunkCalls name the external calls of an extension, and those of a trunk.
func ExtensionCalls(number string) string { return extensionPrefix + number }

// TrunkCalls names the external calls of a trunk.
func TrunkCalls(name string) string { return trunkPrefix + name }

// Denial says which cap or block keeps an external call from starting. It is an error for the sake of its way back.
type Denial struct {
	Reason  verdict.Reason
	Who     string // ExtensionCalls, TrunkCalls or AllCalls
	Used    int    // calls, or minutes
	Cap     int
	Blocked bool // the extension is blocked by this
}

func (d *Denial) Error() string {
	if d.Reason == verdict.ExtensionBlocked {
		return fmt.Sprintf("%s is blocked for external calls", d.Who)
	}
	return fmt.Sprintf("%s: %s, %d of %d are used", d.Who, d.Reason, d.Used, d.Cap)
}

// Admit checks every cap of an external call, and, if none is reached, writes the call's row and counts the call, all in
// one transaction: calls that come at the same time are seen one after the other. c is nil where the call has its row
// already. A call that is denied comes back with a *Denial, which is counted against the extension; where that blocks it,
// the block is on disk then, or ctx has ended. Other errors: ErrBadRow, ErrFull, ErrClosed, or that ctx ended before it was
// begun.
func (s *Store) Admit(ctx context.Context, c *Call, toll *Toll, l Limits) error {
	durable, err := s.do(ctx, func(t *txn) error {
		if err := t.admissible(c, toll); err != nil {
			return err
		}
		if d := t.denial(toll, l); d != nil {
			return t.deny(toll.Extension, d, l, toll.Started)
		}
		if c != nil {
			if err := put(t, c); err != nil {
				return err
			}
		}
		return put(t, toll)
	})
	var d *Denial
	if errors.As(err, &d) && d.Blocked {
		saved(ctx, durable)
	}
	return err
}

// saved waits until a block is on disk: who is blocked must not be free again because the machine fails at once.
func saved(ctx context.Context, durable <-chan struct{}) {
	select {
	case <-durable:
	case <-ctx.Done():
	}
}

// admissible makes sure that Admit can't fail halfway.
func (t *txn) admissible(c *Call, toll *Toll) error {
	for _, key := range []struct{ what, key string }{{"toll", toll.ID}, {"extension of a toll", toll.Extension}, {"trunk of a toll", toll.Trunk}} {
		if err := check(key.what, key.key); err != nil {
			return err
		}
	}
	_, exists := first[Toll](t.Txn, tableTolls, toll.ID)
	if err := t.room(tableTolls, exists, t.opts.MaxTolls); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	if err := check("call", c.ID); err != nil {
		return err
	}
	_, exists = first[Call](t.Txn, tableCalls, c.ID)
	return t.room(tableCalls, exists, t.opts.MaxCalls)
}

// Probe says what Admit would say now, and changes nothing.
func (s *Store) Probe(ctx context.Context, toll *Toll, l Limits) (*Denial, error) {
	var d *Denial
	_, err := s.do(ctx, func(t *txn) error {
		d = t.denial(toll, l)
		return nil
	})
	return d, err
}

// Deny counts a call that was denied by its number against the extension. It reports whether that blocks the extension.
func (s *Store) Deny(ctx context.Context, extension string, why verdict.Reason, l Limits, now time.Time) (blocked bool, err error) {
	d := &Denial{Reason: why}
	durable, err := s.do(ctx, func(t *txn) error {
		if err := check("extension", extension); err != nil {
			return err
		}
		if err := t.deny(extension, d, l, now); !errors.As(err, new(*Denial)) {
			return err
		}
		return nil
	})
	if d.Blocked {
		saved(ctx, durable)
	}
	return d.Blocked, err
}

// denial returns what keeps the call from starting, or nil.
func (t *txn) denial(toll *Toll, l Limits) *Denial {
	who := ExtensionCalls(toll.Extension)
	st, _ := first[Standing](t.Txn, tableStandings, toll.Extension)
	if st == nil {
		st = &Standing{}
	}
	if !st.Blocked.IsZero() {
		return &Denial{Reason: verdict.ExtensionBlocked, Who: who}
	}
	now := toll.Started
	if d := t.w.tolls.over(who, l.Extension, now, st.Lifted); d != nil {
		return d
	}
	if d := t.w.tolls.over(TrunkCalls(toll.Trunk), l.Trunk, now, time.Time{}); d != nil {
		return d
	}
	return t.w.tolls.over(AllCalls, l.All, now, time.Time{})
}

// deny counts a denied call, and blocks the extension where that is one too many. It returns d. That a trunk or all calls together
// are at their cap is not held against the extension.
func (t *txn) deny(extension string, d *Denial, l Limits, now time.Time) error {
	st := Standing{Extension: extension}
	if old, ok := first[Standing](t.Txn, tableStandings, extension); ok {
		st = *old
	}
	others := d.Who != "" && d.Who != ExtensionCalls(extension)
	if !st.Blocked.IsZero() || others || l.BlockDenied == 0 && !l.BlockDay {
		return d // nothing more can come of it
	}
	var recent []time.Time
	for _, at := range st.Denied {
		if now.Sub(at) < time.Hour {
			recent = append(recent, at)
		}
	}
	st.Denied = append(recent, now)
	if over := len(st.Denied) - max(l.BlockDenied, 1); over > 0 {
		st.Denied = st.Denied[over:] // no more than count
	}
	day := d.Reason == verdict.DayCap || d.Reason == verdict.TalkCap
	if l.BlockDenied > 0 && len(st.Denied) >= l.BlockDenied || l.BlockDay && day {
		st.Blocked, st.Why, st.Denied, d.Blocked = now, d.Reason, nil, true
	}
	if err := put(t, &st); err != nil {
		return err
	}
	return d
}

// Connect notes that an external call was answered, in the manner of PutCallSoon.
func (s *Store) Connect(id string, at time.Time, failed func(error)) {
	s.changeToll(id, func(t *Toll) { t.Answered = at }, failed)
}

// Settle notes that an external call ended; from then on it takes no place among the concurrent ones. It does so in the manner of
// PutCallSoon: what is admitted afterwards finds the place free.
func (s *Store) Settle(id string, answered, ended time.Time, failed func(error)) {
	s.changeToll(id, func(t *Toll) { t.Answered, t.Ended = answered, ended }, failed)
}

func (s *Store) changeToll(id string, change func(*Toll), failed func(error)) {
	s.later(func(t *txn) error {
		old, ok := first[Toll](t.Txn, tableTolls, id)
		if !ok {
			return nil
		}
		next := *old
		change(&next)
		return put(t, &next)
	}, failed)
}

// SettleAll ends all external calls that have not ended: they are those of a process that is no more. ended tells when each
// did.
func (s *Store) SettleAll(ctx context.Context, ended func(*Toll) time.Time) error {
	_, err := s.do(ctx, func(t *txn) error {
		rows, _ := list[Toll](t.Txn, tableTolls, indexID)
		for _, old := range rows {
			if !old.Ended.IsZero() {
				continue
			}
			next := *old
			next.Ended = ended(old)
			if err := put(t, &next); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Refund forgets an external call that was admitted and never placed, in the manner of PutCallSoon.
func (s *Store) Refund(id string, failed func(error)) {
	s.later(func(t *txn) error {
		_, err := del[Toll](t, id)
		return err
	}, failed)
}

// Tolls returns all external calls that are remembered, ordered by ID.
func (s *Store) Tolls() []*Toll {
	rows, _ := list[Toll](s.db.Txn(false), tableTolls, indexID)
	return rows
}

// Standing returns what is held against an extension.
func (s *Store) Standing(extension string) (*Standing, bool) {
	return get[Standing](s.db, tableStandings, extension)
}

// Standings returns what is held against all extensions, ordered by number.
func (s *Store) Standings() []*Standing {
	rows, _ := list[Standing](s.db.Txn(false), tableStandings, indexID)
	return rows
}

// Block blocks an extension for external calls, until Unblock.
func (s *Store) Block(ctx context.Context, extension string, why verdict.Reason, now time.Time) (durable <-chan struct{}, err error) {
	return s.do(ctx, func(t *txn) error {
		st := Standing{Extension: extension}
		if old, ok := first[Standing](t.Txn, tableStandings, extension); ok {
			st = *old
		}
		if st.Blocked.IsZero() {
			st.Blocked, st.Why = now, why
		}
		return put(t, &st)
	})
}

// Unblock lifts an extension's block: its counts begin anew. It reports whether there was one.
func (s *Store) Unblock(ctx context.Context, extension string, now time.Time) (was bool, durable <-chan struct{}, err error) {
	durable, err = s.do(ctx, func(t *txn) error {
		old, ok := first[Standing](t.Txn, tableStandings, extension)
		if !ok || old.Blocked.IsZero() {
			return nil
		}
		next := *old
		next.Blocked, next.Why, next.Denied, next.Lifted = time.Time{}, verdict.None, nil, now
		was = true
		return put(t, &next)
	})
	return was && err == nil, durable, err
}

// Usage counts external calls: those of an extension, of a trunk, or all.
func (s *Store) Usage(ctx context.Context, who string, now time.Time) (Usage, error) {
	var u Usage
	_, err := s.do(ctx, func(t *txn) error {
		since := time.Time{}
		if number, ok := extensionOf(who); ok {
			if st, ok := first[Standing](t.Txn, tableStandings, number); ok {
				since = st.Lifted
			}
		}
		u = t.w.tolls.usage(who, now, since)
		return nil
	})
	return u, err
}

// dropTolls takes out up to most external calls that count no more at now.
func (t *txn) dropTolls(now time.Time, most int) (int, error) {
	ids := t.w.tolls.stale(now, most)
	for _, id := range ids {
		if _, err := del[Toll](t, id); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}
