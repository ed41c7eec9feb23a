package b2bua

import (
	"errors"
	"slices"
	"strconv"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// outcome is how a target failed, as A would hear of it.
type outcome struct {
	code   int
	reason verdict.Reason
	res    *sip.Response // what the target said; nil if nothing, or nothing for A
	lost   bool          // the flow to the target is gone
	next   bool          // it was the path's fault rather than the callee's word: the next group may be asked
	last   bool          // nobody else is to be asked
}

const statusFlowFailed = 430 // RFC 5626 §11.6

// outcomeOf reads what ended an INVITE without an answer.
func outcomeOf(ev transaction.Event) outcome {
	res := ev.Response
	switch {
	case errors.Is(ev.Err, transaction.ErrTimeout): // RFC 3261 §8.1.3.1
		return outcome{code: sip.StatusRequestTimeout, reason: verdict.TransportFailure, next: true}
	case res == nil:
		return outcome{code: sip.StatusServiceUnavailable, reason: verdict.TransportFailure, next: true}
	case res.StatusCode == statusFlowFailed: // RFC 5626 §5.3.1: between proxies only; the caller is told that nobody is there
		return outcome{code: sip.StatusTemporarilyUnavailable, reason: verdict.NotRegistered, next: true, lost: true}
	case res.StatusCode/100 == 3: // where a redirection leads is nobody's business on the other side
		return outcome{code: sip.StatusTemporarilyUnavailable, reason: verdict.TargetFailed, next: true}
	}
	code := res.StatusCode
	return outcome{
		code: code, reason: reasonOf(code), res: res,
		next: code == sip.StatusRequestTimeout || code/100 == 5,
		last: res.IsGlobalError(), // RFC 3261 §16.7 step 5: a 6xx ends the search
	}
}

// ringGroup calls every target of the current group.
func (c *Call) ringGroup() {
	for c.group < len(c.plan.Groups) && len(c.plan.Groups[c.group]) == 0 {
		c.group++
	}
	c.tried = nil
	if c.group >= len(c.plan.Groups) {
		c.giveUp()
		return
	}
	if n, _ := breadth(c.a.server.Request()); n < len(c.plan.Groups[c.group]) {
		c.end(Ending{Code: statusMaxBreadth, Reason: verdict.TooManyHops, By: A}, nil)
		return
	}
	for i, t := range c.plan.Groups[c.group] {
		c.tried = append(c.tried, c.newLeg(t, strconv.Itoa(i)))
	}
	for _, l := range c.tried {
		c.place(l)
	}
}

// failed takes a target's refusal; when the last one of its group refused, the next group's turn has come, or the end.
func (c *Call) failed(l *leg, o outcome) {
	c.close(l)
	if o.lost && l.target.Lost != nil {
		c.contain("Target.Lost", l.target.Lost)
	}
	if c.ended || c.a.established {
		return
	}
	if o.next && c.tryOtherFlow(l) {
		return
	}
	if c.best == nil || rank(o.code) < rank(c.best.code) {
		c.best = &o
	}
	if o.last && !c.plan.Apart {
		c.goOn()
		return
	}
	for _, other := range c.tried {
		if !other.over {
			return
		}
	}
	if !c.best.next { // who was asked and said no is not asked again through another gateway
		c.goOn()
		return
	}
	if c.group+1 >= len(c.plan.Groups) {
		c.goOn()
		return
	}
	c.group++
	c.ringGroup()
}

// tryOtherFlow calls the same device over its next flow (RFC 5626 §5.3). It reports false if there is none.
func (c *Call) tryOtherFlow(l *leg) bool {
	if len(l.target.Else) == 0 {
		return false
	}
	t := l.target.Else[0]
	t.Else = l.target.Else[1:]
	next := c.newLeg(t, l.index+"+")
	c.tried[slices.Index(c.tried, l)] = next
	c.place(next)
	return true
}

// giveUp refuses A's INVITE with the best refusal that the targets gave.
func (c *Call) giveUp() {
	o := c.best
	if o == nil {
		o = &outcome{code: sip.StatusServiceUnavailable, reason: verdict.TransportFailure}
	}
	c.end(Ending{Code: o.code, Reason: o.reason, By: B}, o.res)
}

// rank orders refusals by what they tell A, the most telling first (RFC 3261 §16.7 step 6).
func rank(code int) int {
	switch {
	case code >= 600:
		return 0
	case code/100 == 3:
		return 1
	case code == sip.StatusBusyHere:
		return 1
	case code == sip.StatusUnauthorized || code == sip.StatusProxyAuthRequired:
		return 2
	case code == sip.StatusRequestTimeout || code == sip.StatusTemporarilyUnavailable:
		return 4
	case code/100 == 4:
		return 3
	}
	return 5
}

// reasonOf names a final status code for CDRs and counters.
func reasonOf(code int) verdict.Reason {
	switch code {
	case sip.StatusBusyHere, sip.StatusGlobalBusyEverywhere:
		return verdict.Busy
	case sip.StatusRequestTimeout, sip.StatusTemporarilyUnavailable:
		return verdict.NoAnswer
	case sip.StatusGlobalDecline, sip.StatusForbidden:
		return verdict.Declined
	case sip.StatusUnauthorized, sip.StatusProxyAuthRequired:
		return verdict.Challenged
	case sip.StatusNotFound, sip.StatusGone, sip.StatusGlobalDoesNotExistAnywhere, sip.StatusAddressIncomplete:
		return verdict.UnknownNumber
	case sip.StatusNotAcceptableHere, sip.StatusGlobalNotAcceptable:
		return verdict.NoCommonMedia
	}
	return verdict.TargetFailed
}
