package b2bua

import (
	"testing"
	"time"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// timed runs fn with an engine that has session timers: half an hour, at least two minutes.
func timed(t *testing.T, n int, fn func(r *rig)) {
	t.Helper()
	both(t, n, func(r *rig) {
		r.engine.cfg.Session = SessionTimers{Expires: 30 * time.Minute, Min: 2 * time.Minute}
		fn(r)
	})
}

// upTimed makes a call with what the two ends say about session timers.
func (r *rig) upTimed(a, b string) {
	r.t.Helper()
	r.a.with("X-A: 1"+a, func() { r.a.invite("v1") })
	r.b[0].want("INVITE (v1>b)")
	r.b[0].answer("INVITE", 200, "v2", "X-B: 1"+b)
	r.b[0].want("ACK")
	r.a.want("200 INVITE (v2>a)")
	r.a.ack("")
}

const lf = "\r\n"

// What each side asks for, and what it gets (RFC 4028 §9, table 2).
func TestSessionNegotiation(t *testing.T) {
	for asked, want := range map[string][2]string{
		"":                      {"", ""},
		lf + "Supported: timer": {"1800;refresher=uas", ""},
		lf + "Supported: timer\r\nSession-Expires: 600":                                  {"600;refresher=uas", ""},
		lf + "Supported: timer\r\nSession-Expires: 600;refresher=uac":                    {"600;refresher=uac", "timer"},
		lf + "Require: timer\r\nSession-Expires: 600;refresher=uac":                      {"600;refresher=uac", "timer"},
		lf + "Supported: timer\r\nSession-Expires: 600;refresher=uas":                    {"600;refresher=uas", ""},
		lf + "Session-Expires: 600;refresher=uac":                                        {"600;refresher=uas", ""}, // it can't, whatever it says
		lf + "Supported: timer\r\nSession-Expires: 7200;refresher=uac":                   {"1800;refresher=uac", "timer"},
		lf + "Supported: timer\r\nx: 7200\r\nMin-SE: 3600":                               {"7200;refresher=uas", ""}, // hop by hop no longer than it said, but no shorter either
		lf + "Supported: timer\r\nSession-Expires: 4294967296;refresher=uac":             {"1800;refresher=uas", ""},
		lf + "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\nMin-SE: garbage": {"120;refresher=uac", "timer"},
	} {
		if asked == lf+"Supported: timer\r\nx: 7200\r\nMin-SE: 3600" {
			want[0] = "3600;refresher=uas"
		}
		if asked == lf+"Supported: timer\r\nSession-Expires: 4294967296;refresher=uac" {
			want[0], want[1] = "1800;refresher=uac", "timer"
		}
		timed(t, 1, func(r *rig) {
			r.upTimed(asked, "")
			res := r.a.heard()
			if got := header(res, "Session-Expires"); got != want[0] {
				t.Errorf("%q got %q, want %q", asked, got, want[0])
			}
			if got := header(res, "Require"); got != want[1] {
				t.Errorf("%q got Require %q", asked, got)
			}
			if in := r.b[0].last("INVITE"); header(in, "Session-Expires") != "1800" || header(in, "Min-SE") != "120" || header(in, "Supported") != "100rel, timer" {
				t.Errorf("B was asked\n%s", in)
			}
			r.down()
		})
	}
}

// An interval below ours is refused, with what we take (RFC 4028 §9), at the start and within the call.
func TestSessionIntervalTooSmall(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.a.with("Supported: timer\r\nSession-Expires: 119", func() { r.a.invite("v1") })
		if res := r.a.want("422 INVITE")[0]; header(res, "Min-SE") != "120" {
			t.Errorf("A got\n%s", res)
		}
		r.ended(422, verdict.IntervalTooSmall, A)
		r.b[0].want()
	})
	timed(t, 1, func(r *rig) {
		r.up()
		r.a.with("Session-Expires: 100", func() { r.a.reinvite("v3"); r.a.update("v3") })
		r.a.want("422 INVITE", "422 UPDATE")
		r.b[0].want()
		r.down()
	})
}

// B takes no interval as short as ours: it is asked for more, once or twice (RFC 4028 §7.3).
func TestSessionIntervalOfB(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.a.invite("v1")
		b := r.b[0]
		b.answer("INVITE", 422, "", "Min-SE: 3600")
		b.want("INVITE (v1>b)", "ACK", "INVITE (v1>b)")
		if in := b.last("INVITE"); header(in, "Session-Expires") != "3600" || header(in, "Min-SE") != "3600" {
			t.Errorf("B was asked\n%s", in)
		}
		r.a.want()
		b.answer("INVITE", 422, "", "Min-SE: 3600") // the same again: that leads nowhere
		b.want("ACK")
		r.a.want("422 INVITE")
		r.ended(422, verdict.TargetFailed, B)
	})
	timed(t, 1, func(r *rig) {
		r.a.with("Supported: timer\r\nSession-Expires: 1800;refresher=uac", func() { r.a.invite("v1") })
		r.b[0].answer("INVITE", 422, "", "Min-SE: 7200")
		r.b[0].answer("INVITE", 200, "v2", "Session-Expires: 7200;refresher=uac", "Require: timer")
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
		r.b[0].want("INVITE (v1>b)", "ACK", "INVITE (v1>b)", "ACK")
		for range 4 {
			r.pass(15 * time.Minute)
			r.a.with("Supported: timer\r\nSession-Expires: 1800;refresher=uac", func() { r.a.update("") })
			r.a.want("200 UPDATE")
		}
		r.b[0].want("INVITE (v1>b)") // a refresh
		if in := r.b[0].last("INVITE"); header(in, "Session-Expires") != "7200;refresher=uac" {
			t.Errorf("refreshed by\n%s", in)
		}
		r.b[0].answer("INVITE", 200, "v2", "Session-Expires: 7200;refresher=uac")
		r.b[0].want("ACK")
		r.down()
	})
}

// We refresh: by UPDATE without a description where that is allowed, and then by what is left.
func TestSessionRefreshByUpdate(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.upTimed(lf+"Supported: timer\r\nSession-Expires: 600;refresher=uac", lf+"Session-Expires: 600;refresher=uac\r\n"+allowUpdate)
		r.pass(299 * time.Second)
		r.b[0].want()
		r.pass(time.Second)
		up := r.b[0].want("UPDATE")[0]
		if header(up, "Session-Expires") != "1800;refresher=uac" || header(up, "Contact") == "" {
			t.Errorf("refreshed by\n%s", up)
		}
		r.b[0].answer("UPDATE", 200, "", "Session-Expires: 600;refresher=uac")
		r.a.update("") // A refreshes itself
		r.a.want("200 UPDATE")
		r.pass(300 * time.Second)
		r.b[0].want("UPDATE")
		r.b[0].answer("UPDATE", 405, "") // a change of mind
		r.b[0].want("INVITE (v1>b)")
		r.b[0].answer("INVITE", 200, "v2", "Session-Expires: 600;refresher=uac")
		r.b[0].want("ACK")
		r.a.want()
		r.media.wants("offer a v1", "answer b v2", "offer a v1", "answer b v2")
		r.down()
	})
}

// By re-INVITE with the description that is in force, towards either side; the other one hears nothing of it.
func TestSessionRefreshByInvite(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.upTimed(lf+"Supported: timer\r\nSession-Expires: 1790;refresher=uas", "") // B knows no session timers
		r.pass(895 * time.Second)
		r.a.want("INVITE (v2>a)")
		r.a.answer("INVITE", 180, "")
		r.pass(5 * time.Second)
		r.b[0].want() // it waits its turn: media know one offer at a time
		r.a.answer("INVITE", 200, "v1")
		r.a.want("ACK")
		r.pass(refreshAgain)
		r.b[0].want("INVITE (v1>b)")
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].want("ACK")
		r.a.want()
		r.state(StateAnswered)
		r.down()
	})
	timed(t, 0, func(r *rig) { // a call that ends here
		e := r.local()
		r.a.invite("v1")
		r.a.ack("")
		r.pass(15 * time.Minute)
		r.a.want("200 INVITE (echo v1)", "INVITE (tone)")
		r.a.answer("INVITE", 200, "v3")
		r.a.want("ACK")
		if n := len(e.log); n != 3 || e.log[2] != "accepts v3" {
			t.Errorf("local was told %q", e.log)
		}
		r.a.request("BYE")
		r.a.want("200 BYE")
	})
}

// Who does not answer a refresh is gone; who refuses it has time until the interval is over (RFC 4028 §10).
func TestSessionNotRefreshed(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.upTimed(lf+"Supported: timer\r\nSession-Expires: 7200;refresher=uac", lf+"Session-Expires: 600;refresher=uac\r\n"+allowUpdate)
		r.pass(300 * time.Second)
		r.pass(64 * t1)
		r.ended(200, verdict.PeerLost, B)
		r.a.want("BYE")
		if got := header(r.a.last("BYE"), "Reason"); got != `Q.850;cause=27;text="peer-lost"` {
			t.Errorf("A is told %q", got)
		}
		r.a.answer("BYE", 200, "")
	})
	timed(t, 1, func(r *rig) {
		r.upTimed(lf+"Supported: timer\r\nSession-Expires: 7200;refresher=uac", lf+"Session-Expires: 600;refresher=uac\r\n"+allowUpdate)
		r.pass(300 * time.Second)
		for r.engine.Calls()[0].State == StateAnswered {
			if len(r.b[0].take()) > 0 {
				r.b[0].answer("UPDATE", 500, "")
			}
			r.pass(time.Second)
		}
		r.ended(200, verdict.SessionExpired, B)
		r.a.want("BYE")
		if got := header(r.a.last("BYE"), "Reason"); got != `Q.850;cause=102;text="session-expired"` {
			t.Errorf("A is told %q", got)
		}
		r.a.answer("BYE", 200, "")
	})
}

// The far side promised to refresh, and does, or does not.
func TestSessionOfTheFarSide(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.upTimed(lf+"Supported: timer\r\nSession-Expires: 300;refresher=uac", lf+"Session-Expires: 300;refresher=uas\r\n"+allowUpdate)
		refresh := "Supported: timer\r\nSession-Expires: 300;refresher=uac"
		for n := range 4 {
			r.pass(150 * time.Second)
			r.a.with(refresh, func() { r.a.update("") })
			if res := r.a.want("200 UPDATE")[0]; header(res, "Session-Expires") != "300;refresher=uac" {
				t.Errorf("A got\n%s", res)
			}
			r.b[0].with(refresh, func() { r.b[0].callee("UPDATE", n+1, "") })
			r.b[0].want("200 UPDATE")
		}
		r.pass(267 * time.Second)
		r.state(StateAnswered)
		r.b[0].with(refresh, func() { r.b[0].callee("UPDATE", 9, "") })
		r.b[0].want("200 UPDATE")
		r.pass(time.Second) // 32 s before the interval is over
		r.ended(200, verdict.SessionExpired, A)
		r.a.want("BYE")
		r.b[0].want("BYE")
		r.a.answer("BYE", 200, "")
		r.b[0].answer("BYE", 200, "")
	})
}

// A refresh of ours meets a re-INVITE of the far side: 491, and again after a while that depends on whose Call-ID it is.
func TestRefreshGlare(t *testing.T) {
	timed(t, 1, func(r *rig) {
		r.upTimed(lf+"Supported: timer\r\nSession-Expires: 1800;refresher=uac", "")
		b := r.b[0]
		r.pass(15 * time.Minute)
		b.want("INVITE (v1>b)")
		b.callee("INVITE", 1, "v5")
		b.want("491 INVITE")
		b.sendOn(b.lastBranch, "ACK", 1, "")
		b.answerInvite(491)
		b.want("ACK")
		r.pass(2 * time.Second)
		b.want() // ours is the Call-ID: 2.1 to 4 s
		b.callee("INVITE", 2, "v5")
		r.a.want("INVITE (v5>a)")
		r.a.answer("INVITE", 200, "v6")
		r.a.want("ACK")
		b.want("200 INVITE (v6>b)")
		b.ack("")
		r.await(b, 2*time.Second)
		b.want("INVITE (v6>b)") // what is in force by then
		b.answerInvite(200, "v2")
		b.want("ACK")
		r.down()
	})
	timed(t, 1, func(r *rig) { // the Call-ID is A's: at most 2 s
		r.upTimed("", lf+"Session-Expires: 1800;refresher=uas")
		r.pass(15 * time.Minute)
		for n := range maxGlare + 1 {
			r.a.want("INVITE (v2>a)")
			r.a.answerInvite(491)
			r.a.want("ACK")
			if n < maxGlare {
				r.await(r.a, 2*time.Second)
			}
		}
		r.pass(5 * time.Second)
		r.a.want() // not for ever
		r.state(StateAnswered)
		r.a.request("BYE")
		r.a.want("200 BYE")
		r.b[0].want("BYE")
		r.b[0].answer("BYE", 200, "")
	})
}

// await lets time pass until a party got something, at most d.
func (r *rig) await(p *party, d time.Duration) {
	r.t.Helper()
	n := len(p.received())
	for t := time.Duration(0); t < d && len(p.received()) == n; t += 10 * time.Millisecond {
		r.pass(10 * time.Millisecond)
	}
}

// answerInvite answers the last INVITE that came, though the party sent one, too.
func (p *party) answerInvite(code int, sdp ...string) {
	p.r.t.Helper()
	if len(sdp) == 0 {
		sdp = []string{""}
	}
	p.put(p.response(p.last("INVITE"), p.tag, code, sdp[0]))
}

// A leg costs one timer: a call that is over leaves none.
func TestSessionTimerStops(t *testing.T) {
	bubble(t, transport.UDP, 1, func(r *rig) {
		r.engine.cfg.Session = SessionTimers{Expires: 30 * time.Minute, Min: MinSession}
		r.upTimed("", "")
		a, b := r.engine.Calls(), r.b[0]
		if len(a) != 1 {
			t.Fatalf("calls %v", a)
		}
		r.down()
		b.take()
		r.pass(time.Hour)
		r.a.want()
		b.want()
	})
}
