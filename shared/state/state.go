// Package state is the seam between what a node knows and the change log that keeps it: append, follow and claim, which
// fit one machine and many. Call code never sees it; it sees pbx/internal/store, which serves from memory and appends here.
//
// A Log holds the last value of each key. It is no database: there are no queries, only Append and Follow. On one
// machine the log is package natslog, a JetStream server inside the process that listens nowhere; package memlog is the
// same contract in memory, for tests. Package statetest holds both to it.
//
// The order of a key's values comes from Ver, which its writer counts; no clock takes part. A writer's Epoch comes from
// Claim, so that what an earlier life of a writer had in hand never wins over a later one.
package state

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Bounds of what a log takes.
const (
	MaxValue = 64 << 10 // bytes of one value
	MaxName  = 32       // bytes of a table's, shard's, lease's or node's name
	MaxID    = 512      // bytes of Key.ID
)

// Errors that a log's callers may act on. They come wrapped.
var (
	ErrClosed     = errors.New("state log is closed")
	ErrSuperseded = errors.New("another writer has a newer version")
	ErrBadKey     = errors.New("bad key")
	ErrTooLarge   = errors.New("value is too large")
	ErrLocked     = errors.New("in use by another process")
	ErrForeign    = errors.New("not a state directory of this program")
	ErrCorrupt    = errors.New("state is damaged")
	ErrHeld       = errors.New("lease is held by another node")
)

// Key names a row: a table, the shard of it that one writer owns, and an identity in it.
type Key struct{ Table, Shard, ID string }

// String is "table/shard/id".
func (k Key) String() string { return k.Table + "/" + k.Shard + "/" + k.ID }

// Validate reports whether a log can hold the key. Table and shard are words of [a-z0-9_-]; an ID is any bytes.
func (k Key) Validate() error {
	if !IsName(k.Table) || !IsName(k.Shard) {
		return fmt.Errorf("%w: table %q, shard %q", ErrBadKey, k.Table, k.Shard)
	}
	if k.ID == "" || len(k.ID) > MaxID {
		return fmt.Errorf("%w: id of %d bytes in table %s", ErrBadKey, len(k.ID), k.Table)
	}
	return nil
}

// IsName reports whether s can name a table, a shard, a lease or a node: 1 to MaxName bytes of [a-z0-9_-].
func IsName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Ver orders the values of one key: the writer's fencing epoch, then the writer's own counter.
type Ver struct{ Epoch, Seq uint64 }

// Less reports whether v is older than w.
func (v Ver) Less(w Ver) bool {
	return v.Epoch < w.Epoch || v.Epoch == w.Epoch && v.Seq < w.Seq
}

// NodeID names the node that wrote a change.
type NodeID string

// Change is one new value of a key, or its end.
type Change struct {
	Key
	Ver     Ver
	Rev     uint64    // the log's own number, rising over the table; set by the log
	Val     []byte    // nil when Del
	Del     bool      // the row is gone
	Expires time.Time // when the row's owner lets it go, for readers of the log; the log itself never drops it. Zero: never
	By      NodeID    // who wrote it
}

// Log is the change log. All methods may be called from any goroutine.
type Log interface {
	// Append hands over a change and returns at once. One change per key is under way at a time; of those waiting, the
	// newest wins. acked (may be nil) is called once, from a goroutine of the log: with the revision when this change or
	// a newer one of the same key is durable, or with an error when it never will be (ErrClosed, ErrSuperseded, ErrBadKey,
	// ErrTooLarge). While the log can't be written, changes wait and are tried again each second. The log keeps c.Val:
	// don't change it afterwards. acked must not block.
	Append(c Change, acked func(rev uint64, err error))

	// Follow delivers the last value of each live key of the table, then calls synced once, then delivers changes as
	// they come, without a gap and in the order of Rev. shards limits it to some shards; none means all. apply and synced
	// run on one goroutine; apply owns the slice. Follow returns nil when ctx ends, else why it could not go on.
	// A change that the follower knows already (Ver not newer) may be delivered again.
	Follow(ctx context.Context, table string, shards []string, apply func([]Change), synced func()) error

	// Claim takes the lease of that name: each successful claim has a higher epoch than any before it, also over
	// restarts. While another node holds it the error is ErrHeld.
	Claim(ctx context.Context, name string, ttl time.Duration) (Lease, error)

	// Flush waits until all that was appended before is durable, or ctx ends.
	Flush(ctx context.Context) error

	// Stats tells how far the log is behind.
	Stats() Stats

	// Close gives what is waiting a moment to become durable, fails the rest with ErrClosed, and lets go of the log.
	Close() error
}

// Lease is the right to write as somebody.
type Lease interface {
	Epoch() uint64                 // fences: goes into Ver.Epoch of all that is written under the lease
	Renew(context.Context) error   // holds it for another ttl; ErrHeld when it was lost
	Release(context.Context) error // gives it back before its time
}

// Stats is how far a log is behind.
type Stats struct {
	Waiting  int           // changes appended and not yet durable
	Oldest   time.Duration // age of the oldest of them, by the monotonic clock
	Appended uint64        // changes handed over since the log was opened
	Acked    uint64        // changes that became durable
	Failed   uint64        // changes that never will
	Resent   uint64        // times a change had to be sent again
}
