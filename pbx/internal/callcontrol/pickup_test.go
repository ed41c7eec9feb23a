package callcontrol

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// ringsAt has the caller call a number whose phone is p, which rings.
func (r *rig) ringsAt(number string, p *transactiontest.Party) (asked *transactiontest.Asked, stops func()) {
	r.t.Helper()
	r.set(func() { r.who = Caller{Number: "1009", Realm: Inside, Trace: "trace-1"} })
	asked, v := r.dial(number, nil)
	if !v.OK() {
		r.t.Fatal(v)
	}
	s := p.Next(sip.INVITE)
	stops = cancelled(r.t, p, s)
	p.Answer(s, 180, "")
	asked.Response(180)
	return asked, stops
}

// cancelled returns what waits until a phone that rings was told to stop.
func cancelled(t *testing.T, p *transactiontest.Party, s *transaction.Server) func() {
	done := make(chan struct{})
	s.OnCancel(func() { close(done) })
	return func() {
		t.Helper()
		select {
		case <-done:
			p.Answer(s, 487, "")
		case <-time.After(transactiontest.Patience):
			t.Fatal("the phone rings on")
		}
	}
}

// TestPickUp: an extension answers the call that rings at another one.
func TestPickUp(t *testing.T) {
	for _, code := range []string{"*8", "**1001"} {
		t.Run(code, func(t *testing.T) {
			r := newRig(t, nil)
			p := r.extension("1001")
			asked, stops := r.ringsAt("1001", p)
			d := r.reaches("1002", code)
			agrees(d.Party)
			stops()
			res := asked.Response(200)
			r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
			r.rowIs("1001", "1009", "1002")
			if !r.control.parties.busy("1002", "") {
				t.Error("who picked up does not count as busy")
			}
			r.bye(asked, res)
			hungUp(d.Party)
			all := r.ended(2)
			if rec := all["1001"]; rec.Callee != "1002" || rec.Answer.IsZero() || rec.Reason != verdict.NormalClearing {
				t.Errorf("record %+v", rec)
			}
			if rec := all[code]; rec.Caller != "1002" || rec.Reason != verdict.Transferred {
				t.Errorf("record of the pick-up %+v", rec)
			}
		})
	}
}

// Two pick up the same call: one has it, the other hears so and is hung up on.
func TestPickUpRace(t *testing.T) {
	r := newRig(t, nil)
	p := r.extension("1001")
	asked, stops := r.ringsAt("1001", p)
	first, second := r.reaches("1002", "*8"), r.reaches("1003", "*8")
	hungUp(second.Party)
	agrees(first.Party)
	stops()
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	first.hangsUp()
	hungUp(r.caller)
	r.ended(2)
}

// The phone answers while somebody picks up: it has the call.
func TestPickUpTooLate(t *testing.T) {
	r := newRig(t, nil)
	p := r.extension("1001")
	r.set(func() { r.who = Caller{Number: "1009", Realm: Inside, Trace: "trace-1"} })
	asked, _ := r.dial("1001", nil)
	s := p.Next(sip.INVITE)
	p.Answer(s, 180, "")
	asked.Response(180)
	d := r.reaches("1002", "*8")
	change := d.Next(sip.INVITE)
	p.Answer(s, 200, offer)
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	p.NextAck()
	d.Answer(change, 200, offer)
	d.NextAck()
	agrees(d.Party) // to hear the tone
	hungUp(d.Party)
	r.bye(asked, res)
	hungUp(p)
	if all := r.ended(2); all["1001"].Callee != "1001" {
		t.Errorf("record %+v", all["1001"])
	}
}

// Who may pick up what.
func TestPickUpGroups(t *testing.T) {
	r := newRig(t, nil)
	plan, err := dialplan.Compile(dialplan.File{Rules: rules, Pickup: map[string][]string{"sales": {"1001", "1002"}, "support": {"1003", "1004"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.control.SetDialplan(plan)
	if _, v := r.dials("1002", "*8"); v.Code != 404 { // nothing rings
		t.Errorf("with nothing to pick up: %v", v)
	}
	p := r.extension("1001")
	_, stops := r.ringsAt("1001", p)
	for _, x := range []struct {
		who, code string
		want      int
	}{
		{"1003", "*8", 404}, {"1003", "**1001", 403}, // not of the group
		{"1001", "*8", 404}, // it rings here
		{"1009", "*8", 404}, // the caller's own call
	} {
		if _, v := r.dials(x.who, x.code); v.Code != x.want {
			t.Errorf("%s dials %s: %v, want %d", x.who, x.code, v, x.want)
		}
	}
	r.set(func() { r.who = Caller{Number: "49555", Realm: "peer", Trunk: "carrier", Trace: "trace-3"} })
	if _, v := r.dial("*8", nil); v.OK() {
		t.Error("a carrier picks up")
	}
	d := r.reaches("1002", "**1001")
	agrees(d.Party)
	stops()
}
