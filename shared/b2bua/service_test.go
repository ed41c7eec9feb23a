package b2bua

import (
	"slices"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// called is a call that ends at a service of ours.
type called struct {
	*party
	id    string
	local *echo
	codes []int // what PassOn and Join told
}

// service calls a service from a party of that name and account.
func (r *rig) service(name, account string) *called {
	r.t.Helper()
	s := &called{party: r.party(name, "192.0.2.3"+name[1:], "198.51.100.3"), local: &echo{t: r.t}}
	change := r.change
	r.change = func(p *Plan) {
		if change != nil {
			change(p)
		}
		s.id, p.ID, p.Account = name, name, account
		p.Local, p.Media, p.Groups = s.local, nil, nil
	}
	s.invite(name + "-1")
	s.want("200 INVITE (echo " + name + "-1)")
	s.ack("")
	r.change = change
	return s
}

func (s *called) tell(code int) { s.r.note(func() { s.codes = append(s.codes, code) }) }

func (s *called) told(codes ...int) {
	s.r.t.Helper()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if !slices.Equal(s.codes, codes) {
		s.r.t.Errorf("%s was told %v, want %v", s.name, s.codes, codes)
	}
}

// passOn has the service lead its caller to a callee.
func (s *called) passOn(n int) {
	s.r.t.Helper()
	s.r.engine.PassOn(s.id, func(Refer) (Plan, error) {
		s.r.note(func() { s.r.started++ })
		p := s.r.plan()
		p.ID, p.Media, p.Groups = s.id+"+", nil, [][]Target{{s.r.target(s.r.b[n])}}
		return p, nil
	}, s.tell)
	s.r.pass(0)
}

func (s *called) join(other string) {
	s.r.t.Helper()
	if !s.r.engine.Join(s.id, other, s.tell) {
		s.r.t.Errorf("there is no call %s", s.id)
	}
	s.r.pass(0)
}

func (s *called) closed(n int) {
	s.r.t.Helper()
	if s.local.closed != n {
		s.r.t.Errorf("the service of %s was closed %d times, not %d", s.name, s.local.closed, n)
	}
}

func TestPassOn(t *testing.T) {
	both(t, 2, func(r *rig) {
		s := r.service("a5", "1001")
		s.passOn(0)
		r.b[0].want("INVITE")
		r.b[0].answer("INVITE", 180, "")
		s.want() // the service goes on
		r.b[0].answer("INVITE", 486, "")
		s.told(180, 486)
		s.closed(0)
		s.passOn(1)
		r.b[1].want("INVITE")
		r.b[1].answer("INVITE", 200, "w1")
		s.want("INVITE (w1)")
		s.answer("INVITE", 200, "a5-2")
		s.want("ACK")
		r.b[1].want("ACK (a5-2)")
		s.told(180, 486, 200)
		s.closed(1)
		r.state(StateAnswered)
		s.request("BYE")
		s.want("200 BYE")
		r.b[1].want("BYE")
		r.b[1].answer("BYE", 200, "")
		if why := r.endings[len(r.endings)-2].Reason; why != verdict.Transferred {
			t.Errorf("the service's call ended with %s", why)
		}
		if r.engine.PassOn("a5", nil, s.tell) {
			t.Error("a call that is over was passed on")
		}
	})
	both(t, 1, func(r *rig) { // the service has changed its mind
		s := r.service("a5", "1001")
		s.passOn(0)
		r.b[0].answer("INVITE", 180, "")
		if !r.engine.CallOff("a5") || r.engine.CallOff("a6") {
			t.Error("CallOff finds another call, or not its own")
		}
		r.pass(0)
		s.told(180, 487)
		r.b[0].want("INVITE", "CANCEL")
		r.b[0].answer("CANCEL", 200, "")
		r.b[0].answer("INVITE", 487, "")
		s.closed(0)
		r.engine.CallOff("a5") // nothing to call off
		r.pass(0)
		s.told(180, 487)
		s.want()
	})
	both(t, 1, func(r *rig) { // too late: somebody has answered
		s := r.service("a5", "1001")
		s.passOn(0)
		r.b[0].answer("INVITE", 200, "w1")
		s.want("INVITE (w1)")
		r.engine.CallOff("a5")
		r.pass(0)
		s.answer("INVITE", 200, "a5-2")
		s.want("ACK")
		s.told(200)
	})
	both(t, 1, func(r *rig) { // who waits hangs up
		s := r.service("a5", "1001")
		s.passOn(0)
		r.b[0].answer("INVITE", 180, "")
		s.request("BYE")
		s.want("200 BYE")
		r.b[0].want("INVITE", "CANCEL")
		r.b[0].answer("CANCEL", 200, "")
		r.b[0].answer("INVITE", 487, "")
		s.closed(1)
	})
	both(t, 1, func(r *rig) { // who answers hangs up while they agree: back to the service
		s := r.service("a5", "1001")
		s.passOn(0)
		r.b[0].answer("INVITE", 200, "w1")
		r.b[0].byTheCallee("BYE", 1)
		s.want("INVITE (w1)")
		s.answer("INVITE", 200, "a5-2")
		s.want("ACK", "INVITE")
		s.answer("INVITE", 200, "a5-3")
		s.want("ACK (echo a5-3)")
		s.told(480)
		s.closed(0)
		r.state(StateAnswered)
	})
}

// Who dials fetches a call that waits at a service.
func TestJoinService(t *testing.T) {
	both(t, 0, func(r *rig) {
		parked, s := r.service("a5", "1001"), r.service("a6", "1002")
		s.join("a5")
		parked.want("INVITE")
		parked.answer("INVITE", 200, "a5-2")
		s.want("INVITE (a5-2)")
		third := r.service("a7", "1003") // comes too late
		third.join("a5")
		third.told(491)
		s.answer("INVITE", 200, "a6-2")
		s.want("ACK")
		parked.want("ACK (a6-2)")
		s.told(200)
		parked.closed(1)
		s.closed(1)
		third.closed(0)
		parked.request("BYE")
		parked.want("200 BYE")
		s.want("BYE")
		s.answer("BYE", 200, "")
		third.join("a5")
		third.told(491, 481)
		third.request("BYE")
		third.want("200 BYE")
	})
	both(t, 1, func(r *rig) { // the call that waits is on its way back: who fetches it is sooner
		parked, s := r.service("a5", "1001"), r.service("a6", "1002")
		parked.passOn(0)
		r.b[0].answer("INVITE", 180, "")
		s.join("a5")
		r.b[0].want("INVITE", "CANCEL")
		r.b[0].answer("CANCEL", 200, "")
		r.b[0].answer("INVITE", 487, "")
		parked.told(180, 487)
		parked.want("INVITE")
		parked.answer("INVITE", 200, "a5-2")
		s.want("INVITE (a5-2)")
		s.answer("INVITE", 200, "a6-2")
		parked.want("ACK (a6-2)")
		s.told(200)
	})
	both(t, 0, func(r *rig) { // who fetches it hangs up on the way: it waits on
		parked, s := r.service("a5", "1001"), r.service("a6", "1002")
		s.join("a5")
		s.request("BYE")
		s.want("200 BYE")
		parked.answer("INVITE", 200, "m=audio 4000 RTP/AVP 0\r\n")
		parked.want("INVITE", "ACK (m=audio 0 RTP/AVP 0\r\n)", "INVITE")
		parked.answer("INVITE", 200, "a5-3")
		parked.want("ACK (echo a5-3)")
		parked.closed(0)
		r.state(StateAnswered)
	})
	both(t, 0, func(r *rig) { // so does who waits
		parked, s := r.service("a5", "1001"), r.service("a6", "1002")
		s.join("a5")
		parked.request("BYE")
		s.told(480)
		s.want()
		s.closed(0)
	})
}

func TestPickUp(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.transfers(nil)
		can := r.change
		r.groups = func() [][]int { return [][]int{{0, 1}} }
		r.change = func(p *Plan) { can(p); p.ID = "ringing" }
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.want("180 INVITE")
		r.change = nil
		s, late := r.service("a5", "1007"), r.service("a6", "1008")
		s.join("ringing")
		s.want("INVITE (v1)")
		late.join("ringing")
		late.told(491)
		s.answer("INVITE", 200, "a5-2")
		s.want("ACK")
		r.b[0].want("INVITE (v1)", "CANCEL")
		r.b[1].want("INVITE (v1)") // its CANCEL waits for a 100
		r.a.want("200 INVITE (a5-2)")
		r.a.ack("")
		s.told(200)
		s.closed(1)
		late.join("ringing")
		late.told(491, 481)
		late.request("BYE")
		r.a.reinvite("hold")
		s.want("INVITE (hold)")
		s.answer("INVITE", 200, "held")
		r.a.want("200 INVITE (held)")
		r.a.ack("")
		r.a.request("BYE")
		s.want("ACK", "BYE")
		s.answer("BYE", 200, "")
	})
	both(t, 1, func(r *rig) { // a phone is quicker
		r.transfers(nil)
		can := r.change
		r.change = func(p *Plan) { can(p); p.ID = "ringing" }
		r.a.invite("v1")
		r.change = nil
		s := r.service("a5", "1007")
		s.join("ringing")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2)")
		r.a.ack("")
		s.want("INVITE (v1)")
		s.answer("INVITE", 200, "a5-2")
		s.want("ACK", "INVITE")
		s.answer("INVITE", 200, "a5-3")
		s.want("ACK (echo a5-3)")
		s.told(481)
		s.closed(0)
	})
	both(t, 1, func(r *rig) { // the caller gives up
		r.transfers(nil)
		can := r.change
		r.change = func(p *Plan) { can(p); p.ID = "ringing" }
		r.a.invite("v1")
		r.change = nil
		s := r.service("a5", "1007")
		s.join("ringing")
		s.answer("INVITE", 100, "")
		r.a.cancel()
		s.told(481)
		s.want("INVITE (v1)")
		s.answer("INVITE", 488, "")
		s.closed(0)
	})
}

// The caller made no offer: who picks up makes it.
func TestPickUpLateOffer(t *testing.T) {
	both(t, 2, func(r *rig) { // the call that a blind transfer makes
		r.transfers(nil)
		r.a.talk(r.b[0])
		r.a.refer("<sip:1003@example.org>")
		r.b[1].answer("INVITE", 180, "")
		var ringing string
		for _, c := range r.engine.Calls() {
			if c.State == StateRinging {
				ringing = c.ID
			}
		}
		r.change = nil
		s := r.service("a5", "1007")
		s.join(ringing)
		s.want("INVITE")
		s.answer("INVITE", 200, "a5-2")
		r.b[0].want("INVITE (a5-2)")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		s.want("ACK (x1)")
		r.b[1].want("INVITE", "CANCEL")
		s.told(200)
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 180 Ringing\r\n)", "NOTIFY (SIP/2.0 200 OK\r\n)")
		r.a.answer("NOTIFY", 200, "")
		r.a.answer("BYE", 200, "")
		r.b[0].byTheCallee("BYE", 1)
		s.want("BYE")
		s.answer("BYE", 200, "")
	})
	both(t, 1, func(r *rig) {
		r.transfers(nil)
		can := r.change
		r.change = func(p *Plan) { can(p); p.ID = "ringing" }
		r.a.invite("")
		r.change = nil
		s := r.service("a5", "1007")
		s.join("ringing")
		s.want("INVITE")
		s.answer("INVITE", 200, "a5-2")
		r.a.want("200 INVITE (a5-2)")
		r.a.ack("v1")
		s.want("ACK (v1)")
		s.told(200)
	})
	both(t, 1, func(r *rig) { // the caller gives up after that offer
		r.transfers(nil)
		can := r.change
		r.change = func(p *Plan) { can(p); p.ID = "ringing" }
		r.a.invite("")
		r.change = nil
		s := r.service("a5", "1007")
		s.join("ringing")
		r.a.cancel()
		s.answer("INVITE", 200, "m=audio 4000 RTP/AVP 0\r\n")
		s.want("INVITE", "ACK (m=audio 0 RTP/AVP 0\r\n)", "INVITE")
		s.answer("INVITE", 200, "a5-3")
		s.want("ACK (echo a5-3)")
		s.told(481)
		s.closed(0)
	})
}

// A phone with two calls joins its other party with a service: the service goes on with that.
func TestAttendedTransferToService(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.transfers(nil)
		r.a.talk(r.b[0])
		s := r.service("a5", "1001")
		r.a.referToCall(s.party)
		r.b[0].want("INVITE (tone)")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		s.want("BYE")
		s.answer("BYE", 200, "")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 200 OK\r\n)")
		r.a.answer("NOTIFY", 200, "")
		r.a.answer("BYE", 200, "")
		if want := []string{"a5-1", "offers", "accepts x1"}; !slices.Equal(s.local.log, want) {
			t.Errorf("the service did %q", s.local.log)
		}
		s.closed(0)
		r.state(StateAnswered)
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].want("200 BYE")
		s.closed(1)
	})
	both(t, 1, func(r *rig) { // the party does not want to
		r.transfers(nil)
		r.a.talk(r.b[0])
		s := r.service("a5", "1001")
		r.a.referToCall(s.party)
		r.b[0].answer("INVITE", 488, "")
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)", "NOTIFY (SIP/2.0 488 Not Acceptable Here\r\n)")
		s.want()
		s.closed(0)
		r.pass(time.Minute)
		s.reinvite("a5-2")
		s.want("200 INVITE (echo a5-2)")
		s.ack("")
	})
}
