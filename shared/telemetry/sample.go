package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// maxMessages bounds how many different messages are told apart; messages are constants of the program, so that this
// many are never reached unless one is built from data. Those beyond share one allowance.
const maxMessages = 1024

// Sampler is a slog.Handler that lets at most burst lines with the same level and message through per window. How many
// it kept back stands in the next line that it lets through, as "suppressed", or in a line of its own (Flush).
type Sampler struct {
	next  slog.Handler
	state *sampling
}

// sampling is what a Sampler and its children with attributes have in common.
type sampling struct {
	root   slog.Handler
	burst  int
	window time.Duration
	now    func() time.Time

	mu   sync.Mutex
	seen map[messageKey]*allowance
}

type messageKey struct {
	level   slog.Level
	message string
}

// allowance is what one message has used of its window.
type allowance struct {
	since      time.Time
	used       int
	suppressed int
}

func newSampler(next slog.Handler, burst int, window time.Duration, now func() time.Time) *Sampler {
	return &Sampler{next: next, state: &sampling{
		root: next, burst: burst, window: window, now: now, seen: map[messageKey]*allowance{},
	}}
}

// Enabled reports whether a line of that level is written at all.
func (s *Sampler) Enabled(ctx context.Context, l slog.Level) bool { return s.next.Enabled(ctx, l) }

// Handle writes the line or counts it.
func (s *Sampler) Handle(ctx context.Context, r slog.Record) error {
	ok, suppressed := s.state.allow(messageKey{r.Level, r.Message})
	if !ok {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return s.next.Handle(ctx, r)
}

// WithAttrs returns a handler that shares the allowances.
func (s *Sampler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Sampler{next: s.next.WithAttrs(attrs), state: s.state}
}

// WithGroup returns a handler that shares the allowances.
func (s *Sampler) WithGroup(name string) slog.Handler {
	return &Sampler{next: s.next.WithGroup(name), state: s.state}
}

// allow takes one line from the allowance of k, and returns how many were kept back before.
func (st *sampling) allow(k messageKey) (ok bool, suppressed int) {
	now := st.now()
	st.mu.Lock()
	defer st.mu.Unlock()
	a := st.seen[k]
	if a == nil {
		if len(st.seen) >= maxMessages {
			k = messageKey{}
			a = st.seen[k]
		}
		if a == nil {
			a = &allowance{since: now}
			st.seen[k] = a
		}
	}
	if age := now.Sub(a.since); age >= st.window || age < 0 {
		suppressed = a.suppressed
		*a = allowance{since: now}
	}
	if a.used >= st.burst {
		a.suppressed++
		return false, 0
	}
	a.used++
	return true, suppressed
}

// Flush writes, for each message whose window is over, how many lines were kept back since; with all it does so for
// every message. It forgets messages that were not seen for a window.
func (s *Sampler) Flush(ctx context.Context, all bool) error {
	st := s.state
	now := st.now()
	type count struct {
		key messageKey
		n   int
	}
	var counts []count
	st.mu.Lock()
	for k, a := range st.seen {
		if age := now.Sub(a.since); !all && age < st.window && age >= 0 {
			continue
		}
		if a.suppressed > 0 {
			counts = append(counts, count{k, a.suppressed})
		}
		delete(st.seen, k)
	}
	st.mu.Unlock()
	var errs []error
	for _, c := range counts {
		r := slog.NewRecord(now, c.key.level, "log lines suppressed", 0)
		r.AddAttrs(slog.String("message", c.key.message), slog.Int("suppressed", c.n))
		if st.root.Enabled(ctx, r.Level) {
			errs = append(errs, st.root.Handle(ctx, r))
		}
	}
	return errors.Join(errs...)
}

// Run flushes once a window until ctx ends, and then everything. A nil Sampler returns at once.
func (s *Sampler) Run(ctx context.Context) {
	if s == nil {
		return
	}
	tick := time.NewTicker(s.state.window)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.Flush(ctx, false) // a log that can't be written can't be complained about either
		case <-ctx.Done():
			_ = s.Flush(context.WithoutCancel(ctx), true)
			return
		}
	}
}
