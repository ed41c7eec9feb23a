package callcontrol

import (
	"fmt"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// route is how a call came to where it rings. Where an extension forwards, or a group rings, it goes on from here.
//
//	visit ──always, busy, unreachable──► forward ──► visit another extension, a group, or a number outside
//	  └─ its phones ring ──busy, no answer, unreachable──► onward ──► forward …
//	  └─ where it forwards nothing, or can't: its mailbox, if it has one
//	enter a group ──► its members ring ──none answers──► onward ──► its next members, or where it leads then
type route struct {
	hops   []hop
	been   []string // extensions and groups that it came through
	at     string   // extension whose phones ring; empty: those of a group, or nobody's
	hunt   *hunt    // group that rings; nil: none
	prefix string   // before the caller's name
}

// hop is one forward that the call took.
type hop struct {
	by   string
	when store.Condition
}

// maxHops bounds how often one call is forwarded (RFC 5806 §8: loops).
const maxHops = 5

// moment is what the dialplan must know of the time.
func (c *Control) moment() dialplan.Moment {
	return dialplan.Moment{Time: c.cfg.Now(), Night: c.Night()}
}

// begin makes the first turn that of the plan.
func (a *attempt) begin(plan b2bua.Plan, turn b2bua.Turn) b2bua.Plan {
	plan.Redirect, plan.Then = a.redirect, a.onward
	plan.First, plan.Forwarded, plan.Local = turn.Ring, turn.Forwarded, turn.Local
	plan.Apart = turn.Apart
	if turn.Local == nil {
		plan.Groups = [][]b2bua.Target{turn.Targets}
	}
	a.c.ringing.set(a.id, a.caller.Number, turn.Targets)
	return plan
}

// loops reports whether the call came through there before, and notes that it does now.
func (a *attempt) loops(place string) bool {
	if slices.Contains(a.been, place) {
		return true
	}
	a.been = append(a.been, place)
	return false
}

var errLoop = verdict.Rejected(sip.StatusLoopDetected, verdict.LoopDetected)

// visit leads the call to an extension.
func (a *attempt) visit(number string) (b2bua.Turn, verdict.Verdict) {
	if _, ok := a.c.cfg.Store.Extension(number); !ok {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	if a.loops(number) {
		return b2bua.Turn{}, errLoop
	}
	a.at, a.hunt = number, nil
	s := a.c.cfg.Store.Services(number)
	if v := a.blocked(s); !v.OK() {
		return b2bua.Turn{}, v
	}
	if to := s.Forward(store.Always); to != "" {
		return a.forward(number, store.Always, to, number)
	}
	phones, when, refused := a.ready(s)
	if to := s.Forward(when); when != "" && to != "" {
		if turn, v := a.forward(number, when, to, number); v.OK() {
			return turn, v
		}
	}
	if when != "" && a.c.hasMailbox(number) {
		return a.leaveMessage(number)
	}
	if when != "" {
		return b2bua.Turn{}, refused
	}
	turn := b2bua.Turn{Targets: phones}
	if s.Forward(store.NoAnswer) != "" || a.c.hasMailbox(number) {
		turn.Ring = a.rings(s)
	}
	a.place(number)
	return turn, verdict.Passed
}

// rings is how long an extension rings before a forward for no answer, or its mailbox.
func (a *attempt) rings(s *store.Services) time.Duration {
	if s.After > 0 {
		return time.Duration(s.After) * time.Second
	}
	return a.plan.Features().NoAnswer
}

// statusAnonymityDisallowed is 433 (RFC 5079).
const statusAnonymityDisallowed = 433

// blocked reports whether an extension takes no calls of this caller.
func (a *attempt) blocked(s *store.Services) verdict.Verdict {
	number := a.caller.Number
	if number == "anonymous" {
		number = ""
	}
	switch {
	case !s.Blocks(number):
		return verdict.Passed
	case number == "":
		return verdict.Rejected(statusAnonymityDisallowed, verdict.Declined)
	}
	return verdict.Rejected(sip.StatusGlobalDecline, verdict.Declined)
}

// ready returns the phones of an extension that can ring, or the condition that keeps them from it and what a caller hears of that.
func (a *attempt) ready(s *store.Services) ([]b2bua.Target, store.Condition, verdict.Verdict) {
	if s.DND || s.NoWaiting && a.c.parties.busy(s.Extension, a.id) {
		return nil, store.Busy, verdict.Rejected(sip.StatusBusyHere, verdict.Busy)
	}
	phones := a.phones(s.Extension)
	if len(phones) == 0 {
		return nil, store.Unreachable, verdict.Rejected(sip.StatusTemporarilyUnavailable, verdict.NotRegistered)
	}
	return phones, "", verdict.Passed
}

// forward leads the call to a number as if by, an extension or a group, had dialled it. causer is whose rights count outside.
func (a *attempt) forward(by string, when store.Condition, to, causer string) (b2bua.Turn, verdict.Verdict) {
	action, ok := a.plan.Lookup("", to, a.c.moment())
	if !ok {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	if len(a.hops) == maxHops {
		return b2bua.Turn{}, errLoop
	}
	a.hops = append(a.hops, hop{by, when})
	turn, v := a.lead(action, causer)
	if !v.OK() {
		a.c.cfg.Log.Info("call can't be forwarded", "call", a.id, "trace", a.caller.Trace, "by", by, "when", when, "to", to, "reason", v.Reason)
		a.hops = a.hops[:len(a.hops)-1]
		return turn, v
	}
	if last := a.hops[len(a.hops)-1]; last.by == by {
		a.rec.Forwarder, a.rec.Forward = by, string(when)
	}
	a.c.cfg.Log.Info("call is forwarded", "call", a.id, "trace", a.caller.Trace, "by", by, "when", when, "to", to)
	turn.Forwarded = true
	return turn, v
}

// lead leads the call to what an action says.
func (a *attempt) lead(action dialplan.Action, causer string) (b2bua.Turn, verdict.Verdict) {
	switch {
	case action.Kind == dialplan.Extension:
		return a.visit(action.Number)
	case action.Kind == dialplan.Ring:
		return a.enter(action.Place)
	case action.Kind == dialplan.Trunk && !action.Emergency: // a forward is no emergency
		targets, v := a.out(causer, action)
		if v.OK() {
			a.at, a.hunt = "", nil
			a.place(action.Number)
		}
		return b2bua.Turn{Targets: targets}, v
	case action.Kind == dialplan.Echo, action.Kind == dialplan.Milliwatt:
		kind := media.Echo
		if action.Kind == dialplan.Milliwatt {
			kind = media.Milliwatt
		}
		a.at, a.hunt = "", nil
		return b2bua.Turn{Local: a.local(kind)}, verdict.Passed
	case action.Kind == dialplan.Voicemail, action.Kind == dialplan.Feature && action.Code == dialplan.LeaveMessage:
		return a.leaveMessage(action.Number)
	case action.Kind == dialplan.ToMenu:
		return a.choose(action.Place)
	case action.Kind == dialplan.ToQueue:
		return a.enqueue(action.Place)
	case action.Kind == dialplan.ToRoom:
		return a.meet(action.Place)
	case action.Kind == dialplan.Mailbox:
		return a.hearMessages("")
	}
	return b2bua.Turn{}, verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
}

// onward says where a call goes that was not answered (b2bua.Plan).
func (a *attempt) onward(m b2bua.Missed) (b2bua.Turn, bool) {
	turn, ok := a.next(m)
	if ok {
		a.c.ringing.set(a.id, a.caller.Number, turn.Targets)
	}
	return turn, ok
}

func (a *attempt) next(m b2bua.Missed) (b2bua.Turn, bool) {
	if a.hunt != nil {
		turn, v := a.hunted(m)
		return turn, v.OK()
	}
	by, when := a.at, missed(m)
	if by == "" || when == "" || a.caller.only != nil {
		return b2bua.Turn{}, false
	}
	if to := a.c.cfg.Store.Services(by).Forward(when); to != "" {
		if turn, v := a.forward(by, when, to, by); v.OK() {
			return turn, true
		}
	}
	turn, v := a.leaveMessage(by)
	return turn, v.OK()
}

// missed is the condition that a failure is.
func missed(m b2bua.Missed) store.Condition {
	switch m.Reason {
	case verdict.Busy, verdict.Declined:
		return store.Busy
	case verdict.NoAnswer:
		return store.NoAnswer
	case verdict.NotRegistered, verdict.TransportFailure:
		return store.Unreachable
	}
	return ""
}

// place notes where the call rings.
func (a *attempt) place(number string) {
	if a.rec.Callee == number {
		return
	}
	a.row.Callee, a.rec.Callee = number, number
	if a.row.State != "" {
		a.put(a.row.State)
	}
}

// reached notes who answered.
func (a *attempt) reached(by b2bua.Target) {
	number := by.Account
	if _, ok := a.c.cfg.Store.Extension(number); ok {
		a.c.parties.talks(a.id, number)
	} else {
		number = by.URI.User
	}
	if number != "" && (len(a.been) > 0 || len(a.hops) > 0) {
		a.row.Callee, a.rec.Callee = number, number
	}
	if a.confirms {
		time.AfterFunc(confirmTime, func() { a.c.cfg.Engine.End(a.id, verdict.NormalClearing) })
	}
}

// reasons are the conditions as Diversion has them (RFC 5806 §4).
var reasons = map[store.Condition]string{
	store.Always: "unconditional", store.Busy: "user-busy", store.NoAnswer: "no-answer", store.Unreachable: "unavailable",
}

// diversion tells who is called by whom it was forwarded, the last one first (RFC 5806). The border writes it as each carrier
// wants it.
func (a *attempt) diversion() []sip.Header {
	var out []sip.Header
	for _, h := range slices.Backward(a.hops) {
		uri := address(h.by, a.c.cfg.Domain)
		out = append(out, sip.NewHeader("Diversion", fmt.Sprintf("<%s>;reason=%s", uri.String(), reasons[h.when])))
	}
	return out
}

// shown is the caller as phones show it.
func (a *attempt) shown(user, host string) dialog.Party {
	p := a.from(user, host)
	if a.prefix != "" {
		name := a.caller.Name
		if name == "" {
			name = a.caller.Number
		}
		p.Display = sipmsg.CleanDisplayName(a.prefix + name)
	}
	return p
}
