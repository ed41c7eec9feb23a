package rules

import (
	"slices"
	"strings"

	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/sipmsg"
)

// identity decides who is shown as the caller.
func (s *Set) identity(v *view) {
	if s.inward {
		s.callerIn(v)
	} else {
		s.callerOut(v)
	}
	if !private(v) {
		return
	}
	v.anonymous()
	if !s.inward && !s.trusted { // RFC 3325 §7: beyond the trust domain nobody is told
		v.remove("P-Asserted-Identity")
		v.remove("P-Preferred-Identity")
	}
}

// callerIn shows the exchange the number that a trusted carrier asserts.
func (s *Set) callerIn(v *view) {
	if s.dir.Identity.Caller != "asserted" {
		return
	}
	for _, name := range []string{"P-Asserted-Identity", "P-Preferred-Identity"} { // trust took off what is not to be believed
		for _, value := range v.values(name) {
			n, err := sipmsg.ParseNameAddr(value)
			if err != nil || n.URI.User == topology.Anonymous {
				continue
			}
			if n.Display != "" {
				v.from.DisplayName = n.Display
			}
			v.from.Address = n.URI
			return
		}
	}
}

// callerOut shows the carrier a number of ours. The exchange says in From who calls; what it would assert is made of that.
func (s *Set) callerOut(v *view) {
	id := &s.dir.Identity
	asserted, anonymous := v.from.Address.User, v.isAnonymous()
	if given := v.number("p-asserted-identity"); given != "" {
		asserted = given
	}
	if id.Number != "" && (anonymous && asserted == v.from.Address.User || !id.own(asserted)) {
		asserted = id.Number
	}
	shown := v.from.Address.User
	v.remove("P-Asserted-Identity")
	v.remove("P-Preferred-Identity")
	if !anonymous && id.Caller == "asserted" {
		v.from.Address.User = asserted
	}
	if name := headerOf[id.Assert]; name != "" && number(asserted) {
		display := ""
		if asserted == shown { // the name is of who calls, not of the number that stands in for him
			display = v.from.DisplayName
		}
		v.set(name, []string{sipmsg.NameAddr{Display: display, URI: address(asserted, v.Caller)}.String()})
	}
}

// own reports whether a number is one of ours.
func (d *Identity) own(s string) bool {
	return len(d.Own) == 0 && number(s) && len(s) >= shortest || slices.ContainsFunc(d.Own, func(p string) bool { return strings.HasPrefix(s, p) })
}

// shortest is the length of the shortest number that is taken for one of the telephone network where nothing else tells it
// from an extension.
const shortest = 7

// private reports whether the caller wants to be anonymous (RFC 3323 §4.2, RFC 3325 §9.3).
func private(v *view) bool {
	if v.isAnonymous() {
		return true
	}
	value, _ := sipmsg.Header(v.req, "Privacy")
	for one := range strings.SplitSeq(value, ";") {
		switch strings.ToLower(strings.TrimSpace(one)) {
		case "id", "user", "header":
			return true
		}
	}
	return false
}
