package b2bua

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
)

func cseqOf(msg sip.Message) uint32 {
	switch m := msg.(type) {
	case *sip.Request:
		return m.CSeq().SeqNo
	case *sip.Response:
		return m.CSeq().SeqNo
	}
	return 0
}

func TestAcross(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.put(strings.Replace(r.a.next("INFO", "Signal=5"), "application/sdp", "application/dtmf-relay", 1))
		r.b[0].want("INFO (Signal=5)")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		r.b[0].byTheCallee("OPTIONS", 1)
		r.a.want("OPTIONS")
		r.a.answer("OPTIONS", 100, "")
		r.a.answer("OPTIONS", 200, "")
		r.b[0].want("200 OPTIONS")
		r.b[0].byTheCallee("INFO", 2)
		r.a.answer("INFO", 302, "", "Contact: <sip:elsewhere@example.com>")
		r.b[0].want("488 INFO") // nobody is redirected within a call
		if got := r.b[0].msgs[len(r.b[0].msgs)-1].GetHeaders("Contact"); len(got) > 0 {
			t.Errorf("488 with Contact %v", got)
		}
		r.b[0].byTheCallee("INFO", 3)
		r.a.want("INFO", "INFO")
		r.a.answer("INFO", 415, "")
		r.b[0].want("415 INFO")
		r.down()
	})
}

// A session description passes by the call's media or not at all.
func TestNoDescriptionAside(t *testing.T) {
	for _, typ := range []string{"application/sdp", "APPLICATION/SDP; x=y", "multipart/mixed; boundary=b"} {
		both(t, 1, func(r *rig) {
			r.up()
			r.a.put(strings.Replace(r.a.next("OPTIONS", "c=IN IP4 10.0.0.1"), "application/sdp", typ, 1))
			r.b[0].want("OPTIONS")
			r.b[0].put(strings.Replace(r.b[0].response(r.b[0].last("OPTIONS"), "", 200, "c=IN IP4 10.0.0.2"), "application/sdp", typ, 1))
			res := r.a.want("200 OPTIONS")
			if got := append(r.b[0].last("OPTIONS").GetHeaders("Content-Type"), res[0].GetHeaders("Content-Type")...); len(got) > 0 {
				t.Errorf("Content-Type %v without a body", got)
			}
		})
	}
	both(t, 1, func(r *rig) { // nor in a refusal (RFC 3261 §21.4.26)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 488, "v2")
		r.a.want("488 INVITE")
	})
}

// next is a request within the dialog, as text.
func (p *party) next(method, sdp string) string {
	p.read()
	p.seq++
	p.branches++
	return p.text("z9hG4bK-"+p.name+"-next-"+method, method, p.seq, sdp)
}

func TestMethodNotAllowed(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		r.a.request("REFER")
		res := r.a.want("405 REFER")
		if got := res[0].GetHeaders("Allow"); len(got) != 1 || got[0].Value() != policy().Allow {
			t.Errorf("Allow is %v", got)
		}
		r.b[0].want()
		r.down()
	})
	both(t, 1, func(r *rig) { // allowed here and not there
		r.change = func(p *Plan) { p.Groups[0][0].Policy.Allow = "INVITE, ACK, BYE" }
		r.up()
		r.a.request("INFO")
		r.a.want("405 INFO")
		r.b[0].want()
		r.down()
	})
}

func TestOldCSeq(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		for _, seq := range []int{0, 1} { // RFC 3261 §12.2.2
			r.a.send("INFO", seq, "")
			r.a.want("500 INFO")
		}
		r.b[0].byTheCallee("OPTIONS", 7)
		r.b[0].byTheCallee("OPTIONS", 6)
		r.b[0].want("500 OPTIONS")
		r.a.answer("OPTIONS", 200, "")
		r.b[0].want("200 OPTIONS")
		r.a.want("OPTIONS")
		r.down()
	})
}

func TestWrongTags(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		theirs := r.a.theirs
		r.a.theirs = "guessed"
		r.a.request("BYE")
		r.a.theirs = theirs
		r.a.tag = "a-tag-other"
		r.a.request("BYE")
		r.a.tag, r.a.callID = "a-tag", "a-call-id-other"
		r.a.request("BYE")
		r.a.callID = "a-call-id"
		r.a.want("481 BYE", "481 BYE", "481 BYE")
		r.b[0].want()
		r.down()
	})
}

// A request from another address than the dialog's is refused, even if it knows all names; a phone may come back over a
// new connection.
func TestRoams(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		thief := r.flowTo(r.a, "203.0.113.66:5060", "198.51.100.1:5060")
		thief.Deliver([]byte(r.a.next("BYE", "")))
		r.pass(0)
		r.a.want("481 BYE")
		r.b[0].want()
		again := r.flowTo(r.a, "192.0.2.10:6060", "198.51.100.1:5060")
		again.Deliver([]byte(r.a.next("INFO", "")))
		r.pass(0)
		r.b[0].want("INFO")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		r.down()
	})
	both(t, 1, func(r *rig) { // unless the policy knows better
		r.change = func(p *Plan) { p.Policy.Roams = func(_, now *transport.Flow) bool { return now.Remote().Port() == 7 } }
		r.up()
		for _, c := range []struct{ from, want string }{{"192.0.2.10:6060", "481 INFO"}, {"203.0.113.66:7", "200 INFO"}} {
			other := r.flowTo(r.a, c.from, "198.51.100.1:5060")
			r.a.branches++
			other.Deliver([]byte(strings.Replace(r.a.next("INFO", ""), "-next-", "-next-"+c.from[:3], 1)))
			r.pass(0)
			if c.want == "200 INFO" {
				r.b[0].answer("INFO", 200, "")
			}
			r.a.want(c.want)
		}
	})
}

// Before the call is answered there is nothing across.
func TestAcrossEarly(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.want("180 INVITE")
		r.a.request("INFO")
		r.a.want("480 INFO")
		r.b[0].byTheCallee("INFO", 1)
		r.b[0].want("INVITE (v1>b)", "480 INFO")
		r.b[0].answer("INVITE", 486, "")
	})
}
