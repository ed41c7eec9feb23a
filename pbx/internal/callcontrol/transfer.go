package callcontrol

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// trunkAccount begins the account of a carrier's leg. No extension has a blank in its number.
const trunkAccount = "trunk "

// account is whose rights a transfer of the caller's has.
func (w Caller) account() string {
	if w.Trunk != "" {
		return trunkAccount + w.Trunk
	}
	return w.Number
}

// onBehalf is the caller of the call that a transfer makes: the callee sees who is transferred, and the rights are those
// of who transfers. A carrier may transfer to what it may call.
func (a *attempt) onBehalf(w b2bua.Refer) Caller {
	who := Caller{Number: w.Party.URI.User, Name: sipmsg.DisplayText(w.Party.Display), Realm: a.caller.Realm, Trace: w.Trace, Causer: w.Account}
	if trunk, ok := strings.CutPrefix(w.Partner, trunkAccount); ok {
		who.Trunk = trunk
	} else if e, ok := a.c.cfg.Store.Extension(w.Partner); ok {
		who.Number, who.Name = e.Number, e.Name
	}
	if trunk, ok := strings.CutPrefix(w.Account, trunkAccount); ok {
		who.Trunk, who.Causer = trunk, ""
	}
	return who
}

// refer makes the call that a blind transfer asks for (b2bua.Plan).
func (a *attempt) refer(w b2bua.Refer) (b2bua.Plan, error) {
	if !a.c.serves(w.Target.Host) {
		return b2bua.Plan{}, &b2bua.Refusal{Code: sip.StatusNotFound, Reason: verdict.UnknownDomain}
	}
	if !a.c.holds(w.Account) {
		return b2bua.Plan{}, &b2bua.Refusal{Code: sip.StatusForbidden, Reason: verdict.TransferRefused}
	}
	return a.c.callFor(w, a.onBehalf(w), Dialled(w.Target.User), w.Account)
}

// callFor prepares the call that a transfer, or a service, makes for a party.
func (c *Control) callFor(w b2bua.Refer, who Caller, dialled, transferor string) (b2bua.Plan, error) {
	_, plan, v := c.prepare(w.Flow, who, dialled, transferor)
	if !v.OK() {
		return plan, &b2bua.Refusal{Code: v.Code, Reason: v.Reason}
	}
	return plan, nil
}

// holds reports whether an account is there still: an extension may be deleted in the middle of its call.
func (c *Control) holds(account string) bool {
	if trunk, ok := strings.CutPrefix(account, trunkAccount); ok {
		_, ok = c.cfg.Trunks[trunk]
		return ok
	}
	_, ok := c.cfg.Store.Extension(account)
	return ok
}

// serves reports whether a transfer's target is one of ours: a name must be, an address is this exchange as a phone sees it.
func (c *Control) serves(host string) bool {
	host = strings.Trim(strings.ToLower(host), "[]")
	if _, err := netip.ParseAddr(host); err == nil || c.cfg.Serves == nil {
		return true
	}
	return c.cfg.Serves(host)
}

// Dialled is the number in a user part: without parameters, and with "#" as people write it (RFC 3261 §25.1 escapes it).
func Dialled(user string) string {
	user, _, _ = strings.Cut(user, ";")
	return strings.ReplaceAll(user, "%23", "#")
}

// referredBy tells a phone who transferred the call to it (RFC 3892).
func (a *attempt) referredBy() []sip.Header {
	if _, ok := a.c.cfg.Store.Extension(a.caller.Causer); !ok { // a menu sent the call here, or nobody
		return nil
	}
	return []sip.Header{&sip.ReferredByHeader{Address: address(a.caller.Causer, a.c.cfg.Domain)}}
}

// joined notes that a party of the call was replaced: by who was transferred to it, by another phone of its own account, or by who fetched
// the other one.
func (a *attempt) joined(j b2bua.Joined) {
	fetched := a.parked != nil && j.Side == b2bua.B
	if !fetched && a.caller.Causer == j.Account && a.rec.Transferor != "" { // a blind transfer, as it began
		return
	}
	number := j.Party.URI.User
	if e, ok := a.c.cfg.Store.Extension(j.Partner); ok {
		number = e.Number
	}
	if !fetched {
		a.rec.Transferor, a.rec.Transferee = j.Account, number
		if j.Trace != a.rec.Trace {
			a.rec.TransferOf = j.Trace
		}
	}
	if a.parked != nil {
		a.unpark(j.Side, number)
	}
	if j.Side == b2bua.A {
		a.row.Caller = number
	} else {
		a.row.Callee = number
	}
	a.c.parties.drop(a.id)
	a.c.parties.talks(a.id, a.row.Caller, a.row.Callee)
	a.put(a.row.State)
}

// Replace has the caller take the place of another phone of its account in a call (RFC 3891). The call goes on, and so
// does its record.
func (c *Control) Replace(s *transaction.Server, who Caller, r dialog.Replaces) verdict.Verdict {
	policy := c.cfg.Phones
	if who.Realm != Inside {
		policy = c.cfg.Border
	}
	err := c.cfg.Engine.Replace(s, r, who.account(), policy)
	switch {
	case err == nil:
		return verdict.Passed
	case errors.Is(err, b2bua.ErrNoDialog):
		return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog)
	case errors.Is(err, b2bua.ErrNotYours):
		return verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	case errors.Is(err, b2bua.ErrBusy):
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	}
	return refusal(err)
}

// directionOf is which way a call goes.
func directionOf(who Caller, action dialplan.Action) cdr.Direction {
	switch {
	case action.Kind == dialplan.Trunk:
		return cdr.Outbound
	case who.Trunk != "":
		return cdr.Inbound
	}
	return cdr.Internal
}
