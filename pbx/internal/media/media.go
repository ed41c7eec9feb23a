// Package media is where the exchange itself speaks and hears: tones, the echo test, and scripts that play, listen and record.
//
// It speaks G.711 over plain RTP, since calls that end here come over the voice network or through the border, which has
// taken the encryption off. A session takes packets from nobody but the host that its SDP names.
package media

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"brickhouse/shared/mediaport"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// Config sizes the engine.
type Config struct {
	MinPort uint16        `yaml:"min_port" doc:"lowest UDP port for media that end in the exchange"`
	MaxPort uint16        `yaml:"max_port" doc:"highest UDP port for media that end in the exchange"`
	Silence time.Duration `yaml:"silence" doc:"a call to the exchange itself without any packet for this long is ended; 0 never ends one"`
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.MinPort < 1024 || c.MaxPort <= c.MinPort:
		return fmt.Errorf("min_port and max_port: %d–%d must lie in 1024–65535 and hold two ports at least", c.MinPort, c.MaxPort)
	case c.Silence < 0:
		return errors.New("silence must not be negative")
	}
	return nil
}

// rest is how long a port is not given to another call.
const rest = 30 * time.Second

// Error is why an offer can't be answered. Code is the SIP status code.
type Error struct {
	Code   int
	Reason verdict.Reason
	Detail string
}

// Error is "488 no-common-media: detail".
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Code, e.Reason, e.Detail) }

func fail(code int, why verdict.Reason, detail string) *Error { return &Error{code, why, detail} }

// Engine owns the ports and the sessions. It is safe for concurrent use.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	pool   *mediaport.Pool
	random io.Reader

	mu       sync.Mutex
	sessions map[*Session]struct{}
	closed   bool
}

// New makes an engine; it binds nothing yet.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	pool, err := mediaport.New(mediaport.Config{Min: cfg.MinPort, Max: cfg.MaxPort, Rest: rest})
	if err != nil {
		return nil, err
	}
	return &Engine{cfg: cfg, log: log, pool: pool, random: rand.Reader, sessions: make(map[*Session]struct{})}, nil
}

// Answer answers an offer (RFC 3264) with a session that does act, bound to local. The error is an *Error. onTimeout may be nil; it
// is called once, from another goroutine, when the far side was silent for Config.Silence while not on hold. The session must
// be closed.
func (e *Engine) Answer(act Act, offer []byte, local netip.Addr, onTimeout func()) ([]byte, *Session, error) {
	local = local.Unmap()
	d, err := sdp.Parse(offer)
	if err != nil {
		return nil, nil, fail(400, verdict.BadBody, err.Error())
	}
	n, failure := e.negotiate(d, local)
	if failure != nil {
		return nil, nil, failure
	}
	s, failure := e.open(act, local, onTimeout)
	if failure != nil {
		return nil, nil, failure
	}
	answer := s.accept(d, n)
	if err := e.start(s); err != nil {
		s.pair.Close()
		return nil, nil, fail(503, verdict.Shutdown, err.Error())
	}
	return answer, s, nil
}

// open makes a session with ports of its own.
func (e *Engine) open(act Act, local netip.Addr, onTimeout func()) (*Session, *Error) {
	pair, err := e.pool.Open(local)
	switch {
	case errors.Is(err, mediaport.ErrExhausted):
		return nil, fail(503, verdict.PortsExhausted, err.Error())
	case err != nil:
		return nil, fail(500, verdict.Internal, err.Error())
	}
	s, err := newSession(e, act, pair, onTimeout)
	if err != nil {
		pair.Close()
		return nil, fail(500, verdict.Internal, err.Error())
	}
	return s, nil
}

func (e *Engine) start(s *Session) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("the media engine is closed")
	}
	e.sessions[s] = struct{}{}
	s.start()
	return nil
}

func (e *Engine) forget(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
}

// Close ends all sessions and waits for them.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	sessions := make([]*Session, 0, len(e.sessions))
	for s := range e.sessions {
		sessions = append(sessions, s)
	}
	e.mu.Unlock()
	for _, s := range sessions {
		s.Close()
		s.running.Wait()
	}
}
