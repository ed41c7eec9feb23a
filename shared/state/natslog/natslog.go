// Package natslog is the change log of one machine: a NATS JetStream server inside this process that listens nowhere.
// It is the only package that imports NATS, so that the engine stays replaceable.
//
// Each table is a stream with one message for each key: the last value. Every write is on disk (fsync) before it is
// acknowledged. What waits to be written is in an outbox with one change under way for each key; a newer change of a key
// takes the place of a waiting one.
//
//	Append ─► outbox ─► publish, with the revision we believe is last ─► stream file, fsync ─► acknowledgement ─► acked
//	             ▲                                                             │
//	             └── again after 1 s, or when the revision was another ◄───────┘
//
// A directory belongs to one process at a time (flock) and is read through for damage before the server may touch it,
// since the server would cut a damaged file off at the first bad byte and go on.
package natslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

// Config says where the log lives and what it holds.
type Config struct {
	Dir    string                   // made when it does not exist, mode 0700
	Node   state.NodeID             // holds leases under this name
	Tables []string                 // all tables; a change of any other is refused
	Linger map[string]time.Duration // by table: a row that ends sooner is never written; zero: written at once
	Now    func() time.Time         // wall clock, for leases only; nil: time.Now
	Log    *slog.Logger             // nil: silent
}

// Times of the log.
const (
	resendAfter  = time.Second      // a change that is not acknowledged is sent again
	reviveAfter  = 3 * time.Second  // with writes refused for so long, the streams are opened anew
	reviveEvery  = 5 * time.Second  // and again
	tombstoneTTL = 10 * time.Minute // how long the stream remembers that a key is gone
	startTimeout = 30 * time.Second // server start: reads all indexes
	closeTimeout = 2 * time.Second  // Close waits for what is under way
	askTimeout   = 2 * time.Second  // one request to the server
)

// Log is a state.Log in a directory.
type Log struct {
	cfg    Config
	dir    *directory
	srv    *server.Server
	conn   *nats.Conn
	js     nats.JetStreamContext
	outbox *outbox
}

var _ state.Log = (*Log)(nil)

// Open takes the directory and starts the log in it. Errors name the directory; they are state.ErrLocked when another
// process has it, state.ErrForeign when something else lives there, state.ErrCorrupt when it is damaged.
func Open(cfg Config) (*Log, error) {
	l, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("opening state directory %s: %w", cfg.Dir, err)
	}
	return l, nil
}

func open(cfg Config) (_ *Log, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !state.IsName(string(cfg.Node)) {
		return nil, fmt.Errorf("%w: node %q", state.ErrBadKey, cfg.Node)
	}
	for _, t := range cfg.Tables {
		if !state.IsName(t) || t == leaseTable {
			return nil, fmt.Errorf("%w: table %q", state.ErrBadKey, t)
		}
	}
	l := &Log{cfg: cfg}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	if l.dir, err = takeDirectory(cfg.Dir); err != nil {
		return nil, err
	}
	streams, err := l.dir.inspect()
	if err != nil {
		return nil, err
	}
	if l.srv, err = startServer(l.dir.store(), cfg.Log); err != nil {
		return nil, err
	}
	if err := l.connect(streams); err != nil {
		return nil, err
	}
	if l.outbox, err = newOutbox(l.conn, l.js, cfg, l.revive); err != nil {
		return nil, err
	}
	return l, nil
}

// connect makes the in-process connection and binds the streams. Those that were on disk must all have come back.
func (l *Log) connect(onDisk []string) error {
	var err error
	l.conn, err = nats.Connect("", nats.InProcessServer(l.srv), nats.NoReconnect(), nats.Timeout(startTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.cfg.Log.Error("state log connection", "error", err)
		}))
	if err != nil {
		return fmt.Errorf("connecting to the log's server: %w", err)
	}
	if l.js, err = l.conn.JetStream(nats.MaxWait(startTimeout)); err != nil {
		return fmt.Errorf("connecting to the log's server: %w", err)
	}
	for _, name := range onDisk {
		if _, err := l.js.StreamInfo(name); err != nil {
			return fmt.Errorf("%w: stream %q can't be read: %w", state.ErrCorrupt, name, err)
		}
	}
	for _, t := range append([]string{leaseTable}, l.cfg.Tables...) {
		if slices.Contains(onDisk, streamName(t)) {
			continue
		}
		if _, err := l.js.AddStream(streamConfig(t)); err != nil {
			return fmt.Errorf("making stream for table %s: %w", t, err)
		}
	}
	return l.dir.sync()
}

// revive tries to get over a disk that refused a write.
func (l *Log) revive() {
	l.cfg.Log.Error("state can't be written; opening it anew", "dir", l.cfg.Dir, "waiting", l.Stats().Waiting)
	if err := reviveServer(l.srv, l.dir.store()); err != nil {
		l.cfg.Log.Error("state is still away", "dir", l.cfg.Dir, "error", err)
	}
}

// Append implements state.Log.
func (l *Log) Append(c state.Change, acked func(rev uint64, err error)) { l.outbox.append(c, acked) }

// Flush implements state.Log.
func (l *Log) Flush(ctx context.Context) error { return l.outbox.flush(ctx) }

// Stats implements state.Log.
func (l *Log) Stats() state.Stats { return l.outbox.stats() }

// Close implements state.Log. A second Close does nothing.
func (l *Log) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := l.outbox.flush(ctx)
	if errors.Is(err, state.ErrClosed) {
		return nil
	}
	l.outbox.close()
	l.release()
	if err != nil {
		return fmt.Errorf("closing state directory %s: %w", l.cfg.Dir, err)
	}
	return nil
}

// release lets go of whatever open has taken.
func (l *Log) release() {
	if l.conn != nil {
		l.conn.Close()
	}
	if l.srv != nil {
		l.srv.Shutdown()
		l.srv.WaitForShutdown()
	}
	if l.dir != nil {
		l.dir.release()
	}
}
