package b2bua

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// A target sends the call on: the plan says to whom, in the order of the contacts' q.
func TestRedirectFollowed(t *testing.T) {
	both(t, 2, func(r *rig) {
		var asked []string
		r.change = func(p *Plan) {
			p.Redirect = func(from Target, contacts []sip.Uri) []Target {
				asked = append(asked, from.Name)
				for _, c := range contacts {
					asked = append(asked, c.User)
				}
				return []Target{r.target(r.b[1])}
			}
		}
		r.a.invite("v1")
		r.b[0].contact = "sip:lesser@192.0.2.99>;q=0.2, <sip:better@192.0.2.99>;q=0.7, <sip:best@192.0.2.99"
		r.b[0].answer("INVITE", 302, "")
		r.b[0].want("INVITE (v1>b)", "ACK")
		r.b[1].want("INVITE (v1>b)")
		if got := strings.Join(asked, " "); got != "b1 best better lesser" {
			t.Errorf("plan was asked %q", got)
		}
		r.a.want()
		r.b[1].answer("INVITE", 183, "v2")
		r.b[1].answer("INVITE", 200, "v2")
		r.a.want("183 INVITE (v2>a)", "200 INVITE (v2>a)")
		r.a.ack("")
		r.b[1].want("ACK")
		r.a.request("BYE")
		r.b[1].want("BYE")
		r.b[1].answer("BYE", 200, "")
		r.a.want("200 BYE")
	})
}

// It does not go on for ever, and a plan may have no use for it.
func TestRedirectBounded(t *testing.T) {
	both(t, 1, func(r *rig) {
		follow := true
		r.change = func(p *Plan) {
			p.Redirect = func(Target, []sip.Uri) []Target {
				if !follow {
					return nil
				}
				return []Target{r.target(r.b[0]), r.target(r.b[0])}
			}
		}
		r.a.invite("v1")
		n := 0
		for len(r.b[0].take()) > 0 {
			for _, m := range r.b[0].msgs[n:] {
				n++
				if req, ok := m.(*sip.Request); ok && req.IsInvite() {
					r.b[0].put(r.b[0].response(req, r.b[0].tag, 302, ""))
				}
			}
		}
		r.a.want("480 INVITE")
		r.ended(480, verdict.TargetFailed, B)
		if invites := n - strings.Count(r.b[0].log(), "ACK"); invites != 1+maxRedirects {
			t.Errorf("%d INVITEs", invites)
		}
	})
}

// log is what arrived, in short.
func (p *party) log() string {
	var all []string
	for _, m := range p.msgs {
		all = append(all, summary(m))
	}
	return strings.Join(all, " | ")
}

// What is not followed here may be told, as the plan puts it.
func TestMoved(t *testing.T) {
	for user, want := range map[string]string{"1003": "302 INVITE", "": "480 INVITE"} {
		both(t, 1, func(r *rig) {
			r.change = func(p *Plan) {
				p.Moved = func(contacts []sip.Uri) []sip.Uri {
					if user == "" {
						return nil
					}
					return []sip.Uri{{Scheme: "sip", User: contacts[0].User, Host: "example.org"}}
				}
			}
			r.a.invite("v1")
			r.b[0].contact = "sip:1003@192.0.2.99"
			r.b[0].answer("INVITE", 302, "")
			res := r.a.want(want)[0]
			if got := header(res, "Contact"); user != "" && got != "<sip:1003@example.org>" || user == "" && got != "" {
				t.Errorf("A is told %q", got)
			}
		})
	}
}

// Max-Breadth (RFC 5393): shared among the branches, and none left is refused.
func TestBreadth(t *testing.T) {
	for asked, want := range map[string]string{"X-No: 1": "30", "Max-Breadth: 9": "4", "Max-Breadth: nonsense": "30"} {
		bubble(t, transport.TCP, 2, func(r *rig) {
			r.ringAll(2)
			r.a.with(asked, func() { r.a.invite("v1") })
			for _, b := range r.b {
				if got := header(b.last("INVITE"), "Max-Breadth"); got != want {
					t.Errorf("%q became %q, want %q", asked, got, want)
				}
				b.answer("INVITE", 486, "")
			}
		})
	}
	bubble(t, transport.TCP, 2, func(r *rig) {
		r.ringAll(2)
		r.a.with("Max-Breadth: 1", func() { r.a.invite("v1") })
		r.a.want("440 INVITE")
		r.b[0].want()
		r.b[1].want()
	})
	bubble(t, transport.TCP, 1, func(r *rig) { // nobody counts, nothing is forked
		r.a.invite("v1")
		if got := header(r.b[0].last("INVITE"), "Max-Breadth"); got != "" {
			t.Errorf("Max-Breadth %q", got)
		}
		r.b[0].answer("INVITE", 486, "")
	})
}

// A call of ours that comes back has the trace it had, and comes back only so often.
func TestLoop(t *testing.T) {
	bubble(t, transport.TCP, 1, func(r *rig) {
		var traces []string
		r.change = func(p *Plan) {
			p.ID, p.Media = "", nil
			p.End = func(e Ending) { r.note(func() { r.endings = append(r.endings, e) }) }
		}
		trace := "t"
		base := r.change
		r.change = func(p *Plan) { base(p); p.Info.Trace = trace }
		r.a.invite("v1")
		for range maxPasses + 3 {
			in := r.b[0].last("INVITE")
			trace = r.engine.TraceOf(in)
			traces = append(traces, trace)
			again := strings.Replace(string(r.b[0].received()[len(r.b[0].received())-1]), "Via: SIP/2.0/TCP 198.51.100.2:5060;branch=z9hG4bK", "Via: SIP/2.0/TCP 192.0.2.21:5060;branch=z9hG4bK-b1-", 1)
			if !strings.HasPrefix(again, "INVITE") {
				break
			}
			r.b[0].put(again)
		}
		if len(r.refused) != 1 || r.refused[0] != ErrLoop || r.started != maxPasses {
			t.Errorf("%d started, refused %v", r.started, r.refused)
		}
		for _, got := range traces {
			if got != "t" {
				t.Errorf("traces are %q", traces)
				break
			}
		}
		if got := r.engine.TraceOf(r.a.r.b[0].last("INVITE")); got != "t" {
			t.Errorf("trace %q", got)
		}
		r.engine.Close(0)
	})
}

// Several phones behind one target answer early and reliably: each has its own numbers, and one of them wins.
func TestForkedReliable(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.with("Supported: 100rel", func() { r.a.invite("v1") })
		b := r.b[0]
		for n, tag := range []string{"b1-tag-x", "b1-tag-y"} {
			b.reliableAs(tag, 183, 7-n, []string{"v2", "v3"}[n])
			if to, _ := b.last("PRACK").To().Params.Get("tag"); to != tag {
				t.Errorf("PRACK went to %q, want %q", to, tag)
			}
			b.answer("PRACK", 200, "")
		}
		b.reliableAs("b1-tag-x", 180, 8, "")
		b.answer("PRACK", 200, "")
		b.want("INVITE (v1>b)", "PRACK", "PRACK", "PRACK")
		r.a.prack("")
		r.a.want("183 INVITE (v2>a)", "183 INVITE", "180 INVITE", "200 PRACK") // one answer to one offer
		b.answerAs("b1-tag-y", "INVITE", 200, "")
		r.a.want("200 INVITE (v3>a)") // that one has the call
		r.a.ack("")
		b.want("ACK")
		b.answerAs("b1-tag-x", "INVITE", 200, "")
		b.want("ACK", "BYE")
		bye := b.last("BYE")
		if to, _ := bye.To().Params.Get("tag"); to != "b1-tag-x" || bye.CSeq().SeqNo <= b.last("PRACK").CSeq().SeqNo {
			t.Errorf("BYE is\n%s", bye)
		}
		b.answer("BYE", 200, "")
		for i := range 2 * maxEarly { // a target gone wild
			b.reliableAs("b1-tag-"+strings.Repeat("z", i+1), 183, 1, "v4")
		}
		b.want()
		r.media.wants("offer a v1", "answer b v2", "answer b v3", "answer b v3")
		r.a.request("BYE")
		r.a.want("200 BYE")
		if to, _ := b.last("BYE").To().Params.Get("tag"); to != "b1-tag-y" {
			t.Errorf("BYE went to %q", to)
		}
		b.answer("BYE", 200, "")
	})
}
