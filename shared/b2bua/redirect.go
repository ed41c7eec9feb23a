package b2bua

import (
	"slices"
	"strconv"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// Bounds of what redirections may cause.
const (
	maxRedirects = 5 // targets that one call is sent on to, in all
	maxContacts  = 8 // contacts of one 3xx that are looked at
)

// redirected takes a 3xx of a target. It reports whether the plan had a use for it; else the target has failed.
func (c *Call) redirected(l *leg, res *sip.Response) bool {
	if c.ended || c.a.established || c.plan.Redirect == nil && c.plan.Moved == nil {
		return false
	}
	contacts := contactsOf(res)
	if c.plan.Redirect != nil {
		return c.follow(l, c.plan.Redirect(l.target, contacts))
	}
	told := c.plan.Moved(contacts)
	if len(told) == 0 {
		return false
	}
	c.moved = told
	c.failed(l, outcome{code: sip.StatusMovedTemporarily, reason: verdict.Redirected})
	return true
}

// follow calls the targets that take the place of leg l's, in the same group.
func (c *Call) follow(l *leg, targets []Target) bool {
	targets = targets[:min(len(targets), maxRedirects-c.redirects)]
	if len(targets) == 0 {
		return false
	}
	c.log.Info("target redirects", "target", l.target.Name, "to", targets[0].Name)
	c.close(l)
	c.tried = slices.DeleteFunc(c.tried, func(t *leg) bool { return t == l })
	for _, t := range targets {
		c.redirects++
		next := c.newLeg(t, strconv.Itoa(-c.redirects)) // a name that no target of the group has
		c.tried = append(c.tried, next)
		c.place(next)
	}
	return true
}

// contactsOf returns the contacts of a 3xx, the preferred ones first (RFC 3261 §8.1.3.4, §20.10).
func contactsOf(res *sip.Response) []sip.Uri {
	type ranked struct {
		uri sip.Uri
		q   float64
	}
	var all []ranked
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Wildcard || len(all) == maxContacts {
			continue
		}
		q := 1.0
		if v, ok := sipmsg.Param(c.Params, "q"); ok {
			q, _ = strconv.ParseFloat(v, 64)
		}
		all = append(all, ranked{*c.Address.Clone(), q})
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	out := make([]sip.Uri, len(all))
	for i, r := range all {
		out[i] = r.uri
	}
	return out
}
