package command

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"time"

	"brickhouse/shared/control"
	"brickhouse/shared/lifecycle"
	"brickhouse/shared/telemetry"
)

// Service is what a program runs, as Serve sees it.
type Service struct {
	Name    string
	Version string
	Log     telemetry.LogConfig
	Metrics telemetry.MetricsConfig
	Control string // path of the admin socket

	Drain time.Duration // how long the core may let calls go on when it is asked to stop

	// Build makes the program's core; it has bound its sockets when it returns. run serves until its context ends.
	Build func(ctx context.Context, log *slog.Logger, m *telemetry.Metrics, admin *control.Server) (Core, error)
}

// programVersion is the answer of GET /version.
type programVersion struct {
	Version string `json:"version"`
}

// Core is the running part of a program.
type Core interface {
	Run(ctx context.Context)
	Close()
}

// Serve runs a service until a signal or a failure: log, admin socket, metrics, core, in this order, and back. The admin
// socket comes first, so that a second instance ends before it touches anything. reload is called on SIGHUP, after
// everything runs.
func Serve(ctx context.Context, s Service, reload func(ctx context.Context, core Core, log *slog.Logger) error) error {
	log, sampler := telemetry.NewLogger(os.Stderr, s.Log, time.Now)
	log = log.With("program", s.Name)
	var (
		err     error
		core    Core
		admin   = control.NewServer(log)
		metrics = telemetry.NewMetrics(s.Name, s.Version)
		scrape  *telemetry.MetricsServer
	)
	again := reloader(reload, log)
	control.Route(admin, "POST /reload", control.Operation{
		ID: "reload", Summary: "Read the configuration again, whole or not at all", Area: "program",
	}, func(r *http.Request, _ control.None) (none control.None, err error) {
		if err := again.do(r.Context()); err != nil {
			return none, control.Errorf(http.StatusConflict, "%v; nothing has changed", err)
		}
		return none, nil
	})
	admin.HandleHTTP("GET /metrics", metrics.Handler())
	control.Route(admin, "GET /version", control.Operation{ID: "getVersion", Summary: "Show which version runs"},
		func(*http.Request, control.None) (programVersion, error) { return programVersion{s.Version}, nil })
	alive, stop := context.WithCancel(context.Background())
	defer stop()
	go govern(alive)
	r := lifecycle.New(log, lifecycle.NewNotifier(os.Getenv))
	r.Add(
		lifecycle.Component{
			Name:  "admin socket",
			Start: func(context.Context) error { return admin.Listen(s.Control) },
			Stop:  admin.Close,
		},
		lifecycle.Component{
			Name: "metrics",
			Start: func(context.Context) error {
				if s.Metrics.Listen != (netip.AddrPort{}) {
					scrape, err = metrics.Listen(s.Metrics.Listen, log)
				}
				return err
			},
			Stop: func(ctx context.Context) error {
				if scrape == nil {
					return nil
				}
				return scrape.Close(ctx)
			},
		},
		lifecycle.Component{
			Name: s.Name, StartDeadline: startDeadline, StopDeadline: s.Drain + lifecycle.DefaultStop,
			Start: func(ctx context.Context) error {
				if core, err = s.Build(ctx, log, metrics, admin); err != nil {
					return err
				}
				again.use(core)
				go core.Run(alive)
				if sampler != nil {
					go sampler.Run(alive)
				}
				return nil
			},
			Stop: func(ctx context.Context) error {
				core.Close()
				if sampler == nil {
					return nil
				}
				return sampler.Flush(ctx, true)
			},
			Reload: func(ctx context.Context) error { return again.do(control.WithCaller(ctx, "program", "signal")) },
		},
	)
	signals, giveBack := lifecycle.Signals()
	defer giveBack()
	return r.Run(ctx, signals)
}

// startDeadline is how long a program may wait for what it needs from elsewhere, such as a Vault server.
const startDeadline = 10 * time.Minute
