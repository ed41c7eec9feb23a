package b2bua

import (
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// ringAll makes the next calls ring n callees together.
func (r *rig) ringAll(n int) {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	r.groups = func() [][]int { return [][]int{all} }
}

// oneByOne makes the next calls try the callees one after the other.
func (r *rig) oneByOne(n int) {
	r.groups = func() (groups [][]int) {
		for i := range n {
			groups = append(groups, []int{i})
		}
		return groups
	}
}

func TestFork(t *testing.T) {
	both(t, 3, func(r *rig) {
		r.ringAll(3)
		r.a.invite("v1")
		for _, b := range r.b {
			b.want("INVITE (v1>b)")
		}
		r.b[0].answer("INVITE", 180, "")
		r.b[1].answer("INVITE", 183, "v3") // early media of one among many are not let through
		r.a.want("180 INVITE", "183 INVITE")
		r.b[1].answer("INVITE", 200, "v3")
		r.a.want("200 INVITE (v3>a)")
		r.b[0].want("CANCEL")
		r.b[1].want("ACK")
		r.b[2].want() // it has said nothing yet: its CANCEL waits (RFC 3261 §9.1)
		r.b[2].answer("INVITE", 180, "")
		r.b[2].want("CANCEL")
		r.a.want()
		if got := r.b[0].last("CANCEL").GetHeader("Reason"); got == nil || !strings.HasPrefix(got.Value(), "SIP;cause=200") {
			t.Errorf("CANCEL has reason %v", got)
		}
		for _, b := range []*party{r.b[0], r.b[2]} {
			b.answer("CANCEL", 200, "")
			b.answer("INVITE", 487, "")
			b.want("ACK")
		}
		r.a.ack("")
		if len(r.engine.legs) != 2 || strings.Join(r.answered, ",") != "b2" {
			t.Errorf("%d legs, answered by %v", len(r.engine.legs), r.answered)
		}
		r.media.wants("offer a v1", "answer b v3")
		r.a.request("BYE")
		r.b[1].want("BYE")
		r.b[0].want()
		r.b[1].answer("BYE", 200, "")
	})
}

// The description of an 18x counts if the 2xx of that leg has none, also where several rang.
func TestForkAnswersEarly(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.ringAll(2)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 183, "v2")
		r.b[1].answer("INVITE", 183, "v3")
		r.b[0].answer("INVITE", 200, "")
		r.a.want("183 INVITE", "183 INVITE", "200 INVITE (v2>a)")
		r.a.ack("")
	})
}

// The loser's 2xx crosses the CANCEL: it is acknowledged and ended (RFC 3261 §13.2.2.4), once.
func TestLateAnswer(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.ringAll(2)
		r.a.invite("v1")
		r.b[1].answer("INVITE", 180, "")
		r.b[0].answer("INVITE", 200, "v2")
		r.b[1].want("INVITE (v1>b)", "CANCEL")
		r.b[1].answer("INVITE", 200, "v3", "Record-Route: <sip:far.example.net;lr>")
		r.b[1].want("ACK", "BYE")
		for _, method := range []string{"ACK", "BYE"} {
			req := r.b[1].last(method)
			tag, _ := req.To().Params.Get("tag")
			if tag != "b2-tag" || req.Recipient.Host != r.b[1].host || req.Route() == nil {
				t.Errorf("%s is\n%s", method, req)
			}
		}
		r.b[1].answer("INVITE", 200, "v3")
		r.b[1].want("ACK") // and no second BYE
		r.b[1].answer("BYE", 200, "")
		r.a.want("180 INVITE", "200 INVITE (v2>a)")
		r.a.ack("")
		r.state(StateAnswered)
	})
}

// Several phones answer behind one target: the first one has the call, the others are ended.
func TestForkBehindTarget(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answerAs("b1-tag-x", "INVITE", 180, "")
		r.b[0].answerAs("b1-tag-y", "INVITE", 180, "")
		r.b[0].answerAs("b1-tag-x", "INVITE", 200, "v2")
		r.b[0].want("INVITE (v1>b)", "ACK")
		r.b[0].answerAs("b1-tag-y", "INVITE", 200, "v3")
		r.b[0].want("ACK", "BYE")
		if tag, _ := r.b[0].last("BYE").To().Params.Get("tag"); tag != "b1-tag-y" {
			t.Errorf("BYE went to %q", tag)
		}
		r.b[0].answer("BYE", 200, "")
		r.b[0].answerAs("b1-tag-x", "INVITE", 200, "v2")
		r.b[0].want("ACK")
		for i := range 2 * maxLost { // a target gone wild
			r.b[0].answerAs("b1-tag-"+strings.Repeat("z", i+1), "INVITE", 200, "v4")
		}
		if n := len(r.b[0].take()); n != 2*(maxLost-1) {
			t.Errorf("%d messages to a target gone wild", n)
		}
		r.a.want("180 INVITE", "180 INVITE", "200 INVITE (v2>a)")
		r.a.ack("")
		r.state(StateAnswered)
	})
}

// The answer comes when the call is over.
func TestAnswerAfterTheEnd(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.cancel()
		r.a.want("180 INVITE", "200 CANCEL", "487 INVITE")
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].want("INVITE (v1>b)", "CANCEL", "ACK", "BYE")
		r.ended(487, verdict.CallCancelled, A)
		if n := r.engine.Len(); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestFailover(t *testing.T) {
	for name, fail := range map[string]func(b *party){
		"500": func(b *party) { b.answer("INVITE", 500, "") },
		"503": func(b *party) { b.answer("INVITE", 180, ""); b.answer("INVITE", 503, "") },
		"408": func(b *party) { b.answer("INVITE", 408, "") },
		"302": func(b *party) { b.answer("INVITE", 302, "") },
		"timeout": func(b *party) {
			b.r.pass(32 * time.Second)
		},
		"connection ends": func(b *party) { b.flow.Close(verdict.IdleTimeout); b.r.pass(0) },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, 3, func(r *rig) {
				r.oneByOne(3)
				r.a.invite("v1")
				fail(r.b[0])
				r.b[2].want()
				r.b[1].want("INVITE (v1>b)")
				r.b[1].answer("INVITE", 200, "v2")
				r.a.ack("")
				r.state(StateAnswered)
				r.media.wants("offer a v1", "answer b v2")
			})
		})
	}
	both(t, 3, func(r *rig) { // nothing can be sent, nothing can be dialled, a group is empty
		r.groups = func() [][]int { return [][]int{{}, {0}, {}, {1}, {2}, {}} }
		r.b[1].cut(true)
		r.change = func(p *Plan) { p.Groups[1][0].Dial = nil }
		r.a.invite("v1")
		r.b[2].want("INVITE (v1>b)")
		r.b[2].answer("INVITE", 404, "")
		r.a.want("404 INVITE")
		r.ended(404, verdict.UnknownNumber, B)
	})
}

// Who was asked and said no is not asked again another way.
func TestNoFailover(t *testing.T) {
	for code, why := range map[int]verdict.Reason{
		403: verdict.Declined, 404: verdict.UnknownNumber, 480: verdict.NoAnswer, 486: verdict.Busy, 488: verdict.NoCommonMedia,
		487: verdict.TargetFailed, 600: verdict.Busy, 603: verdict.Declined, 604: verdict.UnknownNumber,
	} {
		both(t, 2, func(r *rig) {
			r.oneByOne(2)
			r.a.invite("v1")
			r.b[0].answer("INVITE", code, "")
			r.b[0].want("INVITE (v1>b)", "ACK")
			r.b[1].want()
			r.a.want(sprintCode(code))
			r.ended(code, why, B)
		})
	}
}

func TestGroupsUsedUp(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(b []*party)
		want string
		why  verdict.Reason
	}{
		"the most telling refusal": {func(b []*party) { b[0].answer("INVITE", 503, ""); b[1].answer("INVITE", 408, "") }, "408 INVITE", verdict.NoAnswer},
		"whichever comes first":    {func(b []*party) { b[0].answer("INVITE", 408, ""); b[1].answer("INVITE", 500, "") }, "408 INVITE", verdict.NoAnswer},
		"redirected":               {func(b []*party) { b[0].answer("INVITE", 301, ""); b[1].answer("INVITE", 302, "") }, "480 INVITE", verdict.TargetFailed},
		"no word":                  {func(b []*party) { b[0].r.pass(32 * time.Second); b[0].r.pass(32 * time.Second) }, "408 INVITE", verdict.TransportFailure},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, 2, func(r *rig) {
				r.oneByOne(2)
				r.a.invite("v1")
				c.fail(r.b)
				msgs := r.a.take()
				if got := summary(msgs[len(msgs)-1]); got != c.want {
					t.Errorf("A got %s, want %s", got, c.want)
				}
				if e := r.endings[0]; e.Reason != c.why || e.By != B {
					t.Errorf("ended %+v, want %s", e, c.why)
				}
			})
		})
	}
	both(t, 1, func(r *rig) { // no target at all
		r.groups = func() [][]int { return nil }
		r.a.invite("v1")
		r.a.want("503 INVITE")
	})
	both(t, 1, func(r *rig) { // nobody can be reached
		r.b[0].cut(true)
		r.a.invite("v1")
		r.a.want("503 INVITE")
		r.ended(503, verdict.TransportFailure, B)
	})
}

// RFC 3261 §16.7 step 6: what A hears of several refusals.
func TestBestResponse(t *testing.T) {
	for _, c := range []struct {
		codes []int
		want  string
	}{
		{[]int{404, 486, 480}, "486 INVITE"},
		{[]int{480, 404, 503}, "404 INVITE"},
		{[]int{503, 480, 408}, "480 INVITE"},
		{[]int{407, 404, 500}, "407 INVITE"},
		{[]int{302, 500, 503}, "480 INVITE"},
	} {
		both(t, 3, func(r *rig) {
			r.ringAll(3)
			r.a.invite("v1")
			for i, code := range c.codes {
				r.a.want()
				r.b[i].answer("INVITE", code, "", "Retry-After: 5")
			}
			r.a.want(c.want)
		})
	}
	both(t, 3, func(r *rig) { // a 6xx ends the search at once
		r.ringAll(3)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 486, "")
		r.b[1].answer("INVITE", 180, "")
		r.b[2].answer("INVITE", 603, "")
		r.a.want("180 INVITE", "603 INVITE")
		r.b[1].want("INVITE (v1>b)", "CANCEL")
		r.ended(603, verdict.Declined, B)
	})
}

func sprintCode(code int) string { return summary(response(code)) }
