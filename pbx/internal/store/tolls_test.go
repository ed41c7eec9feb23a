package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"brickhouse/shared/state/memlog"
	"brickhouse/shared/verdict"
)

// wide are limits that nobody reaches.
func wide() Limits {
	c := Caps{1 << 30, 1 << 30, 1 << 30, 1 << 30, NoTalkCap}
	return Limits{Extension: c, Trunk: c, All: c}
}

// soon fails the test if what was to be done soon can't be done.
func soon(t testing.TB) func(error) { return func(err error) { t.Error(err) } }

func toll(id, extension string, at time.Duration) *Toll {
	return &Toll{ID: id, Extension: extension, Trunk: "carrier", Number: "+4930", Started: epoch.Add(at)}
}

// denied is why a call is denied; "" if it is not.
func denied(t testing.TB, err error) verdict.Reason {
	t.Helper()
	var d *Denial
	if errors.As(err, &d) {
		return d.Reason
	}
	must(t, err)
	return verdict.None
}

// TestAdmitRace: of many calls that come at once, exactly as many as the cap allows are admitted.
func TestAdmitRace(t *testing.T) {
	const callers, room = 200, 7
	for name, c := range map[string]struct {
		reason verdict.Reason
		limit  func(*Limits)
		from   func(i int) string
	}{
		"concurrent": {verdict.ConcurrentCap, func(l *Limits) { l.Extension.Concurrent = room }, func(int) string { return "1" }},
		"minute":     {verdict.MinuteCap, func(l *Limits) { l.Extension.PerMinute = room }, func(int) string { return "1" }},
		"hour":       {verdict.HourCap, func(l *Limits) { l.Extension.PerHour = room }, func(int) string { return "1" }},
		"day":        {verdict.DayCap, func(l *Limits) { l.Extension.PerDay = room }, func(int) string { return "1" }},
		"trunk":      {verdict.ConcurrentCap, func(l *Limits) { l.Trunk.Concurrent = room }, func(i int) string { return fmt.Sprint(i) }},
		"all":        {verdict.DayCap, func(l *Limits) { l.All.PerDay = room }, func(i int) string { return fmt.Sprint(i) }},
	} {
		t.Run(name, func(t *testing.T) {
			s, limits := newStore(t), wide()
			c.limit(&limits)
			var passed, refused atomic.Int64
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for i := range callers {
				wg.Go(func() {
					<-begin
					id := fmt.Sprint("c", i)
					switch why := denied(t, s.Admit(t.Context(), &Call{ID: id}, toll(id, c.from(i), 0), limits)); why {
					case verdict.None:
						passed.Add(1)
					case c.reason:
						refused.Add(1)
					default:
						t.Errorf("denied for %s", why)
					}
				})
			}
			close(begin)
			wg.Wait()
			if passed.Load() != room || refused.Load() != callers-room {
				t.Errorf("%d passed, %d were refused", passed.Load(), refused.Load())
			}
			if calls, tolls := len(s.Calls()), len(s.Tolls()); calls != room || tolls != room {
				t.Errorf("%d calls and %d tolls are written", calls, tolls)
			}
		})
	}
}

// TestWindows: calls count as long as their window, and no longer; an ended one has no place among the concurrent.
func TestWindows(t *testing.T) {
	s, limits := newStore(t), wide()
	limits.Extension = Caps{Concurrent: 2, PerMinute: 3, PerHour: 4, PerDay: 5, Talk: NoTalkCap}
	n := 0
	ask := func(at time.Duration, want verdict.Reason) {
		t.Helper()
		n++
		id := fmt.Sprint(n)
		if got := denied(t, s.Admit(t.Context(), nil, toll(id, "1", at), limits)); got != want {
			t.Errorf("after %s: %q, want %q", at, got, want)
		}
	}
	ask(0, verdict.None)
	ask(time.Second, verdict.None)
	ask(2*time.Second, verdict.ConcurrentCap)
	s.Settle("1", time.Time{}, epoch.Add(3*time.Second), soon(t))
	s.Settle("2", time.Time{}, epoch.Add(3*time.Second), soon(t))
	ask(3*time.Second, verdict.None)
	s.Settle("4", time.Time{}, epoch.Add(4*time.Second), soon(t))
	ask(5*time.Second, verdict.MinuteCap)
	ask(61*time.Second, verdict.None)
	s.Settle("6", time.Time{}, epoch.Add(62*time.Second), soon(t))
	ask(10*time.Minute, verdict.HourCap)
	ask(2*time.Hour, verdict.None)
	s.Settle("8", time.Time{}, epoch.Add(2*time.Hour), soon(t))
	ask(4*time.Hour, verdict.DayCap)
	ask(24*time.Hour+time.Millisecond, verdict.None)
	u, err := s.Usage(t.Context(), ExtensionCalls("1"), epoch.Add(24*time.Hour+time.Millisecond))
	if want := (Usage{Concurrent: 1, Minute: 1, Hour: 1, Day: 5}); err != nil || u != want {
		t.Errorf("usage %+v, %v", u, err)
	}
	if _, err := s.Expire(t.Context(), epoch.Add(72*time.Hour)); err != nil || len(s.Tolls()) != 1 {
		t.Errorf("%d tolls stay, %v: only the call that goes on may", len(s.Tolls()), err)
	}
}

// TestTalk: minutes count while they are talked, and within a day.
func TestTalk(t *testing.T) {
	s, limits := newStore(t), wide()
	limits.Extension.Talk = 10 * time.Minute
	must(t, s.Admit(t.Context(), nil, toll("a", "1", 0), limits))
	s.Connect("a", epoch, soon(t))
	if why := denied(t, s.Admit(t.Context(), nil, toll("b", "1", 9*time.Minute), limits)); why != verdict.None {
		t.Error(why)
	}
	if why := denied(t, s.Admit(t.Context(), nil, toll("c", "1", 10*time.Minute), limits)); why != verdict.TalkCap {
		t.Errorf("%q while the call goes on", why)
	}
	s.Settle("a", epoch, epoch.Add(11*time.Minute), soon(t))
	if why := denied(t, s.Admit(t.Context(), nil, toll("d", "1", time.Hour), limits)); why != verdict.TalkCap {
		t.Errorf("%q after it", why)
	}
	if why := denied(t, s.Admit(t.Context(), nil, toll("e", "1", 24*time.Hour+2*time.Minute), limits)); why != verdict.None {
		t.Errorf("%q a day later", why)
	}
	s.Refund("b", soon(t))
	if u, err := s.Usage(t.Context(), ExtensionCalls("1"), epoch.Add(time.Hour)); err != nil || u.Talk != 11*time.Minute || u.Concurrent != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}

// TestBlock: a cap of the day, or many denied calls, block an extension; the block and the counts outlive the process, and end
// with Unblock alone.
func TestBlock(t *testing.T) {
	disk := memlog.NewDisk()
	open := func() *Store {
		t.Helper()
		log, err := disk.Open("solo", Tables()...)
		must(t, err)
		s, err := Open(t.Context(), log, Options{Flush: time.Millisecond})
		must(t, err)
		return s
	}
	s, limits := open(), wide()
	limits.Extension.PerDay, limits.BlockDay, limits.BlockDenied = 1, true, 3
	must(t, s.Admit(t.Context(), nil, toll("a", "day", 0), limits))
	if why := denied(t, s.Admit(t.Context(), nil, toll("b", "day", time.Second), limits)); why != verdict.DayCap {
		t.Errorf("%q", why)
	}
	for i := range 3 {
		blocked, err := s.Deny(t.Context(), "denied", verdict.PremiumDenied, limits, epoch.Add(time.Duration(i)*time.Minute))
		if err != nil || blocked != (i == 2) {
			t.Errorf("denied %d times: blocked %v, %v", i+1, blocked, err)
		}
	}
	for i := range 3 { // not within an hour
		if blocked, err := s.Deny(t.Context(), "slow", verdict.PremiumDenied, limits, epoch.Add(time.Duration(i)*40*time.Minute)); err != nil || blocked {
			t.Errorf("%v, %v", blocked, err)
		}
	}
	crowded := limits // a full trunk is nobody's fault
	crowded.Trunk.Concurrent = 0
	for i := range 5 {
		if why := denied(t, s.Admit(t.Context(), nil, toll(fmt.Sprint("t", i), "patient", time.Second), crowded)); why != verdict.ConcurrentCap {
			t.Errorf("%q", why)
		}
	}
	if st, ok := s.Standing("patient"); ok {
		t.Errorf("%+v is held against an extension", st)
	}
	s.Close()
	s = open()
	defer s.Close()
	must(t, s.SettleAll(t.Context(), func(toll *Toll) time.Time { return toll.Started }))
	for who, why := range map[string]verdict.Reason{"day": verdict.DayCap, "denied": verdict.PremiumDenied} {
		st, ok := s.Standing(who)
		if !ok || st.Blocked.IsZero() || st.Why != why {
			t.Fatalf("%s: %+v", who, st)
		}
		if got := denied(t, s.Admit(t.Context(), nil, toll("c"+who, who, 48*time.Hour), limits)); got != verdict.ExtensionBlocked {
			t.Errorf("%s, two days later: %q", who, got)
		}
	}
	if u, err := s.Usage(t.Context(), ExtensionCalls("day"), epoch.Add(2*time.Second)); err != nil || u != (Usage{Minute: 1, Hour: 1, Day: 1}) {
		t.Errorf("usage after the crash: %+v, %v", u, err)
	}
	at := epoch.Add(time.Minute)
	was, _, err := s.Unblock(t.Context(), "day", at)
	if !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	if was, _, err := s.Unblock(t.Context(), "day", at); was || err != nil {
		t.Errorf("again: %v, %v", was, err)
	}
	if why := denied(t, s.Admit(t.Context(), nil, toll("d", "day", 2*time.Minute), limits)); why != verdict.None {
		t.Errorf("after the unblock: %q", why)
	}
}
