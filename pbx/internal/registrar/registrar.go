package registrar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
)

// Config bounds what a REGISTER may ask for.
type Config struct {
	MinExpires     time.Duration // shorter is answered with 423 (RFC 3261 §10.3)
	MaxExpires     time.Duration // longer is cut to it
	DefaultExpires time.Duration // when the phone names none
	MaxContacts    int           // bindings of one address of record; over it the one that expires first goes
	DurableWait    time.Duration // how long a 200 waits for the disk before it goes out anyway, and is counted
	Log            *slog.Logger  // nil: silent
}

// DefaultConfig suits phones of all kinds.
func DefaultConfig() Config {
	return Config{
		MinExpires: time.Minute, MaxExpires: time.Hour, DefaultExpires: time.Hour,
		MaxContacts: 10, DurableWait: 20 * time.Millisecond,
	}
}

// Registrar keeps the bindings. All methods may be called from any goroutine.
type Registrar struct {
	cfg   Config
	auth  *Authenticator
	store *store.Store
	early atomic.Uint64
}

var errConfig = errors.New("registrar")

// New returns a Registrar. The error names what the configuration lacks.
func New(cfg Config, auth *Authenticator, s *store.Store) (*Registrar, error) {
	if cfg.MinExpires < time.Second || cfg.MaxExpires < cfg.MinExpires || cfg.DefaultExpires < cfg.MinExpires ||
		cfg.DefaultExpires > cfg.MaxExpires || cfg.MaxContacts < 1 || cfg.DurableWait < 0 {
		return nil, fmt.Errorf("%w: expiry must be ordered min ≤ default ≤ max from 1 s on, contacts at least 1", errConfig)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Registrar{cfg: cfg, auth: auth, store: s}, nil
}

// EarlyAnswers is how many times a 200 went out before its binding was on disk.
func (r *Registrar) EarlyAnswers() uint64 { return r.early.Load() }

// Lookup returns the bindings of a number that are live at now: highest q first (RFC 3261 §16.6), then the latest.
func (r *Registrar) Lookup(number string, now time.Time) []*store.Binding {
	rows := r.store.Bindings(number, now)
	slices.SortStableFunc(rows, func(a, b *store.Binding) int {
		return cmp.Or(cmp.Compare(b.Q, a.Q), b.Registered.Compare(a.Registered))
	})
	return rows
}

// Register answers a REGISTER by RFC 3261 §10.3, and says what the border should know. It waits for the store and up to
// DurableWait for the disk.
func (r *Registrar) Register(ctx context.Context, req *sip.Request, o Origin, now time.Time) (*sip.Response, corelink.Verdict) {
	to := req.To()
	if to == nil || req.CallID() == nil || req.CSeq() == nil {
		return sipmsg.Response(req, 400, "", ""), corelink.Verdict{}
	}
	// Step 1: a domain that is not ours. The same answer for every user of it.
	if !r.auth.Serves(req.Recipient.Host) || !r.auth.Serves(to.Address.Host) {
		seen := corelink.Verdict{Outcome: corelink.OutcomeRefused, AOR: to.Address.User + "@" + to.Address.Host}
		return sipmsg.Response(req, 404, "", ""), seen
	}
	// Step 3, before 2: a stranger is told nothing about what we support.
	who := r.auth.Check(ctx, req, o, now)
	if !who.OK() {
		return who.Response, who.Verdict
	}
	// Step 4 and 5: nobody registers for another. That To is an address of record follows from it.
	if to.Address.User != who.Number {
		who.Verdict.Outcome = corelink.OutcomeRefused
		return sipmsg.Response(req, 403, "", ""), who.Verdict
	}
	// Step 2.
	if bad := unsupported(req); len(bad) > 0 {
		res := sipmsg.Response(req, 420, "", "")
		add(res, "Unsupported", strings.Join(bad, ", "))
		return res, who.Verdict
	}
	return r.bind(ctx, req, who.Number, o, now), who.Verdict
}

// options are the extensions that a REGISTER may require.
const (
	optionPath     = "path"     // RFC 3327
	optionOutbound = "outbound" // RFC 5626
)

func unsupported(req *sip.Request) (bad []string) {
	for _, tag := range sipmsg.Headers(req, "Require") {
		if !strings.EqualFold(tag, optionPath) && !strings.EqualFold(tag, optionOutbound) {
			bad = append(bad, tag)
		}
	}
	return bad
}

// bind is steps 6 to 8: all changes of the request, or none.
func (r *Registrar) bind(ctx context.Context, req *sip.Request, number string, o Origin, now time.Time) *sip.Response {
	u, fault := r.read(req, number, o, now)
	if fault != nil {
		return fault.response(req)
	}
	if !u.changes() {
		u.final = r.store.Bindings(number, now) // step 6: a question
		return u.response(req, now)
	}
	durable, err := r.store.UpdateBindings(ctx, number, u.apply)
	switch {
	case errors.As(err, &fault):
		return fault.response(req)
	case err != nil:
		r.cfg.Log.Error("bindings can't be stored", "number", number, "error", err)
		return (&faultError{code: 503}).response(req)
	}
	r.await(ctx, durable)
	return u.response(req, now)
}

// await waits for the disk, but not for long: the phone's registration is of more use to it than its safety. What the
// disk does not get, the next refresh heals.
func (r *Registrar) await(ctx context.Context, durable <-chan struct{}) {
	select {
	case <-durable:
		return
	default:
	}
	late := time.NewTimer(r.cfg.DurableWait)
	defer late.Stop()
	select {
	case <-durable:
	case <-late.C:
		r.early.Add(1)
	case <-ctx.Done():
		r.early.Add(1)
	}
}

// faultError is why a REGISTER is refused as a whole.
type faultError struct {
	code int
	min  time.Duration // with 423
}

func (f *faultError) Error() string { return fmt.Sprintf("refused with %d", f.code) }

func (f *faultError) response(req *sip.Request) *sip.Response {
	res := sipmsg.Response(req, f.code, "", "")
	switch f.code {
	case 423:
		add(res, "Min-Expires", fmt.Sprint(int(f.min/time.Second))) // RFC 3261 §10.3 step 7
	case 503:
		add(res, "Retry-After", retryAfter)
	}
	return res
}
