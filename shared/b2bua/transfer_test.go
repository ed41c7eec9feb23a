package b2bua

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

const transferAllow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, REFER, NOTIFY"

// transfers makes the rig's calls such that their parties may transfer: the caller is 1001, the callees are their own
// accounts. A blind transfer calls the last callee, or ends at local.
func (r *rig) transfers(local Local) *[]Refer {
	var asked []Refer
	can := func(p *Plan) {
		p.Media, p.Account = nil, "1001"
		allowing := policy()
		allowing.Allow = transferAllow
		p.Policy = allowing
		for _, g := range p.Groups {
			for i := range g {
				g[i].Account, g[i].Policy = g[i].Name, allowing
			}
		}
		p.Joined = func(j Joined) {
			r.note(func() {
				r.answered = append(r.answered, "joined "+j.Party.URI.User+" by "+j.Account+" at "+j.Side.String())
			})
		}
	}
	var refer func(Refer) (Plan, error)
	refer = func(w Refer) (Plan, error) {
		r.note(func() { asked = append(asked, w) })
		if w.Target.User == "nobody" {
			return Plan{}, &Refusal{Code: 404, Reason: verdict.UnknownNumber}
		}
		r.note(func() { r.started++ })
		p := r.plan()
		p.Media, p.Groups, p.Local = nil, nil, local
		if local == nil {
			p.Groups = [][]Target{{r.target(r.b[len(r.b)-1])}}
		}
		can(&p)
		p.Refer = refer
		return p, nil
	}
	r.change = func(p *Plan) {
		can(p)
		p.Refer = refer
	}
	return &asked
}

// talk is up without media of ours.
func (p *party) talk(b *party) {
	p.r.t.Helper()
	p.invite("v1")
	b.want("INVITE (v1)")
	b.answer("INVITE", 200, "v2")
	b.want("ACK")
	p.want("200 INVITE (v2)")
	p.ack("")
}

// refer sends a REFER to a target.
func (p *party) refer(to string, lines ...string) {
	p.r.t.Helper()
	p.extra = "Refer-To: " + to + "\r\n"
	for _, l := range lines {
		p.extra += l + "\r\n"
	}
	p.request("REFER")
	p.extra = ""
}

// told fails the test unless NOTIFYs with these codes arrived, and answers them.
func (p *party) told(codes ...int) {
	p.r.t.Helper()
	for _, code := range codes {
		req := p.last("NOTIFY")
		var want []string
		frag := fmt.Sprintf("SIP/2.0 %d %s\r\n", code, sipmsg.ReasonPhrase(code))
		want = append(want, "NOTIFY ("+frag+")")
		p.want(want...)
		state, _ := sipmsg.Header(req, "Subscription-State")
		if strings.HasPrefix(state, "terminated") != (code >= 200) {
			p.r.t.Errorf("subscription is %q at %d", state, code)
		}
		p.answer("NOTIFY", 200, "")
	}
}

func TestBlindTransfer(t *testing.T) {
	both(t, 2, func(r *rig) {
		asked := r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.b[1].want("INVITE")
		got := r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)")
		r.a.answer("NOTIFY", 200, "")
		if c, ok := got[0].(*sip.Response); !ok || c.Contact() == nil {
			t.Error("the 202 has no Contact")
		}
		r.b[1].answer("INVITE", 180, "")
		r.a.told(180)
		r.b[1].answer("INVITE", 200, "w1")
		r.b[0].want("INVITE (w1)")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		r.b[1].want("ACK (x1)")
		r.a.told(200)
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		r.state(StateAnswered)
		if len(*asked) != 1 || (*asked)[0].Account != "1001" || (*asked)[0].Target.User != "1003" || (*asked)[0].Partner != "b1" || (*asked)[0].Trace != "trace" {
			t.Errorf("asked for %+v", *asked)
		}
		r.b[0].callee("INVITE", 1, "hold") // the two talk to each other
		r.b[1].want("INVITE (hold)")
		r.b[1].answer("INVITE", 200, "held")
		r.b[1].want("ACK")
		r.b[0].want("200 INVITE (held)")
		r.b[0].ack("")
		r.b[1].byTheCallee("BYE", 1)
		r.b[1].want("200 BYE")
		r.b[0].want("BYE")
		r.b[0].answer("BYE", 200, "")
		if len(r.endings) != 2 || r.endings[0].Reason != verdict.Transferred || r.endings[1].Reason != verdict.NormalClearing {
			t.Errorf("endings are %+v", r.endings)
		}
	})
}

// The callee transfers, and does not wait.
func TestBlindTransferByTheCallee(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.b[0].extra = "Refer-To: sip:1003@example.org\r\n"
		r.b[0].byTheCallee("REFER", 1)
		r.b[0].extra = ""
		r.b[0].want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)")
		r.b[0].byTheCallee("BYE", 2)
		r.b[0].want("200 BYE")
		r.a.want() // goes on waiting
		r.b[1].answer("INVITE", 200, "w1")
		r.a.want("INVITE (w1)")
		r.a.answer("INVITE", 200, "x1")
		r.a.want("ACK")
		r.b[1].want("INVITE", "ACK (x1)")
		r.b[0].want()
		r.a.request("BYE")
		r.a.want("200 BYE")
		r.b[1].want("BYE")
		r.b[1].answer("BYE", 200, "")
	})
}

func TestBlindTransferFails(t *testing.T) {
	both(t, 2, func(r *rig) { // the target is busy, and the call goes on
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)")
		r.a.answer("NOTIFY", 200, "")
		r.a.refer("<sip:1003@example.org>") // one after the other
		r.a.want("491 REFER")
		r.b[1].answer("INVITE", 486, "")
		r.a.told(486)
		r.b[0].want()
		r.a.reinvite("resume")
		r.b[0].want("INVITE (resume)")
		r.b[0].answer("INVITE", 200, "resumed")
		r.a.want("200 INVITE (resumed)")
		r.a.ack("")
		r.a.refer("<sip:1003@example.org>") // again
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)")
		if ev, _ := sipmsg.Header(r.a.last("NOTIFY"), "Event"); !strings.HasPrefix(ev, "refer;id=") {
			t.Errorf("Event is %q", ev)
		}
		r.a.answer("NOTIFY", 200, "")
		r.b[1].answer("INVITE", 603, "")
		r.a.told(603)
		r.a.request("BYE")
		r.b[0].want("ACK", "BYE")
		r.b[0].answer("BYE", 200, "")
	})
	both(t, 2, func(r *rig) { // the transferor is gone: nobody is left for the other
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.a.request("BYE")
		r.b[1].answer("INVITE", 486, "")
		r.b[0].want("BYE")
		r.b[0].answer("BYE", 200, "")
	})
	both(t, 2, func(r *rig) { // the transferred party hangs up while the target rings
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.b[1].answer("INVITE", 180, "")
		r.b[0].byTheCallee("BYE", 1)
		r.b[1].want("INVITE", "CANCEL")
		r.b[1].answer("CANCEL", 200, "")
		r.b[1].answer("INVITE", 487, "")
		r.a.answer("BYE", 200, "")
	})
	both(t, 2, func(r *rig) { // the transferred party takes none of the target's media
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>", "Refer-Sub: false")
		r.a.want("200 REFER")
		r.b[1].answer("INVITE", 200, "w1")
		r.b[0].want("INVITE (w1)")
		r.b[0].answer("INVITE", 488, "")
		r.b[1].want("INVITE", "ACK", "BYE")
		r.b[1].answer("BYE", 200, "")
		r.a.want()
		r.state(StateAnswered)
	})
	both(t, 2, func(r *rig) { // the target hangs up before the transferred party was asked
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.b[1].answer("INVITE", 200, "w1")
		r.b[1].byTheCallee("BYE", 1)
		r.b[0].want("INVITE (w1)")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 480 Temporarily Unavailable\r\n)", "INVITE")
		r.a.answer("INVITE", 200, "v5")
		r.b[0].want("INVITE (v5)")
		r.b[0].answer("INVITE", 200, "x2")
		r.a.want("ACK (x2)")
		r.state(StateAnswered)
	})
}

func TestReferRefused(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		for to, code := range map[string]int{
			"<sip:nobody@example.org>": 404, "<sip:1003@example.org;method=BYE>": 400, "<tel:+49>": 400,
		} {
			r.a.refer(to)
			r.a.want(fmt.Sprint(code, " REFER"))
		}
		r.a.request("REFER")
		r.a.want("400 REFER")
		r.a.request("NOTIFY") // of no subscription
		r.a.want("481 NOTIFY")
		r.a.refer("<sip:1003@example.org?Replaces=nothing%3Bto-tag%3D1%3Bfrom-tag%3D2>")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 481 Call/Transaction Does Not Exist\r\n)")
		r.b[0].want()
	})
	both(t, 1, func(r *rig) { // who has no account has no rights
		r.transfers(nil)
		can := r.change
		r.change = func(p *Plan) { can(p); p.Account = "" }
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.a.want("403 REFER")
	})
	both(t, 0, func(r *rig) { // nobody to transfer
		r.transfers(nil)
		can := r.change
		r.change = func(p *Plan) { can(p); p.Local = &echo{t: t}; p.Groups = nil }
		r.a.invite("v1")
		r.a.want("200 INVITE (echo v1)")
		r.a.ack("")
		r.a.refer("<sip:1003@example.org>")
		r.a.want("403 REFER")
	})
}

// A service of ours answers offers: the transferred party makes one.
func TestBlindTransferToService(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.transfers(&echo{t: t})
		r.a.talk(r.b[0])
		r.a.refer("<sip:*43@example.org>")
		r.b[0].want("INVITE")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK (echo x1)")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 200 OK\r\n)")
		r.a.answer("NOTIFY", 200, "")
		r.a.answer("BYE", 200, "")
		r.state(StateAnswered)
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].want("200 BYE")
	})
	both(t, 1, func(r *rig) { // that takes no such offer
		r.transfers(&echo{t: t, fail: &Refusal{Code: 488, Reason: verdict.NoCommonMedia}})
		r.a.talk(r.b[0])
		r.a.refer("<sip:*43@example.org>")
		r.b[0].answer("INVITE", 200, "m=audio 4000 RTP/AVP 0\r\n")
		r.b[0].want("INVITE", "ACK (m=audio 0 RTP/AVP 0\r\n)")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 488 Not Acceptable Here\r\n)", "INVITE")
		r.a.answer("INVITE", 200, "v5")
		r.b[0].want("INVITE (v5)")
		r.b[0].answer("INVITE", 200, "x2")
		r.a.want("ACK (x2)")
		r.pass(time.Minute)
		r.state(StateAnswered)
	})
}
