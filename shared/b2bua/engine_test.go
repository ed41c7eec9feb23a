package b2bua

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// again makes A a new caller.
func (p *party) again(n int) {
	p.take()
	p.callID, p.tag, p.seq = fmt.Sprint("a-call-id-", n), fmt.Sprint("a-tag-", n), 0
}

func TestTooMany(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.engine.cfg.MaxCalls = 2
		for n := range 3 {
			r.a.again(n)
			r.a.invite("v1")
		}
		r.a.want("503 INVITE")
		if len(r.refused) != 1 || !errors.Is(r.refused[0], ErrTooMany) || r.engine.Len() != 2 {
			t.Errorf("refused %v, %d calls", r.refused, r.engine.Len())
		}
		if calls := r.engine.Calls(); len(calls) != 2 || calls[0].Started.After(calls[1].Started) {
			t.Errorf("calls are %v", calls)
		}
	})
}

func TestSameID(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.change = func(p *Plan) { p.ID = "the-one" }
		r.a.invite("v1")
		r.a.again(2)
		r.a.invite("v1")
		if len(r.refused) != 1 || !errors.Is(r.refused[0], ErrMerged) || r.engine.Calls()[0].ID != "the-one" {
			t.Errorf("refused %v", r.refused)
		}
	})
}

// Two INVITEs with the same names from one address have one B-leg only.
func TestSameNames(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.a.invite("v1")
		r.a.want("503 INVITE")
		r.b[0].want("INVITE (v1>b)")
		if e := r.endings[0]; e.Reason != verdict.TransportFailure {
			t.Errorf("ended %+v", e)
		}
	})
}

func TestUnusableInvite(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.target = "sip:bob@sbc.example.org"
		r.a.put(strings.Replace(r.a.text("z9hG4bK-a-x", "INVITE", 1, "v1"), "Contact: <sip:a@192.0.2.10>\r\n", "", 1))
		r.a.want("503 INVITE")
		if len(r.refused) != 1 || !errors.Is(r.refused[0], dialog.ErrIncomplete) {
			t.Errorf("refused %v", r.refused)
		}
	})
}

// Close hangs up, waits, and lets nothing in.
func TestClose(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		closed := false
		go func() { r.engine.Close(time.Minute); closed = true }()
		r.pass(t1 / 2)
		r.a.want("BYE")
		r.b[0].want("BYE")
		if closed {
			t.Error("Close does not wait")
		}
		r.a.answer("BYE", 200, "")
		r.b[0].answer("BYE", 200, "")
		synctest.Wait()
		if !closed {
			t.Error("Close waits for nothing")
		}
		r.ended(200, verdict.Shutdown, A)
		r.a.again(2)
		r.a.invite("v1")
		if len(r.refused) != 1 || !errors.Is(r.refused[0], ErrClosed) {
			t.Errorf("refused %v", r.refused)
		}
		r.engine.Close(time.Minute) // again
	})
	both(t, 1, func(r *rig) { // not for ever
		r.up()
		start := time.Now()
		r.engine.Close(3 * time.Second)
		if d := time.Since(start); d != 3*time.Second || r.engine.Len() != 1 {
			t.Errorf("closed after %s with %d calls", d, r.engine.Len())
		}
	})
	both(t, 2, func(r *rig) { // a target whose turn comes now is not called
		r.oneByOne(2)
		release := make(chan struct{})
		r.change = func(p *Plan) {
			p.Groups[0][0].Dial = func(context.Context) (*transport.Flow, error) { <-release; return r.b[0].flow, nil }
		}
		r.a.invite("v1")
		r.engine.mu.Lock()
		r.engine.quit = true
		r.engine.mu.Unlock()
		close(release)
		synctest.Wait()
		r.b[0].want()
		r.b[1].want()
		r.a.want("503 INVITE")
	})
}

// A panic in whatever a plan gives us ends its call, and only that; nothing stays behind.
func TestPanics(t *testing.T) {
	boom := func() { panic("boom") }
	for name, c := range map[string]func(p *Plan){
		"Ringing":     func(p *Plan) { p.Ringing = boom },
		"Answer":      func(p *Plan) { p.Answer = func(Target) { boom() } },
		"Learn":       func(p *Plan) { p.Learn = func(*sip.Response) { boom() } },
		"Media":       func(p *Plan) { p.Media = wild{p.Media} },
		"Dial":        func(p *Plan) { p.Groups[0][0].Dial = func(context.Context) (*transport.Flow, error) { panic("boom") } },
		"no A policy": func(p *Plan) { p.Policy = nil },
		"no B policy": func(p *Plan) { p.Groups[0][0].Policy = nil },
		"A's Contact": func(p *Plan) { p.Policy.Contact = func(*transport.Flow) sip.Uri { panic("boom") } },
		"B's Contact": func(p *Plan) { p.Groups[0][0].Policy.Contact = func(*transport.Flow) sip.Uri { panic("boom") } },
		"A's Pass":    func(p *Plan) { p.Policy.Pass = func(_, _ sip.Message) { boom() } },
		"B's Pass":    func(p *Plan) { p.Groups[0][0].Policy.Pass = func(_, _ sip.Message) { boom() } },
		"A's Flow":    func(p *Plan) { p.Policy.Flow = func(*dialog.Dialog, *transport.Flow) *transport.Flow { panic("boom") } },
		"B's Flow": func(p *Plan) {
			p.Groups[0][0].Policy.Flow = p.Policy.Flow
			p.Groups[0][0].Policy.Flow = func(*dialog.Dialog, *transport.Flow) *transport.Flow { panic("boom") }
		},
		"Auth": func(p *Plan) {
			p.Groups[0][0].Auth = func(*sip.Request, *sip.Response) (sip.Header, error) { panic("boom") }
		},
		"Local":       func(p *Plan) { p.Local = wildLocal{} },
		"Media.Close": func(p *Plan) { p.Media = wildClose{p.Media} },
		"all of them": func(p *Plan) { p.Ringing, p.Media, p.Policy = boom, wildClose{wild{p.Media}}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, 1, func(r *rig) {
				ends := 0
				r.change = func(p *Plan) {
					end := p.End
					c(p)
					p.End = func(e Ending) { ends++; end(e); boom() }
				}
				r.a.invite("v1")
				if name == "Auth" {
					r.b[0].answer("INVITE", 407, "")
				}
				if len(r.b[0].received()) > 0 {
					r.b[0].answer("INVITE", 180, "")
					r.b[0].answer("INVITE", 200, "v2")
				}
				r.a.read()
				if ends == 0 {
					r.a.ack("")
					r.a.request("BYE")
				}
				if ends != 1 || len(r.a.received()) == 0 {
					t.Errorf("%d ends, A got %q", ends, r.a.received())
				}
				r.a.again(2) // the engine serves on
				r.change, r.groups = nil, nil
				r.b[0].take()
				r.a.invite("v1")
				r.b[0].want("INVITE (v1>b)")
				r.b[0].answer("INVITE", 486, "")
			})
		})
	}
}

type wild struct{ Media }

func (wild) Offer(Side, []byte) ([]byte, error) { panic("boom") }

type wildClose struct{ Media }

func (w wildClose) Close() { w.Media.Close(); panic("boom") }

type wildLocal struct{}

func (wildLocal) Offer() ([]byte, error) { panic("boom") }
func (wildLocal) Accept([]byte) error    { panic("boom") }

func (wildLocal) Answer([]byte) ([]byte, error) { panic("boom") }
func (wildLocal) Close()                        { panic("boom") }

// A panic while a call ends does not keep it.
func TestPanicAtTheEnd(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.change = func(p *Plan) {
			p.Groups[0][0].Auth = func(*sip.Request, *sip.Response) (sip.Header, error) { panic("boom") }
		}
		r.up()
		r.a.request("BYE")
		r.b[0].answer("BYE", 407, "")
		if r.engine.Len() != 0 {
			t.Error("the call stays")
		}
	})
	both(t, 1, func(r *rig) { // of an INVITE that waits
		r.up()
		r.a.reinvite("v3")
		c := r.engine.legs[legKey{"a-call-id", r.a.theirs}].owner()
		c.post(func() { c.ended = true; panic("boom") })
		synctest.Wait()
		r.a.want("500 INVITE")
		c.post(func() { c.ended = false; c.abort(verdict.Internal) })
		synctest.Wait()
	})
}

// Who floods a dialog is refused; what the call can't do without is still taken.
func TestMailboxLimit(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.up()
		release := make(chan struct{})
		c := r.engine.legs[legKey{"a-call-id", r.a.theirs}].owner()
		c.post(func() { <-release })
		synctest.Wait()
		for range mailboxLimit + 5 {
			r.a.request("INFO")
		}
		r.a.want("503 INFO", "503 INFO", "503 INFO", "503 INFO", "503 INFO")
		r.a.ack("")
		if r.unknown != 1 {
			t.Errorf("%d unknown", r.unknown)
		}
		c.Hangup(verdict.Shutdown)
		close(release)
		synctest.Wait()
		r.ended(200, verdict.Shutdown, A)
		r.a.want("BYE")
	})
	both(t, 1, func(r *rig) { // a target that sends provisional responses without end
		r.a.invite("v1")
		release := make(chan struct{})
		c := r.engine.legs[legKey{"a-call-id", legTag(r)}].owner()
		c.post(func() { <-release })
		synctest.Wait()
		for range 2 * mailboxLimit {
			r.b[0].answer("INVITE", 180, "")
		}
		r.b[0].answer("INVITE", 200, "v2")
		close(release)
		synctest.Wait()
		if n := len(r.a.take()); n != mailboxLimit+1 {
			t.Errorf("A got %d messages", n)
		}
		r.state(StateAnswered)
	})
}

// legTag is our tag on A's leg.
func legTag(r *rig) string {
	for k := range r.engine.legs {
		if k.callID == "a-call-id" {
			return k.localTag
		}
	}
	return ""
}

func TestForeignMessages(t *testing.T) {
	both(t, 1, func(r *rig) {
		res := sip.NewResponse(200, "OK")
		if r.engine.Stray(res) || r.engine.find(sip.NewRequest(sip.BYE, sip.Uri{})) != nil {
			t.Error("a message without names has a call")
		}
		r.up()
		for _, code := range []int{180, 486} {
			bad := sip.NewResponse(code, "")
			id, from := sip.CallIDHeader("a-call-id"), sip.FromHeader{Params: sip.HeaderParams{{K: "tag", V: r.a.theirs}}}
			bad.AppendHeader(&id)
			bad.AppendHeader(&from)
			if r.engine.Stray(bad) {
				t.Errorf("a stray %d is of use", code)
			}
		}
		r.down()
	})
}
