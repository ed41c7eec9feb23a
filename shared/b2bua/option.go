package b2bua

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// The extensions of SIP that the engine serves by itself, leg by leg.
const (
	tagReliable   = "100rel"     // RFC 3262
	tagTimer      = "timer"      // RFC 4028
	tagReplaces   = "replaces"   // RFC 3891, where transfers are served
	tagNoReferSub = "norefersub" // RFC 4488
	tagNoSub      = "nosub"      // RFC 7614
)

// Served reports whether a request of that method may demand an extension of the engine (RFC 3261 §8.2.2.3).
func Served(m sip.RequestMethod, tag string) bool {
	switch tag = strings.ToLower(tag); m {
	case sip.INVITE:
		return tag == tagReliable || tag == tagTimer || tag == tagReplaces
	case sip.PRACK, sip.UPDATE:
		return tag == tagReliable || tag == tagTimer
	case sip.REFER:
		return tag == tagNoReferSub || tag == tagNoSub
	}
	return false
}

// features is what a far side says that it can.
type features uint8

const (
	canUpdate    features = 1 << iota // Allow names UPDATE (RFC 3311)
	canReliable                       // Supported or Require names 100rel
	canTimer                          // Supported or Require names timer
	mustReliable                      // Require names 100rel
)

// learn keeps what a message tells about its sender. A header that is missing tells nothing.
func (l *leg) learn(msg sip.Message) {
	if hs := msg.GetHeaders("Allow"); len(hs) > 0 {
		l.can &^= canUpdate
		if named(hs, string(sip.UPDATE)) {
			l.can |= canUpdate
		}
	}
	supported, required := msg.GetHeaders("Supported"), msg.GetHeaders("Require")
	if named(supported, tagReliable) {
		l.can |= canReliable
	}
	if named(supported, tagTimer) || named(required, tagTimer) {
		l.can |= canTimer
	}
	if _, request := msg.(*sip.Request); request && named(required, tagReliable) {
		l.can |= canReliable | mustReliable
	}
}

// updates reports whether an UPDATE may be sent on the leg.
func (l *leg) updates() bool { return l.can&canUpdate != 0 && l.policy.allows(sip.UPDATE) }

// named reports whether a list header names a token, in whatever case.
func named(hs []sip.Header, token string) bool {
	for _, h := range hs {
		for one := range strings.SplitSeq(h.Value(), ",") {
			if strings.EqualFold(strings.Trim(one, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// supported is our Supported header by what is served: 1 is PRACK, 2 session timers, 4 transfers. It is written for every call.
var supported = [8]string{
	1: tagReliable,
	2: tagTimer,
	3: tagReliable + ", " + tagTimer,
	4: tagReplaces + ", " + tagNoReferSub,
	5: tagReliable + ", " + tagReplaces + ", " + tagNoReferSub,
	6: tagTimer + ", " + tagReplaces + ", " + tagNoReferSub,
	7: tagReliable + ", " + tagTimer + ", " + tagReplaces + ", " + tagNoReferSub,
}

// options adds our Allow and Supported to a request that makes or changes a session, or to its 2xx.
func (l *leg) options(msg sip.Message, reliable bool) {
	l.allow(msg)
	n := 0
	if reliable && l.policy.allows(sip.PRACK) {
		n |= 1
	}
	if l.owner().eng.cfg.Session.on() {
		n |= 2
	}
	if l.policy.allows(sip.REFER) {
		n |= 4
	}
	if n > 0 {
		msg.AppendHeader(sip.NewHeader("Supported", supported[n]))
	}
}
