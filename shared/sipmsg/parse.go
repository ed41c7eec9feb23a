package sipmsg

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// Fault is the error of Parse: what is wrong, in the vocabulary of verdicts.
type Fault struct {
	Verdict verdict.Verdict // what to do with the message
	Err     error           // the place and the detail
}

// Error is the reason and the detail.
func (f *Fault) Error() string { return fmt.Sprintf("%s: %v", f.Verdict.Reason, f.Err) }

// Unwrap returns the detail.
func (f *Fault) Unwrap() error { return f.Err }

// VerdictOf returns what to do with the message whose parsing gave err.
func VerdictOf(err error) verdict.Verdict {
	var f *Fault
	if errors.As(err, &f) {
		return f.Verdict
	}
	return verdict.Rejected(400, verdict.BadHeader)
}

// Parse reads one whole message: a datagram, or what a stream's framing cut out. It is our own reader into sipgo's types:
// sipgo's parser takes a method in any case, joins what it should refuse, forgets quotes in parameters, and reads no
// blanks around the slashes of Via. The error is a *Fault.
//
// Header names are canonical afterwards, folded lines are joined, and a header that must be single is there once.
// The message shares no memory with b.
func Parse(b []byte) (sip.Message, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, fault(isResponse(b), verdict.BadHeader, errors.New("no empty line behind the headers"))
	}
	r := reader{rest: string(b[:end+2]), response: isResponse(b)}
	msg, err := r.startLine()
	if err != nil {
		return nil, err
	}
	for r.rest != "" {
		if err := r.header(msg); err != nil {
			return nil, err
		}
	}
	body := b[end+4:]
	if cl := msg.ContentLength(); cl != nil && int64(*cl) != int64(len(body)) {
		return nil, fault(r.response, verdict.BadContentLength, fmt.Errorf("told %d, got %d bytes", *cl, len(body)))
	}
	if len(body) > 0 {
		msg.SetBody(bytes.Clone(body))
	}
	return msg, nil
}

func fault(response bool, why verdict.Reason, err error) *Fault {
	f := bad(why)
	switch {
	case why == verdict.BadVersion:
		f.code = 505
	case why == verdict.NotSIP:
		f.code = 0
	}
	return &Fault{Verdict: f.verdict(response), Err: err}
}

// reader goes over the head of a message.
type reader struct {
	rest     string // whole lines, each with its CRLF
	response bool
	seen     [maxKnown]bool
}

func (r *reader) fault(why verdict.Reason, err error) *Fault { return fault(r.response, why, err) }

// line takes one header with its folded lines off the rest, joined by single spaces.
func (r *reader) line() (string, *Fault) {
	line, rest, _ := strings.Cut(r.rest, "\r\n")
	if !plain(line) {
		return "", r.fault(verdict.ControlBytes, errors.New("control byte or not UTF-8"))
	}
	for rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
		var more string
		more, rest, _ = strings.Cut(rest, "\r\n")
		if !plain(more) {
			return "", r.fault(verdict.ControlBytes, errors.New("control byte or not UTF-8"))
		}
		line = strings.TrimRight(line, " \t") + " " + trim(more)
	}
	r.rest = rest
	return line, nil
}

func (r *reader) startLine() (sip.Message, error) {
	line, rest, _ := strings.Cut(r.rest, "\r\n")
	if !plain(line) {
		return nil, r.fault(verdict.ControlBytes, errors.New("control byte or not UTF-8 in the start line"))
	}
	r.rest = rest
	if !looksLikeSIP([]byte(line)) {
		return nil, r.fault(verdict.NotSIP, errors.New("not a start line"))
	}
	if f := rawStartLine([]byte(line), r.response); f != fine {
		return nil, r.fault(f.reason, errors.New("start line"))
	}
	a, line, _ := strings.Cut(line, " ")
	b, c, _ := strings.Cut(line, " ")
	if r.response {
		code, err := parseNumber(b, 699)
		if err != nil {
			return nil, r.fault(verdict.BadNumber, err)
		}
		return sip.NewResponse(int(code), c), nil
	}
	uri, err := ParseURI(b)
	if err != nil {
		return nil, r.fault(verdict.BadURI, fmt.Errorf("reading the Request-URI: %w", err))
	}
	return sip.NewRequest(sip.RequestMethod(a), uri), nil // RFC 3261 §7.1: methods are case-sensitive
}

func (r *reader) header(msg sip.Message) error {
	line, f := r.line()
	if f != nil {
		return f
	}
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t") // RFC 3261 §25.1: HCOLON; ScreenRaw is stricter
	if !ok || !isToken(name) {
		return r.fault(verdict.BadHeader, errors.New("no header name"))
	}
	name = Canonical(name)
	if k, ok := lookup(name); ok && k.shape == shapeSingle {
		if r.seen[k.index] {
			return r.fault(verdict.DuplicateHeader, fmt.Errorf("%s stands twice", name))
		}
		r.seen[k.index] = true
	}
	made, err := parseHeader(name, trim(value))
	if err != nil {
		why := verdict.BadHeader
		switch {
		case errors.Is(err, ErrURI):
			why = verdict.BadURI
		case name == "Content-Length":
			why = verdict.BadContentLength
		case name == "CSeq" || name == "Max-Forwards":
			why = verdict.BadNumber
		}
		return r.fault(why, err)
	}
	for _, h := range made {
		msg.AppendHeader(h)
	}
	return nil
}
