package b2bua

import (
	"fmt"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// with has a party add header lines to what it sends in fn.
func (p *party) with(lines string, fn func()) {
	p.r.t.Helper()
	keep := p.extra
	p.extra = lines + "\r\n"
	fn()
	p.extra = keep
}

// header returns a header of a message, "" where there is none.
func header(msg sip.Message, name string) string {
	v, _ := sipmsg.Header(msg, name)
	return v
}

// heard returns the last response that arrived.
func (p *party) heard() *sip.Response {
	p.r.t.Helper()
	p.read()
	for i := len(p.msgs) - 1; i >= 0; i-- {
		if res, ok := p.msgs[i].(*sip.Response); ok {
			return res
		}
	}
	p.r.t.Fatalf("%s heard nothing", p.name)
	return nil
}

// prack confirms the last reliable response that arrived.
func (p *party) prack(sdp string) {
	p.r.t.Helper()
	p.read()
	for i := len(p.msgs) - 1; i >= 0; i-- {
		if res, ok := p.msgs[i].(*sip.Response); ok && header(res, "RSeq") != "" {
			p.rack(header(res, "RSeq")+" "+fmt.Sprint(res.CSeq().SeqNo)+" INVITE", sdp)
			return
		}
	}
	p.r.t.Fatalf("%s has nothing to confirm", p.name)
}

// rack sends a PRACK.
func (p *party) rack(rack, sdp string) {
	p.r.t.Helper()
	p.seq++
	p.with("RAck: "+rack, func() { p.send("PRACK", p.seq, sdp) })
}

// reliable has a callee answer provisionally and reliably.
func (p *party) reliable(code, rseq int, sdp string) {
	p.r.t.Helper()
	p.reliableAs(p.tag, code, rseq, sdp)
}

func (p *party) reliableAs(tag string, code, rseq int, sdp string) {
	p.r.t.Helper()
	p.answerAs(tag, "INVITE", code, sdp, "Require: 100rel", fmt.Sprint("RSeq: ", rseq), "Allow: INVITE, ACK, BYE, PRACK, UPDATE")
}

// A knows nothing of 100rel: B's reliable responses are confirmed here.
func TestReliableOfBAlone(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		b := r.b[0]
		b.want("INVITE (v1>b)")
		in := b.last("INVITE")
		if got := header(in, "Supported"); got != "100rel" {
			t.Errorf("B is offered %q", got)
		}
		b.reliable(183, 7, "v2")
		prack := b.want("PRACK")[0]
		if got, want := header(prack, "RAck"), fmt.Sprint("7 ", in.CSeq().SeqNo, " INVITE"); got != want {
			t.Errorf("RAck %q, want %q", got, want)
		}
		if tag, _ := prack.(*sip.Request).To().Params.Get("tag"); tag != b.tag {
			t.Errorf("PRACK went to %q", tag)
		}
		res := r.a.want("183 INVITE (v2>a)")[0]
		if header(res, "RSeq") != "" || header(res, "Require") != "" {
			t.Errorf("A is asked to confirm:\n%s", res)
		}
		b.reliable(183, 7, "v2") // again: its PRACK repeats itself
		b.reliable(180, 9, "")   // one is missing: it comes again
		r.a.want()
		b.answer("PRACK", 200, "")
		b.want()
		b.reliable(180, 8, "")
		b.want("PRACK")
		b.answer("PRACK", 200, "")
		b.answer("INVITE", 200, "")
		b.want("ACK")
		if ack := b.last("ACK"); ack.CSeq().SeqNo != in.CSeq().SeqNo {
			t.Errorf("ACK is\n%s", ack)
		}
		r.a.want("180 INVITE", "200 INVITE (v2>a)")
		r.a.ack("")
		r.media.wants("offer a v1", "answer b v2", "answer b v2")
		r.down()
		if bye := b.last("BYE"); bye.CSeq().SeqNo <= b.last("PRACK").CSeq().SeqNo {
			t.Errorf("BYE has number %d", bye.CSeq().SeqNo)
		}
	})
}

// B knows nothing of it, and A demands it: what A gets is ours, repeated until it is confirmed.
func TestReliableToAAlone(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.with("Require: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		b.answer("INVITE", 180, "")
		b.answer("INVITE", 183, "v2")
		first := r.a.want("180 INVITE")[0]
		if header(first, "Require") != "100rel" || header(first, "RSeq") == "" || header(first, "Allow") == "" {
			t.Errorf("A got\n%s", first)
		}
		r.pass(t1)
		r.pass(2 * t1)
		if again := r.a.want("180 INVITE", "180 INVITE"); header(again[1], "RSeq") != header(first, "RSeq") {
			t.Errorf("repeated as\n%s", again[1])
		}
		r.a.rack("1 1 INVITE", "")
		r.a.rack(header(first, "RSeq")+" 99 INVITE", "")
		r.a.rack(header(first, "RSeq")+" 1 BYE", "")
		r.a.rack("so what", "")
		r.a.want("481 PRACK", "481 PRACK", "481 PRACK", "481 PRACK")
		r.a.prack("")
		second := r.a.want("200 PRACK", "183 INVITE (v2>a)")[1] // it waited for its turn
		var n, m uint32
		fmt.Sscan(header(first, "RSeq"), &n)  //nolint:errcheck // compared below
		fmt.Sscan(header(second, "RSeq"), &m) //nolint:errcheck
		if m != n+1 {
			t.Errorf("RSeq %d after %d", m, n)
		}
		b.answer("INVITE", 200, "v2") // what was described has to be confirmed first (RFC 3262 §3)
		r.a.want()
		r.a.prack("")
		r.a.want("200 PRACK", "200 INVITE (v2>a)")
		r.a.ack("")
		r.pass(time.Minute)
		r.a.want()
		b.want("INVITE (v1>b)", "ACK")
		r.down()
	})
}

// What nobody confirms ends the call (RFC 3262 §3), also if it was answered meanwhile.
func TestNeverConfirmed(t *testing.T) {
	for _, answered := range []bool{false, true} {
		both(t, 1, func(r *rig) {
			r.a.with("Supported: timer, 100rel", func() { r.a.invite("v1") })
			r.b[0].answer("INVITE", 183, "v2")
			if answered {
				r.b[0].answer("INVITE", 200, "v2")
			}
			r.pass(64*t1 - t1/2)
			for _, m := range r.a.take() {
				if s := summary(m); s != "183 INVITE (v2>a)" {
					t.Errorf("A got %s", s)
				}
			}
			r.pass(t1 / 2)
			r.a.want("504 INVITE")
			r.ended(504, verdict.NoPRACK, A)
			if answered {
				r.b[0].want("INVITE (v1>b)", "ACK", "BYE")
				if got := header(r.b[0].last("BYE"), "Reason"); got != `Q.850;cause=102;text="no-prack"` {
					t.Errorf("BYE says %q", got)
				}
				r.b[0].answer("BYE", 200, "")
				return
			}
			r.b[0].want("INVITE (v1>b)", "CANCEL")
			r.b[0].answer("INVITE", 487, "")
		})
	}
}

// Both sides know it: each hop is confirmed by itself, and the 2xx need not say it all again.
func TestReliableJoined(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.with("Supported: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		b.answer("INVITE", 180, "") // nothing is described, nobody asked: as ever
		if res := r.a.want("180 INVITE")[0]; header(res, "RSeq") != "" {
			t.Errorf("A got\n%s", res)
		}
		b.reliable(183, 1, "v2")
		b.want("INVITE (v1>b)", "PRACK")
		b.answer("PRACK", 200, "")
		r.a.want("183 INVITE (v2>a)")
		r.a.prack("")
		r.a.want("200 PRACK")
		b.answer("INVITE", 200, "")
		b.want("ACK")
		r.a.want("200 INVITE")
		r.a.ack("")
		r.media.wants("offer a v1", "answer b v2")
		r.down()
	})
}

// B's offer comes in its 183, A's answer in its PRACK.
func TestReliableDelayedOffer(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.with("Supported: 100rel", func() { r.a.invite("") })
		b := r.b[0]
		b.reliable(183, 5, "v2")
		b.want("INVITE")
		r.a.want("183 INVITE (v2>a)")
		b.reliable(183, 5, "v2")
		b.answer("INVITE", 180, "")
		r.a.want("180 INVITE")
		r.a.prack("v3")
		r.a.want("200 PRACK")
		if prack := b.want("PRACK (v3>b)")[0]; header(prack, "RAck") != fmt.Sprint("5 ", b.last("INVITE").CSeq().SeqNo, " INVITE") {
			t.Errorf("PRACK is\n%s", prack)
		}
		b.answer("PRACK", 200, "")
		b.answer("INVITE", 200, "")
		b.want("ACK")
		r.a.want("200 INVITE")
		r.a.ack("")
		r.media.wants("offer b v2", "answer a v3")
		r.down()
	})
	both(t, 1, func(r *rig) { // A can't: then B had better not
		r.a.invite("")
		if in := r.b[0].last("INVITE"); header(in, "Supported") != "" {
			t.Errorf("B is offered %q", header(in, "Supported"))
		}
		r.a.cancel()
		r.b[0].answer("INVITE", 487, "")
	})
	for answer, why := range map[string]verdict.Reason{"": verdict.BadBody, "bad": verdict.NoCommonMedia} {
		both(t, 1, func(r *rig) { // A gives no answer of use
			r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.NoCommonMedia}}
			r.a.with("Supported: 100rel", func() { r.a.invite("") })
			r.b[0].reliable(183, 5, "v2")
			r.a.prack(answer)
			r.a.want("183 INVITE (v2>a)", "200 PRACK", "488 INVITE")
			r.b[0].want("INVITE", "CANCEL")
			r.b[0].answer("INVITE", 487, "")
			r.ended(488, why, A)
		})
	}
	both(t, 1, func(r *rig) { // B's offer is of no use
		r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.NoCommonMedia}}
		r.a.with("Supported: 100rel", func() { r.a.invite("") })
		r.b[0].reliable(183, 5, "bad")
		r.a.want("488 INVITE")
		r.b[0].want("INVITE", "CANCEL")
		r.b[0].answer("INVITE", 487, "")
		r.ended(488, verdict.NoCommonMedia, B)
	})
}

// A's PRACK makes another offer: B gets it as UPDATE where it takes one; else it is refused and changes nothing.
func TestOfferInPrack(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.with("Supported: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		b.reliable(183, 1, "v2")
		b.answer("PRACK", 200, "")
		r.a.prack("v3")
		b.want("INVITE (v1>b)", "PRACK", "UPDATE (v3>b)")
		b.answer("UPDATE", 200, "v4")
		r.a.want("183 INVITE (v2>a)", "200 PRACK (v4>a)")
		b.answer("INVITE", 200, "")
		r.a.want("200 INVITE")
		r.a.ack("")
		b.want("ACK")
		r.media.wants("offer a v1", "answer b v2", "offer a v3", "answer b v4")
		r.down()
	})
	both(t, 1, func(r *rig) {
		r.a.with("Supported: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		b.answer("INVITE", 183, "v2", "Require: 100rel", "RSeq: 1")
		b.answer("PRACK", 200, "")
		r.a.prack("v3")
		b.want("INVITE (v1>b)", "PRACK")
		r.a.want("183 INVITE (v2>a)", "488 PRACK")
		r.pass(time.Minute)
		r.a.want() // confirmed it is
		b.answer("INVITE", 200, "")
		r.a.want("200 INVITE")
		r.a.ack("")
		r.media.wants("offer a v1", "answer b v2")
		r.b[0].want("ACK")
		r.down()
	})
}

// A gives up, or hangs up, while a response waits to be confirmed: nothing is repeated any more.
func TestReliableAndGone(t *testing.T) {
	for _, how := range []string{"CANCEL", "BYE"} {
		both(t, 1, func(r *rig) {
			r.a.with("Require: 100rel", func() { r.a.invite("v1") })
			b := r.b[0]
			b.reliable(183, 1, "v2")
			r.a.want("183 INVITE (v2>a)")
			if how == "BYE" {
				r.a.request("BYE")
				r.a.want("200 BYE", "487 INVITE")
			} else {
				r.a.cancel()
				r.a.want("200 CANCEL", "487 INVITE")
			}
			r.ackRefusal()
			b.want("INVITE (v1>b)", "PRACK", "CANCEL")
			b.reliable(183, 2, "v3") // nobody listens
			b.answer("PRACK", 200, "")
			b.answer("INVITE", 487, "")
			b.want("ACK")
			r.pass(time.Minute)
			r.a.want()
			r.ended(487, verdict.CallCancelled, A)
		})
	}
	both(t, 1, func(r *rig) { // B's answer is there, but A's confirmation is not: the CANCEL still counts
		r.a.with("Require: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		b.answer("INVITE", 183, "v2")
		b.answer("INVITE", 200, "v2")
		r.a.cancel()
		r.a.want("183 INVITE (v2>a)", "200 CANCEL", "487 INVITE")
		r.ackRefusal()
		b.want("INVITE (v1>b)", "ACK", "BYE")
		b.answer("BYE", 200, "")
		r.ended(487, verdict.CallCancelled, A)
	})
	both(t, 1, func(r *rig) { // or B hangs up again
		r.a.with("Require: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		b.answer("INVITE", 183, "v2")
		b.answer("INVITE", 200, "v2")
		b.byTheCallee("BYE", 1)
		r.a.want("183 INVITE (v2>a)", "480 INVITE")
		r.ackRefusal()
		b.want("INVITE (v1>b)", "ACK", "200 BYE")
		r.ended(480, verdict.NormalClearing, B)
	})
}

// ackRefusal acknowledges the refusal of A's first INVITE, as a transaction does.
func (r *rig) ackRefusal() {
	r.t.Helper()
	r.a.read()
	r.a.sendOn(r.a.lastBranch, "ACK", r.a.inviteSeq, "")
}

// A response without a description need not be confirmed before the answer, and can be after it.
func TestConfirmedLate(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.with("Require: 100rel", func() { r.a.invite("v1") })
		r.b[0].answer("INVITE", 180, "")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("180 INVITE", "200 INVITE (v2>a)")
		r.a.ack("")
		r.pass(time.Minute)
		r.a.want()
		r.a.prack("")
		r.a.prack("")
		r.a.want("200 PRACK", "481 PRACK")
		r.b[0].want("INVITE (v1>b)", "ACK")
		r.down()
	})
}
