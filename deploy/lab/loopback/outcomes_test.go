package loopback

import (
	"errors"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// How calls end that are not answered, and what their records say.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	tell(t, open(t, func(o *options) { o.Ring, o.MinExpires = "5s", "1m" }), 1300, []story{
		{"cancelled from outside", cancelled(remote, insideUDP)},
		{"cancelled from inside", cancelled(insideTCP, remote)},
		{"cancelled outside", cancelled(remoteCM, remote)},
		{"busy inside", answered(remote, insideUDP, 486, "busy", "busy")},
		{"busy outside", answered(insideUDP, remote, 486, "busy", "busy")},
		{"declined inside", answered(remote, insideTCP, 603, "refused", "declined")},
		{"declined outside", answered(insideTCP, remote, 603, "refused", "declined")},
		{"not now", answered(remote, insideUDP, 480, "no-answer", "no-answer")},
		{"no answer inside", unanswered(remote, insideUDP)},
		{"no answer outside", unanswered(insideUDP, remote)},
		{"dead phone", func(s *site, x []string) {
			a, b := s.register(s.config(insideUDP, x[0])), s.register(s.config(insideUDP, x[1]))
			b.SetAnswer(siptest.Silent())
			fails(s.t, a, x[1], 480)
			s.ended(x[0], 480, "no-answer", "no-answer")
		}},
		{"numbers that lead nowhere", nowhere},
		{"too short a registration", func(s *site, x []string) {
			for i, at := range []place{remote, insideUDP} {
				var no *siptest.RefusedError
				err := s.phone(s.config(at, x[i])).Register(within(s.t, patience), 10*time.Second)
				if !errors.As(err, &no) || no.Code != 423 || no.Response.Header("Min-Expires") != "60" {
					s.t.Errorf("%s: %v", at, err)
				}
			}
		}},
		{"wrong password inside", func(s *site, x []string) {
			c := s.config(insideUDP, x[0])
			c.Password = "wrong"
			fails(s.t, s.phone(c), x[1], 407)
		}},
		{"plain RTP over TLS", plainOverTLS},
		{"phone outside that answers with plain RTP", func(s *site, x []string) {
			c := s.config(remote, x[1])
			c.SRTP = nil
			s.register(c)
			fails(s.t, s.register(s.config(insideUDP, x[0])), x[1], 488)
		}},
	})
}

// ended wants one record of a caller, with these words.
func (s *site) ended(caller string, code int, reason, disposition string) {
	s.t.Helper()
	r := s.recorded(caller, 1)
	if r.Code != code || r.Reason != reason || r.Disposition != disposition || r.Answer != "" || r.Billable != 0 {
		s.t.Errorf("call record %+v, want %d %s %s", r, code, reason, disposition)
	}
}

// cancelled rings and gives up.
func cancelled(from, to place) func(s *site, x []string) {
	return func(s *site, x []string) {
		a, b := s.register(s.config(from, x[0])), s.register(s.config(to, x[1]))
		b.SetAnswer(siptest.RingForever())
		c := invite(s.t, a, x[1])
		in := incoming(s.t, b)
		rings(s.t, c, 180)
		if err := c.Cancel(within(s.t, patience)); err != nil {
			s.t.Fatal(err)
		}
		await(s.t, in.Done(), "the CANCEL at the other side")
		if c.Result().Code != 487 || c.Ended() != siptest.EndCancelled || in.Ended() != siptest.EndCancelled {
			s.t.Errorf("ended with %s %s, %s", c.Result(), c.Ended(), in.Ended())
		}
		s.ended(x[0], 487, "call-cancelled", "cancelled")
	}
}

// answered is refused by who was called.
func answered(from, to place, code int, disposition, reason string) func(s *site, x []string) {
	return func(s *site, x []string) {
		a, b := s.register(s.config(from, x[0])), s.register(s.config(to, x[1]))
		b.SetAnswer(siptest.RefuseWith(code))
		fails(s.t, a, x[1], code)
		s.ended(x[0], code, reason, disposition)
	}
}

// unanswered rings until the exchange's patience ends; who was called stops ringing.
func unanswered(from, to place) func(s *site, x []string) {
	return func(s *site, x []string) {
		a, b := s.register(s.config(from, x[0])), s.register(s.config(to, x[1]))
		b.SetAnswer(siptest.RingForever())
		fails(s.t, a, x[1], 480)
		in := incoming(s.t, b)
		await(s.t, in.Done(), "the CANCEL at the other side")
		if in.Ended() != siptest.EndCancelled {
			s.t.Errorf("the callee's call ended with %s", in.Ended())
		}
		s.ended(x[0], 480, "no-answer", "no-answer")
	}
}

// What the exchange answers itself.
func TestServices(t *testing.T) {
	t.Parallel()
	echo := func(from place) func(s *site, x []string) {
		return func(s *site, x []string) {
			p := s.register(s.config(from, x[0]))
			c, err := p.Call(within(s.t, patience), "*43")
			if err != nil {
				s.t.Fatal(err)
			}
			hears(s.t, p, c, toneOf(p))
			if err := c.Hold(within(s.t, patience)); err != nil {
				s.t.Fatal(err)
			}
			if err := c.Resume(within(s.t, patience)); err != nil {
				s.t.Fatal(err)
			}
			hears(s.t, p, c, toneOf(p))
			if err := c.Hangup(within(s.t, patience)); err != nil {
				s.t.Fatal(err)
			}
			if r := s.recorded(x[0], 1); r.Disposition != "answered" || r.Dialled != "*43" {
				s.t.Errorf("call record %+v", r)
			}
		}
	}
	milliwatt := func(from place, law siptest.Codec, how ...siptest.InviteOption) func(s *site, x []string) {
		return func(s *site, x []string) {
			cfg := s.config(from, x[0])
			cfg.Codecs = []siptest.Codec{law}
			p := s.register(cfg)
			c, err := p.Call(within(s.t, patience), "*44", how...)
			if err != nil {
				s.t.Fatal(err)
			}
			hears(s.t, p, c, 1004)
			if err := c.Hangup(within(s.t, patience)); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	tell(t, open(t, nil), 1400, []story{
		{"echo outside", echo(remote)},
		{"echo inside", echo(insideUDP)},
		{"tone outside", milliwatt(remoteCM, siptest.PCMU)},
		{"tone inside", milliwatt(insideTCP, siptest.PCMA)},
		{"tone without an offer, outside", milliwatt(remote, siptest.PCMA, siptest.WithoutOffer())},
		{"tone without an offer, inside", milliwatt(insideUDP, siptest.PCMU, siptest.WithoutOffer())},
		{"call killed by a person", killed},
	})
}

// Several phones of one extension.
func TestForks(t *testing.T) {
	t.Parallel()
	tell(t, open(t, nil), 1500, []story{
		{"two inside", fork(remote, insideUDP, insideTCP)},
		{"one inside, one outside", fork(insideUDP, insideTCP, remote)},
		{"two outside", fork(remote, remoteCM, remote)},
		{"all busy", func(s *site, x []string) {
			for _, p := range []place{insideUDP, remote} {
				c := s.config(p, x[1])
				c.Answer = siptest.RefuseAfter(200*time.Millisecond, 486)
				s.register(c)
			}
			fails(s.t, s.register(s.config(remote, x[0])), x[1], 486)
			s.ended(x[0], 486, "busy", "busy")
		}},
		{"one busy, one answers", func(s *site, x []string) {
			c := s.config(insideUDP, x[1])
			c.Answer = siptest.RefuseWith(486)
			s.register(c)
			c = s.config(remote, x[1])
			c.Answer = siptest.AcceptAfter(300 * time.Millisecond)
			p := connect(s.t, s.register(s.config(insideTCP, x[0])), s.register(c), x[1])
			p.talk(s.t)
			p.hangup(s.t, true)
		}},
	})
}

// nowhere calls numbers that nobody has.
func nowhere(s *site, x []string) {
	for i, at := range []place{remote, insideUDP} {
		p := s.register(s.config(at, x[i]))
		fails(s.t, p, "7777", 404)
		s.ended(x[i], 404, "unknown-number", "failed")
		fails(s.t, p, "1999", 404)
		fails(s.t, p, "09001234", 403)
		fails(s.t, p, x[3], 480)
		if r := s.recorded(x[i], 4); r.Code != 480 || r.Reason != "not-registered" || r.Disposition != "failed" {
			s.t.Errorf("call record %+v", r)
		}
	}
}

// plainOverTLS offers RTP/AVP over TLS.
func plainOverTLS(s *site, x []string) {
	c := s.config(remote, x[0])
	c.SRTP = nil
	a, b := s.register(c), s.register(s.config(insideUDP, x[1]))
	fails(s.t, a, x[1], 488)
	select {
	case <-b.Incoming():
		s.t.Error("the call rang")
	default:
	}
	if n := s.metric("sbc", "calls_ended_total", "secure-media-required") + s.metric("sbc", "refused_total", "secure-media-required"); n == 0 {
		s.t.Error("no counter says why")
	}
}

// killed is a call that a person hangs up from the command line.
func killed(s *site, x []string) {
	p := connect(s.t, s.register(s.config(remote, x[0])), s.register(s.config(insideUDP, x[1])), x[1])
	var calls []struct {
		ID, State, Caller string
	}
	s.get("pbx", "/calls", &calls)
	killed := false
	for _, c := range calls {
		if c.Caller == x[0] {
			must(s.t, "pbx", "call", "kill", c.ID, "--socket", s.path("pbx.sock"))
			killed = true
		}
	}
	if !killed {
		s.t.Fatalf("the call is not in the list %+v", calls)
	}
	await(s.t, p.a.Done(), "the caller's end")
	await(s.t, p.b.Done(), "the callee's end")
}

// fork rings at several phones of an extension; the last one answers.
func fork(from place, at ...place) func(s *site, x []string) {
	return func(s *site, x []string) {
		var phones []*siptest.Phone
		for _, p := range at {
			c := s.config(p, x[1])
			c.Answer = siptest.Manual()
			phones = append(phones, s.register(c))
		}
		a := s.register(s.config(from, x[0]))
		c := invite(s.t, a, x[1])
		var calls []*siptest.Call
		for _, p := range phones {
			in := incoming(s.t, p)
			if err := in.Ring(); err != nil {
				s.t.Fatal(err)
			}
			calls = append(calls, in)
		}
		rings(s.t, c, 180)
		winner := len(phones) - 1
		if err := calls[winner].Accept(); err != nil {
			s.t.Fatal(err)
		}
		if r := settled(s.t, c); !r.OK() {
			s.t.Fatalf("the caller got %s", r)
		}
		for i, in := range calls[:winner] {
			await(s.t, in.Done(), "the other phone's CANCEL")
			if in.Ended() != siptest.EndCancelled {
				s.t.Errorf("phone %d: %s", i, in.Ended())
			}
		}
		p := pair{c, calls[winner], a, phones[winner], toneOf(a), toneOf(phones[winner])}
		p.talk(s.t)
		p.hangup(s.t, false)
		if r := s.recorded(x[0], 1); r.Disposition != "answered" {
			s.t.Errorf("call record %+v", r)
		}
	}
}
