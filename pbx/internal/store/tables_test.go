package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/state/memlog"
)

// A getter's row is nobody's to change, and neither is what was put.
func TestRowsAreCopies(t *testing.T) {
	s := newStore(t)
	e := &Extension{Number: "1", Name: "a"}
	ok(t)(s.PutExtension(t.Context(), e))
	e.Name = "b"
	if got, _ := s.Extension("1"); got.Name != "a" {
		t.Errorf("the caller's change reached the store: %+v", got)
	}
	trunks := []*Trunk{{Name: "t", Username: "u"}}
	must(t, s.SetTrunks(t.Context(), trunks))
	trunks[0].Username = "x"
	if got, _ := s.Trunk("t"); got.Username != "u" {
		t.Errorf("%+v", got)
	}
}

func TestExtensions(t *testing.T) {
	s := newStore(t)
	for _, n := range []string{"3", "1", "2"} {
		ok(t)(s.PutExtension(t.Context(), &Extension{Number: n}))
		ok(t)(s.PutBindings(t.Context(), binding(n, "sip:a", time.Hour), binding(n, "sip:b", time.Hour)))
	}
	numbers := func() (out []string) {
		for _, e := range s.Extensions() {
			out = append(out, e.Number)
		}
		return out
	}
	if got := fmt.Sprint(numbers()); got != "[1 2 3]" {
		t.Error(got)
	}
	rows, changed := s.WatchExtensions()
	if len(rows) != 3 || closed(changed) {
		t.Errorf("%d rows", len(rows))
	}
	was, durable, err := s.DeleteExtension(t.Context(), "2")
	must(t, err)
	await(t, durable, "deletion is durable")
	if !was || !closed(changed) || fmt.Sprint(numbers()) != "[1 3]" {
		t.Errorf("%v, %v", was, numbers())
	}
	if n := len(s.AllBindings(epoch)); n != 4 || len(s.Bindings("2", epoch)) != 0 {
		t.Errorf("%d bindings", n)
	}
	was, durable, err = s.DeleteExtension(t.Context(), "2")
	if was || err != nil || !closed(durable) {
		t.Errorf("second deletion: %v, %v", was, err)
	}
}

// Two calls never have the same slot, and who leaves frees its own alone.
func TestParked(t *testing.T) {
	s := newStore(t)
	failed := func(err error) { t.Error(err) }
	park := func(call string, slots ...string) string {
		t.Helper()
		slot, err := s.Park(t.Context(), Parked{Call: call, By: "1"}, slots...)
		if err != nil && !errors.Is(err, ErrTaken) {
			t.Fatal(err)
		}
		return slot
	}
	for i, want := range []string{"a", "b", ""} {
		if got := park(fmt.Sprint("call", i), "a", "b"); got != want {
			t.Errorf("call %d is in %q, not %q", i, got, want)
		}
	}
	s.Occupy("a", "call0", "2", failed)
	s.Occupy("b", "call0", "3", failed) // another's
	s.Unpark("b", "call0", failed)
	s.Unpark("c", "call0", failed)
	if got := park("call2", "c"); got != "c" { // and what came before has been done
		t.Error(got)
	}
	for slot, want := range map[string]Parked{"a": {Call: "call0", Party: "2"}, "b": {Call: "call1"}, "c": {Call: "call2"}} {
		if p, ok := s.Parked(slot); !ok || p.Call != want.Call || p.Party != want.Party || p.Slot != slot {
			t.Errorf("%s: %+v", slot, p)
		}
	}
	s.Unpark("a", "call0", failed)
	if got := park("call3", "a"); got != "a" {
		t.Error("the slot is not free")
	}
	if all := s.AllParked(); len(all) != 3 || all[0].Call != "call3" {
		t.Errorf("%+v", all)
	}
	if _, err := s.Park(t.Context(), Parked{Call: "x"}, ""); !errors.Is(err, ErrBadRow) {
		t.Error(err)
	}
}

func TestBindings(t *testing.T) {
	s := newStore(t)
	ok(t)(s.PutBindings(t.Context(), binding("1", "sip:a", time.Minute), binding("1", "sip:b", time.Hour), binding("10", "sip:a", time.Hour)))
	if got := s.Bindings("1", epoch); len(got) != 2 || got[0].ContactURI != "sip:a" {
		t.Errorf("%v", got) // and not those of 10
	}
	if got := s.Bindings("1", epoch.Add(time.Minute)); len(got) != 1 || got[0].ContactURI != "sip:b" {
		t.Errorf("at its expiry: %v", got)
	}
	_, changed := s.WatchBindings("1", epoch)
	ok(t)(s.PutBindings(t.Context(), binding("10", "sip:c", time.Hour)))
	if closed(changed) {
		t.Error("a change of another address of record wakes us")
	}
	ok(t)(s.DeleteBindings(t.Context(), BindingID("1", "sip:a", "", 0), "never was"))
	if !closed(changed) || len(s.Bindings("1", epoch)) != 1 {
		t.Error("deletion")
	}
	if a, b := BindingID("1", "sip:a", "<urn>", 2), BindingID("1", "sip:b", "<urn>", 2); a != b {
		t.Errorf("%q and %q", a, b)
	}
	if a, b := BindingID("1", "sip:a", "<urn>", 0), BindingID("1", "sip:b", "<urn>", 0); a == b {
		t.Errorf("%q twice", a)
	}
}

func TestUpdateBindings(t *testing.T) {
	s := newStore(t)
	ok(t)(s.PutBindings(t.Context(), binding("1", "sip:a", -time.Hour), binding("1", "sip:b", time.Hour)))
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		update func([]*Binding) (put, del []*Binding, err error)
		want   error
	}{
		"an error":    {func([]*Binding) (put, del []*Binding, err error) { return nil, nil, boom }, boom},
		"a panic":     {func(b []*Binding) (put, del []*Binding, err error) { _ = b[99]; return nil, nil, nil }, errPanic},
		"another AOR": {func([]*Binding) (put, del []*Binding, err error) { return []*Binding{binding("2", "x", 0)}, nil, nil }, ErrBadRow},
		"a bad row": {func(b []*Binding) (put, del []*Binding, err error) {
			return []*Binding{binding("1", "sip:new", time.Hour), {AOR: "1"}}, b, nil
		}, ErrBadRow},
	} {
		if _, err := s.UpdateBindings(t.Context(), "1", tt.update); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(s.Bindings("1", epoch.Add(-2*time.Hour))); n != 2 {
			t.Errorf("%s: %d bindings", name, n)
		}
	}
	ok(t)(s.UpdateBindings(t.Context(), "1", func(b []*Binding) (put, del []*Binding, err error) {
		if len(b) != 2 {
			t.Errorf("update sees %d bindings; expired ones are its business", len(b))
		}
		return []*Binding{binding("1", "sip:c", time.Hour)}, b, nil
	}))
	if got := s.Bindings("1", epoch); len(got) != 1 || got[0].ContactURI != "sip:c" {
		t.Errorf("%v", got)
	}
	// Nothing comes between what it sees and what it does.
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 25 {
				ok(t)(s.UpdateBindings(t.Context(), "1", func(b []*Binding) (put, del []*Binding, err error) {
					next := *b[0]
					next.CSeq++
					return []*Binding{&next}, nil, nil
				}))
			}
		})
	}
	wg.Wait()
	if got := s.Bindings("1", epoch)[0].CSeq; got != 401 {
		t.Errorf("counted to %d", got)
	}
}

func TestExpire(t *testing.T) {
	disk := memlog.NewDisk()
	s, _ := openOn(t, disk, Options{})
	const n = maxExpire*2 + 100
	for i := range n {
		ok(t)(s.PutBindings(t.Context(), binding("1", fmt.Sprint("sip:", i), time.Duration(i)*time.Second)))
	}
	ok(t)(s.PutBindings(t.Context(), binding("1", "sip:0", time.Hour))) // refreshed
	ok(t)(s.DeleteBindings(t.Context(), BindingID("1", "sip:1", "", 0)))
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{{-time.Second, 0}, {time.Second, 0}, {2 * time.Second, 1}, {2 * time.Second, 0}, {(n - 1) * time.Second, n - 3}, {time.Hour, 1}, {2 * time.Hour, 0}} {
		if got, err := s.Expire(t.Context(), epoch.Add(tt.at)); got != tt.want || err != nil {
			t.Errorf("after %s: %d, %v; want %d", tt.at, got, err, tt.want)
		}
		if tt.at == 2*time.Second { // what expired while we were away goes too, and it stays gone
			must(t, s.Close())
			s, _ = openOn(t, disk, Options{})
		}
	}
	if s.w.expiring.Len() != 0 || len(s.w.expiring.at) != 0 {
		t.Errorf("%d are left in the books", s.w.expiring.Len())
	}
}

// The heap against a plain map, through many random changes.
func TestExpiryHeap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	h, plain := newExpiryHeap(), map[string]time.Time{}
	for range 20_000 {
		id := fmt.Sprint(rnd.IntN(200))
		when := epoch.Add(time.Duration(rnd.IntN(1000)) * time.Second)
		switch rnd.IntN(4) {
		case 0, 1:
			h.set(id, when)
			plain[id] = when
		case 2:
			h.drop(id)
			delete(plain, id)
		case 3:
			var want []string
			for id, at := range plain {
				if !when.Before(at) {
					want = append(want, id)
				}
			}
			got := h.due(when, 1000)
			slices.Sort(got)
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Fatalf("due at %s: %v, want %v", when, got, want)
			}
			if few := h.due(when, 3); len(few) != min(3, len(want)) {
				t.Fatalf("%d of at most 3", len(few))
			}
		}
	}
}

func TestCallsAndTrunks(t *testing.T) {
	s := newStore(t)
	_, changed := s.WatchCalls()
	for i := range 6 {
		c := &Call{ID: fmt.Sprint(i), State: CallSetup, Started: epoch}
		if i%2 == 0 {
			c.Trunk = "even"
		}
		ok(t)(s.PutCall(t.Context(), c))
	}
	if !closed(changed) || len(s.Calls()) != 6 || len(s.CallsOfTrunk("even")) != 3 || len(s.CallsOfTrunk("odd")) != 0 {
		t.Errorf("%d calls, %d of the trunk", len(s.Calls()), len(s.CallsOfTrunk("even")))
	}
	c, _ := s.Call("0")
	moved := *c
	moved.Trunk = "odd"
	ok(t)(s.PutCall(t.Context(), &moved))
	ok(t)(s.DeleteCall(t.Context(), "2"))
	ok(t)(s.DeleteCall(t.Context(), "2"))
	if len(s.CallsOfTrunk("even")) != 1 || len(s.CallsOfTrunk("odd")) != 1 {
		t.Errorf("%v, %v", s.CallsOfTrunk("even"), s.CallsOfTrunk("odd"))
	}
	must(t, s.SetTrunks(t.Context(), []*Trunk{{Name: "b"}, {Name: "a"}}))
	must(t, s.SetTrunks(t.Context(), []*Trunk{{Name: "c"}, {Name: "a"}, {Name: "a", MaxCalls: 2}}))
	if got := s.Trunks(); len(got) != 2 || got[0].Name != "a" || got[0].MaxCalls != 2 || got[1].Name != "c" {
		t.Errorf("%v", got)
	}
	if err := s.SetTrunks(t.Context(), []*Trunk{{Name: "d"}, {}}); !errors.Is(err, ErrBadRow) || len(s.Trunks()) != 2 {
		t.Errorf("%v, %d trunks", err, len(s.Trunks()))
	}
	if _, there := s.Trunk("b"); there {
		t.Error("b is still there")
	}
}
