package store

import (
	"context"
	"errors"
	"fmt"

	"brickhouse/shared/state"
)

// follow starts one follower for each logged table and waits until all of them have delivered what the log holds.
func (s *Store) follow(ctx context.Context) error {
	tables := map[string]func(*txn, state.Change) error{
		tableExtensions: apply[Extension, *Extension],
		tableBindings:   apply[Binding, *Binding],
		tableCalls:      apply[Call, *Call],
		tableTolls:      apply[Toll, *Toll],
		tableStandings:  apply[Standing, *Standing],
		tableWaiting:    apply[Waiting, *Waiting],
		tableServices:   apply[Services, *Services],
		tableSwitches:   apply[Switch, *Switch],
	}
	results := make(chan error, 2*len(tables)) // each follower may send a result, and later why it ended
	for table, apply := range tables {
		s.wg.Go(func() { s.followTable(table, apply, results) })
	}
	for range tables {
		select {
		case err := <-results:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("reading state: %w", ctx.Err())
		}
	}
	return nil
}

// followTable brings the log's changes of one table into memory until the store closes. It sends nil when the table is
// in, or why that can't be.
func (s *Store) followTable(table string, apply func(*txn, state.Change) error, results chan<- error) {
	ctx, stop := context.WithCancelCause(s.ended)
	defer stop(nil)
	in := false
	take := func(changes []state.Change) {
		_, err := s.do(ctx, func(t *txn) error {
			for _, c := range changes {
				if c.By == s.opts.Node && c.Ver.Epoch == t.w.epoch {
					continue // our own, coming back to us
				}
				if err := apply(t, c); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			stop(err)
		}
	}
	synced := func() {
		in = true
		if context.Cause(ctx) == nil {
			results <- nil
		}
	}
	err := s.log.Follow(ctx, table, nil, take, synced)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	if s.ended.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("follower ended")
	}
	err = fmt.Errorf("reading state of %s: %w", table, err)
	if in {
		s.opts.Log.Error("state log is no longer followed", "error", err)
	}
	results <- err
}
