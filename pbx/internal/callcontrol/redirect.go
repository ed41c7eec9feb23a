package callcontrol

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/b2bua"
)

// redirect follows a phone's 3xx to another extension. To carriers nobody is sent on by a phone: the call would be paid for
// by an account that has not placed it.
func (a *attempt) redirect(from b2bua.Target, contacts []sip.Uri) []b2bua.Target {
	for _, c := range contacts {
		user, _, _ := strings.Cut(c.User, ";")
		action, ok := a.c.plan.Load().Lookup("", user)
		if !ok || action.Kind != dialplan.Extension || action.Number == a.action.Number {
			continue
		}
		targets := a.phones(action.Number)
		if len(targets) > 0 {
			a.c.cfg.Log.Info("call is redirected", "call", a.id, "trace", a.caller.Trace, "by", from.Name, "to", action.Number)
			return targets
		}
	}
	return nil
}
