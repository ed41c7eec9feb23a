package sanitize

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/eventdoc"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

const (
	maxBody      = 32 << 10 // largest body of any type, in bytes
	maxText      = 1024     // largest text of a MESSAGE; RFC 3428 §8 lets the whole request have 1300
	maxSmallBody = 256      // largest body of any other type but SDP
)

// body judges the body of a request: a type that the method may carry, no encoding, and for the small types the content.
func (r *Realm) body(req *sip.Request) verdict.Verdict {
	data := req.Body()
	if !accepts(req) {
		return verdict.Rejected(406, verdict.UnsupportedBody)
	}
	if len(data) == 0 {
		return verdict.Passed
	}
	if len(data) > int(r.limits.Body) {
		return verdict.Rejected(413, verdict.Oversize)
	}
	if optional(req) || req.IsAck() || req.IsCancel() || req.Method == sip.BYE {
		return verdict.Passed // RFC 3261 §20.11: left out, not refused. Nor is a call kept from ending for what stands in its BYE.
	}
	typ := mediaType(req)
	if !slices.Contains(bodies[req.Method], typ) || encoded(req) {
		return verdict.Rejected(415, verdict.UnsupportedBody) // RFC 3261 §8.2.3
	}
	if typ == typeSDP && !r.limits.description(data) {
		return verdict.Rejected(413, verdict.BodyLimits)
	}
	if typ == typeText && !readable(data) { // a person's words, and no reason to take the phone for a scanner
		if len(data) > maxText {
			return verdict.Rejected(413, verdict.UnsupportedBody)
		}
		return verdict.Rejected(415, verdict.UnsupportedBody)
	}
	if !content(typ, data) {
		return verdict.Rejected(400, verdict.BadBody)
	}
	return verdict.Passed
}

// mediaType returns the type of a message's body in lower case, or "".
func mediaType(msg sip.Message) string {
	value, _ := sipmsg.Header(msg, "Content-Type")
	typ, _, err := sipmsg.ParseMediaType(value)
	if err != nil {
		return ""
	}
	return typ
}

// optional reports whether the sender says that its body may be ignored.
func optional(msg sip.Message) bool {
	value, _ := sipmsg.Header(msg, "Content-Disposition")
	handling, _ := sipmsg.HeaderParam(value, "handling")
	return strings.EqualFold(handling, "optional") && mediaType(msg) != typeSDP
}

// encoded reports whether a body is compressed or else not what its type says.
func encoded(msg sip.Message) bool {
	for _, v := range sipmsg.Headers(msg, "Content-Encoding") {
		if !strings.EqualFold(v, "identity") {
			return true
		}
	}
	return false
}

// accepts reports whether the sender of an INVITE takes a session description for an answer (RFC 3261 §20.1: without
// Accept it does).
func accepts(req *sip.Request) bool {
	if !req.IsInvite() {
		return true
	}
	if _, ok := sipmsg.Header(req, "Accept"); !ok {
		return true
	}
	for _, v := range sipmsg.Headers(req, "Accept") {
		typ, _, _ := sipmsg.ParseMediaType(v)
		switch typ {
		case typeSDP, "application/*", "*/*":
			return true
		}
	}
	return false
}

// content checks the bodies that pass as they are. A session description is read by media/anchor.
func content(typ string, data []byte) bool {
	if typ == typeSDP {
		return true
	}
	if typ == typeText {
		return readable(data)
	}
	if ok, known := eventDocument(typ, data); known {
		return ok
	}
	if len(data) > maxSmallBody {
		return false
	}
	switch typ {
	case typeDTMFRelay:
		return dtmfRelay(data)
	case typeDTMF:
		return isDigit(string(bytes.TrimRight(data, "\r\n")))
	case typeSipfrag:
		return sipfrag(string(data))
	}
	return false
}

// eventDocument reports whether a document of a subscription can be read, and whether the type is one of those. The border
// writes each anew.
func eventDocument(typ string, data []byte) (ok, known bool) {
	var err error
	switch typ {
	case eventdoc.TypeDialogInfo:
		_, err = eventdoc.ParseDialogInfo(data)
	case eventdoc.TypePIDF:
		_, err = eventdoc.ParsePIDF(data)
	case eventdoc.TypeSummary:
		_, err = eventdoc.ParseSummary(data)
	default:
		return false, false
	}
	return err == nil, true
}

// readable checks that a text is one in UTF-8, with no control characters but line ends and tabs.
func readable(data []byte) bool {
	return len(data) <= maxText && utf8.Valid(data) && bytes.IndexFunc(data, func(r rune) bool {
		return r < ' ' && r != '\r' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0
	}) < 0
}

// dtmfRelay checks lines of "Signal=5" and "Duration=160", each once, Signal for sure.
func dtmfRelay(data []byte) bool {
	var signal, duration bool
	for line := range bytes.Lines(data) {
		name, value, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), "=")
		value = strings.Trim(value, " ")
		switch {
		case strings.EqualFold(strings.Trim(name, " "), "Signal") && !signal && isDigit(value):
			signal = true
		case strings.EqualFold(strings.Trim(name, " "), "Duration") && !duration && isNumber(value, 5):
			duration = true
		case name != "":
			return false
		}
	}
	return signal
}

// isDigit reports whether s is one DTMF digit, or an event of RFC 4733 §3.2 by number (16 is the hook flash).
func isDigit(s string) bool {
	if len(s) == 1 {
		return strings.Contains("0123456789*#ABCDabcd", s)
	}
	return s == "10" || s == "11" || s == "12" || s == "13" || s == "14" || s == "15" || s == "16"
}

// isNumber reports whether s is 1 to n decimal digits.
func isNumber(s string, n int) bool {
	return len(s) > 0 && len(s) <= n && strings.Trim(s, "0123456789") == ""
}

// sipfrag checks the one form that REFER needs: a status line and nothing else (RFC 3515 §2.4.5).
func sipfrag(s string) bool {
	s = strings.TrimRight(s, "\r\n")
	rest, ok := strings.CutPrefix(s, "SIP/2.0 ")
	if !ok || len(rest) < 3 || !isNumber(rest[:3], 3) || len(rest) > 3 && rest[3] != ' ' {
		return false
	}
	return strings.IndexFunc(rest, func(r rune) bool { return r < ' ' || r >= 0x7f }) < 0
}
