package b2bua

import (
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// flows makes the next call ring one device that has a flow to each callee.
func (r *rig) flows(lost *int) {
	r.change = func(p *Plan) {
		device := r.target(r.b[0])
		device.Lost = func() { *lost++ }
		for _, b := range r.b[1:] {
			t := r.target(b)
			t.Lost = device.Lost
			device.Else = append(device.Else, t)
		}
		p.Groups = [][]Target{{device}}
	}
}

// A device whose flow is gone is called over its next one (RFC 5626 §5.3), and what it says there counts.
func TestOtherFlow(t *testing.T) {
	both(t, 3, func(r *rig) {
		lost := 0
		r.flows(&lost)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 430, "")
		r.b[1].want("INVITE (v1>b)")
		r.b[1].answer("INVITE", 503, "")
		r.b[2].want("INVITE (v1>b)")
		r.b[2].answer("INVITE", 200, "v2")
		r.a.want("200 INVITE (v2>a)")
		r.a.ack("")
		if lost != 1 {
			t.Errorf("%d flows are lost, want one", lost)
		}
		r.a.request("BYE")
		r.b[2].answer("BYE", 200, "")
	})
}

// Who answers no is not asked again over another flow.
func TestOneDeviceRingsOnce(t *testing.T) {
	both(t, 2, func(r *rig) {
		lost := 0
		r.flows(&lost)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 486, "")
		r.a.want("486 INVITE")
		r.b[1].want()
		r.ended(486, verdict.Busy, B)
	})
}

// Where the last flow is gone, the caller hears that nobody is there: 430 is between proxies.
func TestNoFlowLeft(t *testing.T) {
	both(t, 2, func(r *rig) {
		lost := 0
		r.flows(&lost)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 430, "")
		r.b[1].answer("INVITE", 430, "")
		r.a.want("480 INVITE")
		r.ended(480, verdict.NotRegistered, B)
		if lost != 2 {
			t.Errorf("%d flows are lost, want two", lost)
		}
	})
}

// CANCEL ends the flow that rings, whichever it is.
func TestCancelOtherFlow(t *testing.T) {
	both(t, 2, func(r *rig) {
		lost := 0
		r.flows(&lost)
		r.a.invite("v1")
		r.b[0].answer("INVITE", 430, "")
		r.b[1].answer("INVITE", 180, "")
		r.a.want("180 INVITE")
		r.a.cancel()
		r.b[1].want("INVITE (v1>b)", "CANCEL")
		r.b[1].answer("CANCEL", 200, "")
		r.b[1].answer("INVITE", 487, "")
		r.pass(time.Second)
		r.ended(487, verdict.CallCancelled, A)
	})
}
