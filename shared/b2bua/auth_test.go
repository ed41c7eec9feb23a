package b2bua

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// withAuth gives the first target credentials. It returns how often they were asked for.
func (r *rig) withAuth(err error) *int {
	n := new(int)
	r.change = func(p *Plan) {
		p.Groups[0][0].Auth = func(req *sip.Request, res *sip.Response) (sip.Header, error) {
			*n++
			name := "Authorization"
			if res.StatusCode == 407 {
				name = "Proxy-Authorization"
			}
			return sip.NewHeader(name, fmt.Sprint("Digest n=", *n, ", for=", req.Method)), err
		}
	}
	return n
}

// credentials are those of the last request of that method.
func (p *party) credentials(method string) string {
	p.r.t.Helper()
	var out []string
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, h := range p.last(method).GetHeaders(name) {
			out = append(out, h.Value())
		}
	}
	return strings.Join(out, "; ")
}

func TestChallengedInvite(t *testing.T) {
	for _, code := range []int{401, 407} {
		both(t, 1, func(r *rig) {
			asked := r.withAuth(nil)
			r.a.invite("v1")
			first := r.b[0].last("INVITE")
			r.b[0].answer("INVITE", code, "")
			r.b[0].want("INVITE (v1>b)", "ACK", "INVITE (v1>b)")
			second := r.b[0].last("INVITE")
			if second.CSeq().SeqNo != first.CSeq().SeqNo+1 || first.CallID().Value() != second.CallID().Value() ||
				first.Via().Params.Length() == 0 || len(second.GetHeaders("Via")) != 1 || first.Via().Value() == second.Via().Value() {
				t.Errorf("first\n%s\nsecond\n%s", first, second)
			}
			r.b[0].answer("INVITE", code, "") // stale: once more
			r.b[0].want("ACK", "INVITE (v1>b)")
			r.b[0].answer("INVITE", 180, "")
			r.b[0].answer("INVITE", 200, "v2")
			r.a.want("180 INVITE", "200 INVITE (v2>a)")
			if got := r.b[0].credentials("ACK"); got != "Digest n=2, for=INVITE" { // RFC 3261 §13.2.2.4
				t.Errorf("ACK has %q", got)
			}
			if r.b[0].last("ACK").CSeq().SeqNo != r.b[0].last("INVITE").CSeq().SeqNo {
				t.Error("ACK is for another INVITE")
			}
			r.a.ack("")
			r.b[0].want("ACK")
			r.down()
			if *asked != 2 {
				t.Errorf("asked %d times", *asked)
			}
		})
	}
}

func TestChallengeNotAnswered(t *testing.T) {
	both(t, 1, func(r *rig) { // no end of it
		asked := r.withAuth(nil)
		r.a.invite("v1")
		for range maxChallenges + 1 {
			r.b[0].answer("INVITE", 407, "")
		}
		r.a.want("407 INVITE")
		r.ended(407, verdict.Challenged, B)
		if *asked != maxChallenges {
			t.Errorf("asked %d times", *asked)
		}
	})
	both(t, 2, func(r *rig) { // no answer to it
		r.withAuth(errors.New("no such realm"))
		r.oneByOne(2)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 401, "")
		r.b[1].want()
		r.a.want("401 INVITE")
	})
	both(t, 1, func(r *rig) { // the call is over
		asked := r.withAuth(nil)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 100, "")
		r.a.cancel()
		r.b[0].answer("INVITE", 407, "")
		r.b[0].want("INVITE (v1>b)", "CANCEL", "ACK")
		if *asked != 0 {
			t.Error("a call that is over got credentials")
		}
	})
	both(t, 1, func(r *rig) { // the second one can't be sent
		r.withAuth(nil)
		r.a.invite("v1")
		r.b[0].read()
		text := r.b[0].response(r.b[0].last("INVITE"), "b1-tag", 407, "")
		r.b[0].cut(true)
		r.b[0].put(text)
		r.a.want("503 INVITE")
	})
}

func TestChallengedWithinTheCall(t *testing.T) {
	both(t, 1, func(r *rig) {
		asked := r.withAuth(nil)
		r.up()
		r.a.reinvite("v3")
		r.b[0].answer("INVITE", 401, "")
		r.b[0].want("INVITE (v3>b)", "ACK", "INVITE (v3>b)")
		r.b[0].answer("INVITE", 200, "v4")
		r.b[0].want("ACK")
		r.a.want("200 INVITE (v4>a)")
		r.a.ack("")
		r.a.request("INFO")
		r.b[0].answer("INFO", 407, "")
		r.b[0].want("INFO", "INFO")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		r.a.request("BYE")
		for range 2 {
			r.b[0].answer("BYE", 407, "")
		}
		r.b[0].want("BYE", "BYE", "BYE")
		if got := r.b[0].credentials("BYE"); got != "Digest n=4, for=BYE" {
			t.Errorf("BYE has %q", got)
		}
		if r.engine.Len() != 1 {
			t.Error("the call is forgotten while BYE is open")
		}
		r.b[0].answer("BYE", 200, "")
		if r.engine.Len() != 0 || *asked != 4 {
			t.Errorf("%d calls, asked %d times", r.engine.Len(), *asked)
		}
	})
}

func TestChallengeRefuses(t *testing.T) {
	both(t, 1, func(r *rig) { // without credentials a challenge is a refusal
		r.up()
		r.a.reinvite("v3")
		r.b[0].answer("INVITE", 407, "")
		r.a.want("407 INVITE")
		r.state(StateAnswered)
		r.b[0].want("INVITE (v3>b)", "ACK")
		r.a.request("BYE")
		r.b[0].answer("BYE", 401, "")
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
	both(t, 1, func(r *rig) { // a challenge to INFO has nothing to do with an open re-INVITE
		r.withAuth(nil)
		r.up()
		r.a.reinvite("v3")
		r.b[0].answer("INVITE", 100, "")
		r.a.request("INFO")
		r.b[0].answer("INFO", 407, "")
		r.b[0].answer("INFO", 200, "")
		r.a.want("200 INFO")
		r.a.cancel()
		r.b[0].want("INVITE (v3>b)", "INFO", "INFO", "CANCEL")
		r.b[0].answer("INVITE", 407, "") // nor is a re-INVITE that was cancelled sent again
		r.b[0].want("ACK")
		r.a.want("200 CANCEL", "407 INVITE")
		r.down()
	})
}
