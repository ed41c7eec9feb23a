package b2bua

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// second is the same phone's other line: it has a call of its own with the second callee.
func (r *rig) second() *party {
	r.t.Helper()
	a2 := r.party("a2", "192.0.2.11", "198.51.100.1")
	r.groups = func() [][]int { return [][]int{{1}} }
	a2.talk(r.b[1])
	return a2
}

// replaces is how a party refers to its dialog with us.
func (p *party) replaces() string {
	p.read()
	return dialog.Replaces{CallID: p.callID, ToTag: p.theirs, FromTag: p.tag}.String()
}

func (p *party) referToCall(other *party) {
	p.r.t.Helper()
	p.refer("<sip:bob@example.org?Replaces=" + url.QueryEscape(other.replaces()) + ">")
}

func TestAttendedTransfer(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		a2 := r.second()
		r.a.referToCall(a2)
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)")
		r.a.answer("NOTIFY", 200, "")
		r.b[1].want("INVITE")
		a2.reinvite("hold") // too late
		a2.want("491 INVITE")
		r.b[1].answer("INVITE", 200, "w1")
		r.b[0].want("INVITE (w1)")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		r.b[1].want("ACK (x1)")
		a2.want("BYE")
		a2.answer("BYE", 200, "")
		r.a.told(200)
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		r.state(StateAnswered)
		if last := r.answered[len(r.answered)-1]; last != "joined bob by 1001 at a" {
			t.Errorf("joined: %q", last)
		}
		r.b[0].callee("INVITE", 1, "hold") // the two talk to each other
		r.b[1].want("INVITE (hold)")
		r.b[1].answer("INVITE", 200, "held")
		r.b[0].want("200 INVITE (held)")
		r.b[0].ack("")
		r.b[0].byTheCallee("BYE", 2)
		r.b[0].want("200 BYE")
		r.b[1].want("ACK", "BYE")
		r.b[1].answer("BYE", 200, "")
		if len(r.endings) != 2 || r.endings[0].Reason != verdict.Transferred {
			t.Errorf("endings are %+v", r.endings)
		}
	})
}

// The transferor hangs up both calls as soon as it was told 202.
func TestAttendedTransferWithoutWaiting(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		a2 := r.second()
		r.a.referToCall(a2)
		a2.request("BYE")
		a2.want("200 BYE")
		r.a.request("BYE")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "200 BYE")
		r.b[1].answer("INVITE", 200, "w1")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("INVITE (w1)", "ACK")
		r.b[1].want("INVITE", "ACK (x1)")
		r.a.want()
		a2.want()
		r.state(StateAnswered)
		r.b[1].byTheCallee("BYE", 1)
		r.b[0].want("BYE")
		r.b[0].answer("BYE", 200, "")
	})
}

func TestAttendedTransferFails(t *testing.T) {
	both(t, 2, func(r *rig) { // the far side takes no re-INVITE: both calls go on
		r.transfers(nil)
		r.a.talk(r.b[0])
		a2 := r.second()
		r.a.referToCall(a2)
		r.b[1].answer("INVITE", 488, "")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 488 Not Acceptable Here\r\n)")
		r.b[0].want()
		a2.want()
		if r.engine.Len() != 2 {
			t.Errorf("%d calls", r.engine.Len())
		}
	})
	both(t, 2, func(r *rig) { // the transferred party takes none of its media: they agree anew
		r.transfers(nil)
		r.a.talk(r.b[0])
		a2 := r.second()
		r.a.referToCall(a2)
		r.b[1].answer("INVITE", 200, "m=audio 4000 RTP/AVP 0\r\n")
		r.b[0].answer("INVITE", 488, "")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 488 Not Acceptable Here\r\n)")
		r.b[1].want("INVITE", "ACK (m=audio 0 RTP/AVP 0\r\n)")
		a2.want("INVITE")
		a2.answer("INVITE", 200, "v5")
		r.b[1].want("INVITE (v5)")
		r.b[1].answer("INVITE", 200, "w2")
		a2.want("ACK (w2)")
		r.b[1].want("ACK")
	})
	both(t, 2, func(r *rig) { // the far side hangs up on the way
		r.transfers(nil)
		r.a.talk(r.b[0])
		a2 := r.second()
		r.a.referToCall(a2)
		r.b[1].byTheCallee("BYE", 1)
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 480 Temporarily Unavailable\r\n)")
		a2.want("BYE")
		a2.answer("BYE", 200, "")
		r.b[0].want()
		r.state(StateAnswered)
	})
	both(t, 2, func(r *rig) { // so does the transferred party
		r.transfers(nil)
		r.a.talk(r.b[0])
		a2 := r.second()
		r.a.referToCall(a2)
		r.b[0].byTheCallee("BYE", 1)
		r.a.answer("BYE", 200, "")
		r.b[1].answer("INVITE", 200, "m=audio 4000 RTP/AVP 0\r\n")
		r.b[1].want("INVITE", "ACK (m=audio 0 RTP/AVP 0\r\n)")
		a2.want("INVITE")
		a2.answer("INVITE", 200, "v5")
		r.b[1].answer("INVITE", 200, "w2")
		a2.want("ACK (w2)")
		r.state(StateAnswered)
	})
	both(t, 2, func(r *rig) { // somebody else's call
		r.transfers(nil)
		r.a.talk(r.b[0])
		can := r.change
		r.change = func(p *Plan) { can(p); p.Account = "1009" }
		a2 := r.second()
		r.a.referToCall(a2)
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 603 Decline\r\n)")
		r.a.referToCall(r.a) // its own with itself
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 603 Decline\r\n)")
		r.b[1].want()
	})
}

// takeOver sends an INVITE with Replaces from a phone of that account.
func (r *rig) takeOver(account, offer, value string) (*party, error) {
	r.t.Helper()
	p := r.party("a3", "192.0.2.12", "198.51.100.3")
	replaces, err := dialog.ParseReplaces(value)
	if err != nil {
		r.t.Fatal(err)
	}
	allowing := policy()
	allowing.Allow = transferAllow
	r.replace = func(s *transaction.Server) error {
		err = r.engine.Replace(s, replaces, account, allowing)
		return err
	}
	p.invite(offer)
	r.replace = nil
	return p, err
}

func TestReplaces(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		p, err := r.takeOver("1001", "p1", r.a.replaces())
		if err != nil {
			t.Fatal(err)
		}
		r.b[0].want("INVITE (p1)")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		p.want("200 INVITE (x1)")
		p.ack("")
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		p.reinvite("hold")
		r.b[0].want("INVITE (hold)")
		r.b[0].answer("INVITE", 200, "held")
		p.want("200 INVITE (held)")
		p.ack("")
		p.request("BYE")
		r.b[0].want("ACK", "BYE")
		r.b[0].answer("BYE", 200, "")
		r.ended(200, verdict.NormalClearing, A)
	})
	both(t, 1, func(r *rig) { // without an offer
		r.transfers(nil)
		r.a.talk(r.b[0])
		p, _ := r.takeOver("1001", "", r.a.replaces())
		r.b[0].want("INVITE")
		r.b[0].answer("INVITE", 200, "x1")
		p.want("200 INVITE (x1)")
		p.ack("p1")
		r.b[0].want("ACK (p1)")
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		r.state(StateAnswered)
	})
}

func TestReplacesRefused(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		for i, c := range []struct {
			account, value string
			want           error
		}{
			{"1001", "nothing;to-tag=1;from-tag=2", ErrNoDialog},
			{"1001", fmt.Sprintf("%s;to-tag=%s;from-tag=other", r.a.callID, r.a.theirs), ErrNoDialog},
			{"1002", r.a.replaces(), ErrNotYours},
			{"", r.a.replaces(), ErrNotYours},
		} {
			p := r.party(fmt.Sprint("c", i), fmt.Sprint("192.0.2.", 50+i), "198.51.100.3")
			replaces, _ := dialog.ParseReplaces(c.value)
			r.replace = func(s *transaction.Server) error {
				err := r.engine.Replace(s, replaces, c.account, policy())
				if err != c.want {
					t.Errorf("%s of %q: %v, want %v", c.value, c.account, err, c.want)
				}
				return err
			}
			p.invite("p1")
			p.want("503 INVITE")
		}
		r.replace = nil
		p, _ := r.takeOver("1001", "p1", r.a.replaces()+";early-only")
		p.want("486 INVITE")
		r.b[0].want()
		r.state(StateAnswered)
	})
	both(t, 1, func(r *rig) { // one that rings
		r.transfers(nil)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		p, _ := r.takeOver("1001", "p1", r.a.replaces())
		p.want("481 INVITE")
	})
	both(t, 1, func(r *rig) { // the far side refuses, and nothing has changed
		r.transfers(nil)
		r.a.talk(r.b[0])
		p, _ := r.takeOver("1001", "p1", r.a.replaces())
		r.b[0].answer("INVITE", 488, "")
		p.want("488 INVITE")
		r.a.want()
		r.state(StateAnswered)
	})
	both(t, 1, func(r *rig) { // the call ends on the way
		r.transfers(nil)
		r.a.talk(r.b[0])
		p, _ := r.takeOver("1001", "p1", r.a.replaces())
		r.b[0].answer("INVITE", 100, "")
		r.a.request("BYE")
		p.want("481 INVITE")
		r.b[0].want("INVITE (p1)", "CANCEL", "BYE")
	})
	both(t, 1, func(r *rig) { // its caller gives up, too late
		r.transfers(nil)
		r.a.talk(r.b[0])
		p, _ := r.takeOver("1001", "p1", r.a.replaces())
		r.b[0].answer("INVITE", 100, "")
		p.cancel()
		p.want("200 CANCEL", "487 INVITE")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("INVITE (p1)", "CANCEL", "ACK")
		r.a.want("INVITE")
		r.a.answer("INVITE", 200, "v5")
		r.b[0].want("INVITE (v5)")
		r.b[0].answer("INVITE", 200, "x2")
		r.a.want("ACK (x2)")
		r.pass(time.Minute)
		r.state(StateAnswered)
	})
}

func TestDialogAcross(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		mine, _ := dialog.ParseReplaces(r.a.replaces())
		var got dialog.Replaces
		var ok bool
		r.engine.Across(mine, func(d dialog.Replaces, found bool) { got, ok = d, found })
		r.pass(time.Second)
		in := r.b[0].last("INVITE")
		from, _ := sipmsg.Param(in.From().Params, "tag")
		if want := (dialog.Replaces{CallID: in.CallID().Value(), ToTag: r.b[0].tag, FromTag: from}); !ok || got != want {
			t.Errorf("across is %+v, %t; want %+v", got, ok, want)
		}
		mine.FromTag = "other"
		r.engine.Across(mine, func(_ dialog.Replaces, found bool) { ok = found })
		if ok {
			t.Error("a dialog with another tag was found")
		}
		r.down()
	})
}
