package loopback

import (
	"fmt"
	"testing"

	"brickhouse/shared/siptest"
)

// story is a subtest with a site that others use at the same time, and extensions of its own.
type story struct {
	name string
	tell func(s *site, x []string)
}

// tell runs stories side by side, each with four extensions, and then wants that no call is left.
func tell(t *testing.T, s *site, first int, stories []story) {
	t.Helper()
	t.Run("with", func(t *testing.T) {
		for i, st := range stories {
			var x []string
			for j := range 4 {
				x = append(x, fmt.Sprint(first+4*i+j))
			}
			t.Run(st.name, func(t *testing.T) {
				t.Parallel()
				s := s.in(t)
				s.extension(x...)
				st.tell(s, x)
			})
		}
	})
	for _, name := range []string{"sbc", "pbx"} {
		s.awaitMetric(name, "calls", "", 0)
	}
}

// Calls between every two places, begun and ended by each side.
func TestCalls(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	places := []place{remote, remoteCM, insideUDP, insideTCP}
	var stories []story
	for _, from := range places {
		for _, to := range places {
			byCaller := len(stories)%2 == 0
			stories = append(stories, story{fmt.Sprintf("%s-%s", from, to), func(s *site, x []string) {
				p := connect(s.t, s.register(s.config(from, x[0])), s.register(s.config(to, x[1])), x[1])
				p.talk(s.t)
				p.suites(s.t, from, to)
				p.hangup(s.t, byCaller)
				r := s.recorded(x[0], 1)
				if r.Disposition != "answered" || r.Code != 200 || r.Reason != "normal-clearing" || r.Dialled != x[1] || r.Callee != x[1] || r.Answer == "" {
					s.t.Errorf("call record %+v", r)
				}
			}})
		}
	}
	tell(t, s, 1100, stories)
}

// suites wants each side to have sent and received what its place demands, and RTCP with it.
func (p pair) suites(t testing.TB, from, to place) {
	t.Helper()
	want := map[place]siptest.Suite{remote: siptest.AESGCM, remoteCM: siptest.AESCM}
	for _, side := range []struct {
		name string
		call *siptest.Call
		at   place
	}{{"caller", p.a, from}, {"callee", p.b, to}} {
		eventually(t, "RTCP at the "+side.name, func() string {
			if st := side.call.Stats(); st.RTCPReceived == 0 {
				return fmt.Sprintf("%+v", st)
			}
			return ""
		})
		st := side.call.Stats()
		if st.Suite != want[side.at] || st.Malformed+st.WrongPayload+st.AuthFailures+st.RTCPFailures+st.Foreign+st.SSRCChanges > 0 {
			t.Errorf("%s: %+v", side.name, st)
		}
	}
}

// hold puts a call on hold from one side, and resumes it.
func hold(from, to place, byCaller bool) func(s *site, x []string) {
	return func(s *site, x []string) {
		p := connect(s.t, s.register(s.config(from, x[0])), s.register(s.config(to, x[1])), x[1])
		p.talk(s.t)
		by, other := p.a, p.b
		if !byCaller {
			by, other = other, by
		}
		if err := by.Hold(within(s.t, patience)); err != nil {
			s.t.Fatalf("holding: %v", err)
		}
		eventually(s.t, "the other side to know", func() string {
			if !other.OnHold() {
				return fmt.Sprint(other.Direction())
			}
			return ""
		})
		p.quiet(s.t)
		if err := by.Resume(within(s.t, patience)); err != nil {
			s.t.Fatalf("resuming: %v", err)
		}
		p.talk(s.t)
		p.hangup(s.t, byCaller)
	}
}

// rekey gives one side new SRTP keys in the middle of a call.
func rekey(from, to place, byCaller bool) func(s *site, x []string) {
	return func(s *site, x []string) {
		p := connect(s.t, s.register(s.config(from, x[0])), s.register(s.config(to, x[1])), x[1])
		p.talk(s.t)
		by := p.a
		if !byCaller {
			by = p.b
		}
		for range 2 {
			if r, err := by.ReInvite(within(s.t, patience), siptest.Change{Rekey: true}); err != nil || !r.OK() {
				s.t.Fatalf("new keys: %v, %v", r, err)
			}
			p.talk(s.t)
		}
		p.hangup(s.t, byCaller)
	}
}

// info sends key presses each way within a call.
func info(from, to place) func(s *site, x []string) {
	return func(s *site, x []string) {
		p := connect(s.t, s.register(s.config(from, x[0])), s.register(s.config(to, x[1])), x[1])
		for _, way := range []struct{ by, other *siptest.Call }{{p.a, p.b}, {p.b, p.a}} {
			r, err := way.by.Info(within(s.t, patience), "application/dtmf-relay", []byte("Signal=5\r\nDuration=160\r\n"))
			if err != nil || !r.OK() {
				s.t.Fatalf("INFO: %v, %v", r, err)
			}
			eventually(s.t, "the INFO to arrive", func() string {
				got := way.other.Infos()
				if len(got) != 1 || string(got[0].Body) != "Signal=5\r\nDuration=160\r\n" || got[0].Header("Content-Type") != "application/dtmf-relay" {
					return fmt.Sprintf("%d of them", len(got))
				}
				return ""
			})
		}
		if r, err := p.a.Options(within(s.t, patience)); err != nil || !r.OK() {
			s.t.Errorf("OPTIONS within a call: %v, %v", r, err)
		}
		p.hangup(s.t, true)
	}
}

// delayed calls without an offer: the 200 brings it.
func delayed(from, to place) func(s *site, x []string) {
	return func(s *site, x []string) {
		p := connect(s.t, s.register(s.config(from, x[0])), s.register(s.config(to, x[1])), x[1], siptest.WithoutOffer())
		p.talk(s.t)
		p.suites(s.t, from, to)
		p.hangup(s.t, false)
	}
}

// What happens within calls, by each side.
func TestWithinCalls(t *testing.T) {
	t.Parallel()
	tell(t, open(t, nil), 1200, []story{
		{"hold by the remote caller", hold(remote, insideUDP, true)},
		{"hold by the callee inside", hold(remote, insideTCP, false)},
		{"hold by the caller inside", hold(insideUDP, remoteCM, true)},
		{"hold by the remote callee", hold(insideUDP, remote, false)},
		{"hold across two border calls", hold(remote, remoteCM, true)},
		{"hold inside", hold(insideUDP, insideTCP, false)},
		{"new keys by the remote caller", rekey(remote, insideUDP, true)},
		{"new keys by the remote callee", rekey(insideTCP, remoteCM, false)},
		{"new keys across two border calls", rekey(remoteCM, remote, true)},
		{"INFO from outside", info(remote, insideUDP)},
		{"INFO outside", info(remote, remoteCM)},
		{"INFO inside", info(insideTCP, insideUDP)},
		{"no offer from outside", delayed(remote, insideUDP)},
		{"no offer from inside", delayed(insideUDP, remote)},
		{"no offer outside", delayed(remoteCM, remote)},
		{"no offer inside", delayed(insideUDP, insideTCP)},
	})
}
