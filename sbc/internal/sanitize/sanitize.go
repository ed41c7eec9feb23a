// Package sanitize is the border's use of shared/sipmsg: what a message must be like to be looked at (Realm.Raw,
// Realm.Message), which of its headers may cross the border and how they are made anew (Realm.In, Realm.Out), and how a
// stranger is refused without keeping anything of him (StatelessReply, Realm.Refusal).
//
// What may pass is data: methods.go has the methods and bodies of each realm, rules.go the headers; a realm's configuration
// narrows the one and adds to the other, within bounds (Messages). What is in neither does
// not pass: private headers of the core link, P-* and X-*, Path, Service-Route, Diversion, History-Info, Alert-Info,
// Call-Info, Replaces, Join, User-Agent, Server, Warning, Subject and all that nobody has thought of yet. It is pure.
package sanitize

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// unsupported returns the extensions that a request demands and that the realm has not (RFC 3261 §8.2.2.3). CANCEL and ACK
// must not be refused for that. Proxy-Require is demanded of us too: to a phone we stand where its proxy stands.
func unsupported(realm string, req *sip.Request) []string {
	if req.IsAck() || req.IsCancel() {
		return nil
	}
	var out []string
	for _, name := range []string{"Require", "Proxy-Require"} {
		for _, tag := range sipmsg.Headers(req, name) {
			switch {
			case len(out) == maxTokens:
				return out
			case !isToken(tag):
				out = append(out, "invalid")
			case !extensions(realm, req.Method)[strings.ToLower(tag)]:
				out = append(out, tag)
			}
		}
	}
	return out
}

// maxTokens bounds a list of tokens that we make.
const maxTokens = 8

// isToken reports whether s is a token of bearable length.
func isToken(s string) bool {
	return len(s) > 0 && len(s) <= 64 && strings.Trim(s, tokenBytes) == ""
}

const tokenBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~" // RFC 3261 §25.1

// Malformed reports whether a reason is about the form of a message, so that the guard scores it as one kind of offence.
func Malformed(why verdict.Reason) bool {
	switch why {
	case verdict.NotSIP, verdict.BadFraming, verdict.Oversize, verdict.ControlBytes, verdict.BadUTF8, verdict.BadStartLine,
		verdict.BadVersion, verdict.BadHeader, verdict.BadURI, verdict.EmbeddedHeaders, verdict.TooManyHeaders,
		verdict.HeaderTooLong, verdict.DuplicateHeader, verdict.MissingHeader, verdict.BadNumber, verdict.CSeqMismatch,
		verdict.BadContentLength, verdict.BadBody, verdict.BodyLimits:
		return true
	}
	return false
}
