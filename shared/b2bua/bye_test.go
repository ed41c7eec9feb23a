package b2bua

import (
	"testing"
	"time"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

func TestByeFromCallee(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].want("200 BYE")
		r.a.want("BYE")
		if bye := r.a.last("BYE"); bye.GetHeader("Reason") != nil || bye.Recipient.Host != r.a.host {
			t.Errorf("BYE is\n%s", bye)
		}
		r.a.answer("BYE", 200, "")
		r.ended(200, verdict.NormalClearing, B)
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
}

// Both hang up at once: each BYE is answered, and the call ends once.
func TestByeGlare(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.request("BYE")
		r.b[0].want("BYE")
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].want("200 BYE")
		r.a.want("200 BYE")
		r.ended(200, verdict.NormalClearing, A)
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
		r.b[0].answer("BYE", 481, "")
		r.a.want()
	})
}

// A BYE that nobody answers, or that can't be sent, ends its leg all the same.
func TestByeUnanswered(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.request("BYE")
		r.b[0].answer("BYE", 100, "")
		if r.engine.Len() != 1 {
			t.Error("the call is forgotten while BYE is open")
		}
		r.pass(64 * t1)
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
	both(t, 1, func(r *rig) {
		r.up()
		r.b[0].cut(true)
		r.a.request("BYE")
		r.a.want("200 BYE")
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
		r.a.request("BYE") // its dialog is gone
		r.a.want("481 BYE")
	})
}

// BYE while a re-INVITE is open, from each side: the re-INVITE is answered, nothing stays.
func TestByeDuringReinvite(t *testing.T) {
	both(t, 1, func(r *rig) { // the one who asked hangs up
		r.up()
		r.a.reinvite("v3")
		r.b[0].want("INVITE (v3>b)")
		r.b[0].answer("INVITE", 100, "")
		r.a.request("BYE")
		r.a.want("200 BYE", "487 INVITE")
		r.b[0].want("CANCEL", "BYE")
		r.b[0].answer("BYE", 200, "")
		r.b[0].answer("INVITE", 487, "")
		r.b[0].want("ACK")
		r.ended(200, verdict.NormalClearing, A)
	})
	both(t, 1, func(r *rig) { // the one who was asked
		r.up()
		r.a.reinvite("v3")
		r.b[0].want("INVITE (v3>b)")
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].answer("INVITE", 487, "")
		r.b[0].want("200 BYE", "ACK")
		r.a.want("487 INVITE", "BYE")
		r.a.answer("BYE", 200, "")
		r.ended(200, verdict.NormalClearing, B)
	})
	both(t, 1, func(r *rig) { // and says yes all the same
		r.up()
		r.a.reinvite("v3")
		r.a.request("BYE")
		r.b[0].want("INVITE (v3>b)", "BYE")
		r.b[0].answer("INVITE", 200, "v4")
		r.b[0].want("ACK")
		r.b[0].answer("BYE", 200, "")
	})
	both(t, 1, func(r *rig) { // we end it
		r.up()
		r.a.reinvite("v3")
		r.engine.End(r.engine.Calls()[0].ID, verdict.MediaTimeout)
		r.pass(0)
		r.b[0].want("INVITE (v3>b)", "BYE")
		r.a.want("487 INVITE", "BYE")
		r.ended(200, verdict.MediaTimeout, A)
	})
}

// In the time between our BYE and its answer nothing but a BYE is taken.
func TestRequestsAfterTheEnd(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.request("BYE")
		r.b[0].callee("INVITE", 1, "v3")
		r.b[0].byTheCallee("INFO", 2)
		r.b[0].want("BYE", "481 INVITE", "481 INFO")
		r.b[0].answer("BYE", 200, "")
		r.b[0].byTheCallee("INFO", 3)
		r.b[0].want("481 INFO")
	})
}

// Hangup in each state.
func TestHangup(t *testing.T) {
	hangup := func(r *rig, why verdict.Reason) {
		r.t.Helper()
		if !r.engine.End(r.engine.Calls()[0].ID, why) {
			r.t.Error("no such call")
		}
		r.pass(0)
	}
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		hangup(r, verdict.Shutdown)
		r.a.want("503 INVITE")
		r.ended(503, verdict.Shutdown, A)
	})
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 183, "v2")
		hangup(r, verdict.MediaTimeout)
		r.b[0].want("INVITE (v1>b)", "CANCEL")
		r.a.want("183 INVITE (v2>a)", "503 INVITE")
		r.ended(503, verdict.MediaTimeout, A)
	})
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		hangup(r, verdict.MediaTimeout)
		r.a.want("200 INVITE (v2>a)")
		r.b[0].want("INVITE (v1>b)", "ACK", "BYE")
		r.a.ack("")
		r.a.want("BYE")
		r.ended(200, verdict.MediaTimeout, A)
	})
	both(t, 1, func(r *rig) {
		r.up()
		hangup(r, verdict.MediaTimeout)
		hangup(r, verdict.Shutdown) // again: the first reason counts, and there is one BYE
		r.a.want("BYE")
		r.b[0].want("BYE")
		r.ended(200, verdict.MediaTimeout, A)
		r.a.answer("BYE", 200, "")
		r.b[0].answer("BYE", 200, "")
		if r.engine.End("nobody", verdict.Shutdown) || r.engine.Len() != 0 {
			t.Error("calls are left")
		}
	})
}

// The phone's connection was made anew during the call: BYE goes over the new one.
func TestFlowChanges(t *testing.T) {
	bubble(t, transport.TCP, 1, func(r *rig) {
		r.up()
		old := r.a.flow
		r.a.flow = r.flowTo(r.a, r.a.host+":5061", "198.51.100.1:5060")
		r.a.request("INFO")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		old.Close(verdict.IdleTimeout)
		r.pass(time.Second)
		r.b[0].byTheCallee("BYE", 1)
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
	})
	bubble(t, transport.TCP, 1, func(r *rig) { // or where the policy says
		var via *transport.Flow
		r.change = func(p *Plan) {
			p.Policy.Flow = policyFlow(func() *transport.Flow { return via })
		}
		r.up()
		old := r.a.flow
		r.a.flow = r.flowTo(r.a, "192.0.2.11:5060", "198.51.100.1:5060")
		via = r.a.flow
		old.Close(verdict.IdleTimeout)
		r.b[0].byTheCallee("BYE", 1)
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
}
