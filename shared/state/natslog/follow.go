package natslog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

// Bounds of a follower.
const (
	followBatch = 500                    // changes given to apply at once
	followQueue = 4096                   // messages between the connection and the follower
	heartbeat   = time.Second            // two missed, and a follower subscribes again where it was
	syncPoll    = 100 * time.Millisecond // how often a quiet follower asks whether it has seen all
)

var errEnded = errors.New("the log's server has ended")

// Follow implements state.Log.
func (l *Log) Follow(ctx context.Context, table string, shards []string, apply func([]state.Change), synced func()) error {
	if !slices.Contains(l.cfg.Tables, table) {
		return fmt.Errorf("%w: unknown table %q", state.ErrBadKey, table)
	}
	f := &follower{log: l, table: table, shards: shards, apply: apply, synced: synced, msgs: make(chan *nats.Msg, followQueue)}
	if err := f.run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("following table %s: %w", table, err)
	}
	return nil
}

type follower struct {
	log    *Log
	table  string
	shards []string
	apply  func([]state.Change)
	synced func()
	msgs   chan *nats.Msg
	in     bool // synced was called
	quiet  int  // polls in a row with nothing on its way
}

func (f *follower) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deliver := func(m *nats.Msg) {
		select {
		case f.msgs <- m:
		case <-ctx.Done():
		}
	}
	ended := f.log.conn.StatusChanged(nats.CLOSED)
	// An ordered consumer starts over by itself, where it was, when a message is missing.
	sub, err := f.log.js.Subscribe(subjectRoot+f.table+".>", deliver, nats.OrderedConsumer(),
		nats.BindStream(streamName(f.table)), nats.DeliverAll(), nats.IdleHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed already
	pending, err := sub.InitialConsumerPending()
	if err != nil {
		return err
	}
	if pending == 0 {
		f.sync()
	}
	poll := time.NewTicker(syncPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return errEnded
		case m := <-f.msgs:
			if err := f.take(m); err != nil {
				return err
			}
		case <-poll.C:
			if f.in {
				poll.Stop()
			} else if err := f.caughtUp(sub); err != nil {
				return err
			}
		}
	}
}

// take gives a message, and those that are there already, to apply.
func (f *follower) take(m *nats.Msg) error {
	var batch []state.Change
	for {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		c, err := change(m.Subject, m.Header, m.Data, meta.Sequence.Stream)
		if err != nil {
			return fmt.Errorf("%w: %w", state.ErrCorrupt, err)
		}
		f.log.outbox.saw(c)
		if f.wants(c) {
			batch = append(batch, c)
		}
		if !f.in && meta.NumPending == 0 {
			f.give(batch)
			f.sync()
			return nil
		}
		if len(batch) >= followBatch {
			break
		}
		select {
		case m = <-f.msgs:
			continue
		default:
		}
		break
	}
	f.give(batch)
	return nil
}

// wants reports whether a change is for this follower: of its shards, and not the end of a row that it never saw.
func (f *follower) wants(c state.Change) bool {
	return (f.in || !c.Del) && (len(f.shards) == 0 || slices.Contains(f.shards, c.Shard))
}

func (f *follower) give(batch []state.Change) {
	if len(batch) > 0 {
		f.apply(batch)
	}
}

func (f *follower) sync() {
	f.in = true
	f.synced()
}

// caughtUp calls synced when nothing was on its way for two polls. The last message of the snapshot, which would have
// said so, may have been replaced or dropped while we read.
func (f *follower) caughtUp(sub *nats.Subscription) error {
	info, err := sub.ConsumerInfo()
	if err != nil {
		return err
	}
	queued, _, err := sub.Pending()
	if err != nil {
		return err
	}
	if info.NumPending > 0 || queued > 0 || len(f.msgs) > 0 {
		f.quiet = 0
		return nil
	}
	if f.quiet++; f.quiet >= 2 {
		f.sync()
	}
	return nil
}
