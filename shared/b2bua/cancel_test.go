package b2bua

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// response is a bare response to an INVITE.
func response(code int) *sip.Response {
	res := sip.NewResponse(code, "")
	res.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE})
	return res
}

func TestCancel(t *testing.T) {
	both(t, 1, func(r *rig) { // after a provisional response
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.cancel()
		r.a.want("180 INVITE", "200 CANCEL", "487 INVITE")
		r.b[0].want("INVITE (v1>b)", "CANCEL")
		r.b[0].answer("CANCEL", 200, "")
		r.b[0].answer("INVITE", 487, "")
		r.b[0].want("ACK")
		r.a.want()
		r.ended(487, verdict.CallCancelled, A)
	})
	both(t, 1, func(r *rig) { // before
		r.a.invite("v1")
		r.a.cancel()
		r.a.want("200 CANCEL", "487 INVITE")
		r.b[0].want("INVITE (v1>b)")
		r.b[0].answer("INVITE", 100, "")
		r.b[0].want("CANCEL")
		r.b[0].answer("CANCEL", 200, "")
		r.b[0].answer("INVITE", 487, "")
		r.ended(487, verdict.CallCancelled, A)
	})
	both(t, 1, func(r *rig) { // B never says anything
		r.a.invite("v1")
		r.a.cancel()
		r.pass(time.Minute)
		r.ended(487, verdict.CallCancelled, A)
	})
	both(t, 1, func(r *rig) { // our 200 crosses it
		r.a.invite("v1")
		r.b[0].answer("INVITE", 200, "v2")
		r.a.cancel()
		r.a.want("200 INVITE (v2>a)", "200 CANCEL")
		r.a.ack("")
		r.state(StateAnswered)
		r.b[0].want("INVITE (v1>b)", "ACK")
		r.down()
	})
}

// The CANCEL comes while we connect.
func TestCancelWhileDialling(t *testing.T) {
	both(t, 1, func(r *rig) {
		stopped := false
		r.change = func(p *Plan) {
			p.Groups[0][0].Dial = func(ctx context.Context) (*transport.Flow, error) {
				<-ctx.Done()
				stopped = true
				return nil, ctx.Err()
			}
		}
		r.a.invite("v1")
		r.a.cancel()
		r.a.want("200 CANCEL", "487 INVITE")
		if !stopped || r.engine.Len() != 0 {
			t.Errorf("the making of the connection stopped: %v; %d calls", stopped, r.engine.Len())
		}
	})
	both(t, 1, func(r *rig) { // or the connection is made all the same
		release := make(chan struct{})
		r.change = func(p *Plan) {
			p.Groups[0][0].Dial = func(context.Context) (*transport.Flow, error) { <-release; return r.b[0].flow, nil }
		}
		r.a.invite("v1")
		r.a.cancel()
		close(release)
		synctest.Wait()
		r.b[0].want()
	})
	both(t, 2, func(r *rig) { // or nothing comes of it in time
		r.oneByOne(2)
		r.change = func(p *Plan) {
			p.Groups[0][0].Dial = func(ctx context.Context) (*transport.Flow, error) { <-ctx.Done(); return nil, ctx.Err() }
		}
		r.a.invite("v1")
		r.pass(dialTimeout)
		r.b[1].want("INVITE (v1>b)")
	})
}

// RFC 3261 §15: a caller may end an early dialog by BYE; a callee may not.
func TestByeEarly(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.want("180 INVITE")
		r.b[0].byTheCallee("BYE", 1)
		r.b[0].want("INVITE (v1>b)", "481 BYE")
		r.state(StateRinging)
		r.a.request("BYE")
		r.a.want("200 BYE", "487 INVITE")
		r.b[0].want("CANCEL")
		r.ended(487, verdict.CallCancelled, A)
	})
}

// The caller's connection ends while it waits: nobody is left to talk to.
func TestCallerVanishes(t *testing.T) {
	bubble(t, transport.TCP, 1, func(r *rig) {
		r.a.invite("v1")
		r.b[0].answer("INVITE", 180, "")
		r.a.flow.Close(verdict.IdleTimeout)
		synctest.Wait()
		r.b[0].want("INVITE (v1>b)", "CANCEL")
		r.ended(487, verdict.TransportFailure, A)
	})
	both(t, 1, func(r *rig) { // it shows by what we send
		r.a.invite("v1")
		r.a.cut(true)
		r.b[0].answer("INVITE", 180, "")
		r.b[0].want("INVITE (v1>b)", "CANCEL")
		r.ended(487, verdict.TransportFailure, A)
	})
	both(t, 1, func(r *rig) { // by the answer
		r.a.invite("v1")
		r.a.cut(true)
		r.b[0].answer("INVITE", 200, "v2")
		r.b[0].want("INVITE (v1>b)", "ACK", "BYE")
		r.ended(200, verdict.TransportFailure, A)
	})
}
