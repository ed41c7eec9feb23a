package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"brickhouse/shared/state/memlog"
)

// TestServicesComeBack: what an extension set and how a switch stood is there when the store is opened again, and goes with the extension.
func TestServicesComeBack(t *testing.T) {
	disk := memlog.NewDisk()
	s, _ := openOn(t, disk, Options{})
	ok(t)(s.PutExtension(t.Context(), &Extension{Number: "1001"}))
	durable, err := s.ChangeServices(t.Context(), "1001", func(v *Services) error {
		v.SetForward(NoAnswer, "030123")
		v.After, v.DND = 15, true
		v.Block("030666", true)
		return nil
	})
	must(t, err)
	await(t, durable, "services are durable")
	durable, err = s.Turn(t.Context(), &Switch{Name: "night", State: "on", By: "1001"})
	must(t, err)
	await(t, durable, "the switch is durable")
	must(t, s.Close())
	s, _ = openOn(t, disk, Options{})
	v := s.Services("1001")
	if v.Forward(NoAnswer) != "030123" || v.After != 15 || !v.DND || !slices.Equal(v.Blocked, []string{"030666"}) {
		t.Errorf("%+v", v)
	}
	if sw, ok := s.Switch("night"); !ok || sw.State != "on" || sw.By != "1001" {
		t.Errorf("%+v", sw)
	}
	_, durable, err = s.DeleteExtension(t.Context(), "1001")
	must(t, err)
	await(t, durable, "deletion is durable")
	ok(t)(s.PutExtension(t.Context(), &Extension{Number: "1001"}))
	if v := s.Services("1001"); v.DND || len(v.Forwards) > 0 {
		t.Errorf("the next one with that number has %+v", v)
	}
}

// TestServicesTogether: of changes at a time none is lost, one that fails changes nothing, and what was read does not change.
func TestServicesTogether(t *testing.T) {
	s := newStore(t)
	ok(t)(s.PutExtension(t.Context(), &Extension{Number: "1001"}))
	var all sync.WaitGroup
	for i := range MaxBlocked {
		all.Go(func() {
			_, err := s.ChangeServices(t.Context(), "1001", func(v *Services) error {
				if !v.Block(fmt.Sprint(i), true) {
					return errors.New("no room")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	before := s.Services("1001")
	if len(before.Blocked) != MaxBlocked || !slices.IsSorted(before.Blocked) {
		t.Errorf("%d callers are blocked", len(before.Blocked))
	}
	full := errors.New("full")
	if _, err := s.ChangeServices(t.Context(), "1001", func(v *Services) error {
		v.DND = true
		if !v.Block("one more", true) {
			return full
		}
		return nil
	}); !errors.Is(err, full) || s.Services("1001").DND {
		t.Errorf("%v, %+v", err, s.Services("1001"))
	}
	ok(t)(s.ChangeServices(t.Context(), "1001", func(v *Services) error {
		v.Block("7", false)
		v.SetForward(Busy, "1002")
		return nil
	}))
	if len(before.Blocked) != MaxBlocked || !before.Blocks("7") || before.Forward(Busy) != "" {
		t.Error("a change reached a row that was read before")
	}
	if after := s.Services("1001"); after.Blocks("7") || after.Forward(Busy) != "1002" || len(after.Blocked) != MaxBlocked-1 {
		t.Errorf("%d, %q", len(after.Blocked), after.Forward(Busy))
	}
	if _, err := s.ChangeServices(t.Context(), "1999", func(*Services) error { return nil }); err == nil {
		t.Error("services of an extension that there is not")
	}
}
