package b2bua

import (
	"context"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// audited makes a call whose callee is behind the audited policy, and audits it.
func (r *rig) audited(ctx context.Context) {
	r.t.Helper()
	far := policy()
	r.change = func(p *Plan) { p.Groups[0][0].Policy = far }
	r.up()
	r.engine.Audit(ctx, far, sip.NewHeader("X-Audit", "1"))
	r.pass(0)
}

// Only the leg of the policy is asked, and a call that is known there goes on.
func TestAuditKnown(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.audited(context.Background())
		r.a.want()
		r.b[0].want("OPTIONS")
		ask := r.b[0].last("OPTIONS")
		if tag, _ := ask.To().Params.Get("tag"); tag == "" || ask.GetHeader("X-Audit") == nil {
			t.Errorf("the question is\n%s", ask)
		}
		r.b[0].answer("OPTIONS", 200, "")
		r.state(StateAnswered)
		r.down()
	})
}

// A call that is not known there ends on both sides.
func TestAuditUnknown(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.audited(context.Background())
		r.b[0].want("OPTIONS")
		r.b[0].answer("OPTIONS", 481, "")
		r.ended(200, verdict.UnknownDialog, B)
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		r.b[0].take()
		r.b[0].answer("BYE", 481, "")
	})
}

// A link that breaks again while it is asked has proved nothing.
func TestAuditCut(t *testing.T) {
	both(t, 1, func(r *rig) {
		r.audited(context.Background())
		r.b[0].want("OPTIONS")
		r.pass(64 * t1)
		r.b[0].take()
		r.state(StateAnswered)
		r.a.request("BYE")
		r.a.want("200 BYE")
		r.b[0].take()
		r.b[0].answer("BYE", 200, "")
	})
}
