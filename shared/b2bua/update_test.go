package b2bua

import (
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// update sends an UPDATE within the dialog.
func (p *party) update(sdp string) {
	p.r.t.Helper()
	p.seq++
	p.send("UPDATE", p.seq, sdp)
}

const allowUpdate = "Allow: INVITE, ACK, BYE, UPDATE"

// upUpdating makes a call whose two ends know UPDATE.
func (r *rig) upUpdating() {
	r.t.Helper()
	r.a.with(allowUpdate, func() { r.a.invite("v1") })
	r.b[0].answer("INVITE", 200, "v2", allowUpdate)
	r.a.ack("")
	r.a.want("200 INVITE (v2>a)")
	r.b[0].want("INVITE (v1>b)", "ACK")
}

// earlyBoth makes a call that rings, its first offer answered for good on both sides.
func (r *rig) earlyBoth(allow string) {
	r.t.Helper()
	r.a.with("Supported: 100rel\r\n"+allow, func() { r.a.invite("v1") })
	r.b[0].answer("INVITE", 183, "v2", "Require: 100rel", "RSeq: 1", allow)
	r.b[0].answer("PRACK", 200, "")
	r.a.prack("")
	r.a.want("183 INVITE (v2>a)", "200 PRACK")
	r.b[0].want("INVITE (v1>b)", "PRACK")
}

func TestUpdateAcross(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.upUpdating()
		r.a.contact = "sip:moved@192.0.2.10:5099"
		r.a.update("hold")
		r.b[0].want("UPDATE (hold>b)")
		r.b[0].contact = "sip:moved-too@192.0.2.21:5098"
		r.b[0].put(strings.Replace(r.b[0].response(r.b[0].last("UPDATE"), "", 200, "held"), "Call-ID:", "Contact: "+r.b[0].contactLine()+"\r\nCall-ID:", 1))
		res := r.a.want("200 UPDATE (held>a)")[0]
		if header(res, "Contact") == "" || !strings.Contains(header(res, "Allow"), "UPDATE") {
			t.Errorf("A got\n%s", res)
		}
		r.b[0].callee("UPDATE", 1, "resume")
		r.a.want("UPDATE (resume>a)")
		if got := r.a.last("UPDATE").Recipient; got.User != "moved" {
			t.Errorf("UPDATE went to %s", got.String())
		}
		r.a.answer("UPDATE", 200, "resumed")
		r.b[0].want("200 UPDATE (resumed>b)")
		r.a.request("INFO")
		if got := r.b[0].last("INFO").Recipient; got.User != "moved-too" {
			t.Errorf("INFO went to %s", got.String())
		}
		r.b[0].want("INFO")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		r.media.wants("offer a v1", "answer b v2", "offer a hold", "answer b held", "offer b resume", "answer a resumed")
		r.down()
	})
}

// Without a description it is for us: a new target.
func TestUpdateHere(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.upUpdating()
		r.a.contact = "sip:moved@192.0.2.10:5099"
		r.a.update("")
		r.a.want("200 UPDATE")
		r.b[0].want()
		r.b[0].callee("INFO", 1, "")
		if got := r.a.last("INFO").Recipient; got.User != "moved" {
			t.Errorf("INFO went to %s", got.String())
		}
		r.a.want("INFO")
		r.a.answer("INFO", 200, "")
		r.b[0].want("200 INFO")
		r.a.with("Content-Type: text/plain", func() {
			r.a.seq++
			text := r.a.text("z9hG4bK-a-form", "UPDATE", r.a.seq, "")
			r.a.put(strings.Replace(text, "Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nhi", 1))
		})
		r.a.want("415 UPDATE")
		r.down()
	})
	both(t, 0, func(r *rig) { // also where the call ends here
		e := r.local()
		r.a.invite("v1")
		r.a.ack("")
		r.a.update("v2")
		r.a.update("")
		r.a.want("200 INVITE (echo v1)", "200 UPDATE (echo v2)", "200 UPDATE")
		e.fail = &Refusal{Code: 488, Reason: verdict.NoCommonMedia}
		r.a.update("v3")
		r.a.want("488 UPDATE")
		r.a.request("BYE")
		r.a.want("200 BYE")
	})
}

// B knows no UPDATE: it gets a re-INVITE.
func TestUpdateAsReinvite(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.update("v3")
		r.b[0].want("INVITE (v3>b)")
		r.b[0].answer("INVITE", 180, "")
		r.b[0].answer("INVITE", 200, "v4")
		r.b[0].want("ACK")
		r.a.want("200 UPDATE (v4>a)")
		r.a.update("v5")
		r.b[0].answer("INVITE", 488, "")
		r.b[0].want("INVITE (v5>b)", "ACK")
		r.a.want("488 UPDATE")
		r.state(StateAnswered)
		r.down()
	})
	both(t, 1, func(r *rig) { // that it takes its time for: A can't wait so long
		r.up()
		r.a.update("v3")
		r.b[0].answer("INVITE", 180, "")
		r.pass(48 * t1)
		r.b[0].want("INVITE (v3>b)", "CANCEL")
		r.b[0].answer("CANCEL", 200, "")
		r.b[0].answer("INVITE", 487, "")
		r.b[0].want("ACK")
		r.a.want("504 UPDATE")
		r.down()
	})
}

func TestUpdateRefused(t *testing.T) {
	for code, want := range map[int]string{488: "488 UPDATE", 491: "491 UPDATE", 500: "500 UPDATE", 504: "504 UPDATE", 302: "488 UPDATE"} {
		both(t, 1, func(r *rig) {
			r.upUpdating()
			r.a.update("v3")
			r.b[0].answer("UPDATE", code, "")
			r.a.want(want)
			r.state(StateAnswered)
			r.b[0].want("UPDATE (v3>b)")
			r.down()
		})
	}
	both(t, 1, func(r *rig) { // by our media
		r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.SecureMediaRequired}}
		r.upUpdating()
		r.a.update("bad")
		r.a.want("488 UPDATE")
		r.down()
	})
	for code, why := range map[int]verdict.Reason{481: verdict.UnknownDialog, 408: verdict.PeerLost} {
		both(t, 1, func(r *rig) { // B is gone
			r.upUpdating()
			r.a.update("v3")
			r.b[0].answer("UPDATE", code, "")
			r.b[0].want("UPDATE (v3>b)", "BYE")
			r.a.take()
			r.a.last("BYE")
			r.ended(200, why, B)
		})
	}
	for _, answer := range []string{"", "bad"} {
		both(t, 1, func(r *rig) { // B has changed its media, and A can't follow
			r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.BadBody}}
			r.upUpdating()
			r.a.update("v3")
			r.b[0].answer("UPDATE", 200, answer)
			r.b[0].want("UPDATE (v3>b)", "BYE")
			r.a.want("488 UPDATE", "BYE")
			r.ended(200, verdict.BadBody, B)
		})
	}
}

// Offers that cross (RFC 3311 §5.2).
func TestUpdateGlare(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.upUpdating()
		r.a.update("v3")
		r.b[0].want("UPDATE (v3>b)")
		r.a.update("v4")
		res := r.a.want("500 UPDATE")[0] // the one before has no answer yet
		if header(res, "Retry-After") == "" {
			t.Errorf("no Retry-After in\n%s", res)
		}
		r.a.reinvite("v4")
		r.a.want("500 INVITE")
		r.b[0].callee("UPDATE", 1, "v5")
		r.b[0].want("491 UPDATE") // ours has none
		r.b[0].callee("INVITE", 2, "v5")
		r.b[0].want("491 INVITE")
		r.b[0].callee("UPDATE", 3, "") // no offer, no glare
		r.b[0].want("200 UPDATE")
		r.b[0].answer("UPDATE", 200, "v6")
		r.a.want("200 UPDATE (v6>a)")
		r.down()
	})
	both(t, 1, func(r *rig) { // with re-INVITEs
		r.upUpdating()
		r.a.reinvite("v3")
		r.b[0].want("INVITE (v3>b)")
		r.a.update("v4")
		r.a.want("500 UPDATE")
		r.b[0].callee("UPDATE", 1, "v5")
		r.b[0].want("491 UPDATE")
		r.b[0].answer("INVITE", 200, "v6")
		r.b[0].want("ACK")
		r.a.want("200 INVITE (v6>a)")
		r.b[0].callee("UPDATE", 2, "v5") // A's ACK is not here yet
		r.b[0].want("491 UPDATE")
		r.a.ack("")
		r.b[0].callee("UPDATE", 3, "v5")
		r.a.want("UPDATE (v5>a)")
		r.a.answer("UPDATE", 200, "v7")
		r.b[0].want("200 UPDATE (v7>b)")
		r.down()
	})
}

// Before the answer, where the first offer was answered for good.
func TestUpdateEarly(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.earlyBoth(allowUpdate)
		r.a.update("v3")
		r.b[0].want("UPDATE (v3>b)")
		r.b[0].callee("UPDATE", 1, "v5")
		r.b[0].want("491 UPDATE")
		r.b[0].answer("UPDATE", 200, "v4")
		r.a.want("200 UPDATE (v4>a)")
		r.b[0].callee("UPDATE", 2, "v5")
		r.a.want("UPDATE (v5>a)")
		r.a.answer("UPDATE", 200, "v6")
		r.b[0].want("200 UPDATE (v6>b)")
		r.b[0].answer("INVITE", 200, "")
		r.b[0].want("ACK")
		r.a.want("200 INVITE")
		r.a.ack("")
		r.media.wants("offer a v1", "answer b v2", "offer a v3", "answer b v4", "offer b v5", "answer a v6")
		r.down()
	})
	both(t, 1, func(r *rig) { // the other side can't
		r.earlyBoth("Allow: INVITE, ACK, BYE")
		r.a.update("v3")
		r.a.want("504 UPDATE")
		r.b[0].callee("UPDATE", 1, "v5")
		r.b[0].want("504 UPDATE")
		r.media.wants("offer a v1", "answer b v2")
		r.a.update("") // a new target is always welcome
		r.a.want("200 UPDATE")
		r.b[0].callee("UPDATE", 2, "")
		r.b[0].want("200 UPDATE")
		r.a.cancel()
		r.b[0].answer("INVITE", 487, "")
	})
	both(t, 1, func(r *rig) { // the first offer has no answer yet, or none that counts
		r.a.with("Supported: 100rel\r\n"+allowUpdate, func() { r.a.invite("v1") })
		r.b[0].answer("INVITE", 180, "", allowUpdate)
		r.a.want("180 INVITE")
		r.a.update("v3")
		r.a.want("500 UPDATE")
		r.b[0].callee("UPDATE", 1, "v5")
		r.b[0].want("INVITE (v1>b)", "500 UPDATE")
		r.b[0].reliable(183, 1, "v2")
		r.b[0].want("PRACK")
		r.a.want("183 INVITE (v2>a)")
		r.a.update("v3") // before its PRACK
		r.a.want("500 UPDATE")
		r.b[0].callee("UPDATE", 2, "v5")
		r.b[0].want("504 UPDATE") // A has not confirmed the answer: it can't be asked
		r.a.cancel()
		r.b[0].answer("INVITE", 487, "")
	})
	both(t, 1, func(r *rig) { // B's offer is not answered yet
		r.a.with("Supported: 100rel\r\n"+allowUpdate, func() { r.a.invite("") })
		r.b[0].reliable(183, 1, "v2")
		r.a.want("183 INVITE (v2>a)")
		r.a.update("v3")
		r.a.want("491 UPDATE")
		r.b[0].callee("UPDATE", 1, "v5")
		r.b[0].want("INVITE", "491 UPDATE")
		r.a.cancel()
		r.b[0].answer("INVITE", 487, "")
	})
}

// The call ends while an UPDATE is on its way.
func TestUpdateAndGone(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.upUpdating()
		r.a.update("v3")
		r.a.request("BYE")
		r.a.want("200 BYE", "487 UPDATE")
		r.b[0].want("UPDATE (v3>b)", "BYE")
		r.b[0].answer("UPDATE", 200, "v4")
		r.b[0].answer("BYE", 200, "")
		r.ended(200, verdict.NormalClearing, A)
		r.pass(time.Minute)
		r.a.want()
	})
}
