package loopback

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
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
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, nil)
			s.extension("1901", "1902")
			b := s.config(m.to, "1902")
			b.Answer = m.answer
			p := &pair{pa: s.register(s.config(m.from, "1901")), pb: s.register(b), ha: tones[1901%len(tones)], hb: tones[1902%len(tones)]}
			p.a = invite(t, p.pa, "1902")
			p.b = incoming(t, p.pb)
			m.reach(s, p)
			s.awaitMetric("pbx", "unsaved", "", 0) // on a disk this busy a 200 may come first
			s.pbx.kill()
			s.away(p)
			s.startExchange()
			s.awaitLink()
			if r := s.recorded("1901", 1); r.Reason != "system-failure" || r.Dialled != "1902" || (r.Answer != "") != (m.code == 200) {
				t.Errorf("call record %+v", r)
			}
			s.afterwards(p)
		})
	}
}

// afterwards wants both phones to be registered still, and to call each other; and then nothing to be left of the call
// that was cut.
func (s *site) afterwards(p *pair) {
	t := s.t
	t.Helper()
	if len(s.bound("1901")) != 1 || len(s.bound("1902")) != 1 {
		t.Errorf("bindings %+v, %+v", s.bound("1901"), s.bound("1902"))
	}
	p.pb.SetAnswer(siptest.Answer{})
	again := connect(t, p.pa, p.pb, "1902")
	again.talk(t)
	again.hangup(t, true)
	again = connect(t, p.pb, p.pa, "1901")
	again.talk(t)
	again.hangup(t, false)
	if got := s.recorded("1901", 2); got.Disposition != "answered" || s.recorded("1902", 1).Disposition != "answered" {
		t.Errorf("call records %+v", got)
	}
	for _, c := range []*siptest.Call{p.a, p.b} {
		var no *siptest.RefusedError
		if err := c.Hangup(within(t, patience)); err != nil && !errors.As(err, &no) && !errors.Is(err, siptest.ErrOver) {
			t.Errorf("hanging up what is left: %v", err)
		}
	}
	// The border told the exchange "200" and it died before its ACK: such a leg waits 64·T1 before its BYE (RFC 3261
	// §13.3.1.4).
	s.awaitMetricFor(patience+64*500*time.Millisecond, "sbc", "calls", "", 0)
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
	if err := outside.Register(within(t, patience), time.Hour); err != nil { // the border stands in for the exchange
		t.Errorf("refresh while the exchange is away: %v", err)
	}
	var refused *siptest.RefusedError
	err := s.phone(s.config(remote, "1901")).Register(within(t, patience), time.Hour)
	if !errors.As(err, &refused) || refused.Code != 503 || refused.Response.Header("Retry-After") == "" {
		t.Errorf("a new phone's REGISTER while the exchange is away: %v", err)
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
	await(t, p.b.Done(), "the exchange to end what the border no longer has")
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

// A phone over UDP does not notice that the border was killed: it is called as before, without a word of its own.
func TestRegistrationSurvives(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP, o.AccessSRTP = true, "allow" })
	s.extension("1911", "1912")
	outside := s.config(remote, "1911")
	s.overUDPPhone(&outside)
	a, b := s.register(outside), s.register(s.config(insideUDP, "1912"))
	for range 2 {
		s.border.kill()
		s.startBorder()
		s.awaitMetric("sbc", "core_link_up", "", 1)
		p := connect(t, b, a, "1911")
		p.talk(t)
		p.hangup(t, true)
	}
}

// A program that is asked to end hangs up first, on both sides, and writes the records.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sbc", "pbx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, nil)
			s.extension("1921", "1922")
			p := connect(t, s.register(s.config(remote, "1921")), s.register(s.config(insideUDP, "1922")), "1922")
			p.talk(t)
			prog := map[string]*program{"sbc": s.border, "pbx": s.pbx}[name]
			prog.signal(syscall.SIGTERM)
			await(t, p.a.Done(), "the caller to be hung up")
			await(t, p.b.Done(), "the callee to be hung up")
			if p.a.Ended() != siptest.EndBye || p.b.Ended() != siptest.EndBye {
				t.Errorf("ended with %s and %s", p.a.Ended(), p.b.Ended())
			}
			if status := prog.wait(); status != 0 {
				t.Errorf("status %d", status)
			}
			if r := s.recorded("1921", 1); r.Disposition != "answered" || r.Reason == "system-failure" {
				t.Errorf("call record %+v", r)
			}
		})
	}
}
