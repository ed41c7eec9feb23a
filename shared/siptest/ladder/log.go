// Package ladder keeps the SIP messages that a participant of a test saw, and draws the messages of several participants
// as one call ladder for a terminal.
//
// A Log is filled while a test runs; Print takes what several logs hold and draws one line for each message, in the order of
// time. A message that two participants saw, one as sender and one as receiver, is drawn once.
package ladder

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Message is one SIP message as one participant saw it.
type Message struct {
	Time      time.Time
	Sent      bool           // true if the participant sent it, false if it came in
	Network   string         // "udp", "tcp" or "tls"
	Local     netip.AddrPort // the participant's own end
	Remote    netip.AddrPort // the other end
	FirstLine string         // request or status line, without the line end
	Text      string         // the whole message
}

// From is the address that the message came from.
func (m Message) From() netip.AddrPort {
	if m.Sent {
		return m.Local
	}
	return m.Remote
}

// To is the address that the message went to.
func (m Message) To() netip.AddrPort {
	if m.Sent {
		return m.Remote
	}
	return m.Local
}

// Header is the first value of a header field, or "" if there is none. Compact names are not expanded.
func (m Message) Header(name string) string {
	for _, line := range strings.Split(m.Text, "\r\n")[1:] {
		if line == "" {
			break
		}
		n, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(n), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// DefaultLimit is how many messages a Log keeps if its maker asks for no other number.
const DefaultLimit = 100_000

// Log collects the messages of one participant. The zero value is ready. It may be used by several goroutines.
type Log struct {
	mu      sync.Mutex
	msgs    []Message
	limit   int
	dropped int
}

// NewLog makes a log that keeps the first limit messages and counts the rest; a limit below 1 means DefaultLimit.
func NewLog(limit int) *Log {
	return &Log{limit: limit}
}

// Add appends a message.
func (l *Log) Add(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limit
	if limit < 1 {
		limit = DefaultLimit
	}
	if len(l.msgs) >= limit {
		l.dropped++
		return
	}
	l.msgs = append(l.msgs, m)
}

// Messages is a copy of what was collected, in the order in which it was added.
func (l *Log) Messages() []Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Message(nil), l.msgs...)
}

// Dropped is the number of messages that did not fit.
func (l *Log) Dropped() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Received is what came in.
func Received(msgs []Message) []Message {
	return filter(msgs, func(m Message) bool { return !m.Sent })
}

// Sent is what went out.
func Sent(msgs []Message) []Message {
	return filter(msgs, func(m Message) bool { return m.Sent })
}

// Containing is every message whose text holds one of the strings, in any case: what a test asserts to be empty when it
// asks whether an address or header of the other side is seen.
func Containing(msgs []Message, needles ...string) []Message {
	return filter(msgs, func(m Message) bool {
		text := strings.ToLower(m.Text)
		for _, n := range needles {
			if n != "" && strings.Contains(text, strings.ToLower(n)) {
				return true
			}
		}
		return false
	})
}

// OfCall is every message with that Call-ID.
func OfCall(msgs []Message, callID string) []Message {
	return filter(msgs, func(m Message) bool { return callID != "" && m.Header("Call-ID") == callID })
}

func filter(msgs []Message, keep func(Message) bool) []Message {
	var out []Message
	for _, m := range msgs {
		if keep(m) {
			out = append(out, m)
		}
	}
	return out
}
