package transaction

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// Workers run what a request has to wait for, such as a disk or a name server, beside the reader of its flow, which must
// not wait. Their number is bounded.
type Workers struct {
	group errgroup.Group
	log   *slog.Logger
}

// NewWorkers returns workers of which at most that many run at a time. log may be nil.
func NewWorkers(most int, log *slog.Logger) *Workers {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &Workers{log: log}
	w.group.SetLimit(most)
	return w
}

// Go runs work on a goroutine of its own, and failed after it if it panics. It reports false, and runs neither, if too many
// run already.
func (w *Workers) Go(work, failed func()) bool {
	return w.group.TryGo(func() error {
		defer func() {
			if p := recover(); p != nil {
				w.log.Error("panic while a request was served", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				failed()
			}
		}()
		work()
		return nil
	})
}

// Wait returns when all have ended.
func (w *Workers) Wait() { _ = w.group.Wait() } // they return no errors
