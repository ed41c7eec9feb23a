package b2bua

import (
	"fmt"
	"strconv"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// Loops. Each leg has names of its own, so that nothing in a request tells where it was before. Three things end a loop all
// the same: Max-Forwards, which goes on across the call (invite.go); Max-Breadth (RFC 5393), so that no loop multiplies;
// and the trace id, which a request that comes back with names of ours gets back (TraceOf) and which only so many calls
// may have at a time. A call that comes back once, to another number, is a spiral and none of our business.

// maxPasses is how many calls of one trace an engine holds.
const maxPasses = 10

// ErrLoop is why a call does not start whose trace is here too often. It is an ErrMerged, too.
var ErrLoop = fmt.Errorf("the call goes in a loop: %w", ErrMerged)

// defaultBreadth is what a request without Max-Breadth may be forked into (RFC 5393 §5.3.3).
const defaultBreadth = 60

// statusMaxBreadth is 440 (RFC 5393 §5.3.3.1).
const statusMaxBreadth = 440

// TraceOf returns the trace of the call whose INVITE of ours came back as req, by whatever way; "" if it is not one of ours.
func (e *Engine) TraceOf(req *sip.Request) string {
	if req.CallID() == nil || req.From() == nil {
		return ""
	}
	tag, _ := sipmsg.Param(req.From().Params, "tag")
	e.mu.RLock()
	l := e.legs[legKey{req.CallID().Value(), tag}]
	e.mu.RUnlock()
	if l == nil || l.side != B {
		return ""
	}
	return l.owner().trace
}

// breadth reads Max-Breadth; told is whether the request has one.
func breadth(req *sip.Request) (n int, told bool) {
	v, ok := sipmsg.Header(req, "Max-Breadth")
	if !ok {
		return defaultBreadth, false
	}
	got, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return defaultBreadth, false
	}
	return int(got), true
}

// share adds to an INVITE its part of the breadth that A's leaves, where it is forked or A counts (RFC 5393 §5.3.3).
func (c *Call) share(req *sip.Request) {
	n, told := breadth(c.a.server.Request())
	if told || len(c.tried) > 1 {
		req.AppendHeader(sip.NewHeader("Max-Breadth", strconv.Itoa(max(1, n/max(1, len(c.tried))))))
	}
}
