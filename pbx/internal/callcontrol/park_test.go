package callcontrol

import (
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// dialler is a phone that calls.
type dialler struct {
	*transactiontest.Party
	r     *rig
	flow  *transport.Flow
	asked *transactiontest.Asked
	res   *sip.Response
}

// dials has an extension call a number from a phone of its own, and returns what the exchange says.
func (r *rig) dials(number, dialled string) (*dialler, verdict.Verdict) {
	r.t.Helper()
	if _, ok := r.store.Extension(number); !ok {
		if _, err := r.store.PutExtension(r.t.Context(), &store.Extension{Number: number}); err != nil {
			r.t.Fatal(err)
		}
	}
	d := &dialler{Party: transactiontest.New(r.t, number), r: r}
	d.flow = d.Flow(transport.UDP, netip.MustParseAddr("127.0.0.1"), r.server.Local(), nil)
	r.set(func() { r.who = Caller{Number: number, Realm: Inside, Trace: "trace-" + number} })
	a := transactiontest.NewAsk(sip.INVITE, "sip:"+dialled+"@pbx.test", "sip:"+number+"@pbx.test", "sip:"+dialled+"@pbx.test")
	a.Body = offer
	d.asked = d.Ask(d.flow, a)
	return d, <-r.started
}

// reaches is dials, for a number that is answered at once.
func (r *rig) reaches(number, dialled string) *dialler {
	r.t.Helper()
	d, v := r.dials(number, dialled)
	if !v.OK() {
		r.t.Fatalf("%s dials %s: %v", number, dialled, v)
	}
	d.res = d.asked.Response(200)
	d.Ask(d.flow, d.asked.Sent.Within(d.res, sip.ACK))
	return d
}

// hangsUp ends the call.
func (d *dialler) hangsUp() {
	d.r.t.Helper()
	bye := d.asked.Sent.Within(d.res, sip.BYE)
	bye.Seq += 20
	d.Do(d.flow, bye, 200)
}

// hungUp takes the BYE of a call that the exchange ends.
func hungUp(p *transactiontest.Party) { p.Answer(p.Next(sip.BYE), 200, "") }

// agrees answers a re-INVITE of the exchange, and takes the ACK.
func agrees(p *transactiontest.Party) {
	p.Answer(p.Next(sip.INVITE), 200, offer)
	p.NextAck()
}

// parks has phone p, whose call s is, transfer it to a number blindly.
func parks(r *rig, p *transactiontest.Party, s *transaction.Server, to string) {
	r.t.Helper()
	p.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.REFER, "Refer-To: <sip:"+to+"@pbx.test>"), 202)
	told(r.t, p, "100")
	agrees(r.caller)
	told(r.t, p, "200")
	hungUp(p)
}

// slot waits until a call is in a slot.
func (r *rig) slot(slot, party string) *store.Parked {
	r.t.Helper()
	var out *store.Parked
	eventually(r.t, func() string {
		p, ok := r.store.Parked(slot)
		if !ok || p.Party != party {
			return party + " is not in slot " + slot
		}
		out = p
		return ""
	})
	return out
}

// free waits until no call is parked.
func (r *rig) free() {
	r.t.Helper()
	eventually(r.t, func() string {
		if all := r.store.AllParked(); len(all) > 0 {
			return "still parked: " + all[0].Slot
		}
		return ""
	})
}

// A call is parked by a blind transfer, and whoever dials the slot has it.
func TestParkBlind(t *testing.T) {
	r := newRig(t, nil)
	p := r.extension("1001")
	_, _, s := r.talk("1001", p)
	parks(r, p, s, "*68")
	if row := r.slot("*681", "1009"); row.By != "1001" || row.Call == "" {
		t.Errorf("parked %+v", row)
	}
	r.rowIs("*68", "1009", "*681") // what lamps show
	d := r.reaches("1002", "*681")
	second, v := r.dials("1003", "*681") // at the same time
	if !v.OK() {
		t.Fatal(v)
	}
	second.res = second.asked.Response(200)
	second.Ask(second.flow, second.asked.Sent.Within(second.res, sip.ACK))
	hungUp(second.Party) // after a tone
	r.caller.Answer(r.caller.Next(sip.INVITE), 200, offer)
	agrees(d.Party)
	r.caller.NextAck()
	r.free()
	r.rowIs("*68", "1009", "1002")
	if r.control.parties.busy("1001", "") || !r.control.parties.busy("1002", "") {
		t.Error("who parked counts as busy, or who fetched does not")
	}
	d.hangsUp()
	hungUp(r.caller)
	all := r.ended(3)
	if rec := all["*68"]; rec.Transferor != "1001" || rec.Callee != "1002" || rec.Reason != verdict.NormalClearing {
		t.Errorf("record %+v", rec)
	}
	if rec := all["1001"]; rec.Reason != verdict.Transferred {
		t.Errorf("record of the first call %+v", rec)
	}
}

// Who parks hears where, and sends the call there by an attended transfer.
func TestParkAttended(t *testing.T) {
	r := newRig(t, nil)
	p := r.extension("1001")
	_, _, s := r.talk("1001", p)
	d := r.reaches("1001", "*68")
	r.slot("*681", "")
	to, _ := d.res.To().Params.Get("tag")
	from, _ := d.res.From().Params.Get("tag")
	replaces := d.asked.Sent.CallID + "%3Bto-tag%3D" + to + "%3Bfrom-tag%3D" + from
	p.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.REFER, "Refer-To: <sip:*68@pbx.test?Replaces="+replaces+">"), 202)
	told(t, p, "100")
	agrees(r.caller)
	told(t, p, "200")
	hungUp(p)
	hungUp(d.Party)
	if row := r.slot("*681", "1009"); row.By != "1001" {
		t.Errorf("parked %+v", row)
	}
	r.rowIs("*68", "1009", "*681")
	if r.control.parties.busy("1001", "") {
		t.Error("who parked counts as busy")
	}
	f := r.reaches("1002", "*681")
	r.caller.Answer(r.caller.Next(sip.INVITE), 200, offer)
	agrees(f.Party)
	r.caller.NextAck()
	r.free()
	f.hangsUp()
	hungUp(r.caller)
	if rec := r.ended(3)["*68"]; rec.Transferor != "1001" || rec.Transferee != "1009" || rec.Callee != "1002" {
		t.Errorf("record %+v", rec)
	}
}

// impatient is a plan in which a parked call comes back soon.
func impatient(t *testing.T) *dialplan.Plan {
	t.Helper()
	f := dialplan.NewFeatures()
	f.ParkTime = time.Second
	plan, err := dialplan.Compile(dialplan.File{Rules: rules, Features: &f})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// A parked call that nobody fetches comes back, again and again.
func TestParkComesBack(t *testing.T) {
	r := newRig(t, nil)
	r.control.SetDialplan(impatient(t))
	p, other := r.extension("1001"), r.extension("1002")
	_, _, s := r.talk("1001", p)
	if err := r.control.SetForward(t.Context(), "1001", store.Always, "1002", 0); err != nil {
		t.Fatal(err)
	}
	parks(r, p, s, "*683")
	r.slot("*683", "1009")
	back := p.Next(sip.INVITE)
	if from := back.Request().From(); from.DisplayName != "Parked: 1009" || from.Address.User != "1009" {
		t.Errorf("it comes back from %v", from)
	}
	p.Answer(back, 486, "")
	back = p.Next(sip.INVITE)
	r.slot("*683", "1009")
	p.Answer(back, 200, offer)
	r.caller.Answer(r.caller.Next(sip.INVITE), 200, offer)
	r.caller.NextAck()
	p.NextAck()
	r.free()
	p.Do(back.Flow(), transactiontest.Back(back.Request(), back.Tag(), sip.BYE), 200)
	hungUp(r.caller)
	r.ended(2)
	other.Quiet()
}

// While it comes back, somebody fetches it.
func TestParkFetchedWhileItComesBack(t *testing.T) {
	r := newRig(t, nil)
	r.control.SetDialplan(impatient(t))
	p := r.extension("1001")
	_, _, s := r.talk("1001", p)
	parks(r, p, s, "*68")
	back := p.Next(sip.INVITE)
	stops := cancelled(t, p, back)
	p.Answer(back, 180, "")
	f := r.reaches("1002", "*681")
	stops()
	r.caller.Answer(r.caller.Next(sip.INVITE), 200, offer)
	agrees(f.Party)
	r.caller.NextAck()
	r.free()
	f.hangsUp()
	hungUp(r.caller)
	r.ended(2)
}

// Who waits hangs up, and the slot is free.
func TestParkHangsUp(t *testing.T) {
	r := newRig(t, nil)
	p := r.extension("1001")
	asked, res, s := r.talk("1001", p)
	parks(r, p, s, "*68")
	r.slot("*681", "1009")
	r.bye(asked, res)
	r.free()
	r.ended(2)
}

// What can't be parked, or fetched.
func TestParkRefuses(t *testing.T) {
	r := newRig(t, nil)
	for _, dialled := range []string{"*681", "*680", "*6810", "*68x"} { // nobody is there, and the caller has no other call
		if _, v := r.dials("1002", dialled); v.OK() {
			t.Errorf("%s is answered", dialled)
		}
	}
	p := r.extension("1001")
	_, _, s := r.talk("1001", p)
	parks(r, p, s, "*682")
	second := r.extension("1005")
	r.set(func() { r.who = Caller{Number: "1009", Realm: Inside, Trace: "trace-2"} })
	_, _, s = r.talk("1005", second)
	refer := transactiontest.Back(s.Request(), s.Tag(), sip.REFER, "Refer-To: <sip:*682@pbx.test>")
	second.Do(s.Flow(), refer, 486) // taken
	r.set(func() { r.who = Caller{Number: "49555", Realm: "peer", Trunk: "carrier", Trace: "trace-3"} })
	if _, v := r.dial("*68", nil); v.OK() {
		t.Error("a carrier parks")
	}
}
