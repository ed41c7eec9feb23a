package loopback

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// A power cut of the exchange, at several moments of a call: its record is there once, and every phone can be called
// without registering again.
func TestExchangeCrash(t *testing.T) {
	t.Parallel()
	moments := []struct {
		name     string
		from, to place
		answer   siptest.Answer
		code     int                    // in the call record
		reach    func(s *site, p *pair) // the moment
	}{
		{"ringing", remote, insideUDP, siptest.RingForever(), 0, func(s *site, p *pair) { rings(s.t, p.a, 180) }},
		{"just answered", insideUDP, remote, siptest.Answer{}, 200, func(s *site, p *pair) { p.acknowledged(s.t) }},
		{"talking", remote, insideUDP, siptest.Answer{}, 200, func(s *site, p *pair) { p.talk(s.t) }},
		{"on hold", insideUDP, remoteCM, siptest.Answer{}, 200, func(s *site, p *pair) {
			p.talk(s.t)
			if err := p.b.Hold(within(s.t, patience)); err != nil {
				s.t.Fatal(err)
			}
		}},
	}
	for i, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, nil)
			x, y := fmt.Sprint(1001+2*i), fmt.Sprint(1002+2*i)
			if i > 0 { // the first two are quickstart's
				s.extension(x, y)
			} else {
				x, y = "1901", "1902"
				s.extension(x, y)
			}
			ca, cb := s.config(m.from, x), s.config(m.to, y)
			cb.Answer = m.answer
			a, b := s.register(ca), s.register(cb)
			call := invite(t, a, y)
			p := &pair{call, incoming(t, b), a, b, toneOf(a), toneOf(b)}
			m.reach(s, p)
			s.pbx.kill()
			s.away(p)
			s.startExchange()
			s.awaitLink()

			r := s.recorded(x, 1)
			if r.Reason != "system-failure" || r.Dialled != y || (r.Answer != "") != (m.code == 200) {
				t.Errorf("call record %+v", r)
			}
			if len(s.bound(x)) != 1 || len(s.bound(y)) != 1 {
				t.Errorf("bindings %+v, %+v", s.bound(x), s.bound(y))
			}
			b.SetAnswer(siptest.Answer{})
			again := connect(t, a, b, y)
			again.talk(t)
			again.hangup(t, true)
			again = connect(t, b, a, x)
			again.talk(t)
			again.hangup(t, false)
			if got := s.records(x); len(got) != 2 || s.recorded(y, 1).Disposition != "answered" {
				t.Errorf("call records %+v", got)
			}
			for _, c := range []*siptest.Call{p.a, p.b} { // what is left of the call that was cut
				var no *siptest.RefusedError
				if err := c.Hangup(within(t, patience)); err != nil && !errors.As(err, &no) && !errors.Is(err, siptest.ErrOver) {
					t.Errorf("hanging up what is left: %v", err)
				}
			}
			// The border told the exchange "200" and it died before its ACK: such a leg waits 64·T1 before its BYE
			// (RFC 3261 §13.3.1.4).
			s.awaitMetricFor(patience+64*500*time.Millisecond, "sbc", "calls", "", 0)
		})
	}
}

// acknowledged waits until the callee has the ACK: before, an INVITE or a 200 may come again and make the call anew.
func (p *pair) acknowledged(t testing.TB) {
	t.Helper()
	await(t, p.a.Answered(), "the answer")
	eventually(t, "the ACK", func() string {
		for _, m := range p.pb.Ladder() {
			if !m.Sent && strings.HasPrefix(m.FirstLine, "ACK ") {
				return ""
			}
		}
		return "it has not come"
	})
}

// away wants the border to say at once that the exchange is away.
func (s *site) away(p *pair) {
	t := s.t
	t.Helper()
	outside := p.pa
	if p.pa.Addr().Port() != 0 { // it has a UDP socket: it is inside
		outside = p.pb
	}
	s.awaitMetric("sbc", "core_link_up", "", 0)
	no := fails(t, outside, "*43", 503)
	if no.Response.Header("Retry-After") == "" {
		t.Errorf("503 without Retry-After:\n%s", no.Response.Raw)
	}
	var refused *siptest.RefusedError
	err := outside.Register(within(t, patience), time.Hour)
	if !errors.As(err, &refused) || refused.Code != 503 || refused.Response.Header("Retry-After") == "" {
		t.Errorf("REGISTER while the exchange is away: %v", err)
	}
}

// A power cut of the border: the exchange ends the calls that went through it, and phones come back.
func TestBorderCrash(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1911", "1912", "1913")
	a, b := s.register(s.config(remote, "1911")), s.register(s.config(insideUDP, "1912"))
	p := connect(t, a, b, "1912")
	p.talk(t)
	s.border.kill()
	eventually(t, "a phone inside to be told that the border is away", func() string {
		_, err := b.Call(within(t, patience), "1911")
		var no *siptest.RefusedError
		if !errors.As(err, &no) || no.Code/100 != 5 && no.Code != 480 {
			return fmt.Sprint(err)
		}
		return ""
	})
	s.startBorder()
	if err := p.b.Hangup(within(t, patience)); err != nil {
		var no *siptest.RefusedError
		if !errors.As(err, &no) {
			t.Errorf("hanging up what is left: %v", err)
		}
	}
	again := s.register(s.config(remote, "1911"))
	q := connect(t, b, again, "1911")
	q.talk(t)
	q.hangup(t, true)
	eventually(t, "the record of the call that was cut", func() string {
		if got := s.records("1911"); len(got) != 1 || got[0].Dialled != "1912" {
			return fmt.Sprintf("%+v", got)
		}
		return ""
	})
	s.awaitMetric("pbx", "calls", "", 0)
}
