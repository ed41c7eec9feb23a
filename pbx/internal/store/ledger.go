package store

import (
	"slices"
	"sort"
	"strings"
	"time"

	"brickhouse/shared/verdict"
)

// The windows in which external calls are counted.
const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// Usage is what external calls somebody has made.
type Usage struct {
	Concurrent int           `json:"concurrent"`
	Minute     int           `json:"minute"` // begun within the last minute
	Hour       int           `json:"hour"`
	Day        int           `json:"day"`
	Talk       time.Duration `json:"talk"` // talked within the last 24 hours
}

// ledger counts tolls by who has to answer for them. It is made of the rows as they come, from a call or from the log,
// so it is right again after a crash; only the writer goroutine touches it.
//
// Windows slide, and are exact. Times are compared as the caller gave them: with the monotonic clock while the process lives,
// so that a wall clock that is stepped gives nobody a new day.
type ledger struct {
	tolls    map[string]*entry
	accounts map[string]*account
}

// entry is one toll.
type entry struct {
	id                       string
	who                      [3]string
	started, answered, ended time.Time
}

// account is the tolls of one who answers for them, by their start.
type account struct {
	entries []*entry
	messy   bool // not in order: they come from the log
	open    int  // not ended
}

func newLedger() ledger {
	return ledger{tolls: map[string]*entry{}, accounts: map[string]*account{}}
}

// note takes a toll in, or its next version.
func (l *ledger) note(t *Toll) {
	e := l.tolls[t.ID]
	if e == nil {
		e = &entry{id: t.ID, who: [3]string{ExtensionCalls(t.Extension), TrunkCalls(t.Trunk), AllCalls}}
		l.tolls[t.ID] = e
		for _, who := range e.who {
			l.add(who, e, t.Started)
		}
		e.started = t.Started
	}
	if e.ended.IsZero() && !t.Ended.IsZero() {
		for _, who := range e.who {
			l.accounts[who].open--
		}
	}
	e.answered, e.ended = t.Answered, t.Ended
}

func (l *ledger) add(who string, e *entry, started time.Time) {
	a := l.accounts[who]
	if a == nil {
		a = &account{}
		l.accounts[who] = a
	}
	if n := len(a.entries); n > 0 && started.Before(a.entries[n-1].started) {
		a.messy = true
	}
	a.entries = append(a.entries, e)
	a.open++
}

// forget takes a toll out.
func (l *ledger) forget(id string) {
	e := l.tolls[id]
	if e == nil {
		return
	}
	delete(l.tolls, id)
	for _, who := range e.who {
		a := l.accounts[who]
		if e.ended.IsZero() {
			a.open--
		}
		if len(a.entries) > 0 && a.entries[0] == e { // the oldest goes: that is how nearly all of them go
			a.entries[0] = nil
			a.entries = a.entries[1:]
		} else if i := slices.Index(a.entries, e); i >= 0 {
			a.entries = slices.Delete(a.entries, i, i+1)
		}
		if len(a.entries) == 0 {
			delete(l.accounts, who)
		}
	}
}

// sorted returns the account's entries in the order of their start.
func (a *account) sorted() []*entry {
	if a.messy {
		slices.SortStableFunc(a.entries, func(x, y *entry) int { return x.started.Compare(y.started) })
		a.messy = false
	}
	return a.entries
}

// since counts the calls that began after from.
func (a *account) since(from time.Time) int {
	list := a.sorted()
	return len(list) - sort.Search(len(list), func(i int) bool { return list[i].started.After(from) })
}

// talk is how long calls were up since from, until now.
func (a *account) talk(from, now time.Time) time.Duration {
	var sum time.Duration
	for _, e := range a.entries {
		if e.answered.IsZero() {
			continue
		}
		begin, end := e.answered, e.ended
		if end.IsZero() {
			end = now
		}
		if begin.Before(from) {
			begin = from
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// window is the beginning of a window, which is never before since.
func window(now, since time.Time, d time.Duration) time.Time {
	if from := now.Add(-d); from.After(since) {
		return from
	}
	return since
}

// usage counts what who has used since a moment, within the windows.
func (l *ledger) usage(who string, now, since time.Time) Usage {
	a := l.accounts[who]
	if a == nil {
		return Usage{}
	}
	return Usage{
		Concurrent: a.open, Minute: a.since(window(now, since, minute)), Hour: a.since(window(now, since, hour)),
		Day: a.since(window(now, since, day)), Talk: a.talk(window(now, since, day), now),
	}
}

// over returns which cap keeps who from one more call at now, or nil.
func (l *ledger) over(who string, c Caps, now, since time.Time) *Denial {
	a := l.accounts[who]
	if a == nil {
		a = &account{}
	}
	for _, k := range []struct {
		reason verdict.Reason
		used   int
		cap    int
	}{
		{verdict.DayCap, a.since(window(now, since, day)), c.PerDay},
		{verdict.HourCap, a.since(window(now, since, hour)), c.PerHour},
		{verdict.MinuteCap, a.since(window(now, since, minute)), c.PerMinute},
		{verdict.ConcurrentCap, a.open, c.Concurrent},
	} {
		if k.used >= k.cap {
			return &Denial{Reason: k.reason, Who: who, Used: k.used, Cap: k.cap}
		}
	}
	if c.Talk >= NoTalkCap {
		return nil // to sum up what all have talked costs a look at each call
	}
	if talked := a.talk(window(now, since, day), now); talked >= c.Talk {
		return &Denial{Reason: verdict.TalkCap, Who: who, Used: int(talked / time.Minute), Cap: int(c.Talk / time.Minute)}
	}
	return nil
}

// NoTalkCap is more than anybody can talk in a day.
const NoTalkCap = 1_000_000 * time.Hour

// stale returns up to most tolls that count no more at now.
func (l *ledger) stale(now time.Time, most int) []string {
	a := l.accounts[AllCalls]
	if a == nil {
		return nil
	}
	from := now.Add(-day)
	var ids []string
	for _, e := range a.sorted() {
		if len(ids) == most || e.started.After(from) {
			break
		}
		if !e.ended.IsZero() && !e.ended.After(from) {
			ids = append(ids, e.id)
		}
	}
	return ids
}

// extensionOf returns the number in the name of an extension's calls.
func extensionOf(who string) (string, bool) { return strings.CutPrefix(who, extensionPrefix) }
