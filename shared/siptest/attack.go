package siptest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"brickhouse/shared/siptest/ladder"
)

// Attack tries passwords by REGISTER, each over a socket of its own, as somebody does who searches for one.
type Attack struct {
	// Config is who attacks: Server, Transport, TLS, Bind (for instance 127.0.0.66), Domain, User. Password is not used.
	Config
	Tries    int
	Password func(n int) string // of try n, counted from 1; default: a random one
	Users    func(n int) string // user of try n; default: Config.User
	Pause    time.Duration      // between tries
	Timeout  time.Duration      // of each try; default 3 s
	// Blind sends credentials for a nonce that was never given out and does not wait for a challenge: what a source does that
	// can't receive.
	Blind bool
	// Each is called after each try and says whether to go on; nil goes on to the end.
	Each func(Try) (more bool)
}

// Outcome is what came of one try.
type Outcome string

// The outcomes.
const (
	LetIn        Outcome = "let-in"        // 2xx: the password was right
	Denied       Outcome = "denied"        // a final response that is no success
	CutOff       Outcome = "cut-off"       // challenged, but not answered any more after the password
	NoConnection Outcome = "no-connection" // connecting or the TLS handshake failed, or the connection was ended at once
	NoAnswer     Outcome = "no-answer"     // nothing came back in time
)

// Try is one try.
type Try struct {
	N       int
	Outcome Outcome
	Codes   []int // responses, in order
	Err     error // why there was no final response
	Took    time.Duration
}

func (t Try) String() string {
	if t.Err != nil {
		return fmt.Sprintf("try %d: %s after %d ms: %v", t.N, t.Outcome, t.Took.Milliseconds(), t.Err)
	}
	return fmt.Sprintf("try %d: %s %v after %d ms", t.N, t.Outcome, t.Codes, t.Took.Milliseconds())
}

// Locked reports whether a try was shut out from the beginning.
func (t Try) Locked() bool { return t.Outcome == NoConnection || t.Outcome == NoAnswer }

// Run does the tries one after the other. It returns what came of each and every message; the error is about the attack's own
// configuration or context, not about what the tries met.
func (a Attack) Run(ctx context.Context) ([]Try, []ladder.Message, error) {
	if a.Timeout <= 0 {
		a.Timeout = 3 * time.Second
	}
	var tries []Try
	var msgs []ladder.Message
	for n := 1; n <= a.Tries; n++ {
		if n > 1 && a.Pause > 0 {
			select {
			case <-time.After(a.Pause):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return tries, msgs, ctx.Err()
		}
		t, seen, err := a.try(ctx, n)
		if err != nil {
			return tries, msgs, err
		}
		tries, msgs = append(tries, t), append(msgs, seen...)
		if a.Each != nil && !a.Each(t) {
			break
		}
	}
	return tries, msgs, nil
}

// try makes one phone and registers it.
func (a Attack) try(ctx context.Context, n int) (Try, []ladder.Message, error) {
	cfg := a.Config
	cfg.Password = token()
	if a.Password != nil {
		cfg.Password = a.Password(n)
	}
	if a.Users != nil {
		cfg.User, cfg.AuthUser = a.Users(n), ""
	}
	p, err := NewPhone(cfg)
	if err != nil {
		return Try{}, nil, err
	}
	defer p.Close()
	if a.Blind {
		p.auth["Authorization"] = &used{challenge: challenge{realm: p.cfg.Domain, nonce: token(), algorithm: MD5, qop: true}}
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	start := time.Now()
	m, err := p.register(ctx, time.Minute)
	t := Try{N: n, Err: err, Took: time.Since(start)}
	for _, seen := range ladder.Received(p.Ladder()) {
		if r, err := ParseMessage([]byte(seen.Text)); err == nil && r.Code > 0 {
			t.Codes = append(t.Codes, r.Code)
		}
	}
	switch {
	case err == nil && m.result().OK():
		t.Outcome = LetIn
	case err == nil:
		t.Outcome = Denied
	case len(t.Codes) > 0:
		t.Outcome = CutOff
	case errors.Is(err, ErrNoConnection) || errors.Is(err, ErrConnection):
		t.Outcome = NoConnection
	default:
		t.Outcome = NoAnswer
	}
	return t, p.Ladder(), nil
}
