// Package callcontrol makes calls of decisions: it looks up the phones of an extension or the trunk of a number, forks,
// writes the call's row and its CDR, and hands the rest to the call engine.
//
// Every way to a trunk goes through Control.Authorize, which asks for the rights and caps of the extension that caused the
// call: who dialled, or, where somebody else decided where the call goes, who did so: the one that transferred it
// (REFER), the one whose phone redirected it (302), the one who owns the forward. A call that is started for one of these
// has its number in Caller.Causer, and is looked up and charged as if that extension had dialled.
package callcontrol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/music"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/queue"
	"brickhouse/pbx/internal/store"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Lines are the ways out of the exchange: to its own phones, and through the border.
type Lines interface {
	// Phone returns how to reach a phone on the inside.
	Phone(b *store.Binding) func(ctx context.Context) (*transport.Flow, error)
	// Border returns the core link.
	Border(ctx context.Context) (*transport.Flow, error)
}

// Trunk is what call control must know of a carrier.
type Trunk struct {
	Name     string
	Domain   string // host part of the addresses that the carrier gets
	FromUser string // user part of From; empty: the caller's number
	FromHost string // host part of From; empty: Domain
	// Auth answers the carrier's challenges; nil if the trunk has no credentials.
	Auth func(*sip.Request, *sip.Response) (sip.Header, error)
}

// Config is what call control is made of.
type Config struct {
	Domain string
	Node   string
	Ring   time.Duration
	Engine *b2bua.Engine
	// Transactions is for requests outside calls.
	Transactions *transaction.Layer
	Store        *store.Store
	CDR          *cdr.Writer
	Media        *media.Engine
	Voicemail    *voicemail.Boxes // nil: there are no mailboxes
	Music        *music.Piece     // that who waits hears
	HoldMusic    bool             // who is held hears it, too
	Prompts      *prompt.Library
	RoomPINs     RoomPINs
	Lines        Lines
	Phones       *b2bua.LegPolicy // how we look to phones on the inside
	Border       *b2bua.LegPolicy // how we look to the border
	Trunks       map[string]Trunk
	Dialplan     *dialplan.Plan
	Serves       func(host string) bool // tells whether a name is a domain of ours; nil: each is
	Denied       func(verdict.Reason)   // hears of each external call that is denied; may be nil
	Log          *slog.Logger
	Now          func() time.Time
}

// Control starts calls. All methods may be called from any goroutine.
type Control struct {
	cfg   Config
	plan  atomic.Pointer[dialplan.Plan]
	meter meter
	texts texting

	parties parties
	hunts   hunts
	ringing ringing

	queues *queue.Queues
	rooms  *conference.Rooms

	ringback *music.Piece // what a caller hears whom a service has called on
}

// New returns a call control.
func New(cfg Config) *Control {
	c := &Control{cfg: cfg, ringback: music.Ringing()}
	c.plan.Store(cfg.Dialplan)
	c.queues, c.rooms = c.newQueues(), conference.NewRooms(cfg.Now)
	return c
}

// SetDialplan replaces the dialplan; calls in progress go on.
func (c *Control) SetDialplan(p *dialplan.Plan) { c.plan.Store(p) }

// Caller is who calls.
type Caller struct {
	Number string
	Name   string // display name; may be empty
	Realm  string // Inside, corelink.RealmAccess or corelink.RealmPeer
	Trunk  string // name of the trunk that the call came through
	Trace  string // trace id; empty lets call control choose

	// Causer is the extension that decided where the call goes, where that is not who calls: the transferor, the one whose
	// phone redirected, the owner of a forward. Its rights and caps are the call's.
	Causer string

	only *only // the phones that a service calls; nil: whatever was dialled
	led  int   // how often services have led the call on
}

// causer is the extension whose rights decide; empty if that is none of ours.
func (w Caller) causer() string {
	switch {
	case w.Causer != "":
		return w.Causer
	case w.Trunk != "":
		return ""
	}
	return w.Number
}

// isOwner reports whether it is a phone of the extension Number that dials, and nobody that shows its number or was sent by somebody else.
func (w Caller) isOwner() bool { return w.Trunk == "" && w.Causer == "" }

// origin is the trunk whose rules of the dialplan apply to the call; empty: those of phones.
func (w Caller) origin() string {
	if w.Causer != "" {
		return ""
	}
	return w.Trunk
}

// attempt is one call attempt on its way to becoming a call.
type attempt struct {
	c      *Control
	flow   *transport.Flow // the caller's
	caller Caller
	id     string
	row    store.Call
	rec    cdr.Record
	plan   *dialplan.Plan
	action dialplan.Action
	grants []grant // of external calls

	redirected int      // how often the rights of who redirects or forwards were asked for
	route               // how it came to where it rings
	confirms   bool     // a tone tells how a service was set, and the call ends
	parked     *parking // where the call waits; nil: it does not
}

// Start decides about an INVITE whose sender is known, and starts the call. Whatever happens there is one CDR of it. The
// verdict is for the caller to answer where it is not Pass.
func (c *Control) Start(s *transaction.Server, who Caller, dialled string) verdict.Verdict {
	a, plan, v := c.prepare(s.Flow(), who, dialled, "")
	if !v.OK() {
		return v
	}
	if _, err := c.cfg.Engine.Start(s, plan); err != nil {
		v := refusal(err)
		a.refund()
		if plan.Local != nil {
			plan.Local.Close()
		}
		a.end(b2bua.Ending{Code: v.Code, Reason: v.Reason, At: c.cfg.Now()})
		return v
	}
	return verdict.Passed
}

// prepare decides about a call, begins its record, makes its plan, and asks whether who causes it may. What is not to be has
// ended when it returns.
func (c *Control) prepare(f *transport.Flow, who Caller, dialled, transferor string) (*attempt, b2bua.Plan, verdict.Verdict) {
	a := c.newAttempt(f, who, dialled)
	if a.rec.Transferor = transferor; transferor != "" {
		a.rec.Transferee = who.Number
	}
	if err := c.cfg.CDR.Begin(a.rec); err != nil && a.action.Emergency {
		c.cfg.Log.Error("an emergency call goes on without a record: it can't be written", "call", a.id, "error", err)
	} else if err != nil {
		c.cfg.Log.Error("call refused: its record can't be written", "call", a.id, "error", err)
		return a, b2bua.Plan{}, verdict.Rejected(sip.StatusServiceUnavailable, verdict.SystemFailure)
	}
	plan, v := a.decide()
	if v.OK() {
		v = a.admit()
	}
	if !v.OK() {
		a.end(b2bua.Ending{Code: v.Code, Reason: v.Reason, At: c.cfg.Now()})
	} else if who.Trunk == "" {
		c.parties.talks(a.id, who.Number)
	}
	return a, plan, v
}

func (c *Control) newAttempt(f *transport.Flow, who Caller, dialled string) *attempt {
	now := c.cfg.Now()
	if who.Trace == "" {
		who.Trace = sipmsg.NewTag()
	}
	a := &attempt{c: c, flow: f, caller: who, id: sipmsg.NewCallID(), plan: c.plan.Load()}
	a.action, _ = a.plan.Lookup(who.origin(), dialled, c.moment())
	direction := directionOf(who, a.action)
	trunk := who.Trunk
	if a.action.Trunk != "" {
		trunk = a.action.Trunk
	}
	a.row = store.Call{
		ID: a.id, Trace: who.Trace, Direction: string(direction), Caller: who.Number, Callee: a.action.Number,
		Dialled: dialled, Trunk: trunk, Node: c.cfg.Node, Started: now,
	}
	a.rec = cdr.Record{
		ID: a.id, Trace: who.Trace, Start: now, Caller: who.Number, Callee: a.action.Number, Dialled: dialled,
		Direction: direction, Trunk: trunk, Realm: who.Realm,
	}
	return a
}

// decide makes the plan of the call.
func (a *attempt) decide() (b2bua.Plan, verdict.Verdict) {
	plan := b2bua.Plan{
		ID: a.id, Policy: a.c.cfg.Phones, Ring: a.c.cfg.Ring,
		Info:    b2bua.Info{Trace: a.caller.Trace, Caller: a.caller.Number, Callee: a.rec.Dialled, From: a.origin(), To: string(a.action.Kind)},
		Ringing: func() { a.put(store.CallRinging) },
		Answer:  a.answered,
		End:     a.end,
		Account: a.caller.account(),
		Refer:   a.refer,
		Joined:  a.joined,

		Emergency: a.action.Emergency,
	}
	if a.c.cfg.HoldMusic {
		plan.Hold = a.holdMusic
	}
	if a.caller.Realm != Inside {
		plan.Policy = a.c.cfg.Border
	}
	if a.caller.only != nil {
		return a.toOnly(plan)
	}
	switch a.action.Kind {
	case dialplan.Extension:
		return a.toExtension(plan)
	case dialplan.Trunk:
		return a.toTrunk(plan)
	case dialplan.Ring:
		return a.toGroup(plan)
	case dialplan.Echo, dialplan.Milliwatt, dialplan.Voicemail, dialplan.Mailbox, dialplan.ToMenu, dialplan.ToQueue, dialplan.ToRoom:
		turn, v := a.lead(a.action, "")
		plan.Local = turn.Local
		return plan, v
	case dialplan.Feature:
		return a.toFeature(plan)
	case dialplan.Refuse:
		return plan, verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	return plan, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
}

// Inside is the realm of phones that reach us without the border.
const Inside = "inside"

func (a *attempt) origin() string {
	if a.caller.Trunk != "" {
		return trunkAccount + a.caller.Trunk
	}
	return a.caller.Realm
}

// toExtension rings every contact that the extension has registered, or goes where it forwards its calls.
func (a *attempt) toExtension(plan b2bua.Plan) (b2bua.Plan, verdict.Verdict) {
	turn, v := a.visit(a.action.Number)
	return a.begin(plan, turn), v
}

// phones are the devices that an extension has registered.
func (a *attempt) phones(number string) []b2bua.Target {
	return a.devices(a.c.cfg.Store.Bindings(number, a.c.cfg.Now()))
}

// phone is one registered contact as a target.
func (a *attempt) phone(b *store.Binding) (b2bua.Target, error) {
	cfg := a.c.cfg
	uri, err := sipmsg.ParseURI(b.ContactURI)
	if err != nil {
		return b2bua.Target{}, fmt.Errorf("contact %q: %w", b.ContactURI, err)
	}
	t := b2bua.Target{
		Name: b.AOR, Account: b.AOR, URI: uri, Policy: cfg.Phones, Dial: cfg.Lines.Phone(b), Headers: append(a.referredBy(), a.diversion()...),
		From: a.shown(a.caller.Number, cfg.Domain), To: dialog.Party{URI: address(b.AOR, cfg.Domain)},
	}
	for _, p := range b.Path { // RFC 3327 §5.3
		hop, err := sipmsg.ParseURI(p)
		if err != nil {
			return t, fmt.Errorf("path %q: %w", p, err)
		}
		t.Routes = append(t.Routes, hop)
	}
	if b.Outside {
		t.Policy, t.Dial, t.Headers = cfg.Border, cfg.Lines.Border, append(a.private(""), t.Headers...)
		t.Lost = func() { a.c.unbind(b) }
	}
	return t, nil
}

// toTrunk calls a number through the border and a trunk; an emergency number, where that fails, through the next.
func (a *attempt) toTrunk(plan b2bua.Plan) (b2bua.Plan, verdict.Verdict) {
	trunks := []string{a.action.Trunk}
	if a.action.Emergency && len(a.plan.EmergencyTrunks()) > 0 {
		trunks = a.plan.EmergencyTrunks()
	}
	for _, name := range trunks {
		trunk, ok := a.c.cfg.Trunks[name]
		if !ok || a.action.Number == "" {
			return plan, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
		}
		plan.Groups = append(plan.Groups, []b2bua.Target{a.through(trunk, a.action.Number)})
	}
	return plan, verdict.Passed
}

// through is a number behind a trunk, as a target.
func (a *attempt) through(trunk Trunk, number string) b2bua.Target {
	user, host := trunk.FromUser, trunk.FromHost
	if user == "" {
		user = a.caller.Number
	}
	if host == "" {
		host = trunk.Domain
	}
	return b2bua.Target{
		Name: trunkAccount + trunk.Name, Account: trunkAccount + trunk.Name,
		URI: address(number, trunk.Domain), Policy: a.c.cfg.Border, Dial: a.c.cfg.Lines.Border,
		From: a.from(user, host), To: dialog.Party{URI: address(number, trunk.Domain)},
		Headers: append(a.private(trunk.Name), a.diversion()...), Auth: trunk.Auth,
	}
}

func (a *attempt) from(user, host string) dialog.Party {
	if user == "" {
		user = "anonymous"
	}
	return dialog.Party{Display: sipmsg.CleanDisplayName(a.caller.Name), URI: address(user, host)}
}

func address(user, host string) sip.Uri { return sip.Uri{Scheme: "sip", User: user, Host: host} }

// private is what the border is told about a call that leaves through it.
func (a *attempt) private(trunk string) []sip.Header {
	out := []sip.Header{sip.NewHeader(corelink.HeaderTrace, a.caller.Trace)}
	if trunk != "" {
		out = append(out, sip.NewHeader(corelink.HeaderTrunk, trunk))
	}
	return out
}

// put writes the call's row in the state it has reached.
func (a *attempt) put(state store.CallState) {
	a.row.State = state
	row := a.row
	a.c.putRow(&row)
}

func (c *Control) putRow(row *store.Call) { c.cfg.Store.PutCallSoon(row, c.unwritten(row.ID)) }

// unwritten logs that a call's state can't be written.
func (c *Control) unwritten(call string) func(error) {
	return func(err error) { c.cfg.Log.Error("writing a call's state", "call", call, "error", err) }
}

func (a *attempt) answered(by b2bua.Target) {
	a.c.ringing.drop(a.id)
	a.row.Answered = a.c.cfg.Now()
	a.reached(by)
	if o := a.caller.only; o != nil && o.place != nil {
		o.place.Taken(by.Account)
	}
	a.put(store.CallUp)
	a.spend(by, a.row.Answered)
	if err := a.c.cfg.CDR.Answer(a.id, a.row.Answered); err != nil {
		a.c.cfg.Log.Error("writing a call's answer", "call", a.id, "error", err)
	}
}

// end writes the CDR, and only then forgets the call.
func (a *attempt) end(e b2bua.Ending) {
	a.rec.Answer, a.rec.End, a.rec.Code, a.rec.Reason = e.Answered, e.At, e.Code, e.Reason
	a.rec.Disposition = disposition(e)
	a.settle(a.c.cfg.Now())
	a.c.parties.drop(a.id)
	a.c.ringing.drop(a.id)
	a.leaveSlot()
	if o := a.caller.only; o != nil && o.place != nil {
		o.place.Done()
	}
	if err := a.c.cfg.CDR.End(a.rec); err != nil {
		a.c.cfg.Log.Error("writing a call's record", "call", a.id, "error", err)
	}
	a.c.cfg.Store.DeleteCallSoon(a.id, a.c.unwritten(a.id))
}

func disposition(e b2bua.Ending) cdr.Disposition {
	if !e.Answered.IsZero() {
		return cdr.Answered
	}
	switch e.Reason {
	case verdict.Busy:
		return cdr.Busy
	case verdict.NoAnswer:
		return cdr.NoAnswer
	case verdict.CallCancelled:
		return cdr.Cancelled
	case verdict.NotAllowed, verdict.Declined, verdict.NumberUnreadable, verdict.CountryDenied, verdict.PremiumDenied, verdict.SharedCostDenied,
		verdict.SatelliteDenied, verdict.NetworkDenied, verdict.ConcurrentCap, verdict.MinuteCap, verdict.HourCap, verdict.DayCap,
		verdict.TalkCap, verdict.ExtensionBlocked:
		return cdr.Refused
	}
	return cdr.Failed
}

// refusal is the verdict on a call that can't start.
func refusal(err error) verdict.Verdict {
	switch {
	case errors.Is(err, b2bua.ErrTooMany):
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	case errors.Is(err, b2bua.ErrClosed):
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Shutdown)
	case errors.Is(err, b2bua.ErrMerged):
		return verdict.Rejected(sip.StatusLoopDetected, verdict.LoopDetected) // RFC 3261 §8.2.2.2
	}
	return verdict.Rejected(sip.StatusBadRequest, verdict.MissingHeader)
}
