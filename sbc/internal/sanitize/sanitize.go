// Package sanitize is the border's use of shared/sipmsg: what a message must be like to be looked at (Raw, Message), which
// of its headers may cross the border and how they are made anew (Copy), and how a stranger is refused without keeping
// anything of him (StatelessReply, Refusal).
//
// What may pass is data: methods.go has the methods and bodies of each realm, rules.go the headers. What is in neither does
// not pass: private headers of the core link, P-* and X-*, Path, Service-Route, Diversion, History-Info, Alert-Info,
// Call-Info, Replaces, Join, User-Agent, Server, Warning, Subject and all that nobody has thought of yet. It is pure.
package sanitize

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// Raw screens the bytes of one message before the parser sees them. It does not allocate.
func Raw(data []byte, datagram bool) verdict.Verdict {
	return sipmsg.ScreenRaw(data, datagram, sipmsg.DefaultLimits())
}

// Message screens a parsed message that came from a realm ("access", "peer" or "core"): its form by RFC 3261, then
// whether that realm may send this method, extension and body. A response is dropped or passed, never rejected.
func Message(realm string, msg sip.Message) verdict.Verdict {
	if v := sipmsg.Screen(msg, sipmsg.DefaultLimits()); !v.OK() {
		return v
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		return response(msg)
	}
	if !allows(realm, req.Method) {
		return verdict.Rejected(405, verdict.MethodNotAllowed) // RFC 3261 §8.2.1
	}
	// RFC 3261 §16.3 step 3, which RFC 7332 §4 demands of a B2BUA too. ACK can't be answered and ends here anyway.
	if hops := req.MaxForwards(); hops != nil && hops.Val() == 0 {
		return verdict.Rejected(483, verdict.TooManyHops)
	}
	if len(unsupported(realm, req)) > 0 {
		return verdict.Rejected(420, verdict.ExtensionRequired)
	}
	return body(req)
}

// response judges what only a response can do wrong at the border.
func response(msg sip.Message) verdict.Verdict {
	if len(msg.Body()) > maxBody {
		return verdict.Dropped(verdict.Oversize)
	}
	return verdict.Passed
}

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
		verdict.BadContentLength, verdict.BadBody:
		return true
	}
	return false
}
