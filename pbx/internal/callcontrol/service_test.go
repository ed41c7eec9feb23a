package callcontrol

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/verdict"
)

// forwards sets a forward that must be fit.
func (r *rig) forwards(extension string, when store.Condition, to string) {
	r.t.Helper()
	if err := r.control.SetForward(r.t.Context(), extension, when, to, 0); err != nil {
		r.t.Fatal(err)
	}
}

// TestForwardRights: a forward that leaves is decided by the rights, and counts against the caps, of who forwards: when it is set and at
// each call. The caller's rights are not asked.
func TestForwardRights(t *testing.T) {
	r := tollRig(t, map[string]dialplan.Class{
		"world": class(func(c *dialplan.Class) { c.Countries = []string{dialplan.AnyCountry} }),
		"once":  class(func(c *dialplan.Class) { c.PerDay = 1 }),
	})
	r.classify("1001", "default")
	var no Unfit
	if err := r.control.SetForward(t.Context(), "1001", store.Always, "0033123456789", 0); !errors.As(err, &no) || !strings.Contains(string(no), "may not call") {
		t.Errorf("a forward to where 1001 may not call: %v", err)
	}
	r.classify("1001", "world")
	r.forwards("1001", store.Always, "0033123456789")
	r.classify("1001", "default") // the right is gone since
	r.classify("1009", "world")
	if _, v := r.dial("1001", nil); v.Reason != verdict.CountryDenied {
		t.Errorf("the forward took the caller's rights: %+v", v)
	}
	if rec := r.over(); rec.Causer != "1001" || rec.Dialled != "1001" {
		t.Errorf("record %+v", rec)
	}
	r.classify("1001", "once")
	r.forwards("1001", store.Always, "030123456")
	if _, v := r.dial("1001", nil); !v.OK() {
		t.Fatalf("%+v", v)
	}
	r.border.Answer(r.border.Next(sip.INVITE), 486, "")
	eventually(t, func() string {
		if recs := r.records(); len(recs) < 2 || recs[1].Forwarder != "1001" || recs[1].Forward != "always" || recs[1].Causer != "1001" {
			return "no record"
		}
		return ""
	})
	if _, v := r.dial("1001", nil); v.Reason != verdict.DayCap {
		t.Errorf("the second one: %+v", v)
	}
	if a, _, err := r.control.Account(t.Context(), "1009"); err != nil || a.Used.Day != 0 {
		t.Errorf("1009: %+v, %v", a, err)
	}
}

func TestUnfitForwards(t *testing.T) {
	r := tollRig(t, nil)
	r.classify("1001", "default")
	for _, c := range []struct {
		when      store.Condition
		to        string
		after     int
		says      string
		extension string
	}{
		{"sometimes", "1009", 0, "no condition", "1001"},
		{store.Always, "112", 0, "emergency", "1001"},
		{store.Always, "1001", 0, "itself", "1001"},
		{store.Always, "1777", 0, "no extension", "1001"},
		{store.Always, "77", 0, "no rule", "1001"},
		{store.NoAnswer, "1009", 601, "1 to 600", "1001"},
		{store.NoAnswer, "1009", -1, "1 to 600", "1001"},
		{store.Always, strings.Repeat("1", maxForwardTo+1), 0, "too long", "1001"},
	} {
		var no Unfit
		if err := r.control.SetForward(t.Context(), c.extension, c.when, c.to, c.after); !errors.As(err, &no) || !strings.Contains(string(no), c.says) {
			t.Errorf("%s to %s after %d: %v", c.when, c.to, c.after, err)
		}
	}
	if s := r.store.Services("1001"); len(s.Forwards) > 0 {
		t.Errorf("%+v", s)
	}
}

// TestForwardCircle: extensions that forward to each other end a call with 482, and a chain that is too long as well.
func TestForwardCircle(t *testing.T) {
	r := tollRig(t, nil)
	chain := []string{"1001", "1002", "1003", "1004", "1005", "1006", "1007"}
	for _, n := range chain {
		r.classify(n, "default")
	}
	for i, n := range chain[:len(chain)-1] {
		r.forwards(n, store.Always, chain[i+1])
	}
	if _, v := r.dial("1001", nil); v.Code != sip.StatusLoopDetected {
		t.Errorf("a chain of six: %+v", v)
	}
	r.forwards("1003", store.Always, "1001")
	if _, v := r.dial("1001", nil); v.Code != sip.StatusLoopDetected || v.Reason != verdict.LoopDetected {
		t.Errorf("a circle: %+v", v)
	}
}

func TestHuntOrder(t *testing.T) {
	members := []string{"1", "2", "3"}
	var h hunts
	g := dialplan.Group{Members: members, Strategy: string(dialplan.RoundRobin)}
	for _, want := range [][]string{{"1", "2", "3"}, {"2", "3", "1"}, {"3", "1", "2"}, {"1", "2", "3"}} {
		got := h.order("sales", &g)
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		h.rings("sales", &g, got[0])
	}
	g.Strategy = string(dialplan.Random)
	first := map[string]bool{}
	for range 200 {
		got := h.order("sales", &g)
		first[got[0]] = true
		if slices.Sort(got); !slices.Equal(got, members) {
			t.Fatalf("%v", got)
		}
	}
	if len(first) != len(members) {
		t.Errorf("only %v ever ring first", first)
	}
	if !slices.Equal(g.Members, []string{"1", "2", "3"}) {
		t.Error("the group itself was sorted")
	}
}

// TestPartiesAreForgotten: a call that ended leaves nobody busy.
func TestPartiesAreForgotten(t *testing.T) {
	var p parties
	p.talks("a", "1001", "")
	p.talks("a", "1002", "1001")
	p.talks("b", "1002")
	if !p.busy("1001", "") || p.busy("1001", "a") || !p.busy("1002", "a") || p.busy("", "") {
		t.Errorf("%+v", p.by)
	}
	p.drop("a")
	p.drop("a")
	if p.busy("1001", "") || !p.busy("1002", "") {
		t.Errorf("%+v", p.by)
	}
	p.drop("b")
	if len(p.by) != 0 || len(p.calls) != 0 {
		t.Errorf("%+v", p.by)
	}
}
