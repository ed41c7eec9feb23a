package natslog

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

// Limits of the server. They are walls against a fault of ours; the tables' own limits are far below.
const (
	maxStore  = 16 << 30 // bytes of all streams
	maxMemory = 64 << 20 // bytes of streams in memory: we have none
)

// startServer starts the JetStream server. It opens no socket and catches no signal.
func startServer(dir string, log *slog.Logger) (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName:             "brickhouse",
		DontListen:             true,
		NoSigs:                 true,
		NoSystemAccount:        true,
		JetStream:              true,
		StoreDir:               dir,
		JetStreamMaxStore:      maxStore,
		JetStreamMaxMemory:     maxMemory,
		DisableJetStreamBanner: true,
		SyncAlways:             true, // each write is on disk before it is acknowledged
		MaxPayload:             state.MaxValue + 8<<10,
	})
	if err != nil {
		return nil, fmt.Errorf("making the log's server: %w", err)
	}
	srv.SetLoggerV2(serverLog{log}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("the log's server did not start within %s, or can't write to %s", startTimeout, dir)
	}
	return srv, nil
}

// reviveServer closes the streams and opens them again. A stream that failed to write once refuses for ever, also when the
// disk has room again.
func reviveServer(srv *server.Server, dir string) error {
	if err := srv.ShutdownJetStream(); err != nil {
		return fmt.Errorf("closing the streams: %w", err)
	}
	err := srv.EnableJetStream(&server.JetStreamConfig{StoreDir: dir, MaxStore: maxStore, MaxMemory: maxMemory, SyncAlways: true})
	if err != nil {
		return fmt.Errorf("opening the streams: %w", err)
	}
	return nil
}

// streamConfig keeps the last value of each key of a table on disk.
func streamConfig(table string) *nats.StreamConfig {
	return &nats.StreamConfig{
		Name:              streamName(table),
		Subjects:          []string{subjectRoot + table + ".>"},
		Storage:           nats.FileStorage,
		Replicas:          1,
		MaxMsgsPerSubject: 1, // compaction: the last value of each key
		MaxBytes:          -1,
		MaxMsgs:           -1,
		MaxConsumers:      -1,
		Discard:           nats.DiscardOld,
		AllowDirect:       true,
		AllowMsgTTL:       true, // tombstones go by themselves
		Duplicates:        time.Second,
	}
}

// serverLog brings the server's warnings into our log; what it says in passing is debug to us. It never ends the
// process.
type serverLog struct{ log *slog.Logger }

func (l serverLog) say(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "state log server: "+fmt.Sprintf(format, v...))
}

func (l serverLog) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l serverLog) Fatalf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
func (l serverLog) Tracef(string, ...any)           {}
