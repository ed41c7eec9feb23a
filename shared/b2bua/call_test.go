package b2bua

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

func TestCall(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		if i := r.engine.Calls()[0]; i.Trace != "trace" || i.Caller != "alice" || i.Callee != "bob" || i.Answered.IsZero() || i.ID == "" {
			t.Errorf("info is %+v", i)
		}
		r.pass(time.Hour)
		r.down()
		if e := r.endings[0]; e.At.Sub(e.Answered) != time.Hour {
			t.Errorf("ending is %+v, want an hour", e)
		}
		if r.rang != 1 || strings.Join(r.answered, ",") != "b1" {
			t.Errorf("rang %d times, answered by %q", r.rang, r.answered)
		}
		r.media.wants("offer a v1", "answer b v2")
	})
}

// What leaves on leg B is built anew: only what the policy passes is of A's.
func TestInviteIsNew(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.extra = "Subject: hello\r\nX-Inside: secret\r\nRecord-Route: <sip:proxy.example.org;lr>\r\nP-Asserted-Identity: <sip:x@y>\r\n"
		r.change = func(p *Plan) {
			p.Groups[0][0].Headers = []sip.Header{sip.NewHeader("X-Ours", "1")}
			p.Groups[0][0].Routes = []sip.Uri{{Scheme: "sip", Host: "edge.example.net", UriParams: sip.HeaderParams{{K: "lr"}}}}
		}
		r.a.invite("v1")
		req := r.b[0].last("INVITE")
		var names []string
		for _, h := range req.Headers() {
			names = append(names, h.Name())
		}
		want := "Via, Route, Max-Forwards, From, To, Call-ID, CSeq, Contact, Allow, Supported, Subject, X-Ours, Content-Type, Content-Length"
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("headers are %s, want %s", got, want)
		}
		for _, line := range []string{
			"INVITE sip:bob@b1.example.net SIP/2.0\r\n", "Route: <sip:edge.example.net;lr>\r\n", "Max-Forwards: 69\r\n",
			"From: \"Caller\" <sip:caller@b.example.net>;tag=", "To: <sip:bob@b.example.net>\r\n", "CSeq: 2 INVITE\r\n",
			"Contact: <sip:198.51.100.2:5060>\r\n", "Subject: hello\r\n",
		} {
			if all := r.b[0].received(); !strings.Contains(string(all[0]), line) {
				t.Errorf("INVITE lacks %q:\n%s", line, all[0])
			}
		}
		r.b[0].answer("INVITE", 200, "v2", "Record-Route: <sip:far.example.net;lr>", "X-Outside: secret")
		res := r.a.take()[0].(*sip.Response)
		names = nil
		for _, h := range res.Headers() {
			names = append(names, h.Name())
		}
		want = "Via, From, To, Call-ID, CSeq, Contact, Allow, Supported, Record-Route, Content-Type, Content-Length"
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("headers of the answer are %s, want %s", got, want)
		}
		if got := r.b[0].last("ACK"); got.Route() == nil || got.Route().Address.Host != "far.example.net" || got.Recipient.Host != r.b[0].host {
			t.Errorf("ACK is\n%s", got)
		}
		r.a.ack("")
	})
}

// A caller that comes again with credentials is the same caller to the far side (RFC 3261 §8.1.3.5).
func TestComesAgain(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		first := r.b[0].last("INVITE")
		r.b[0].answer("INVITE", 407, "", `Proxy-Authenticate: Digest realm="x", nonce="y"`)
		r.b[0].want("INVITE (v1>b)", "ACK")
		if got := r.a.want("407 INVITE")[0].GetHeaders("Proxy-Authenticate"); len(got) == 0 {
			t.Error("407 without its challenge")
		}
		r.a.ack("")
		r.ended(407, verdict.Challenged, B)
		r.a.extra = `Proxy-Authorization: Digest username="a", realm="x", nonce="y", uri="sip:x", response="z"` + "\r\n"
		r.a.invite("v1")
		second := r.b[0].last("INVITE")
		tag := func(req *sip.Request) string { v, _ := req.From().Params.Get("tag"); return v }
		if first.CallID().Value() != second.CallID().Value() || tag(first) != tag(second) || second.CSeq().SeqNo != first.CSeq().SeqNo+1 {
			t.Errorf("first\n%s\nsecond\n%s", first, second)
		}
		if second.GetHeader("Proxy-Authorization") == nil {
			t.Error("credentials did not pass")
		}
		r.b[0].answer("INVITE", 486, "")
	})
}

// The names of leg B can't be told from those of leg A without the engine's secret, and differ with the source.
func TestNamesAreDerived(t *testing.T) {
	e, f := New(Config{}), New(Config{})
	seen := map[string]bool{}
	for _, from := range []struct {
		e     *Engine
		parts []string
	}{{e, []string{"a", "b"}}, {e, []string{"ab"}}, {e, []string{"a", "b", ""}}, {e, []string{"a"}}, {f, []string{"a"}}} {
		id, tag := from.e.names(from.parts...)
		again, _ := from.e.names(from.parts...)
		if seen[id] || seen[tag] || id != again || len(id) != 32 || len(tag) != 20 {
			t.Errorf("%v has names %q and %q, then %q", from.parts, id, tag, again)
		}
		seen[id], seen[tag] = true, true
	}
}

func TestGreatestCSeq(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.seq = 1<<31 - 2
		r.a.invite("v1")
		if seq := r.b[0].last("INVITE").CSeq().SeqNo; seq > 1<<30 {
			t.Errorf("our first CSeq is %d", seq)
		}
		r.b[0].answer("INVITE", 486, "")
		r.a.want("486 INVITE")
	})
}

func TestRefusedAtOnce(t *testing.T) {
	text := func(s string) string { return "Content-Type: " + s + "\r\n" }
	for name, c := range map[string]struct {
		edit func(s string) string
		code int
		why  verdict.Reason
	}{
		"no hops left": {func(s string) string { return strings.Replace(s, "Max-Forwards: 70", "Max-Forwards: 0", 1) }, 483, verdict.TooManyHops},
		"multipart": {func(s string) string {
			return strings.Replace(s, text("application/sdp"), text("multipart/mixed; boundary=x"), 1)
		}, 415, verdict.UnsupportedBody},
		"no type": {func(s string) string { return strings.Replace(s, text("application/sdp"), "", 1) }, 415, verdict.UnsupportedBody},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, 1, func(r *rig) {
				r.a.target = "sip:bob@sbc.example.org"
				r.a.put(c.edit(r.a.text("z9hG4bK-a-x", "INVITE", 1, "v1")))
				r.b[0].want()
				r.a.want(fmt.Sprint(c.code, " INVITE"))
				if e := r.endings[0]; e.Code != c.code || e.Reason != c.why {
					t.Errorf("ended %+v", e)
				}
			})
		})
	}
}

// Media refuse the offer, or the answer.
func TestMediaErrors(t *testing.T) {
	refused := &Refusal{Code: 488, Reason: verdict.SecureMediaRequired}
	both(t, 1, func(r *rig) {
		r.fail = map[string]error{"bad": refused}
		r.a.invite("bad")
		r.b[0].want()
		r.a.want("488 INVITE")
		r.ended(488, verdict.SecureMediaRequired, A)
	})
	for err, want := range map[error]string{
		refused: "488 INVITE",
		&Refusal{Code: 400, Reason: verdict.BadBody}:        "488 INVITE", // the fault is not A's
		&Refusal{Code: 503, Reason: verdict.PortsExhausted}: "503 INVITE",
		errBroken: "488 INVITE",
	} {
		both(t, 1, func(r *rig) {
			r.fail = map[string]error{"bad": err}
			r.a.invite("v1")
			r.b[0].answer("INVITE", 200, "bad")
			r.b[0].want("INVITE (v1>b)", "ACK", "BYE")
			r.a.want(want)
			r.b[0].answer("BYE", 200, "")
			if len(r.answered) != 0 || r.endings[0].By != B || !r.endings[0].Answered.IsZero() {
				t.Errorf("ended %+v, answered %v", r.endings, r.answered)
			}
		})
	}
}

// An offer must be answered, in the 2xx or before.
func TestAnswerWithoutDescription(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "")
		r.b[0].want("INVITE (v1>b)", "ACK", "BYE")
		r.a.want("488 INVITE")
		r.ended(488, verdict.BadBody, B)
		r.b[0].answer("BYE", 200, "")
	})
}

// A 2xx without Contact makes no dialog that could be used (RFC 3261 §12.1.1).
func TestAnswerWithoutContact(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		text := r.b[0].response(r.b[0].last("INVITE"), "b1-tag", 200, "v2")
		r.b[0].want("INVITE (v1>b)")
		r.b[0].put(strings.Replace(text, "Contact: <sip:b1@192.0.2.21>\r\n", "", 1))
		r.b[0].want("ACK", "BYE")
		r.a.want("502 INVITE")
		r.ended(502, verdict.MissingHeader, B)
	})
}

func TestDelayedOffer(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("")
		r.b[0].want("INVITE")
		r.b[0].answer("INVITE", 180, "")
		r.b[0].answer("INVITE", 200, "v1")
		r.a.want("180 INVITE", "200 INVITE (v1>a)")
		r.b[0].want() // its ACK carries the answer
		r.a.ack("v2")
		r.b[0].want("ACK (v2>b)")
		r.b[0].answer("INVITE", 200, "v1") // it was lost
		r.b[0].want("ACK (v2>b)")
		r.media.wants("offer b v1", "answer a v2")
		r.down()
	})
}

func TestDelayedOfferFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		why    verdict.Reason
	}{"no answer": {"", verdict.BadBody}, "bad answer": {"bad", verdict.NoCommonMedia}} {
		t.Run(name, func(t *testing.T) {
			both(t, 1, func(r *rig) {
				r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.NoCommonMedia}}
				r.a.invite("")
				r.b[0].answer("INVITE", 200, "v1")
				r.b[0].want("INVITE")
				r.a.want("200 INVITE (v1>a)")
				r.a.ack(c.answer)
				r.b[0].want("ACK", "BYE")
				r.a.want("BYE")
				r.ended(200, c.why, A)
			})
		})
	}
	both(t, 1, func(r *rig) { // B's offer is none
		r.a.invite("")
		r.b[0].answer("INVITE", 200, "")
		r.b[0].want("INVITE", "ACK", "BYE")
		r.a.want("488 INVITE")
	})
	both(t, 1, func(r *rig) { // B's offer is refused here
		r.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.NoCommonMedia}}
		r.a.invite("")
		r.b[0].answer("INVITE", 200, "bad")
		r.b[0].want("INVITE", "ACK", "BYE")
		r.a.want("488 INVITE")
	})
}

func TestEarlyMedia(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 100, "")
		r.a.want()
		r.state(StateSetup)
		r.b[0].answer("INVITE", 183, "v2")
		r.state(StateRinging)
		r.b[0].answer("INVITE", 180, "")
		r.a.want("183 INVITE (v2>a)", "180 INVITE")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
		r.media.wants("offer a v1", "answer b v2", "answer b v2")
		if r.rang != 1 {
			t.Errorf("rang %d times", r.rang)
		}
	})
	both(t, 1, func(r *rig) { // the 2xx leaves out what the 183 said
		r.a.invite("v1")
		r.b[0].answer("INVITE", 183, "v2")
		r.b[0].answer("INVITE", 200, "")
		r.a.want("183 INVITE (v2>a)", "200 INVITE (v2>a)")
		r.a.ack("")
	})
	both(t, 1, func(r *rig) { // early media that can't be used are left out; a late offer can't come early
		r.fail = map[string]error{"bad": errBroken}
		r.a.invite("v1")
		r.b[0].answer("INVITE", 183, "bad")
		r.a.want("183 INVITE")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
	})
	both(t, 1, func(r *rig) {
		r.a.invite("")
		r.b[0].answer("INVITE", 183, "v2")
		r.a.want("183 INVITE")
		r.b[0].answer("INVITE", 486, "")
		r.a.want("486 INVITE")
	})
}

// Nobody answers in time.
func TestRingTimeout(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.groups = func() [][]int { return [][]int{{0, 1}} }
		r.change = func(p *Plan) { p.Ring = 20 * time.Second }
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.b[1].answer("INVITE", 180, "")
		r.pass(19 * time.Second)
		r.a.want("180 INVITE", "180 INVITE")
		r.pass(time.Second)
		r.a.want("480 INVITE")
		r.b[0].want("INVITE (v1>b)", "CANCEL")
		r.b[1].want("INVITE (v1>b)", "CANCEL")
		r.ended(480, verdict.NoAnswer, B)
	})
	both(t, 1, func(r *rig) { // by default
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.pass(DefaultRing)
		r.a.want("180 INVITE", "480 INVITE")
	})
}
