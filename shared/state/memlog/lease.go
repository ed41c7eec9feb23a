package memlog

import (
	"context"
	"fmt"
	"time"

	"brickhouse/shared/state"
)

type lease struct {
	log  *Log
	name string
	ttl  time.Duration
	claim
}

// Claim implements state.Log.
func (l *Log) Claim(_ context.Context, name string, ttl time.Duration) (state.Lease, error) {
	if !state.IsName(name) {
		return nil, fmt.Errorf("%w: lease %q", state.ErrBadKey, name)
	}
	if err := l.isOpen(); err != nil {
		return nil, err
	}
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	old := l.disk.leases[name]
	if now := time.Now(); old.holder != "" && old.holder != l.node && now.Before(old.until) {
		return nil, fmt.Errorf("claiming %s: %w: %s", name, state.ErrHeld, old.holder)
	}
	le := &lease{log: l, name: name, ttl: ttl, claim: claim{epoch: old.epoch + 1, holder: l.node, until: time.Now().Add(ttl)}}
	l.disk.leases[name] = le.claim
	return le, nil
}

func (l *Log) isOpen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return state.ErrClosed
	}
	return nil
}

// Epoch implements state.Lease.
func (le *lease) Epoch() uint64 { return le.epoch }

// Renew implements state.Lease.
func (le *lease) Renew(context.Context) error {
	return le.store(claim{epoch: le.epoch, holder: le.holder, until: time.Now().Add(le.ttl)})
}

// Release implements state.Lease.
func (le *lease) Release(context.Context) error { return le.store(claim{epoch: le.epoch}) }

func (le *lease) store(c claim) error {
	if err := le.log.isOpen(); err != nil {
		return err
	}
	d := le.log.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leases[le.name].epoch != le.epoch {
		return fmt.Errorf("lease %s: %w", le.name, state.ErrHeld)
	}
	d.leases[le.name] = c
	return nil
}
