package transport

import (
	"bytes"

	"brickhouse/shared/verdict"
)

// framer cuts the byte stream of a connection into SIP messages (RFC 3261 §18.3) and keep-alives (RFC 5626 §4.4.1). It
// does no I/O: read into space, tell it with fed, and take frames with next until it wants more.
type framer struct {
	window
	max   int // bytes of one message, head and body
	line  int // bytes of the start line
	seen  int // bytes after r already searched for the end of the head
	total int // length of the message at r once its head is complete, else 0
	ends  int // CRLFs since the last message or ping
	start bool
}

// window is what has arrived of a connection and is not taken yet.
type window struct {
	buf  []byte
	r, w int // buf[r:w] is it
}

// frame is what next found.
type frame uint8

const (
	frameNone    frame = iota // more bytes are needed
	frameMessage              // one whole message
	framePing                 // CRLFCRLF between messages
	frameFault                // the stream can't be cut any further
	frameWSPing               // ping of a WebSocket
	framePong                 // pong of a WebSocket
	frameClose                // close frame of a WebSocket
)

const (
	firstBuffer  = 2 << 10 // bytes; most messages fit into it
	minSpace     = 1 << 10 // bytes offered to each read at least
	maxStartLine = 8 << 10 // bytes (threats T9)
)

func newFramer(maxMessage int) *framer {
	return &framer{max: maxMessage, line: min(maxStartLine, maxMessage)}
}

// partial reports whether a message has begun to arrive.
func (f *framer) partial() bool { return f.w > f.r }

// space returns where the next bytes go. Frames taken before are no longer valid.
func (f *window) space() []byte {
	if f.r == f.w {
		f.r, f.w = 0, 0
		if len(f.buf) > 8*firstBuffer {
			f.buf = nil // one large message does not keep its buffer for the life of the connection
		}
	}
	if f.buf == nil {
		f.buf = make([]byte, firstBuffer)
	}
	if len(f.buf)-f.w >= minSpace {
		return f.buf[f.w:]
	}
	if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if len(f.buf)-f.w < minSpace {
		// Never more than double what has really arrived: a Content-Length alone reserves nothing.
		grown := make([]byte, max(2*len(f.buf), f.w+minSpace))
		copy(grown, f.buf[:f.w])
		f.buf = grown
	}
	return f.buf[f.w:]
}

// fed tells that n bytes were read into space.
func (f *window) fed(n int) { f.w += n }

// reserve is space for at least n bytes.
func (f *window) reserve(n int) []byte {
	if at := f.space(); len(at) >= n {
		return at
	}
	f.buf = append(f.buf, make([]byte, n)...)
	return f.buf[f.w:]
}

// next takes the next frame. data is the message, or with frameFault what there is of it; it is valid until space is called.
func (f *framer) next() (kind frame, data []byte, fault verdict.Verdict) {
	if f.total == 0 {
		if kind = f.skipLineEnds(); kind == framePing {
			return kind, nil, verdict.Passed
		}
		if fault = f.findHead(); !fault.OK() {
			return frameFault, f.buf[f.r:f.w], fault
		}
	}
	if f.total == 0 || f.w-f.r < f.total {
		return frameNone, nil, verdict.Passed
	}
	data = f.buf[f.r : f.r+f.total : f.r+f.total]
	f.r += f.total
	f.seen, f.total, f.ends, f.start = 0, 0, 0, false
	return frameMessage, data, verdict.Passed
}

// skipLineEnds ignores CRLF before a start line (RFC 3261 §7.5) and finds the double one that is a ping.
func (f *framer) skipLineEnds() frame {
	if f.seen > 0 {
		return frameNone // inside a message
	}
	for f.w-f.r >= 2 && f.buf[f.r] == '\r' && f.buf[f.r+1] == '\n' {
		f.r += 2
		if f.ends++; f.ends == 2 {
			f.ends = 0
			return framePing
		}
	}
	return frameNone
}

// findHead looks for the end of the head and computes the length of the message.
func (f *framer) findHead() verdict.Verdict {
	have := f.buf[f.r:f.w]
	if len(have) == 0 || (len(have) == 1 && have[0] == '\r') {
		return verdict.Passed
	}
	if !f.start {
		if v := f.checkStart(have); !v.OK() {
			return v
		}
	}
	from := max(0, f.seen-3)
	end := bytes.Index(have[from:], headEnd)
	if end < 0 {
		f.seen = len(have)
		if len(have) >= f.max {
			return verdict.Rejected(513, verdict.Oversize)
		}
		return verdict.Passed
	}
	f.seen = len(have)
	head := from + end + len(headEnd)
	body, v := contentLength(have[:head])
	if !v.OK() {
		return v
	}
	if body > f.max-head {
		return verdict.Rejected(513, verdict.Oversize) // RFC 3261 §21.5.7
	}
	f.total = head + body
	return verdict.Passed
}

// checkStart refuses what is no SIP as soon as that can be told: at its first byte, or at the end of its first line.
func (f *framer) checkStart(have []byte) verdict.Verdict {
	if !isTokenByte(have[0]) {
		return verdict.Dropped(verdict.NotSIP)
	}
	eol := bytes.IndexByte(have, '\n')
	if eol < 0 {
		if len(have) >= f.line {
			return verdict.Dropped(verdict.NotSIP)
		}
		return verdict.Passed
	}
	line := bytes.TrimRight(have[:eol], "\r")
	if len(line) > f.line || !isStartLine(line) {
		return verdict.Dropped(verdict.NotSIP)
	}
	f.start = true
	return verdict.Passed
}

var headEnd = []byte("\r\n\r\n")

// isStartLine reports whether line names SIP where a request line or a status line does (RFC 3261 §7.1, §7.2). Whether
// the version and the rest are right is for the sanitizer.
func isStartLine(line []byte) bool {
	const sip = "SIP/"
	if len(line) >= len(sip) && bytes.EqualFold(line[:len(sip)], []byte(sip)) {
		return true
	}
	last := bytes.LastIndexByte(line, ' ') + 1
	return len(line)-last >= len(sip) && bytes.EqualFold(line[last:last+len(sip)], []byte(sip))
}

// contentLength finds the one Content-Length of a head. On a stream there must be one (RFC 3261 §18.3), and two that differ
// would let two programs cut the stream in different places.
func contentLength(head []byte) (int, verdict.Verdict) {
	bad := verdict.Rejected(400, verdict.BadFraming)
	length := -1
	for rest := head; len(rest) > 0; {
		var line []byte
		line, rest = cutHeader(rest)
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isContentLength(bytes.TrimRight(name, " \t")) {
			continue
		}
		n, ok := parseLength(value)
		if !ok || (length >= 0 && n != length) {
			return 0, bad
		}
		length = n
	}
	if length < 0 {
		return 0, bad
	}
	return length, verdict.Passed
}

// cutHeader takes one header field, with its folded lines (RFC 3261 §7.3.1), off the front of head.
func cutHeader(head []byte) (field, rest []byte) {
	for at := 0; ; {
		eol := bytes.Index(head[at:], headEnd[:2])
		if eol < 0 {
			return head, nil
		}
		at += eol + 2
		if at >= len(head) || (head[at] != ' ' && head[at] != '\t') {
			return head[:at], head[at:]
		}
	}
}

// isContentLength knows the long name and the compact one, in any case.
func isContentLength(name []byte) bool {
	return bytes.EqualFold(name, []byte("content-length")) || bytes.EqualFold(name, []byte("l"))
}

// parseLength reads a decimal number of at most nine digits with white space around it.
func parseLength(value []byte) (int, bool) {
	value = bytes.Trim(value, " \t\r\n")
	if len(value) == 0 || len(value) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// isTokenByte reports whether c may stand in a token (RFC 3261 §25.1).
func isTokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("-.!%*_+`'~"), c) >= 0
}
