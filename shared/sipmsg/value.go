package sipmsg

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// parseHeader makes the headers of one line: one per element for the typed lists, else exactly one. name is canonical,
// value is trimmed and unfolded. What sipgo has no type for is checked for controls only.
func parseHeader(name, value string) ([]sip.Header, error) {
	switch name {
	case "Via", "Contact", "Route", "Record-Route":
		return parseTypedList(name, value)
	}
	h, err := parseSingle(name, value)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return []sip.Header{h}, nil
}

func parseTypedList(name, value string) ([]sip.Header, error) {
	out := make([]sip.Header, 0, 1)
	for {
		end := endOfElement(value)
		h, err := parseElement(name, trim(value[:end]))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out = append(out, h)
		if end == len(value) {
			return out, nil
		}
		value = value[end+1:]
	}
}

func parseElement(name, value string) (sip.Header, error) {
	if name == "Via" {
		return parseVia(value)
	}
	if name == "Contact" && value == "*" { // RFC 3261 §10.2.2
		return &sip.ContactHeader{Address: sip.Uri{Host: "*", Wildcard: true}}, nil
	}
	n, err := ParseNameAddr(value)
	if err != nil {
		return nil, err
	}
	switch name {
	case "Contact":
		return &sip.ContactHeader{DisplayName: n.Display, Address: n.URI, Params: n.Params}, nil
	case "Route":
		return &sip.RouteHeader{Address: n.URI}, nil
	default:
		return &sip.RecordRouteHeader{Address: n.URI}, nil
	}
}

func parseSingle(name, value string) (sip.Header, error) {
	switch name {
	case "From", "To", "Refer-To", "Referred-By":
		return parseAddressed(name, value)
	case "Call-ID":
		// callid = word [ "@" word ]
		left, right, at := strings.Cut(value, "@")
		if !all(left, clWord) || at && !all(right, clWord) {
			return nil, fmt.Errorf("%w: characters", ErrHeader)
		}
		id := sip.CallIDHeader(value)
		return &id, nil
	case "CSeq":
		return parseCSeq(value)
	case "Max-Forwards":
		n, err := parseNumber(value, 255) // RFC 3261 §20.22
		mf := sip.MaxForwardsHeader(n)
		return &mf, err
	case "Content-Length":
		n, err := parseNumber(value, 1<<31-1)
		cl := sip.ContentLengthHeader(n)
		return &cl, err
	case "Content-Type":
		if _, _, err := ParseMediaType(value); err != nil {
			return nil, err
		}
		ct := sip.ContentTypeHeader(value)
		return &ct, nil
	}
	if !plain(value) {
		return nil, fmt.Errorf("%w: control byte", ErrHeader)
	}
	return sip.NewHeader(name, value), nil
}

func parseAddressed(name, value string) (sip.Header, error) {
	n, err := ParseNameAddr(value)
	if err != nil {
		return nil, err
	}
	switch name {
	case "From":
		return &sip.FromHeader{DisplayName: n.Display, Address: n.URI, Params: n.Params}, nil
	case "To":
		return &sip.ToHeader{DisplayName: n.Display, Address: n.URI, Params: n.Params}, nil
	case "Refer-To":
		return &sip.ReferToHeader{Address: n.URI}, nil
	default:
		return &sip.ReferredByHeader{DisplayName: n.Display, Address: n.URI, Params: n.Params}, nil
	}
}

// parseNumber reads 1*DIGIT up to limit.
func parseNumber(s string, limit uint64) (uint64, error) {
	if !all(s, clDigit) {
		return 0, fmt.Errorf("%w: not a number", ErrHeader)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > limit {
		return 0, fmt.Errorf("%w: number out of range", ErrHeader)
	}
	return n, nil
}

func parseCSeq(s string) (sip.Header, error) {
	end := skip(s, 0, clDigit)
	n, err := parseNumber(s[:end], 1<<31-1) // RFC 3261 §8.1.1.5
	if err != nil {
		return nil, err
	}
	method := s[skipBlank(s, end):]
	if !isToken(method) || len(method) > maxMethod || skipBlank(s, end) == end {
		return nil, fmt.Errorf("%w: method", ErrHeader)
	}
	return &sip.CSeqHeader{SeqNo: uint32(n), MethodName: sip.RequestMethod(method)}, nil
}

// parseVia reads sent-protocol LWS sent-by *( SEMI via-params ), with blanks around the slashes and the colon
// (RFC 3261 §25.1: SLASH and COLON take blanks).
func parseVia(s string) (*sip.ViaHeader, error) {
	h := &sip.ViaHeader{}
	i := 0
	for n, field := range []*string{&h.ProtocolName, &h.ProtocolVersion, &h.Transport} {
		if n > 0 {
			if i = skipBlank(s, i); i >= len(s) || s[i] != '/' {
				return nil, fmt.Errorf("%w: protocol", ErrHeader)
			}
			i = skipBlank(s, i+1)
		}
		end := skip(s, i, clToken)
		if *field = s[i:end]; end == i {
			return nil, fmt.Errorf("%w: protocol", ErrHeader)
		}
		i = end
	}
	host := skipBlank(s, i)
	end := strings.IndexByte(s[host:], ';')
	if end < 0 {
		end = len(s) - host
	}
	if host == i {
		return nil, fmt.Errorf("%w: no blank before sent-by", ErrHeader)
	}
	var err error
	if h.Host, h.Port, err = parseSentBy(trim(s[host : host+end])); err != nil {
		return nil, err
	}
	if h.Params, err = parseParams(s[host+end:]); err != nil {
		return nil, err
	}
	return h, nil
}

// parseSentBy reads host [ COLON port ]; the brackets of an IPv6 reference are taken off.
func parseSentBy(s string) (string, int, error) {
	if colon := strings.LastIndexByte(s, ':'); colon > 0 && !strings.HasSuffix(s, "]") {
		s = strings.TrimRight(s[:colon], " \t") + ":" + strings.TrimLeft(s[colon+1:], " \t")
	}
	host, port, err := parseHostPort(s)
	if err != nil {
		return "", 0, err
	}
	return strings.Trim(host, "[]"), port, nil
}

// ParseMediaType reads m-type SLASH m-subtype *( SEMI m-parameter ), as Content-Type holds it. The type comes back in lower
// case, as "application/sdp".
func ParseMediaType(s string) (string, sip.HeaderParams, error) {
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	major, minor, _ := strings.Cut(s[:end], "/")
	major, minor = trim(major), trim(minor)
	if !isToken(major) || !isToken(minor) {
		return "", nil, fmt.Errorf("%w: media type", ErrHeader)
	}
	params, err := parseParams(s[end:])
	if err != nil {
		return "", nil, err
	}
	return strings.ToLower(major + "/" + minor), params, nil
}
