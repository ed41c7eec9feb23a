// Package topology decides what one side of the border may see of the other: names, never places. It is pure.
//
// Each leg is built anew, so nothing leaks by being forgotten; what is left to decide is how a caller and a callee are
// shown. A party keeps its user part and its display name; its host becomes the domain that the other side knows us by.
package topology

import (
	"errors"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
)

// Anonymous is the user part of a party that gave none (RFC 3323 §4.1.1.3).
const Anonymous = "anonymous"

// maxUser bounds a user part, in bytes. Numbers and names of accounts are far shorter.
const maxUser = 64

// ErrUser is the fault of a user part that can't be carried across.
var ErrUser = errors.New("user part is empty, too long or has characters that no account and no number has")

// User returns the user part of a URI without its parameters (RFC 3261 §19.1.1 lets telephone-subscriber parameters hide
// there), or an error if it can't be carried across.
func User(u sip.Uri) (string, error) {
	user, _, _ := strings.Cut(u.User, ";")
	if user == "" || len(user) > maxUser {
		return "", ErrUser
	}
	for i := 0; i < len(user); i++ {
		if user[i] == '%' {
			if i+2 >= len(user) || !isHex(user[i+1]) || !isHex(user[i+2]) {
				return "", ErrUser
			}
			i += 2
			continue
		}
		if !isUser(user[i]) {
			return "", ErrUser
		}
	}
	return user, nil
}

// isUser reports whether c may stand in a user part: unreserved or user-unreserved of RFC 3261 §25.1, without ";", "?",
// "/" and ",", which no account and no number has.
func isUser(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-_.!~*'()&=+$#", c) >= 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// Caller is how the other side sees who calls: a party without a usable name is shown as anonymous.
func Caller(h *sip.FromHeader, host string) dialog.Party {
	user, err := User(h.Address)
	if err != nil {
		user = Anonymous
	}
	return dialog.Party{Display: sipmsg.CleanDisplayName(h.DisplayName), URI: Address(user, host)}
}

// Callee is how the other side sees who is called.
func Callee(user, host string) dialog.Party { return dialog.Party{URI: Address(user, host)} }

// Address is sip:user@host.
func Address(user, host string) sip.Uri { return sip.Uri{Scheme: "sip", User: user, Host: host} }
