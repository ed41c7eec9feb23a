package sipmsg

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Errors of the readers. What they return is wrapped around one of these.
var (
	ErrURI    = errors.New("malformed URI")
	ErrHeader = errors.New("malformed header")
)

// maxParams bounds the parameters of one URI or one header value.
const maxParams = 64

// ParseURI reads a URI by RFC 3261 §25.1. A sip or sips URI is read in full; of another scheme only the characters are
// checked and Uri.Raw holds the rest. Names of parameters become lower case; one that stands twice is an error
// (RFC 3261 §19.1.1), as is port 0.
func ParseURI(s string) (sip.Uri, error) {
	var u sip.Uri
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !all(scheme, clScheme) || !is(scheme[0], clAlpha) || rest == "" {
		return u, fmt.Errorf("%w: no scheme", ErrURI)
	}
	scheme = strings.ToLower(scheme)
	if scheme != "sip" && scheme != "sips" {
		if !escaped(rest, clURI) {
			return u, fmt.Errorf("%w: characters", ErrURI)
		}
		// sipgo's reader is the only writer of Uri's raw field, and takes no scheme like "soap.beep".
		if err := sip.ParseUri("raw:"+rest, &u); err != nil {
			return sip.Uri{}, fmt.Errorf("%w: %w", ErrURI, err)
		}
		u.Scheme = scheme
		return u, nil
	}
	u.Scheme = scheme
	return parseSIPURI(u, rest)
}

func parseSIPURI(u sip.Uri, rest string) (sip.Uri, error) {
	// '@' can stand nowhere but behind userinfo: host, parameters and headers have none.
	if at := strings.IndexByte(rest, '@'); at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		if user == "" || !escaped(user, clUser) || !escaped(password, clPassword) {
			return sip.Uri{}, fmt.Errorf("%w: user", ErrURI)
		}
		u.User, u.Password = user, password
		rest = rest[at+1:]
	}
	end := strings.IndexAny(rest, ";?")
	if end < 0 {
		end = len(rest)
	}
	var err error
	if u.Host, u.Port, err = parseHostPort(rest[:end]); err != nil {
		return sip.Uri{}, err
	}
	params, headers, hasHeaders := strings.Cut(rest[end:], "?")
	if u.UriParams, err = parseURIParams(params); err != nil {
		return sip.Uri{}, err
	}
	if hasHeaders {
		if u.Headers, err = parseURIHeaders(headers); err != nil {
			return sip.Uri{}, err
		}
	}
	return u, nil
}

// parseURIParams reads *( ";" pname [ "=" pvalue ] ).
func parseURIParams(s string) (sip.HeaderParams, error) {
	if s == "" {
		return nil, nil
	}
	params := make(sip.HeaderParams, 0, strings.Count(s, ";"))
	for s != "" {
		var one string
		one, s, _ = strings.Cut(s[1:], ";") // s begins with ";"
		more := s != ""
		name, value, hasValue := strings.Cut(one, "=")
		if name == "" || !escaped(name, clParam) || !escaped(value, clParam) || hasValue && value == "" {
			return nil, fmt.Errorf("%w: parameter", ErrURI)
		}
		name = strings.ToLower(name)
		if params.Has(name) || len(params) >= maxParams {
			return nil, fmt.Errorf("%w: parameter twice, or too many", ErrURI)
		}
		params = append(params, sip.HeaderKV{K: name, V: value})
		if more {
			s = ";" + s
		}
	}
	return params, nil
}

// parseURIHeaders reads header *( "&" header ).
func parseURIHeaders(s string) (sip.HeaderParams, error) {
	var out sip.HeaderParams
	for one := range strings.SplitSeq(s, "&") {
		name, value, ok := strings.Cut(one, "=")
		if !ok || name == "" || !escaped(name, clHeader) || !escaped(value, clHeader) || len(out) >= maxParams {
			return nil, fmt.Errorf("%w: headers", ErrURI)
		}
		out = append(out, sip.HeaderKV{K: name, V: value})
	}
	return out, nil
}

// parseHostPort reads host [ ":" port ]; the host of an IPv6 reference keeps its brackets.
func parseHostPort(s string) (host string, port int, err error) {
	host = s
	colon := -1
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, fmt.Errorf("%w: host", ErrURI)
		}
		host = s[:end+1]
		if end+1 < len(s) {
			colon = end + 1
		}
	} else if colon = strings.IndexByte(s, ':'); colon >= 0 {
		host = s[:colon]
	}
	if colon >= 0 {
		if port, err = parsePort(s[colon:]); err != nil {
			return "", 0, err
		}
	}
	if !validHost(host) {
		return "", 0, fmt.Errorf("%w: host", ErrURI)
	}
	return host, port, nil
}

// parsePort reads ":" and 1 to 65535.
func parsePort(s string) (int, error) {
	if len(s) < 2 || len(s) > 6 || s[0] != ':' || !all(s[1:], clDigit) {
		return 0, fmt.Errorf("%w: port", ErrURI)
	}
	n, err := strconv.Atoi(s[1:])
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%w: port", ErrURI)
	}
	return n, nil
}

// maxHost is the longest host name in bytes (RFC 1035 §2.3.4).
const maxHost = 255

// validHost reports whether s is a hostname, an IPv4 address or an IPv6 reference in brackets.
func validHost(s string) bool {
	if len(s) == 0 || len(s) > maxHost {
		return false
	}
	if s[0] == '[' {
		if s[len(s)-1] != ']' || strings.IndexByte(s, '%') >= 0 { // a zone means nothing to anybody else
			return false
		}
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		return err == nil && a.Is6()
	}
	if !all(s, clHost) {
		return false
	}
	name := strings.TrimSuffix(s, ".")
	label := name
	for name != "" {
		label, name, _ = strings.Cut(name, ".")
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	if label == "" {
		return false
	}
	if is(label[0], clAlpha) { // toplabel = ALPHA / ALPHA *( alphanum / "-" ) alphanum
		return !strings.HasSuffix(s, "..")
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

// SameURI compares by RFC 3261 §19.1.4. URIs of other schemes are compared byte by byte behind the scheme.
func SameURI(a, b sip.Uri) bool {
	if !strings.EqualFold(schemeOf(a), schemeOf(b)) || a.Wildcard != b.Wildcard || a.Raw() != b.Raw() {
		return false
	}
	if unescape(a.User) != unescape(b.User) || unescape(a.Password) != unescape(b.Password) ||
		!sameHost(a.Host, b.Host) || a.Port != b.Port {
		return false
	}
	return sameParams(a.UriParams, b.UriParams) && sameParams(b.UriParams, a.UriParams) &&
		len(a.Headers) == len(b.Headers) && sameHeaders(a.Headers, b.Headers)
}

func schemeOf(u sip.Uri) string {
	if u.Scheme == "" {
		return "sip"
	}
	return u.Scheme
}

// sameHost compares without case, and addresses as addresses.
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, errX := netip.ParseAddr(strings.Trim(a, "[]"))
	y, errY := netip.ParseAddr(strings.Trim(b, "[]"))
	return errX == nil && errY == nil && x == y
}

// sameParams reports whether all that a has is the same in b. Five parameters must stand in both or in none; others
// count only where they stand in both.
func sameParams(a, b sip.HeaderParams) bool {
	for _, p := range a {
		v, ok := Param(b, p.K)
		if !ok {
			switch strings.ToLower(p.K) {
			case "user", "ttl", "method", "maddr", "transport":
				return false
			}
			continue
		}
		if !strings.EqualFold(unescape(v), unescape(p.V)) {
			return false
		}
	}
	return true
}

// sameHeaders reports whether each header of a stands in b.
func sameHeaders(a, b sip.HeaderParams) bool {
	for _, h := range a {
		found := false
		for _, o := range b {
			found = found || strings.EqualFold(h.K, o.K) && unescape(h.V) == unescape(o.V)
		}
		if !found {
			return false
		}
	}
	return true
}

// unescape undoes well-formed %-escapes. RFC 3261 §19.1.4: a character outside "reserved" equals its escape.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && is(s[i+1], clHex) && is(s[i+2], clHex) {
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if c := byte(n); strings.IndexByte(";/?:@&=+$,%", c) < 0 {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
