package callcontrol

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// TestDevices: a device with several flows is one target, its latest flow first.
func TestDevices(t *testing.T) {
	r := newRig(t, nil)
	now := time.Now()
	flow := func(contact, instance string, regID int, age time.Duration) *store.Binding {
		return &store.Binding{ID: contact, AOR: "1001", ContactURI: contact, Instance: instance, RegID: regID, Registered: now.Add(-age)}
	}
	a := &attempt{c: r.control}
	group := a.devices([]*store.Binding{
		flow("sip:a1@x", "urn:a", 1, 3*time.Second), flow("sip:a2@x", "urn:a", 2, time.Second), flow("sip:b@x", "", 0, 2*time.Second),
		flow("sip:c@x", "", 0, 4*time.Second), flow("sip:bad uri", "urn:a", 3, 0), flow("sip:d1@x", "urn:d", 1, 5*time.Second),
		flow("sip:i@x", "urn:a", 0, 6*time.Second), // the same device, not by RFC 5626
	})
	var got []string
	names := func(ts []b2bua.Target) (s string) {
		for _, t := range ts {
			s += " " + t.URI.User
		}
		return s
	}
	for _, t := range group {
		got = append(got, t.URI.User+names(t.Else))
	}
	want := []string{"a2 a1", "b", "c", "d1", "i"}
	if len(got) != len(want) {
		t.Fatalf("targets %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("target %d: %q, want %q", i, got[i], want[i])
		}
	}
}

// TestFlowGone: a phone outside whose flow the border has lost is not called again, unless it came back.
func TestFlowGone(t *testing.T) {
	r := newRig(t, nil)
	border := r.border
	for name, back := range map[string]bool{"gone": false, "back": true} {
		outside := func(b *store.Binding) { b.Outside = true }
		r.bind("1001", "sip:token@192.0.2.1", outside)
		asked, v := r.dial("1001", nil)
		if !v.OK() {
			t.Fatal(v)
		}
		s := border.Next(sip.INVITE)
		if back {
			time.Sleep(time.Millisecond)
			r.bind("1001", "sip:token@192.0.2.1", outside)
		}
		border.Answer(s, 430, "")
		asked.Response(480)
		if rec := r.records(); len(rec) == 0 || rec[len(rec)-1].Reason != verdict.NotRegistered {
			t.Errorf("%s: records %+v", name, rec)
		}
		if got := len(r.store.Bindings("1001", time.Now())); (got == 1) != back {
			t.Errorf("%s: %d bindings", name, got)
		}
	}
}
