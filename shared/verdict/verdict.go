// Package verdict is the one vocabulary for what happens to a packet, a message or a connection, and why.
//
// The same word stands in the kernel filter's counters, in logs, in CDRs, in metrics and in what the operator reads.
// It is a leaf: it imports nothing, and every room may import it.
package verdict

import "fmt"

// Action is what is done with a packet, a message or a connection.
type Action uint8

// The actions, from the mildest to the hardest.
const (
	Pass   Action = iota // go on to the next room
	Reject               // answer with a SIP status code
	Drop                 // no answer; a named counter moves
)

// String returns the lower-case word for a.
func (a Action) String() string {
	switch a {
	case Pass:
		return "pass"
	case Reject:
		return "reject"
	case Drop:
		return "drop"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Verdict is the decision about one message: what to do, and why.
type Verdict struct {
	Action Action
	Code   int    // SIP status code (RFC 3261 §21), only with Reject
	Reason Reason // why; None only with Pass
}

// Passed is the verdict that lets a message go on.
var Passed = Verdict{Action: Pass}

// Dropped returns the verdict that ends a message without an answer.
func Dropped(why Reason) Verdict { return Verdict{Action: Drop, Reason: why} }

// Rejected returns the verdict that answers a request with code.
func Rejected(code int, why Reason) Verdict {
	return Verdict{Action: Reject, Code: code, Reason: why}
}

// OK reports whether the message goes on.
func (v Verdict) OK() bool { return v.Action == Pass }

// String is "pass", "drop: reason" or "reject 400: reason".
func (v Verdict) String() string {
	switch v.Action {
	case Pass:
		return "pass"
	case Reject:
		return fmt.Sprintf("reject %d: %s", v.Code, v.Reason)
	default:
		return fmt.Sprintf("%s: %s", v.Action, v.Reason)
	}
}
