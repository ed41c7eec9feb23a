// Package lifecycle starts the parts of a program in an order that can be read as a list, and stops them in the reverse
// one: on a signal, when one of them fails, or when the context ends.
//
//	          Start in order            ready                first TERM or INT, failure, end of ctx
//	starting ────────────────► running ────────► (HUP: Reload) ─────────► stopping ────────► stopped
//	    │ a Start fails                                                     │ second TERM or INT
//	    └──────────────► stopping what was started                          └──► ErrForced, at once
//
// systemd is told READY, RELOADING and STOPPING, if it listens.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The deadlines of a Component that names none.
const (
	DefaultStart = 30 * time.Second
	DefaultStop  = 10 * time.Second
)

// Component is one part of the program. Each function may be nil.
type Component struct {
	Name string
	// Start returns once the part works. Its ctx ends at the deadline and with the program's start, not with the program.
	Start func(ctx context.Context) error
	// Stop ends what Start began; it is called only if Start returned nil. Its ctx ends at the deadline.
	Stop func(ctx context.Context) error
	// Reload takes on a changed configuration or certificate. After an error the old state goes on.
	Reload func(ctx context.Context) error

	StartDeadline time.Duration // how long Start may take; 0 is DefaultStart
	StopDeadline  time.Duration // how long Stop may take, draining included; 0 is DefaultStop
}

// ErrForced says that a second signal ended the program before all parts had stopped.
var ErrForced = errors.New("stopped at once by a second signal")

// errAsked is the cause of a stop that a signal or the end of the program's context asked for: no failure.
var errAsked = errors.New("asked to stop")

// grace is how long a part that was told to give up may still take to do so.
const grace = time.Second

// Runner holds the list.
type Runner struct {
	log    *slog.Logger
	notify *Notifier
	parts  []Component
	failed chan error // a part that fails while it runs; room for the first
}

// New returns an empty list. notify may be nil.
func New(log *slog.Logger, notify *Notifier) *Runner {
	return &Runner{log: log, notify: notify, failed: make(chan error, 1)}
}

// Add appends parts to the list. It is not to be called after Run.
func (r *Runner) Add(parts ...Component) { r.parts = append(r.parts, parts...) }

// Fail stops the program because the named part can't go on; Run returns err. Only the first counts. It never blocks.
func (r *Runner) Fail(name string, err error) {
	select {
	case r.failed <- fmt.Errorf("%s: %w", name, err):
	default:
	}
}

// Signals returns a channel with the signals that Run knows, and a function that gives them back to the runtime.
func Signals() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}

// Run starts the parts, waits, and stops them. It returns nil after a signal or the end of ctx, and otherwise what failed:
// a Start, a part while it ran, a Stop, or ErrForced.
func (r *Runner) Run(ctx context.Context, signals <-chan os.Signal) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	force, forceNow := context.WithCancel(context.WithoutCancel(ctx))
	defer forceNow()
	reload := make(chan struct{}, 1)
	go r.watch(ctx, force, signals, stop, forceNow, reload)

	started, err := r.start(ctx, force)
	if err == nil { // otherwise nothing ran, and the caller says why
		r.tell(r.notify.Ready())
		r.log.Info("running", "parts", started)
		if err = r.wait(ctx, reload); err != nil {
			r.log.Error("stopping", "err", err)
		} else {
			r.log.Info("stopping")
		}
	}
	r.tell(r.notify.Stopping())
	stop(errAsked)
	return errors.Join(err, r.stop(force, r.parts[:started]))
}

// watch turns signals and failures into the end of ctx, of force, and into reloads. It ends with force.
func (r *Runner) watch(ctx, force context.Context, signals <-chan os.Signal, stop context.CancelCauseFunc,
	forceNow context.CancelFunc, reload chan<- struct{}) {
	asked := false
	for {
		select {
		case <-force.Done():
			return
		case err := <-r.failed:
			stop(err)
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default: // one is waiting already
				}
			case asked:
				r.log.Warn("second signal: stopping at once", "signal", sig.String())
				forceNow()
			default:
				asked = true
				r.log.Info("asked to stop", "signal", sig.String())
				stop(errAsked)
			}
		}
	}
}

// start calls each Start in order and returns how many parts run. Being asked to stop meanwhile is no error.
func (r *Runner) start(ctx, force context.Context) (started int, err error) {
	for _, p := range r.parts {
		if ctx.Err() != nil {
			return started, failure(ctx)
		}
		began := time.Now()
		if err := call(ctx, force, p.Start, p.StartDeadline, DefaultStart); err != nil {
			if ctx.Err() != nil {
				return started, failure(ctx)
			}
			return started, fmt.Errorf("starting %s: %w", p.Name, err)
		}
		started++
		r.log.Debug("started", "part", p.Name, "took", time.Since(began))
	}
	return started, nil
}

// failure is why ctx ended; nil if somebody asked for it.
func failure(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errAsked) || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return nil
	}
	return cause
}

// wait reloads on request, until ctx ends.
func (r *Runner) wait(ctx context.Context, reload <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return failure(ctx)
		case <-reload:
			r.reload(ctx)
		}
	}
}

// reload calls each Reload in order. One that fails keeps its old state and does not hold up the others.
func (r *Runner) reload(ctx context.Context) {
	r.tell(r.notify.Reloading())
	bad := 0
	for _, p := range r.parts {
		if err := call(ctx, ctx, p.Reload, p.StartDeadline, DefaultStart); err != nil {
			bad++
			r.log.Error("reload failed; the old state goes on", "part", p.Name, "err", err)
		}
	}
	r.log.Info("reloaded", "failed", bad)
	r.tell(r.notify.Ready())
}

// stop calls each Stop in reverse order, all of them, whatever fails; only force ends it early.
func (r *Runner) stop(force context.Context, started []Component) error {
	var errs []error
	for i := len(started) - 1; i >= 0; i-- {
		p := started[i]
		if force.Err() != nil {
			return errors.Join(append(errs, ErrForced)...)
		}
		began := time.Now()
		if err := call(force, force, p.Stop, p.StopDeadline, DefaultStop); err != nil {
			if force.Err() != nil {
				return errors.Join(append(errs, ErrForced)...)
			}
			errs = append(errs, fmt.Errorf("stopping %s: %w", p.Name, err))
			continue
		}
		r.log.Debug("stopped", "part", p.Name, "took", time.Since(began))
	}
	return errors.Join(errs...)
}

// call runs f with a deadline below ctx. A part that does not heed its context can't hold the program: it is left behind
// a moment after the deadline, and at once when force ends.
func call(ctx, force context.Context, f func(context.Context) error, limit, normal time.Duration) error {
	if f == nil {
		return nil
	}
	if limit == 0 {
		limit = normal
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return late(ctx, err, limit)
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return late(ctx, err, limit)
	case <-force.Done():
		return force.Err()
	case <-time.After(grace):
		return fmt.Errorf("not done after %v, and left behind", limit)
	}
}

// late says how long a part had that gave up because its time was over.
func late(ctx context.Context, err error, limit time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not done after %v: %w", limit, err)
	}
	return err
}

// tell logs what the service manager could not be told.
func (r *Runner) tell(err error) {
	if err != nil {
		r.log.Warn("telling the service manager", "err", err)
	}
}
