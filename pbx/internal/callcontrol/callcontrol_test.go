package callcontrol

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// TestRefused holds each decision that ends a call before it begins: the answer, and the one record of it.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		dialled     string
		who         Caller
		code        int
		reason      verdict.Reason
		disposition cdr.Disposition
		direction   cdr.Direction
		trunk       string
	}{
		"no rule":            {"7777", Caller{}, 404, verdict.UnknownNumber, cdr.Failed, cdr.Internal, ""},
		"no extension":       {"1999", Caller{}, 404, verdict.UnknownNumber, cdr.Failed, cdr.Internal, ""},
		"no phone":           {"1001", Caller{}, 480, verdict.NotRegistered, cdr.Failed, cdr.Internal, ""},
		"refused":            {"09005555", Caller{}, 403, verdict.NotAllowed, cdr.Refused, cdr.Internal, ""},
		"trunk of no name":   {"00555", Caller{}, 404, verdict.UnknownNumber, cdr.Failed, cdr.Outbound, "elsewhere"},
		"nothing to dial":    {"0", Caller{}, 404, verdict.UnknownNumber, cdr.Failed, cdr.Outbound, "carrier"},
		"number from trunk":  {"555", Caller{Trunk: "carrier", Realm: "peer"}, 404, verdict.UnknownNumber, cdr.Failed, cdr.Inbound, "carrier"},
		"phone behind trunk": {"4930123456", Caller{Trunk: "carrier", Realm: "peer", Number: "0170"}, 480, verdict.NotRegistered, cdr.Failed, cdr.Inbound, "carrier"},
		"unknown trunk":      {"4930123456", Caller{Trunk: "other", Realm: "peer"}, 404, verdict.UnknownNumber, cdr.Failed, cdr.Inbound, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.bind("1001", "sip:1001@127.0.0.1", func(b *store.Binding) { b.Expires = time.Now().Add(-time.Second) })
			if c.who != (Caller{}) {
				r.set(func() { r.who = c.who })
			}
			asked, v := r.dial(c.dialled, nil)
			if v != verdict.Rejected(c.code, c.reason) {
				t.Errorf("verdict %s", v)
			}
			asked.Response(c.code)
			rec := r.over()
			if rec.Code != c.code || rec.Reason != c.reason || rec.Disposition != c.disposition || rec.Direction != c.direction ||
				rec.Trunk != c.trunk || rec.Dialled != c.dialled || rec.Caller != r.who.Number || rec.Realm != r.who.Realm || !rec.Answer.IsZero() {
				t.Errorf("record %+v", rec)
			}
			if rec.Trace == "" {
				t.Error("a call without a trace")
			}
			if n := r.engine.Len(); n != 0 {
				t.Errorf("%d calls in the engine", n)
			}
		})
	}
}

// TestCallInside takes a call from one phone inside to another, from INVITE to BYE.
func TestCallInside(t *testing.T) {
	r := newRig(t, nil)
	bob := r.extension("1001")
	asked, v := r.dial("1001", nil)
	if !v.OK() {
		t.Fatal(v)
	}
	s := bob.Next(sip.INVITE)
	in := s.Request()
	if got := in.Recipient.String(); !strings.HasPrefix(got, "sip:1001@127.0.0.1:") {
		t.Errorf("start line names %s", got)
	}
	if from := in.From(); from.Address.String() != "sip:1009@pbx.test" || sipmsg.DisplayText(from.DisplayName) != "Nina" {
		t.Errorf("From: %s", from.Value())
	}
	if got := in.To().Value(); got != "<sip:1001@pbx.test>" {
		t.Errorf("To: %s", got)
	}
	if string(in.Body()) != offer {
		t.Errorf("offer: %q", in.Body())
	}
	if text := string(sipmsg.Bytes(in)); strings.Contains(text, "Brickhouse-") {
		t.Errorf("a phone sees private headers:\n%s", text)
	}
	if row := r.row(store.CallSetup); row.Caller != "1009" || row.Callee != "1001" || row.Dialled != "1001" || row.Node != "solo" ||
		row.Trace != "trace-1" || row.Direction != "internal" || row.Started.IsZero() {
		t.Errorf("row %+v", row)
	}
	bob.Answer(s, 180, "")
	asked.Response(180)
	r.row(store.CallRinging)
	bob.Answer(s, 200, offer)
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	bob.NextAck()
	if row := r.row(store.CallUp); row.Answered.IsZero() {
		t.Errorf("row %+v", row)
	}
	if c := r.engine.Calls(); len(c) != 1 || c[0].Trace != "trace-1" || c[0].Caller != "1009" || c[0].From != Inside || c[0].To != "extension" {
		t.Errorf("calls: %+v", c)
	}
	r.bye(asked, res)
	bob.Answer(bob.Next(sip.BYE), 200, "")
	rec := r.over()
	if rec.Disposition != cdr.Answered || rec.Code != 200 || rec.Reason != verdict.NormalClearing || rec.Answer.IsZero() || rec.End.Before(rec.Answer) ||
		rec.Callee != "1001" || rec.Trace != "trace-1" || rec.Realm != Inside {
		t.Errorf("record %+v", rec)
	}
}

// TestEndings holds how each ending is recorded.
func TestEndings(t *testing.T) {
	for name, c := range map[string]struct {
		end         func(r *rig, bob *transactiontest.Party, asked *transactiontest.Asked)
		code        int // 0: that of a call which was answered
		reason      verdict.Reason
		disposition cdr.Disposition
	}{
		"busy":         {refuseWith(486), 486, verdict.Busy, cdr.Busy},
		"declined":     {refuseWith(603), 603, verdict.Declined, cdr.Refused},
		"away":         {refuseWith(480), 480, verdict.NoAnswer, cdr.NoAnswer},
		"out of order": {refuseWith(500), 500, verdict.TargetFailed, cdr.Failed},
		"challenge":    {refuseWith(407), 407, verdict.Challenged, cdr.Failed},
		"gone":         {refuseWith(404), 404, verdict.UnknownNumber, cdr.Failed},
		"nobody answers": {func(_ *rig, bob *transactiontest.Party, asked *transactiontest.Asked) {
			bob.Answer(bob.Next(sip.INVITE), 180, "")
			asked.Response(180)
			asked.Response(480)
		}, 480, verdict.NoAnswer, cdr.NoAnswer},
		"cancelled": {func(_ *rig, bob *transactiontest.Party, asked *transactiontest.Asked) {
			s := bob.Next(sip.INVITE)
			called := calledOff(bob, s)
			bob.Answer(s, 180, "")
			asked.Response(180)
			asked.Client.Cancel()
			asked.Response(487)
			<-called
		}, 487, verdict.CallCancelled, cdr.Cancelled},
		"callee hangs up": {func(r *rig, bob *transactiontest.Party, asked *transactiontest.Asked) {
			s := answered(r, bob, asked)
			done := bob.Ask(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.BYE))
			r.caller.Answer(r.caller.Next(sip.BYE), 200, "")
			done.Response(200)
		}, 0, verdict.NormalClearing, cdr.Answered},
		"command": {func(r *rig, bob *transactiontest.Party, asked *transactiontest.Asked) {
			answered(r, bob, asked)
			if !r.engine.End(r.row(store.CallUp).ID, verdict.NormalClearing) {
				r.t.Error("the engine knows the call by another name than its row")
			}
			r.caller.Answer(r.caller.Next(sip.BYE), 200, "")
			bob.Answer(bob.Next(sip.BYE), 200, "")
		}, 0, verdict.NormalClearing, cdr.Answered},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config, _ *b2bua.Config) {
				if name == "nobody answers" {
					c.Ring = 50 * time.Millisecond
				}
			})
			bob := r.extension("1001")
			asked, v := r.dial("1001", nil)
			if !v.OK() {
				t.Fatal(v)
			}
			c.end(r, bob, asked)
			rec := r.over()
			want := c.code
			if want == 0 {
				want = 200
			}
			if rec.Code != want || rec.Reason != c.reason || rec.Disposition != c.disposition || rec.Answer.IsZero() != (c.code != 0) {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

func refuseWith(code int) func(*rig, *transactiontest.Party, *transactiontest.Asked) {
	return func(_ *rig, bob *transactiontest.Party, asked *transactiontest.Asked) {
		bob.Answer(bob.Next(sip.INVITE), code, "")
		asked.Response(code)
	}
}

// calledOff answers an INVITE that is cancelled; the channel is closed then.
func calledOff(p *transactiontest.Party, s *transaction.Server) <-chan struct{} {
	done := make(chan struct{})
	s.OnCancel(func() {
		defer close(done)
		p.Answer(s, 487, "")
	})
	return done
}

// answered answers the call, and returns what the callee was asked.
func answered(r *rig, bob *transactiontest.Party, asked *transactiontest.Asked) *transaction.Server {
	r.t.Helper()
	s := bob.Next(sip.INVITE)
	bob.Answer(s, 200, offer)
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	bob.NextAck()
	return s
}

// TestFork rings all contacts of an extension, the remote ones through the border.
func TestFork(t *testing.T) {
	r := newRig(t, nil)
	bob := r.extension("1001")
	r.bind("1001", "sip:token@192.0.2.1:5061", func(b *store.Binding) {
		b.Outside, b.Path = true, []string{"sip:flow@192.0.2.1:5061;lr;ob"}
	})
	r.bind("1001", "not a uri", nil)
	r.bind("1001", "sip:x@192.0.2.9", func(b *store.Binding) { b.Path = []string{"<nonsense"} })
	asked, v := r.dial("1001", nil)
	if !v.OK() {
		t.Fatal(v)
	}
	inside, outside := bob.Next(sip.INVITE), r.border.Next(sip.INVITE)
	req := outside.Request()
	if req.Recipient.User != "token" || req.Recipient.Host != "192.0.2.1" {
		t.Errorf("start line names %s", req.Recipient.String())
	}
	if v, _ := sipmsg.Header(req, "Route"); v != "<sip:flow@192.0.2.1:5061;lr;ob>" {
		t.Errorf("Route: %s", v)
	}
	if v, _ := sipmsg.Header(req, "Brickhouse-Trace"); v != "trace-1" {
		t.Errorf("trace: %q", v)
	}
	if _, ok := sipmsg.Header(req, "Brickhouse-Trunk"); ok {
		t.Error("the border is told of a trunk")
	}
	if c := req.Contact(); c.Address.User != "border" {
		t.Errorf("Contact towards the border: %s", c.Value())
	}
	if c := inside.Request().Contact(); c.Address.User != "phones" {
		t.Errorf("Contact towards a phone: %s", c.Value())
	}
	called := calledOff(r.border, outside)
	r.border.Answer(outside, 180, "")
	asked.Response(180)
	bob.Answer(inside, 200, offer)
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	bob.NextAck()
	<-called
	r.bye(asked, res)
	bob.Answer(bob.Next(sip.BYE), 200, "")
	r.over()
}

func TestNoContactThatCanBeCalled(t *testing.T) {
	r := newRig(t, nil)
	r.bind("1001", "not a uri", nil)
	asked, v := r.dial("1001", nil)
	if v != verdict.Rejected(480, verdict.NotRegistered) {
		t.Error(v)
	}
	asked.Response(480)
	r.over()
}

func TestForkIsBounded(t *testing.T) {
	r := newRig(t, nil)
	bob := r.extension("1001")
	at := r.store.Bindings("1001", time.Now())[0].Remote
	for i := range maxForks + 3 {
		r.bind("1001", fmt.Sprintf("sip:1001@%s;line=%d", at, i), func(b *store.Binding) { b.Remote = at })
	}
	asked, _ := r.dial("1001", nil)
	for range maxForks {
		bob.Answer(bob.Next(sip.INVITE), 486, "")
	}
	asked.Response(486)
	bob.Quiet()
	r.over()
}

// TestFromRemote holds that a caller behind the border is answered as the border expects.
func TestFromRemote(t *testing.T) {
	r := newRig(t, nil)
	r.set(func() { r.who = Caller{Number: "1002", Realm: "access"} })
	bob := r.extension("1001")
	asked, _ := r.dial("1001", nil)
	s := bob.Next(sip.INVITE)
	if got := s.Request().From().Address.User; got != "1002" {
		t.Errorf("From: %s", got)
	}
	bob.Answer(s, 200, offer)
	res := asked.Response(200)
	if c := res.Contact(); c.Address.User != "border" {
		t.Errorf("Contact towards the border: %s", c.Value())
	}
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	bob.NextAck()
	if trace := r.row(store.CallUp).Trace; len(trace) < 10 {
		t.Errorf("call control chose the trace %q", trace)
	}
	r.bye(asked, res)
	bob.Answer(bob.Next(sip.BYE), 200, "")
	if rec := r.over(); rec.Realm != "access" {
		t.Errorf("record %+v", rec)
	}
}

// TestEngineRefuses holds that a call which the engine does not take has its record, and leaves no row.
func TestEngineRefuses(t *testing.T) {
	t.Run("full", func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *b2bua.Config) { e.MaxCalls = 1 })
		r.extension("1001")
		if _, v := r.dial("1001", nil); !v.OK() {
			t.Fatal(v)
		}
		asked, v := r.dial("*43", nil)
		if v != verdict.Rejected(503, verdict.Overload) {
			t.Error(v)
		}
		asked.Response(503)
		if recs := r.records(); len(recs) != 1 || recs[0].Dialled != "*43" || recs[0].Reason != verdict.Overload {
			t.Errorf("records %+v", recs)
		}
		eventually(t, func() string {
			if rows := r.store.Calls(); len(rows) != 1 || rows[0].Dialled != "1001" {
				return fmt.Sprintf("%d rows", len(rows))
			}
			return ""
		})
	})
	t.Run("closing", func(t *testing.T) {
		r := newRig(t, nil)
		r.engine.Close(0)
		asked, v := r.dial("*43", nil)
		if v != verdict.Rejected(503, verdict.Shutdown) {
			t.Error(v)
		}
		asked.Response(503)
		if rec := r.over(); rec.Reason != verdict.Shutdown {
			t.Errorf("record %+v", rec)
		}
	})
}

// TestNoRecordNoCall: a call that can't be recorded is not made.
func TestNoRecordNoCall(t *testing.T) {
	r := newRig(t, nil)
	bob := r.extension("1001")
	r.cdr.Close()
	asked, v := r.dial("1001", nil)
	if v != verdict.Rejected(503, verdict.SystemFailure) {
		t.Error(v)
	}
	asked.Response(503)
	bob.Quiet()
	if rows := r.store.Calls(); len(rows) != 0 {
		t.Errorf("rows %+v", rows)
	}
}

// TestStoreAway: a call goes on, and is recorded, while its row can't be written.
func TestStoreAway(t *testing.T) {
	r := newRig(t, nil)
	r.store.Close()
	asked, v := r.dial("*43", nil)
	if !v.OK() {
		t.Fatal(v)
	}
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	r.bye(asked, res)
	eventually(t, func() string {
		if recs := r.records(); len(recs) != 1 || recs[0].Disposition != cdr.Answered {
			return fmt.Sprint("records ", recs)
		}
		return ""
	})
}

func TestSetDialplan(t *testing.T) {
	r := newRig(t, nil)
	next, err := dialplan.Compile(dialplan.File{Rules: []dialplan.Rule{{Number: "*43", From: dialplan.FromPhones, Do: "refuse"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.control.SetDialplan(next)
	asked, _ := r.dial("*43", nil)
	asked.Response(403)
}

func TestDisposition(t *testing.T) {
	for why, want := range map[verdict.Reason]cdr.Disposition{
		verdict.Busy: cdr.Busy, verdict.NoAnswer: cdr.NoAnswer, verdict.CallCancelled: cdr.Cancelled, verdict.NotAllowed: cdr.Refused,
		verdict.Declined: cdr.Refused, verdict.TrunkFailed: cdr.Failed, verdict.Shutdown: cdr.Failed, verdict.NotRegistered: cdr.Failed,
	} {
		if got := disposition(b2bua.Ending{Reason: why}); got != want {
			t.Errorf("%s: %s, want %s", why, got, want)
		}
		if got := disposition(b2bua.Ending{Reason: why, Answered: time.Now()}); got != cdr.Answered {
			t.Errorf("%s after an answer: %s", why, got)
		}
	}
}

func TestRefusal(t *testing.T) {
	for err, want := range map[error]verdict.Verdict{
		b2bua.ErrTooMany:                      verdict.Rejected(503, verdict.Overload),
		b2bua.ErrClosed:                       verdict.Rejected(503, verdict.Shutdown),
		b2bua.ErrMerged:                       verdict.Rejected(482, verdict.LoopDetected),
		errors.New("no From tag"):             verdict.Rejected(400, verdict.MissingHeader),
		fmt.Errorf("x: %w", b2bua.ErrTooMany): verdict.Rejected(503, verdict.Overload),
	} {
		if got := refusal(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestMediaError(t *testing.T) {
	var r *b2bua.Refusal
	if err := mediaError(fmt.Errorf("x: %w", &media.Error{Code: 488, Reason: verdict.NoCommonMedia})); !errors.As(err, &r) || r.Code != 488 {
		t.Errorf("%v", err)
	}
	if err := mediaError(errors.New("x")); errors.As(err, &r) && r == nil || err == nil {
		t.Errorf("%v", err)
	}
	if mediaError(nil) != nil {
		t.Error("no error became one")
	}
}
