package b2bua

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// relays makes the rig's calls such that transfers of either side go across, to numbers.
func (r *rig) relays() {
	allowing := policy()
	allowing.Allow = transferAllow
	pass := allowing.Pass
	allowing.Pass = func(dst, src sip.Message) {
		pass(dst, src)
		for _, name := range []string{"Refer-Sub", "Subscription-State", "Event"} {
			if v, ok := sipmsg.Header(src, name); ok {
				dst.AppendHeader(sip.NewHeader(name, v))
			}
		}
	}
	r.change = func(p *Plan) {
		p.Policy = allowing
		for _, g := range p.Groups {
			for i := range g {
				g[i].Policy = allowing
			}
		}
		p.ReferTo = func(from Side, to dialog.ReferTo) (sip.Uri, error) {
			if to.URI.User == "nobody" {
				return sip.Uri{}, &Refusal{Code: 404, Reason: verdict.UnknownNumber}
			}
			return sip.Uri{Scheme: "sip", User: to.URI.User, Host: from.String() + ".example.org"}, nil
		}
	}
}

// notify has a callee tell of a transfer.
func (p *party) notify(seq int, event, state, frag string) {
	p.r.t.Helper()
	p.extra = "Event: " + event + "\r\nSubscription-State: " + state + "\r\n"
	in := p.last("INVITE")
	p.callID, p.target = in.CallID().Value(), strings.Trim(in.Contact().Value(), "<>")
	p.theirs, _ = sipmsg.Param(in.From().Params, "tag")
	p.branches++
	p.put(strings.Replace(p.text(fmt.Sprint("z9hG4bK-", p.name, "-", p.branches), "NOTIFY", seq, frag), "application/sdp", "message/sipfrag", 1))
	p.extra = ""
}

func header1(msg sip.Message, name string) string {
	v, _ := sipmsg.Header(msg, name)
	return v
}

func TestReferAcross(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.relays()
		r.up()
		r.b[0].notify(1, "refer", "active", "SIP/2.0 100 Trying\r\n") // nobody asked
		r.b[0].want("481 NOTIFY")
		r.a.request("INFO") // so that the numbers of both legs differ
		r.b[0].want("INFO")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		r.b[0].byTheCallee("INFO", 2)
		r.a.want("INFO")
		r.a.answer("INFO", 200, "")
		r.b[0].want("200 INFO")
		for i, sub := range []string{"", "Refer-Sub: false"} {
			r.a.refer("<sip:1003@192.0.2.99;x=y?Subject=secret>", strings.TrimPrefix(sub+"\r\nReferred-By: <sip:x@192.0.2.10>", "\r\n"))
			req := r.b[0].want("REFER")[0]
			if got := header1(req, "Refer-To"); got != "<sip:1003@a.example.org>" || header1(req, "Referred-By") != "" || len(req.GetHeaders("Contact")) != 1 {
				t.Errorf("REFER across:\n%s", sipmsg.Bytes(req))
			}
			r.b[0].answer("REFER", 202, "", "Refer-Sub: true")
			res := r.a.want("202 REFER")[0]
			if header1(res, "Refer-Sub") != "true" || len(res.GetHeaders("Contact")) != 1 {
				t.Errorf("answer:\n%s", sipmsg.Bytes(res))
			}
			event, want := "refer", "refer"
			if i > 0 {
				event, want = fmt.Sprint("refer;id=", cseqOf(req)), fmt.Sprint("refer;id=", r.a.seq)
				if event == want {
					t.Fatal("the test can't tell the numbers apart")
				}
			}
			r.b[0].notify(3+i, event, "active;expires=60", "SIP/2.0 100 Trying\r\n")
			note := r.a.want("NOTIFY (SIP/2.0 100 Trying\r\n)")[0]
			if header1(note, "Event") != want || header1(note, "Subscription-State") != "active;expires=60" || len(note.GetHeaders("Contact")) != 1 {
				t.Errorf("NOTIFY across:\n%s", sipmsg.Bytes(note))
			}
			r.a.answer("NOTIFY", 481, "") // it has forgotten: no reason to end the call (RFC 5057 §5.1)
			r.b[0].want("481 NOTIFY")
		}
		r.b[0].notify(6, "refer;id=4711", "active", "SIP/2.0 100 Trying\r\n")
		r.b[0].notify(7, "dialog", "active", "SIP/2.0 100 Trying\r\n")
		r.b[0].want("481 NOTIFY", "481 NOTIFY")
		r.a.refer("<sip:nobody@example.org>")
		r.a.want("404 REFER")
		r.a.refer("<tel:+4930>")
		r.a.want("400 REFER")
		r.a.refer("<sip:1003@x;method=BYE>")
		r.a.want("400 REFER")
		r.b[0].want()
		r.state(StateAnswered)
	})
}

// Without a word about it in the plan no transfer passes, in either direction.
func TestReferNotAcross(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.relays()
		can := r.change
		r.change = func(p *Plan) { can(p); p.ReferTo = nil }
		r.up()
		r.a.refer("<sip:1003@example.org>")
		r.a.want("403 REFER")
		r.b[0].byTheCallee("REFER", 1)
		r.b[0].want("403 REFER")
		r.a.want()
		r.down()
	})
}

// Two calls of a phone, each with a callee that knows them by other names.
func TestReplacesAcross(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.relays()
		r.same = true
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
		r.b[0].take()
		a2 := r.party("a2", "192.0.2.11", "198.51.100.1")
		r.groups = func() [][]int { return [][]int{{1}} }
		a2.invite("w1")
		r.b[1].answer("INVITE", 200, "w2")
		a2.want("200 INVITE (w2>a)")
		a2.ack("")
		in := r.b[1].last("INVITE")
		theirs, _ := sipmsg.Param(in.From().Params, "tag")
		want := dialog.Replaces{CallID: in.CallID().Value(), ToTag: r.b[1].tag, FromTag: theirs}.String()

		r.a.refer("<sip:198.51.100.1?Replaces=" + url.QueryEscape(a2.replaces()) + ">")
		got, err := dialog.ParseReferTo(header1(r.b[0].want("REFER")[0], "Refer-To"))
		if err != nil || got.Replaces == nil || got.Replaces.String() != want {
			t.Errorf("Refer-To across: %v, %v, want Replaces %s", got, err, want)
		}
		r.b[0].answer("REFER", 202, "")
		r.a.want("202 REFER")
		other := dialog.Replaces{CallID: a2.callID, ToTag: a2.theirs, FromTag: "guessed"}
		r.a.refer("<sip:198.51.100.1?Replaces=" + url.QueryEscape(other.String()) + ">")
		r.a.want("404 REFER")
		r.b[0].want()
		found := false
		r.engine.Across(other, func(_ dialog.Replaces, ok bool) { found = ok })
		if found {
			t.Error("a dialog is found by a tag that nobody has")
		}
	})
}
