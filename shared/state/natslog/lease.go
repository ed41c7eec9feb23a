package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

// leaseTable is where leases are kept. Its rows are never deleted: the epoch must never fall.
const leaseTable = "leases"

// claim is a lease as it stands in the log.
type claim struct {
	Epoch  uint64       `json:"epoch"`
	Holder state.NodeID `json:"holder"` // empty: released
	Until  time.Time    `json:"until"`
}

// lease is a claim that we hold.
type lease struct {
	log  *Log
	name string
	ttl  time.Duration
	claim
	rev uint64
}

// Claim implements state.Log. A node that claims what it holds already gets it anew: its former life is over, since the
// directory has one process.
func (l *Log) Claim(ctx context.Context, name string, ttl time.Duration) (state.Lease, error) {
	if !state.IsName(name) {
		return nil, fmt.Errorf("%w: lease %q", state.ErrBadKey, name)
	}
	old, rev, err := l.readClaim(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("claiming %s: %w", name, err)
	}
	now := l.cfg.Now()
	if old.Holder != "" && old.Holder != l.cfg.Node && now.Before(old.Until) {
		return nil, fmt.Errorf("claiming %s: %w: %s until %s", name, state.ErrHeld, old.Holder, old.Until.UTC().Format(time.RFC3339))
	}
	le := &lease{
		log: l, name: name, ttl: ttl, rev: rev,
		claim: claim{Epoch: old.Epoch + 1, Holder: l.cfg.Node, Until: now.Add(ttl)},
	}
	if err := le.write(ctx); err != nil {
		return nil, fmt.Errorf("claiming %s: %w", name, err)
	}
	return le, nil
}

// Epoch implements state.Lease.
func (le *lease) Epoch() uint64 { return le.claim.Epoch }

// Renew implements state.Lease.
func (le *lease) Renew(ctx context.Context) error {
	le.Until = le.log.cfg.Now().Add(le.ttl)
	if err := le.write(ctx); err != nil {
		return fmt.Errorf("renewing %s: %w", le.name, err)
	}
	return nil
}

// Release implements state.Lease.
func (le *lease) Release(ctx context.Context) error {
	le.Holder, le.Until = "", time.Time{}
	if err := le.write(ctx); err != nil {
		return fmt.Errorf("releasing %s: %w", le.name, err)
	}
	return nil
}

// write stores the claim if nobody has since.
func (le *lease) write(ctx context.Context) error {
	b, err := json.Marshal(le.claim)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ack, err := le.log.js.PublishMsg(&nats.Msg{Subject: leaseSubject(le.name), Data: b},
		nats.Context(ctx), nats.ExpectLastSequencePerSubject(le.rev))
	var api *nats.APIError
	if errors.As(err, &api) && (api.ErrorCode == wrongLast || api.ErrorCode == wrongLastKnown) {
		return fmt.Errorf("%w: %w", state.ErrHeld, err)
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		return state.ErrClosed
	}
	if err != nil {
		return err
	}
	le.rev = ack.Sequence
	return nil
}

func (l *Log) readClaim(ctx context.Context, name string) (c claim, rev uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	m, err := l.js.GetLastMsg(streamName(leaseTable), leaseSubject(name), nats.Context(ctx))
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return c, 0, nil
	case errors.Is(err, nats.ErrConnectionClosed):
		return c, 0, state.ErrClosed
	case err != nil:
		return c, 0, err
	}
	if err := json.Unmarshal(m.Data, &c); err != nil {
		return c, 0, fmt.Errorf("%w: lease: %w", state.ErrCorrupt, err)
	}
	return c, m.Sequence, nil
}

func leaseSubject(name string) string {
	return subject(state.Key{Table: leaseTable, Shard: "0", ID: name})
}
