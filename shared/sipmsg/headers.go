package sipmsg

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// holder is what sipgo's request and response have in common beyond sip.Message.
type holder interface {
	Headers() []sip.Header
	RemoveHeader(name string) bool
	AppendHeader(h sip.Header)
}

// list returns the headers of a message in their order; nil for a message that is not sipgo's.
func list(msg sip.Message) []sip.Header {
	if h, ok := msg.(holder); ok {
		return h.Headers()
	}
	return nil
}

// Header returns the value of the first header of that name, as it would be written, and whether there is one. The name is
// taken in any case and form: "supported", "Supported" and "k" are one. A comma list comes whole; see Headers.
func Header(msg sip.Message, name string) (string, bool) {
	name = Canonical(name)
	for _, h := range list(msg) {
		if sameName(h.Name(), name) {
			return string(appendValue(nil, h)), true
		}
	}
	return "", false
}

// Headers returns the values of all headers of that name in their order. Where the header is a comma list (RFC 3261
// §7.3.1) each element is a value of its own, cut outside quotes and brackets; empty elements are left out.
func Headers(msg sip.Message, name string) []string {
	name = Canonical(name)
	if !has(msg, name) {
		return nil
	}
	isList := shapeOf(name) == shapeList
	var out []string
	for _, h := range list(msg) {
		if !sameName(h.Name(), name) {
			continue
		}
		value := string(appendValue(nil, h))
		if !isList {
			out = append(out, value)
			continue
		}
		for _, v := range splitList(value) {
			if v != "" {
				out = append(out, v)
			}
		}
	}
	return out
}

// sameName compares a header's name in any form with a canonical one.
func sameName(name, canonical string) bool {
	if len(name) == len(canonical) {
		return name == canonical || strings.EqualFold(name, canonical)
	}
	// Only the compact form is shorter, and only blanks make it longer.
	return (len(name) == 1 || len(name) > len(canonical)) && Canonical(name) == canonical
}

// Remove takes away every header of that name, in any case and form.
func Remove(msg sip.Message, name string) {
	name = Canonical(name)
	if !has(msg, name) {
		return
	}
	RemoveFunc(msg, func(canonical string) bool { return canonical == name })
}

// has reports whether there is a header of that canonical name.
func has(msg sip.Message, canonical string) bool {
	for _, h := range list(msg) {
		if sameName(h.Name(), canonical) {
			return true
		}
	}
	return false
}

// RemoveFunc takes away every header for whose canonical name drop returns true.
func RemoveFunc(msg sip.Message, drop func(canonical string) bool) {
	m, ok := msg.(holder)
	if !ok {
		return
	}
	for i := 0; i < len(m.Headers()); {
		h := m.Headers()[i]
		name := Canonical(h.Name())
		if !drop(name) || !m.RemoveHeader(h.Name()) {
			i++
			continue
		}
		i = 0 // RemoveHeader takes the first of that spelling, which may stand before i
		forget(m, name)
	}
}

// forget clears what sipgo remembers of a header that was parsed late from a generic one.
func forget(m holder, name string) {
	var h sip.Header
	switch name {
	case "Via":
		h = &sip.ViaHeader{}
	case "From":
		h = &sip.FromHeader{}
	case "To":
		h = &sip.ToHeader{}
	case "Call-ID":
		h = new(sip.CallIDHeader)
	case "CSeq":
		h = &sip.CSeqHeader{}
	case "Contact":
		h = &sip.ContactHeader{}
	case "Route":
		h = &sip.RouteHeader{}
	case "Record-Route":
		h = &sip.RecordRouteHeader{}
	case "Content-Length":
		h = new(sip.ContentLengthHeader)
	case "Content-Type":
		h = new(sip.ContentTypeHeader)
	case "Max-Forwards":
		h = new(sip.MaxForwardsHeader)
	default:
		return
	}
	for _, left := range m.Headers() {
		if sameName(left.Name(), name) {
			return // more to come: the last one clears
		}
	}
	m.AppendHeader(h)
	m.RemoveHeader(h.Name())
}

// Set puts one header in the place of all of that name; of a typed comma list, one per element. The name becomes canonical
// and the value is read as Parse would. An error changes nothing: a name that is no token, CR, LF, NUL or another control
// in the value, or a value that breaks the grammar of a header sipgo has a type for.
func Set(msg sip.Message, name, value string) error {
	made, err := build(name, value)
	if err != nil {
		return err
	}
	Remove(msg, name)
	for _, h := range made {
		msg.AppendHeader(h)
	}
	return nil
}

// Add puts a header behind all others, with the errors of Set.
func Add(msg sip.Message, name, value string) error {
	made, err := build(name, value)
	if err != nil {
		return err
	}
	for _, h := range made {
		msg.AppendHeader(h)
	}
	return nil
}

// build makes the headers that Set and Add put in.
func build(name, value string) ([]sip.Header, error) {
	name = Canonical(name)
	if !isToken(name) {
		return nil, fmt.Errorf("%w: name %q", ErrHeader, name)
	}
	if !plain(value) {
		return nil, fmt.Errorf("%w: control byte or not UTF-8 in %s", ErrHeader, name)
	}
	return parseHeader(name, trim(value))
}
