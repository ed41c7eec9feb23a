package b2bua

import (
	"strings"
	"testing"
	"time"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Our 2xx is repeated until the ACK comes (RFC 3261 §13.3.1.4).
func TestAnswerRepeated(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		ok := "200 INVITE (v2>a)"
		r.a.want(ok)
		for _, gap := range []time.Duration{t1, 2 * t1, 4 * t1, 8 * t1, 8 * t1, 8 * t1} {
			r.pass(gap - time.Millisecond)
			r.a.want()
			r.pass(time.Millisecond)
			r.a.want(ok)
		}
		r.a.ack("")
		r.pass(time.Minute)
		r.a.want()
		r.state(StateAnswered)
		r.a.ack("") // once more
		r.b[0].want("INVITE (v1>b)", "ACK")
		r.down()
	})
}

func TestNoAck(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].want("INVITE (v1>b)", "ACK")
		r.a.take()
		r.pass(64*t1 - time.Millisecond)
		r.state(StateAnswered)
		r.a.take()
		r.pass(time.Millisecond)
		r.ended(200, verdict.NoACK, A)
		r.a.want("BYE")
		r.b[0].want("BYE")
		if why := r.b[0].last("BYE").GetHeader("Reason"); why == nil || !strings.Contains(why.Value(), string(verdict.NoACK)) {
			t.Errorf("BYE has reason %v", why)
		}
		r.a.answer("BYE", 481, "")
		r.b[0].answer("BYE", 200, "")
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
	both(t, 1, func(r *rig) { // of a late offer: B is acknowledged before its BYE
		r.a.invite("")
		r.b[0].answer("INVITE", 200, "v1")
		r.pass(64 * t1)
		msgs := r.b[0].take()
		got := []string{}
		for _, m := range msgs {
			got = append(got, summary(m))
		}
		if s := strings.Join(got[:3], ","); s != "INVITE,ACK,BYE" {
			t.Errorf("B got %q", got)
		}
	})
}

// An ACK must be for the INVITE that was answered, and from where the dialog is.
func TestForeignAck(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		elsewhere := r.flowTo(r.b[0], "203.0.113.66:5060", "198.51.100.1:5060")
		elsewhere.Deliver([]byte(r.a.text("z9hG4bK-x", "ACK", 1, "")))
		r.a.send("ACK", 2, "")
		tag := r.a.theirs
		r.a.theirs = "guessed"
		r.a.send("ACK", 1, "")
		r.a.theirs = tag
		r.a.tag = "a-tag-other"
		r.a.send("ACK", 1, "")
		r.a.tag = "a-tag"
		r.pass(t1)
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
		r.pass(time.Minute)
		r.a.want()
		if r.unknown != 2 {
			t.Errorf("%d requests were unknown, want 2", r.unknown)
		}
	})
}

// B repeats its 2xx since our ACK was lost; also when the transaction is long gone.
func TestAckRepeated(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		for range 3 {
			r.b[0].answer("INVITE", 200, "v2")
			r.b[0].want("ACK")
		}
		r.pass(time.Minute)
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].want("ACK")
		r.b[0].answerAs("b1-tag-other", "INVITE", 200, "v2") // and that of another phone
		r.b[0].want("ACK", "BYE")
		r.b[0].answer("BYE", 200, "")
		r.b[0].answer("INVITE", 486, "") // a stray refusal is nobody's
		r.b[0].want()
		r.a.want()
		r.down()
		r.b[0].want()
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].want() // no call, no leg
	})
}

// ACK may overtake what it acknowledges on the way through our goroutines; it may also come while BYE waits.
func TestByeWaitsForAck(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].want("INVITE (v1>b)", "ACK", "200 BYE")
		r.a.want() // RFC 3261 §15: no BYE before the ACK
		r.ended(200, verdict.NormalClearing, B)
		r.pass(t1)
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
	both(t, 1, func(r *rig) { // which never comes
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].byTheCallee("BYE", 1)
		r.pass(64 * t1)
		msgs := r.a.take()
		if got := summary(msgs[len(msgs)-1]); got != "BYE" {
			t.Errorf("last A got %s", got)
		}
		r.ended(200, verdict.NormalClearing, B)
	})
	both(t, 1, func(r *rig) { // A hangs up without ACK
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		r.a.request("BYE")
		r.a.want("200 BYE")
		r.b[0].want("INVITE (v1>b)", "ACK", "BYE")
		r.pass(4 * t1)
		r.a.want()
		r.ended(200, verdict.NormalClearing, A)
	})
	both(t, 1, func(r *rig) { // and B's late offer is acknowledged first
		r.a.invite("")
		r.b[0].answer("INVITE", 200, "v1")
		r.a.want("200 INVITE (v1>a)")
		r.a.request("BYE")
		r.b[0].want("INVITE", "ACK", "BYE")
	})
}

// A 2xx that can't be repeated because its connection is gone is waited for no longer than any other.
func TestConnectionEndsBeforeAck(t *testing.T) {
	bubble(t, transport.TCP, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.flow.Close(verdict.IdleTimeout)
		r.pass(64 * t1)
		r.ended(200, verdict.NoACK, A)
	})
}
