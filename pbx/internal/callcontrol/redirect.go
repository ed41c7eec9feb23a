package callcontrol

import (
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// maxRedirected bounds how often one call asks for the rights of who redirects it.
const maxRedirected = 8

// redirect follows a phone's 3xx: to another extension, or through a trunk, if the extension whose phone it is may call that
// number. That extension pays: its rights and caps decide, whoever calls.
func (a *attempt) redirect(from b2bua.Target, contacts []sip.Uri) []b2bua.Target {
	for _, c := range contacts {
		user, _, _ := strings.Cut(c.User, ";")
		action, ok := a.c.plan.Load().Lookup("", user, a.c.moment())
		if !ok {
			continue
		}
		if targets := a.redirectTo(from, action); len(targets) > 0 {
			a.c.cfg.Log.Info("call is redirected", "call", a.id, "trace", a.caller.Trace, "by", from.Name, "to", action.Number, "trunk", action.Trunk)
			return targets
		}
	}
	return nil
}

func (a *attempt) redirectTo(from b2bua.Target, action dialplan.Action) []b2bua.Target {
	switch {
	case action.Kind == dialplan.Extension && action.Number != a.action.Number:
		return a.phones(action.Number)
	case action.Kind == dialplan.Trunk:
		return a.redirectOut(from.Name, action)
	}
	return nil
}

// redirectOut is a number behind a trunk that an extension's phone redirects to.
func (a *attempt) redirectOut(by string, action dialplan.Action) []b2bua.Target {
	targets, _ := a.out(by, action)
	return targets
}

// out is a number behind a trunk that somebody else than the caller decided for, and pays for.
func (a *attempt) out(by string, action dialplan.Action) ([]b2bua.Target, verdict.Verdict) {
	trunk, ok := a.c.cfg.Trunks[action.Trunk]
	if !ok || action.Number == "" {
		return nil, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	if a.redirected == maxRedirected {
		return nil, verdict.Rejected(sip.StatusLoopDetected, verdict.LoopDetected)
	}
	a.redirected++
	id := a.id + "/" + strconv.Itoa(a.redirected)
	if v := a.authorize(External{ID: id, Causer: by, Action: action}); !v.OK() {
		return nil, v
	}
	return []b2bua.Target{a.through(trunk, action.Number)}, verdict.Passed
}
