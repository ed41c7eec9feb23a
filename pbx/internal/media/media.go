// Package media is where the exchange itself speaks and hears: the echo test and the milliwatt tone.
package media

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"brickhouse/shared/verdict"
)

// Kind is what a session does.
type Kind uint8

// The kinds.
const (
	Echo      Kind = iota // sends back what it hears
	Milliwatt             // sends a 1004 Hz tone at -10 dBm0
)

// Config sizes the engine.
type Config struct {
	MinPort uint16        `yaml:"min_port" doc:"lowest UDP port for media that end in the exchange"`
	MaxPort uint16        `yaml:"max_port" doc:"highest UDP port for media that end in the exchange"`
	Silence time.Duration `yaml:"silence" doc:"a call to the exchange itself without any packet for this long is ended; 0 never ends one"`
}

// Error is why an offer can't be answered. Code is the SIP status code.
type Error struct {
	Code   int
	Reason verdict.Reason
	Detail string
}

// Error is "488 no-common-media: detail".
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Code, e.Reason, e.Detail) }

// Engine owns the ports and the sessions.
type Engine struct {
	cfg Config
	log *slog.Logger
}

// Session is the exchange's end of one call.
type Session struct{}

// Stats is a snapshot of a session's counters.
type Stats struct {
	Remote                netip.AddrPort
	PacketsIn, PacketsOut uint64
	BytesIn, BytesOut     uint64
	Strangers, Malformed  uint64
}

// New makes an engine; it binds nothing yet.
func New(cfg Config, log *slog.Logger) (*Engine, error) { return &Engine{cfg, log}, nil }

// Answer answers an offer (RFC 3264) with a session of that kind, bound to local. The error is an *Error. onTimeout may be nil; it
// is called once, from another goroutine, when the far side was silent for Config.Silence while not on hold.
func (e *Engine) Answer(kind Kind, offer []byte, local netip.Addr, onTimeout func()) ([]byte, *Session, error) {
	return nil, nil, &Error{500, verdict.Internal, "not built yet"}
}

// Close ends all sessions.
func (e *Engine) Close() {}

// Reoffer answers a later offer in the same call: hold, resume, another address.
func (s *Session) Reoffer(offer []byte) ([]byte, error) {
	return nil, &Error{500, verdict.Internal, "not built yet"}
}

// Stats returns a snapshot. It works after Close, too.
func (s *Session) Stats() Stats { return Stats{} }

// Close ends the session; a second call does nothing.
func (s *Session) Close() {}
