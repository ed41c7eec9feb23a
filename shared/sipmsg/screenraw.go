package sipmsg

import (
	"bytes"
	"unicode/utf8"

	"brickhouse/shared/verdict"
)

// finding is what is wrong with a message: the reason, and the status code that answers it if it can be answered.
// The zero finding is that nothing is wrong.
type finding struct {
	reason verdict.Reason
	code   int
}

var fine finding

// bad is a finding that is answered 400, as most are.
func bad(why verdict.Reason) finding { return finding{why, 400} }

// verdict turns a finding into what is done: a response, and what is no SIP at all, can't be answered.
func (f finding) verdict(response bool) verdict.Verdict {
	switch {
	case f == fine:
		return verdict.Passed
	case response || f.code == 0:
		return verdict.Dropped(f.reason)
	}
	return verdict.Rejected(f.code, f.reason)
}

// ScreenRaw judges the bytes of one message before the parser sees them: size, start line, control bytes, lengths and
// numbers of lines, headers that must be single, and Content-Length against the body. It does not allocate.
//
// It is stricter than RFC 3261 in four things, each because readers differ there and a difference is a way to smuggle:
// no blank between a header's name and its colon; no control bytes, also not escaped in quotes; a datagram has nothing
// behind the body that Content-Length tells; header section and start line are valid UTF-8.
//
// A refused response is dropped; a refused request is rejected with a code, which the caller may answer if it can.
func ScreenRaw(b []byte, datagram bool, lim Limits) verdict.Verdict {
	return screenRaw(b, datagram, &lim).verdict(isResponse(b))
}

// isResponse reports whether the message begins as a status line does (RFC 3261 §7.1: the version's case does not count).
func isResponse(b []byte) bool {
	return len(b) >= 4 && b[0]|0x20 == 's' && b[1]|0x20 == 'i' && b[2]|0x20 == 'p' && b[3] == '/'
}

func screenRaw(b []byte, datagram bool, lim *Limits) finding {
	limit := lim.MaxMessage
	if datagram {
		limit = lim.MaxDatagram
	}
	line, n, f := rawLine(b, lim.MaxLine)
	switch {
	case n == 0, !looksLikeSIP(line):
		return finding{reason: verdict.NotSIP}
	case len(b) > limit:
		return finding{verdict.Oversize, 513}
	case f != fine:
		return f
	}
	if f = rawStartLine(line, isResponse(b)); f != fine {
		return f
	}
	head, f := rawHeaders(b[n:], lim)
	if f != fine {
		return f
	}
	if !utf8.Valid(b[:n+head.size]) {
		return bad(verdict.BadUTF8)
	}
	rest := len(b) - n - head.size
	switch {
	case head.length < 0 && !datagram: // RFC 3261 §18.3: on a stream it must be there
		return bad(verdict.BadContentLength)
	case head.length >= 0 && head.length != rest:
		return bad(verdict.BadContentLength)
	}
	return fine
}

// looksLikeSIP reports whether a start line names SIP where it should: everything else is not worth a reason.
func looksLikeSIP(line []byte) bool {
	if isResponse(line) {
		return true
	}
	for i := len(line) - 4; i > 0; i-- {
		if isResponse(line[i:]) {
			return true
		}
	}
	return false
}

// rawLine returns the first physical line without its CRLF, and its length with it; length 0 if there is no end.
func rawLine(b []byte, limit int) (line []byte, n int, f finding) {
	window := b
	if len(window) > limit+2 {
		window = window[:limit+2]
	}
	end := bytes.IndexByte(window, '\n')
	if end < 0 {
		if len(b) > len(window) {
			return window, len(window), bad(verdict.HeaderTooLong)
		}
		return nil, 0, bad(verdict.BadHeader)
	}
	if end == 0 || b[end-1] != '\r' {
		return b[:end], end + 1, bad(verdict.ControlBytes) // a bare LF
	}
	line = b[:end-1]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return line, end + 1, bad(verdict.ControlBytes)
		}
	}
	return line, end + 1, fine
}

// rawStartLine checks the form of a request or status line (RFC 3261 §7.1, §7.2): exactly one space between its parts.
func rawStartLine(line []byte, response bool) finding {
	first := bytes.IndexByte(line, ' ')
	if first < 0 {
		return bad(verdict.BadStartLine)
	}
	second := bytes.IndexByte(line[first+1:], ' ')
	if second <= 0 {
		return bad(verdict.BadStartLine)
	}
	a, b, c := line[:first], line[first+1:first+1+second], line[first+second+2:]
	if response {
		return rawStatus(a, b)
	}
	if !allBytes(a, clToken) || len(a) > maxMethod {
		return bad(verdict.BadStartLine)
	}
	for _, x := range b {
		if x <= ' ' || x >= 0x7f || x == '<' || x == '>' || x == '"' {
			return bad(verdict.BadStartLine)
		}
	}
	return rawVersion(c)
}

func rawStatus(version, code []byte) finding {
	if f := rawVersion(version); f != fine {
		return f
	}
	if len(code) != 3 || !allBytes(code, clDigit) || code[0] < '1' || code[0] > '6' {
		return bad(verdict.BadNumber)
	}
	return fine
}

// rawVersion takes SIP/2.0 in any case; another well-formed version is answered 505 (RFC 3261 §21.5.6).
func rawVersion(v []byte) finding {
	if !isResponse(v) {
		return bad(verdict.BadStartLine)
	}
	major, minor, ok := bytes.Cut(v[4:], []byte{'.'})
	switch {
	case !ok || !allBytes(major, clDigit) || !allBytes(minor, clDigit):
		return bad(verdict.BadStartLine)
	case string(major) != "2" || string(minor) != "0":
		return finding{verdict.BadVersion, 505}
	}
	return fine
}

func allBytes(b []byte, want class) bool {
	for _, c := range b {
		if !is(c, want) {
			return false
		}
	}
	return len(b) > 0
}

// rawHead is what the headers tell about the message as a whole.
type rawHead struct {
	size   int // of the headers with the empty line
	length int // Content-Length, or -1
}

// counts are the occurrences of headers while the lines go by.
type counts struct {
	lines, vias, routes, contacts int
	seen                          [maxKnown]uint16 // lines of each known header
}

// rawHeaders goes over the header lines up to the empty line.
func rawHeaders(b []byte, lim *Limits) (rawHead, finding) {
	head := rawHead{length: -1}
	var n counts
	for {
		line, size, f := rawLine(b[head.size:], lim.MaxLine)
		if f != fine {
			return head, f
		}
		if len(line) == 0 {
			head.size += size
			return head, fine
		}
		start := head.size
		head.size += size
		for head.size < len(b) && (b[head.size] == ' ' || b[head.size] == '\t') { // RFC 3261 §7.3.1: folding
			if _, size, f = rawLine(b[head.size:], lim.MaxLine); f != fine {
				return head, f
			}
			head.size += size
			if head.size-start > lim.MaxLine {
				return head, bad(verdict.HeaderTooLong)
			}
		}
		whole := b[start : head.size-2]
		if n.lines++; n.lines > lim.MaxHeaders {
			return head, bad(verdict.TooManyHeaders)
		}
		if f = n.header(whole, &head, lim); f != fine {
			return head, f
		}
	}
}

// header counts one header, its folded lines included.
func (n *counts) header(line []byte, head *rawHead, lim *Limits) finding {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !allBytes(line[:colon], clToken) {
		return bad(verdict.BadHeader)
	}
	value := line[colon+1:]
	k, ok := lookupBytes(line[:colon])
	if !ok {
		return fine
	}
	n.seen[k.index]++
	switch {
	case k.shape == shapeSingle && n.seen[k.index] > 1:
		return bad(verdict.DuplicateHeader)
	case int(n.seen[k.index]) > lim.MaxRepeat:
		return bad(verdict.TooManyHeaders)
	}
	switch k.name {
	case "Content-Length":
		return rawLength(value, head)
	case "Via":
		n.vias += bytes.Count(value, []byte{','}) + 1
	case "Route", "Record-Route":
		n.routes += bytes.Count(value, []byte{','}) + 1
	case "Contact":
		n.contacts += bytes.Count(value, []byte{','}) + 1
	}
	if n.vias > lim.MaxVias || n.routes > lim.MaxRoutes || n.contacts > lim.MaxContacts {
		return bad(verdict.TooManyHeaders)
	}
	return fine
}

// rawLength reads Content-Length: digits only, and so few that no reader's number can wrap.
func rawLength(value []byte, head *rawHead) finding {
	value = bytes.Trim(value, " \t\r\n")
	if !allBytes(value, clDigit) || len(value) > 9 {
		return bad(verdict.BadContentLength)
	}
	head.length = 0
	for _, c := range value {
		head.length = head.length*10 + int(c-'0')
	}
	return fine
}
