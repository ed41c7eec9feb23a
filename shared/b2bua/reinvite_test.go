package b2bua

import (
	"testing"
	"time"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// policyFlow is a LegPolicy.Flow.
func policyFlow(f func() *transport.Flow) func(*dialog.Dialog, *transport.Flow) *transport.Flow {
	return func(*dialog.Dialog, *transport.Flow) *transport.Flow { return f() }
}

func TestHoldAndResume(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.contact = "sip:moved@192.0.2.10:5099"
		r.a.reinvite("hold")
		r.b[0].want("INVITE (hold>b)")
		r.b[0].answer("INVITE", 180, "") // nobody cares
		r.a.want()
		r.b[0].contact = "sip:moved-too@192.0.2.21:5098"
		r.b[0].answer("INVITE", 200, "held")
		r.b[0].want("ACK")
		r.a.want("200 INVITE (held>a)")
		r.a.ack("")
		if ack := r.b[0].last("ACK"); ack.Recipient.User != "moved-too" || ack.CSeq().SeqNo != r.b[0].last("INVITE").CSeq().SeqNo {
			t.Errorf("ACK is\n%s", ack)
		}
		r.b[0].callee("INVITE", 1, "resume")
		r.a.want("INVITE (resume>a)")
		if got := r.a.last("INVITE").Recipient; got.User != "moved" {
			t.Errorf("re-INVITE went to %s", got.String())
		}
		r.a.answer("INVITE", 200, "resumed")
		r.a.want("ACK")
		r.b[0].want("200 INVITE (resumed>b)")
		r.b[0].ack("")
		r.pass(time.Minute)
		r.a.want()
		r.b[0].want()
		r.media.wants("offer a v1", "answer b v2", "offer a hold", "answer b held", "offer b resume", "answer a resumed")
		r.down()
	})
}

func TestReinviteWithLateOffer(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.reinvite("")
		r.b[0].want("INVITE")
		r.b[0].answer("INVITE", 200, "v3")
		r.a.want("200 INVITE (v3>a)")
		r.b[0].want()
		r.b[0].callee("INVITE", 1, "v5") // while the ACK is owed
		r.b[0].want("491 INVITE")
		r.a.ack("v4")
		r.b[0].want("ACK (v4>b)")
		r.media.wants("offer a v1", "answer b v2", "offer b v3", "answer a v4")
		r.down()
	})
	both(t, 1, func(r *rig) { // that isn't made
		r.up()
		r.a.reinvite("")
		r.b[0].answer("INVITE", 200, "")
		r.b[0].want("INVITE", "ACK")
		r.a.want("488 INVITE")
		r.down() // nothing has changed
	})
	for _, answer := range []string{"", "bad"} {
		both(t, 1, func(r *rig) { // that isn't answered
			r.fail = map[string]error{"bad": errBroken}
			r.up()
			r.a.reinvite("")
			r.b[0].answer("INVITE", 200, "v3")
			r.a.want("200 INVITE (v3>a)")
			r.a.ack(answer)
			r.b[0].want("INVITE", "ACK", "BYE")
			r.a.want("BYE")
			r.ended(200, verdict.BadBody, A)
		})
	}
}

// A refused re-INVITE changes nothing: the answer goes back, the call goes on.
func TestReinviteRefused(t *testing.T) {
	for code, want := range map[int]string{488: "488 INVITE", 491: "491 INVITE", 500: "500 INVITE", 302: "488 INVITE", 603: "603 INVITE"} {
		both(t, 1, func(r *rig) {
			r.up()
			r.a.reinvite("v3")
			r.b[0].answer("INVITE", code, "")
			r.b[0].want("INVITE (v3>b)", "ACK")
			r.a.want(want)
			r.state(StateAnswered)
			r.media.wants("offer a v1", "answer b v2", "offer a v3")
			r.b[0].callee("INVITE", 1, "v5") // and the next one may come from the other side
			r.a.answer("INVITE", 200, "v6")
			r.b[0].want("200 INVITE (v6>b)")
			r.b[0].ack("")
			r.a.want("INVITE (v5>a)", "ACK")
			r.down()
		})
	}
	both(t, 1, func(r *rig) { // refused by our media: B does not hear of it
		r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.SecureMediaRequired}}
		r.up()
		r.a.reinvite("bad")
		r.a.want("488 INVITE")
		r.b[0].want()
		r.down()
	})
	both(t, 1, func(r *rig) { // refused for its form
		r.up()
		r.a.extra = "Content-Type: text/plain\r\n"
		r.a.seq++
		text := r.a.text("z9hG4bK-a-form", "INVITE", r.a.seq, "")
		r.a.extra = ""
		r.a.put(text[:len(text)-len("Content-Length: 0\r\n\r\n")] + "Content-Length: 2\r\n\r\nhi")
		r.a.want("415 INVITE")
		r.down()
	})
}

// B took the new offer, but its answer is of no use: the sides no longer agree, which ends the call.
func TestReinviteAnswerUnusable(t *testing.T) {
	for _, answer := range []string{"", "bad"} {
		both(t, 1, func(r *rig) {
			r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.BadBody}}
			r.up()
			r.a.reinvite("v3")
			r.b[0].answer("INVITE", 200, answer)
			r.b[0].want("INVITE (v3>b)", "ACK", "BYE")
			r.a.want("488 INVITE", "BYE")
			r.ended(200, verdict.BadBody, B)
		})
	}
}

// RFC 3261 §14.1, §14.2.
func TestGlare(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.reinvite("v3")
		r.b[0].want("INVITE (v3>b)")
		r.b[0].callee("INVITE", 1, "v4")
		r.b[0].want("491 INVITE")
		r.a.want()
		r.b[0].answer("INVITE", 491, "") // it sees the same on its side
		r.b[0].want("ACK")
		r.a.want("491 INVITE")
		r.state(StateAnswered)
		r.media.wants("offer a v1", "answer b v2", "offer a v3")
		r.down()
	})
}

// RFC 3261 §14.2: a second INVITE while the first is open.
func TestSecondInvite(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.reinvite("v3")
		r.a.reinvite("v4")
		if res := r.a.want("500 INVITE"); len(res[0].GetHeaders("Retry-After")) == 0 {
			t.Error("500 without Retry-After")
		}
		r.b[0].want("INVITE (v3>b)")
		r.b[0].answer("INVITE", 200, "v5")
		r.a.want("200 INVITE (v5>a)")
		r.a.inviteSeq--
		r.a.reinvite("v6") // before the ACK
		r.a.want("500 INVITE")
		r.a.inviteSeq = 2
		r.a.ack("")
		r.b[0].want("ACK")
		r.down()
	})
	both(t, 1, func(r *rig) { // before the call is answered
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.want("180 INVITE")
		r.a.reinvite("v3")
		r.a.want("500 INVITE")
		r.b[0].callee("INVITE", 1, "v4")
		r.b[0].want("INVITE (v1>b)", "491 INVITE")
		r.b[0].answer("INVITE", 486, "")
		r.a.want("486 INVITE")
	})
	both(t, 1, func(r *rig) { // before A's ACK
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].callee("INVITE", 1, "v4")
		r.b[0].want("INVITE (v1>b)", "ACK", "491 INVITE")
		r.a.ack("")
	})
}

func TestCancelReinvite(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.reinvite("v3")
		r.b[0].answer("INVITE", 100, "")
		r.a.cancel()
		r.a.want("200 CANCEL")
		r.b[0].want("INVITE (v3>b)", "CANCEL")
		r.b[0].answer("INVITE", 487, "")
		r.a.want("487 INVITE")
		r.b[0].want("ACK")
		r.state(StateAnswered)
		r.down()
	})
	both(t, 1, func(r *rig) { // too late: B's 200 crosses it
		r.up()
		r.a.reinvite("v3")
		r.b[0].answer("INVITE", 100, "")
		r.a.cancel()
		r.b[0].answer("INVITE", 200, "v4")
		r.b[0].want("INVITE (v3>b)", "CANCEL", "ACK")
		r.a.want("200 CANCEL", "200 INVITE (v4>a)")
		r.a.ack("")
		r.down()
	})
	both(t, 1, func(r *rig) { // nobody answers
		r.up()
		r.a.reinvite("v3")
		r.a.cancel()
		r.a.want("200 CANCEL")
		r.pass(64 * t1)
		r.a.want("100 INVITE", "487 INVITE", "BYE")
		r.ended(200, verdict.PeerLost, B)
	})
}

// RFC 3261 §12.2.1.2: the far side has lost the dialog, or is gone.
func TestPeerLost(t *testing.T) {
	for _, method := range []string{"INVITE", "INFO"} {
		for code, why := range map[int]verdict.Reason{481: verdict.UnknownDialog, 408: verdict.PeerLost} {
			both(t, 1, func(r *rig) {
				r.up()
				r.ask(method)
				r.b[0].answer(method, code, "")
				msgs := r.a.take()
				if len(msgs) != 2 || summary(msgs[0]) != summary(response(code))[:3]+" "+method || summary(msgs[1]) != "BYE" {
					t.Errorf("A got %v", msgs)
				}
				r.b[0].last("BYE")
				r.ended(200, why, B)
			})
		}
		both(t, 1, func(r *rig) {
			r.up()
			r.ask(method)
			r.pass(64 * t1)
			if method == "INVITE" {
				r.a.want("100 INVITE", "408 INVITE", "BYE")
			} else {
				r.a.want("BYE") // RFC 4320 §4.2: no 408 to what has timed out at the sender as well
			}
			r.ended(200, verdict.PeerLost, B)
		})
		both(t, 1, func(r *rig) { // a connection that broke is no proof
			r.up()
			r.b[0].cut(true)
			r.ask(method)
			r.a.want("503 " + method)
			r.b[0].cut(false)
			r.state(StateAnswered)
			r.down()
		})
	}
}

// ask has A send INFO or a re-INVITE.
func (r *rig) ask(method string) {
	r.t.Helper()
	if method == "INVITE" {
		r.a.reinvite("v3")
		return
	}
	r.a.request(method)
}

// A 2xx that comes again belongs to its own INVITE, also while the next one is open.
func TestOldAnswerDuringReinvite(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		first := r.b[0].last("INVITE")
		r.a.reinvite("v3")
		r.b[0].answer("INVITE", 200, "v4")
		r.a.want("200 INVITE (v4>a)")
		r.a.ack("")
		second := r.b[0].last("INVITE")
		r.a.reinvite("v5")
		r.b[0].want("INVITE (v3>b)", "ACK", "INVITE (v5>b)")
		r.b[0].put(r.b[0].response(second, "b1-tag", 200, "v4"))
		r.b[0].put(r.b[0].response(first, "b1-tag", 200, "v2"))
		acks := r.b[0].want("ACK", "ACK")
		for i, of := range []uint32{second.CSeq().SeqNo, first.CSeq().SeqNo} {
			if got := cseqOf(acks[i]); got != of {
				t.Errorf("ACK %d is for %d, want %d", i, got, of)
			}
		}
		r.a.want()
		r.b[0].answer("INVITE", 200, "v6")
		r.b[0].want("ACK")
		r.a.want("200 INVITE (v6>a)")
		r.a.ack("")
		r.down()
	})
}
