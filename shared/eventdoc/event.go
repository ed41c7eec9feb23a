// Package eventdoc reads and writes what event subscriptions carry (RFC 6665): the Event header, dialog-info (RFC 4235), PIDF
// (RFC 3863) and message summaries (RFC 3842). It is pure.
//
// A document names people by the user part of their address alone. The host is written with it, as the domain that the reader
// of the document knows; what another document said there is dropped when it is read. So no address of one side gets to the
// other, and no byte that a stranger wrote passes as it came.
package eventdoc

import (
	"errors"
	"strings"

	"brickhouse/shared/sipmsg"
)

// The event packages that are served.
const (
	Dialog         = "dialog"
	Presence       = "presence"
	MessageSummary = "message-summary"
)

// Media types of their documents.
const (
	TypeDialogInfo = "application/dialog-info+xml"
	TypePIDF       = "application/pidf+xml"
	TypeSummary    = "application/simple-message-summary"
)

// Packages are the event packages that are served.
func Packages() []string { return []string{Dialog, Presence, MessageSummary} }

// Type is the media type of a package's documents; empty for a package that is not served.
func Type(pkg string) string {
	switch pkg {
	case Dialog:
		return TypeDialogInfo
	case Presence:
		return TypePIDF
	case MessageSummary:
		return TypeSummary
	}
	return ""
}

// Event is what an Event header names (RFC 6665 §8.2.1).
type Event struct {
	Package string
	ID      string // tells subscriptions of one dialog apart; mostly empty
}

// maxName bounds the name of a package and its id, in bytes.
const maxName = 64

// ErrEvent is the fault of an Event header that can't be read.
var ErrEvent = errors.New("malformed Event")

// ParseEvent reads an Event header. Names of packages are compared as they are written (RFC 6665 §8.2.1).
func ParseEvent(value string) (Event, error) {
	name, rest, more := strings.Cut(value, ";")
	e := Event{Package: strings.Trim(name, " \t")}
	if !isToken(e.Package) {
		return Event{}, ErrEvent
	}
	if id, ok := sipmsg.HeaderParam(value, "id"); more && ok {
		e.ID = id
		if !isToken(id) {
			return Event{}, ErrEvent
		}
	}
	if more && strings.Trim(rest, " \t") == "" {
		return Event{}, ErrEvent
	}
	return e, nil
}

// String is the header's value.
func (e Event) String() string {
	if e.ID == "" {
		return e.Package
	}
	return e.Package + ";id=" + e.ID
}

// isToken reports whether s is a token of RFC 3261 §25.1 that is no longer than a name of ours.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-.!%*_+`'~", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}
