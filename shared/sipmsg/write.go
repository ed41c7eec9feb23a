package sipmsg

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Bytes writes a message. It is total and safe: whatever stands in the message's fields, the output has exactly the lines
// it should have. Each value goes through an encoder for its place:
//
//   - control bytes become spaces and what is not UTF-8 is left out;
//   - display names and parameter values that need it are quoted and escaped;
//   - bytes that a URI can't hold are %-escaped; in a host they are left out, and a host with nothing left is "invalid";
//   - a header whose name is no token is left out, as is a nil one, and one that was built from text that its name does
//     not allow (sip.NewHeader("Contact", "nonsense"));
//   - every Content-Length in the message is ignored and one is written, from the body;
//   - the version is SIP/2.0; a status code outside 100 to 699 becomes 500.
//
// nil is written as nothing.
func Bytes(msg sip.Message) []byte {
	return AppendBytes(make([]byte, 0, 1024), msg)
}

// AppendBytes is Bytes into a buffer of the caller's.
func AppendBytes(b []byte, msg sip.Message) []byte {
	switch m := msg.(type) {
	case *sip.Request:
		if m == nil {
			return b
		}
		b = append(b, method(m.Method)...)
		b = append(b, ' ')
		b = appendURI(b, &m.Recipient)
		b = append(b, " SIP/2.0\r\n"...)
	case *sip.Response:
		if m == nil {
			return b
		}
		code := m.StatusCode
		if code < 100 || code > 699 {
			code = sip.StatusInternalServerError
		}
		b = append(b, "SIP/2.0 "...)
		b = strconv.AppendInt(b, int64(code), 10)
		b = append(b, ' ')
		b = append(b, clean(m.Reason)...)
		b = append(b, "\r\n"...)
	default:
		return b
	}
	for _, h := range list(msg) {
		b = appendHeader(b, h)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(msg.Body())), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, msg.Body()...)
}

// maxMethod is the longest method in bytes that is read or written.
const maxMethod = 64

func method(m sip.RequestMethod) string {
	kept := orElse(keep(string(m), clToken), "INVALID")
	return kept[:min(len(kept), maxMethod)]
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// appendHeader writes one line, or nothing.
func appendHeader(b []byte, h sip.Header) []byte {
	if isNil(h) {
		return b
	}
	name := Canonical(h.Name())
	if !isToken(name) || name == "Content-Length" {
		return b
	}
	if !isTyped(h) {
		switch name {
		case "Via", "From", "To", "Contact", "Route", "Record-Route", "Refer-To", "Referred-By", "CSeq", "Call-ID", "Max-Forwards":
			made, err := parseHeader(name, clean(h.Value()))
			if err != nil {
				return b
			}
			for _, h := range made {
				b = appendLine(b, name, h)
			}
			return b
		}
	}
	return appendLine(b, name, h)
}

func appendLine(b []byte, name string, h sip.Header) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = appendValue(b, h)
	return append(b, "\r\n"...)
}

// isTyped reports whether a header holds its value in fields, not as text that anybody may have put together.
func isTyped(h sip.Header) bool {
	switch h.(type) {
	case *sip.ViaHeader, *sip.FromHeader, *sip.ToHeader, *sip.ContactHeader, *sip.RouteHeader, *sip.RecordRouteHeader,
		*sip.ReferToHeader, *sip.ReferredByHeader, *sip.CSeqHeader, *sip.CallIDHeader, *sip.MaxForwardsHeader:
		return true
	}
	return false
}

// isNil finds nil pointers of sipgo's types, whose methods would panic.
func isNil(h sip.Header) bool {
	switch h := h.(type) {
	case nil:
		return true
	case *sip.ViaHeader:
		return h == nil
	case *sip.FromHeader:
		return h == nil
	case *sip.ToHeader:
		return h == nil
	case *sip.ContactHeader:
		return h == nil
	case *sip.CSeqHeader:
		return h == nil
	case *sip.CallIDHeader:
		return h == nil
	case *sip.RouteHeader:
		return h == nil
	case *sip.RecordRouteHeader:
		return h == nil
	case *sip.ReferToHeader:
		return h == nil
	case *sip.ReferredByHeader:
		return h == nil
	case *sip.ContentTypeHeader:
		return h == nil
	case *sip.ContentLengthHeader:
		return h == nil
	case *sip.MaxForwardsHeader:
		return h == nil
	case *sip.ExpiresHeader:
		return h == nil
	}
	return false
}

// appendValue writes a header's value.
func appendValue(b []byte, h sip.Header) []byte {
	if isNil(h) {
		return b
	}
	switch h := h.(type) {
	case *sip.ViaHeader:
		return appendVia(b, h)
	case *sip.FromHeader:
		return appendNameAddr(b, h.DisplayName, &h.Address, h.Params)
	case *sip.ToHeader:
		return appendNameAddr(b, h.DisplayName, &h.Address, h.Params)
	case *sip.ContactHeader:
		if h.Address.Wildcard {
			return append(b, '*')
		}
		return appendNameAddr(b, h.DisplayName, &h.Address, h.Params)
	case *sip.ReferredByHeader:
		return appendNameAddr(b, h.DisplayName, &h.Address, h.Params)
	case *sip.RouteHeader:
		return appendNameAddr(b, "", &h.Address, nil)
	case *sip.RecordRouteHeader:
		return appendNameAddr(b, "", &h.Address, nil)
	case *sip.ReferToHeader:
		return appendNameAddr(b, "", &h.Address, nil)
	case *sip.CSeqHeader:
		b = strconv.AppendUint(b, uint64(h.SeqNo), 10)
		b = append(b, ' ')
		return append(b, method(h.MethodName)...)
	case *sip.CallIDHeader:
		return append(b, strings.Map(noBlank, clean(string(*h)))...)
	case *sip.MaxForwardsHeader:
		return strconv.AppendUint(b, uint64(*h), 10)
	case *sip.ExpiresHeader:
		return strconv.AppendUint(b, uint64(*h), 10)
	case *sip.ContentLengthHeader:
		return strconv.AppendUint(b, uint64(*h), 10)
	}
	return append(b, clean(h.Value())...)
}

func noBlank(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}

func appendVia(b []byte, h *sip.ViaHeader) []byte {
	b = append(b, orElse(keep(h.ProtocolName, clToken), "SIP")...)
	b = append(b, '/')
	b = append(b, orElse(keep(h.ProtocolVersion, clToken), "2.0")...)
	b = append(b, '/')
	b = append(b, orElse(keep(h.Transport, clToken), "UDP")...)
	b = append(b, ' ')
	b = appendHostPort(b, h.Host, h.Port)
	return appendParams(b, h.Params)
}

// appendNameAddr always writes brackets: without them a URI's parameters would become the header's (RFC 3261 §20).
func appendNameAddr(b []byte, display string, u *sip.Uri, params sip.HeaderParams) []byte {
	if display != "" {
		b = append(b, '"')
		b = append(b, quote(display)...)
		b = append(b, `" `...)
	}
	b = append(b, '<')
	b = appendURI(b, u)
	b = append(b, '>')
	return appendParams(b, params)
}

// appendParams writes *( ";" name [ "=" value ] ).
func appendParams(b []byte, params sip.HeaderParams) []byte {
	for _, p := range params {
		name := keep(p.K, clToken)
		if name == "" {
			continue
		}
		b = append(b, ';')
		b = append(b, name...)
		if p.V == "" {
			continue
		}
		b = append(b, '=')
		switch {
		case all(p.V, clValue), isQuoted(p.V):
			b = append(b, p.V...)
		default:
			b = append(b, '"')
			b = append(b, quote(p.V)...)
			b = append(b, '"')
		}
	}
	return b
}

// isQuoted reports whether s is one whole quoted-string.
func isQuoted(s string) bool {
	return len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' && insideQuotes(s[1:len(s)-1])
}

func appendURI(b []byte, u *sip.Uri) []byte {
	scheme := strings.TrimLeft(strings.ToLower(keep(u.Scheme, clScheme)), digits+"+-.")
	b = append(b, orElse(scheme, "sip")...)
	b = append(b, ':')
	if raw := u.Raw(); raw != "" {
		return appendEscaped(b, raw, clURI)
	}
	if u.User != "" {
		b = appendEscaped(b, u.User, clUser)
		if u.Password != "" {
			b = append(b, ':')
			b = appendEscaped(b, u.Password, clPassword)
		}
		b = append(b, '@')
	}
	b = appendHostPort(b, u.Host, u.Port)
	for _, p := range u.UriParams {
		if p.K == "" {
			continue
		}
		b = append(b, ';')
		b = appendEscaped(b, p.K, clParam)
		if p.V != "" {
			b = append(b, '=')
			b = appendEscaped(b, p.V, clParam)
		}
	}
	sep := byte('?')
	for _, h := range u.Headers {
		if h.K == "" {
			continue
		}
		b = append(b, sep)
		b = appendEscaped(b, h.K, clHeader)
		b = append(b, '=')
		b = appendEscaped(b, h.V, clHeader)
		sep = '&'
	}
	return b
}

// appendEscaped writes s and %-escapes what is not of the class; escapes that are well formed stay.
func appendEscaped(b []byte, s string, want class) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if is(c, want) || c == '%' && i+2 < len(s) && is(s[i+1], clHex) && is(s[i+2], clHex) {
			b = append(b, c)
			continue
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	return b
}

func appendHostPort(b []byte, host string, port int) []byte {
	if !validHost(host) {
		host = repairHost(host)
	}
	b = append(b, host...)
	if port > 0 && port <= 65535 {
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(port), 10)
	}
	return b
}

// repairHost gives an IPv6 address its brackets, and of all else keeps what can stand in a host.
func repairHost(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && a.Is6() {
		return "[" + a.WithZone("").String() + "]"
	}
	if kept := keep(host, clHost); validHost(kept) {
		return kept
	}
	return "invalid" // RFC 6761 §6.4
}
