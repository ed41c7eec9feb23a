package dialog

import (
	"errors"
	"net/url"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// maxName bounds a Call-ID or a tag that a Replaces may name, in bytes.
const maxName = 256

// The faults of a reference to a dialog or to a transfer's target.
var (
	ErrReplaces = errors.New("malformed Replaces")
	ErrReferTo  = errors.New("Refer-To names nothing that can be called")
)

// Replaces names a dialog that a call is to take the place of (RFC 3891). The tags are as the receiver of the header sees
// them: ToTag is its own, FromTag the far side's.
type Replaces struct {
	CallID, ToTag, FromTag string
	EarlyOnly              bool // only if nobody has answered yet
}

// ParseReplaces reads a Replaces header.
func ParseReplaces(value string) (Replaces, error) {
	var r Replaces
	id, rest, _ := strings.Cut(value, ";")
	r.CallID = trimBlank(id)
	for one := range strings.SplitSeq(rest, ";") {
		name, v, _ := strings.Cut(one, "=")
		name, v = strings.ToLower(trimBlank(name)), trimBlank(v)
		into := &r.ToTag
		switch name {
		case "to-tag":
		case "from-tag":
			into = &r.FromTag
		case "early-only":
			r.EarlyOnly = true
			continue
		default:
			continue
		}
		if *into != "" {
			return Replaces{}, ErrReplaces // RFC 3891 §6.1: exactly one of each
		}
		*into = v
	}
	for _, s := range []string{r.CallID, r.ToTag, r.FromTag} {
		if s == "" || len(s) > maxName || strings.IndexFunc(s, notName) >= 0 {
			return Replaces{}, ErrReplaces
		}
	}
	return r, nil
}

// notName reports whether c can't stand in a Call-ID or a tag as we take them: RFC 3261 §25.1's word without quotes,
// brackets and what parts parameters.
func notName(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`;,"<>\?`, c) }

// String is the header's value.
func (r Replaces) String() string {
	s := r.CallID + ";to-tag=" + r.ToTag + ";from-tag=" + r.FromTag
	if r.EarlyOnly {
		s += ";early-only"
	}
	return s
}

// ReferTo is who a REFER asks to call (RFC 3515 §2.1), and the dialog that this call is to replace.
type ReferTo struct {
	URI      sip.Uri // without headers
	Replaces *Replaces
}

// ParseReferTo reads a Refer-To header. The only method that it may ask for is INVITE, and of the headers that a URI may
// carry it keeps Replaces; what else stands there does not become part of a request (RFC 3261 §19.1.5).
func ParseReferTo(value string) (ReferTo, error) {
	n, err := sipmsg.ParseNameAddr(value)
	if err != nil {
		return ReferTo{}, err
	}
	method, has := sipmsg.Param(n.URI.UriParams, "method")
	if n.URI.Scheme != "sip" && n.URI.Scheme != "sips" || has && !strings.EqualFold(method, "INVITE") {
		return ReferTo{}, ErrReferTo
	}
	r := ReferTo{URI: stripForRequestURI(n.URI)}
	for _, h := range n.URI.Headers {
		if !strings.EqualFold(h.K, "Replaces") {
			continue
		}
		plain, err := url.PathUnescape(h.V)
		if err != nil || r.Replaces != nil {
			return ReferTo{}, ErrReplaces
		}
		replaces, err := ParseReplaces(plain)
		if err != nil {
			return ReferTo{}, err
		}
		r.Replaces = &replaces
	}
	if r.URI.User == "" && r.Replaces == nil { // the Contact of a dialog may have none
		return ReferTo{}, ErrReferTo
	}
	return r, nil
}

// String is the header's value.
func (r ReferTo) String() string {
	u := *r.URI.Clone()
	u.Headers = nil
	if r.Replaces != nil {
		u.Headers = sip.HeaderParams{{K: "Replaces", V: r.Replaces.String()}}
	}
	return sipmsg.NameAddr{URI: u}.String()
}

func trimBlank(s string) string { return strings.Trim(s, " \t") }
