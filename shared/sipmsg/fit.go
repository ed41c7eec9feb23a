package sipmsg

import (
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// Fit is Bytes of a response in at most room bytes, as far as that can be done: with compact names and without what its receiver can do
// without; if need be with the last of several challenges alone, which is the one that most phones know. What is longer
// still is returned in its shortest form.
func Fit(res *sip.Response, room int) []byte {
	b := Bytes(res)
	if len(b) <= room || res == nil {
		return b
	}
	if b = short(res, false); len(b) <= room {
		return b
	}
	return short(res, true)
}

// short writes a response without a body. RFC 3261 §7.3.3; an empty reason phrase is RFC 3261 §25.1.
func short(res *sip.Response, oneChallenge bool) []byte {
	b := append(make([]byte, 0, 512), "SIP/2.0 "...)
	b = strconv.AppendInt(b, int64(res.StatusCode), 10)
	b = append(b, " \r\n"...)
	headers := res.Headers()
	for i, h := range headers {
		if isNil(h) {
			continue
		}
		name := Canonical(h.Name())
		to, ok := shortName(name)
		if !ok || oneChallenge && isChallenge(name) && anotherChallenge(headers[i+1:]) {
			continue
		}
		if line := appendHeader(nil, needless(h)); len(line) > 0 {
			b = append(b, to...)
			b = append(b, ':')
			line = line[len(name)+len(": "):]
			if isChallenge(name) {
				b = appendTight(b, line)
			} else {
				b = append(b, line...)
			}
		}
	}
	return append(b, "l:0\r\n\r\n"...)
}

// needless is a Via without a received that only repeats its host.
func needless(h sip.Header) sip.Header {
	via, ok := h.(*sip.ViaHeader)
	if !ok {
		return h
	}
	if at, _ := Param(via.Params, "received"); at != via.Host {
		return h
	}
	via = via.Clone()
	via.Params.Remove("received")
	return via
}

// appendTight appends a challenge without the blanks behind commas outside quotes.
func appendTight(b, value []byte) []byte {
	quoted := false
	for i, c := range value {
		switch {
		case c == '"' && (i == 0 || value[i-1] != '\\'):
			quoted = !quoted
		case c == ' ' && !quoted && i > 0 && value[i-1] == ',':
			continue
		}
		b = append(b, c)
	}
	return b
}

// shortName is what a header is called in a short response; false if that goes without it.
func shortName(name string) (string, bool) {
	switch name {
	case "Via":
		return "v", true
	case "From":
		return "f", true
	case "To":
		return "t", true
	case "Call-ID":
		return "i", true
	case "CSeq", "WWW-Authenticate", "Proxy-Authenticate", "Min-Expires", "Retry-After", "Unsupported":
		return name, true
	}
	return "", false
}

func isChallenge(name string) bool { return name == "WWW-Authenticate" || name == "Proxy-Authenticate" }

func anotherChallenge(list []sip.Header) bool {
	for _, h := range list {
		if !isNil(h) && isChallenge(Canonical(h.Name())) {
			return true
		}
	}
	return false
}
