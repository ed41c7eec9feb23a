package siptest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Message is one SIP message that came in, kept as it was on the wire. Its header fields are split by this package's own
// hand, so that a fault of the product's reader can't hide behind the same fault here; sipgo's parser must accept it too.
type Message struct {
	Raw    []byte
	Method string // of the request, or of the response's CSeq
	URI    string // Request-URI; empty for a response
	Code   int    // status code; 0 for a request
	Reason string // reason phrase of a response
	Body   []byte
	fields []field
}

// field is one header field, its name in the long form as it is usually written.
type field struct{ name, value string }

// maxFields bounds the header fields of one message.
const maxFields = 256

var errMessage = errors.New("malformed message")

// compactNames are the compact forms of RFC 3261 §20 and of later RFCs.
var compactNames = map[string]string{
	"a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "e": "Content-Encoding", "f": "From", "i": "Call-ID",
	"j": "Reject-Contact", "k": "Supported", "l": "Content-Length", "m": "Contact", "o": "Event", "r": "Refer-To",
	"s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via", "x": "Session-Expires",
}

// ParseMessage reads one whole message. It fails on whatever sipgo's parser refuses, and on a missing or wrong
// Content-Length, too many fields, and fields that no dialog can do without.
func ParseMessage(raw []byte) (*Message, error) {
	if _, err := sip.ParseMessage(raw); err != nil {
		return nil, fmt.Errorf("%w: %v", errMessage, err)
	}
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		return nil, fmt.Errorf("%w: no empty line", errMessage)
	}
	m := &Message{Raw: raw, Body: body}
	lines := strings.Split(string(head), "\r\n")
	if err := m.start(lines[0]); err != nil {
		return nil, err
	}
	for _, line := range lines[1:] {
		if err := m.line(line); err != nil {
			return nil, err
		}
	}
	return m, m.check()
}

// start reads the request or status line.
func (m *Message) start(line string) error {
	if rest, ok := strings.CutPrefix(line, "SIP/2.0 "); ok {
		code, reason, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(code)
		if err != nil || n < 100 || n > 699 {
			return fmt.Errorf("%w: status line %q", errMessage, line)
		}
		m.Code, m.Reason = n, reason
		return nil
	}
	method, rest, _ := strings.Cut(line, " ")
	uri, ok := strings.CutSuffix(rest, " SIP/2.0")
	if !ok || method == "" || uri == "" || strings.Contains(uri, " ") {
		return fmt.Errorf("%w: request line %q", errMessage, line)
	}
	m.Method, m.URI = method, uri
	return nil
}

// line reads one header line; one that begins with white space continues the field before it (RFC 3261 §7.3.1).
func (m *Message) line(line string) error {
	if line != "" && (line[0] == ' ' || line[0] == '\t') && len(m.fields) > 0 {
		last := &m.fields[len(m.fields)-1]
		last.value = strings.TrimSpace(last.value + " " + strings.TrimSpace(line))
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" || strings.ContainsAny(line, "\r\n\x00") {
		return fmt.Errorf("%w: header line %q", errMessage, line)
	}
	if len(m.fields) >= maxFields {
		return fmt.Errorf("%w: more than %d header fields", errMessage, maxFields)
	}
	if long, ok := compactNames[strings.ToLower(name)]; ok {
		name = long
	}
	m.fields = append(m.fields, field{name, strings.TrimSpace(value)})
	return nil
}

// check holds what RFC 3261 §8.1.1 and §20 ask of every message, so that a program under test can't be sloppy.
func (m *Message) check() error {
	for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		if m.Header(name) == "" {
			return fmt.Errorf("%w: no %s", errMessage, name)
		}
	}
	for _, name := range []string{"From", "To", "Call-ID", "CSeq", "Content-Length", "Max-Forwards", "Content-Type"} {
		if len(m.Headers(name)) > 1 {
			return fmt.Errorf("%w: %s twice", errMessage, name)
		}
	}
	n, method, err := parseCSeq(m.Header("CSeq"))
	if err != nil {
		return err
	}
	if m.Method != "" && m.Method != method {
		return fmt.Errorf("%w: CSeq %d %s in %s", errMessage, n, method, m.Method)
	}
	m.Method = method
	if l := m.Header("Content-Length"); l != "" {
		if n, err := strconv.Atoi(l); err != nil || n != len(m.Body) {
			return fmt.Errorf("%w: Content-Length %q of a body of %d bytes", errMessage, l, len(m.Body))
		}
	}
	return nil
}

func parseCSeq(s string) (uint32, string, error) {
	number, method, _ := strings.Cut(s, " ")
	n, err := strconv.ParseUint(number, 10, 31) // RFC 3261 §8.1.1.5: less than 2**31
	method = strings.TrimSpace(method)
	if err != nil || method == "" {
		return 0, "", fmt.Errorf("%w: CSeq %q", errMessage, s)
	}
	return uint32(n), method, nil
}

// IsRequest reports whether it is a request.
func (m *Message) IsRequest() bool { return m.Code == 0 }

// Header is the first value of a header field, by its long name in any case, or "".
func (m *Message) Header(name string) string {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// Headers are all values of a header field, one for each line, by its long name in any case.
func (m *Message) Headers(name string) []string {
	var out []string
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

// Names are the names of all header fields, in order, compact forms made long.
func (m *Message) Names() []string {
	var out []string
	for _, f := range m.fields {
		out = append(out, f.name)
	}
	return out
}

// CSeq is the number in the CSeq header.
func (m *Message) CSeq() uint32 {
	n, _, _ := parseCSeq(m.Header("CSeq")) // checked by ParseMessage
	return n
}

// CallID is the Call-ID.
func (m *Message) CallID() string { return m.Header("Call-ID") }

// FromTag and ToTag are the tags of the two sides, or "".
func (m *Message) FromTag() string { return param(m.Header("From"), "tag") }

// ToTag is the tag of the To header, or "".
func (m *Message) ToTag() string { return param(m.Header("To"), "tag") }

// branch is the branch of the top Via.
func (m *Message) branch() string { return param(m.Header("Via"), "branch") }

// list are the values of a header that is a comma-separated list (Via, Route, Record-Route, Contact).
func (m *Message) list(name string) []string {
	var out []string
	for _, v := range m.Headers(name) {
		out = append(out, splitList(v)...)
	}
	return out
}

// splitList splits at the commas that stand neither in quotes nor in angle brackets.
func splitList(s string) []string {
	var out []string
	quoted, angle, from := false, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' && !angle:
			out = append(out, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	if rest := strings.TrimSpace(s[from:]); rest != "" {
		out = append(out, rest)
	}
	return out
}

// address is the URI of a name-addr or addr-spec (RFC 3261 §20.10).
func address(value string) string {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '<' && !quoted:
			uri, _, _ := strings.Cut(value[i+1:], ">")
			return strings.TrimSpace(uri)
		}
	}
	uri, _, _ := strings.Cut(value, ";") // without brackets, parameters are the header's
	return strings.TrimSpace(uri)
}

// param is a parameter of a header value, outside quotes and angle brackets, or "".
func param(value, name string) string {
	for _, p := range splitParams(value)[1:] {
		n, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

// splitParams splits at the semicolons outside quotes and angle brackets; the first element is what the parameters belong to.
func splitParams(s string) []string {
	var out []string
	quoted, angle, from := false, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ';' && !angle:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

// draft is a message that we are about to send: its first line, its header fields in the order in which they go out, a body.
type draft struct {
	start  string
	fields []field
	body   []byte
}

func (d *draft) add(name, value string) *draft {
	d.fields = append(d.fields, field{name, value})
	return d
}

// set replaces the first field of that name or adds one.
func (d *draft) set(name, value string) {
	for i := range d.fields {
		if strings.EqualFold(d.fields[i].name, name) {
			d.fields[i].value = value
			return
		}
	}
	d.add(name, value)
}

// get is the first value of a field, or "".
func (d *draft) get(name string) string {
	for _, f := range d.fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// clone is a copy that later changes of d don't reach.
func (d *draft) clone() *draft {
	return &draft{start: d.start, fields: append([]field(nil), d.fields...), body: d.body}
}

// bytes is the message as it goes on the wire, always with one Content-Length.
func (d *draft) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(d.start + "\r\n")
	for _, f := range d.fields {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(d.body))
	b.Write(d.body)
	return b.Bytes()
}
