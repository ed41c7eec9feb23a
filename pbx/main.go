// Pbx is the exchange: registrar, dialplan and call control. README.md tells how to use it.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"brickhouse/pbx/internal/admin"
	"brickhouse/pbx/internal/exchange"
	"brickhouse/pbx/internal/quickstart"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
	"brickhouse/shared/telemetry"
)

// version is stamped by the build.
var version string

func main() {
	d := exchange.Default()
	p := command.Program{
		Name: "pbx", Short: "The exchange: registrar, dialplan and call control", Version: version,
		Config: "/etc/brickhouse/pbx.yaml",
		Serve:  serve, Check: check,
		Describe: func(w io.Writer) error { return conffile.Describe(w, d) },
		Commands: append(admin.Commands(d.Control), quickstart.Command()),
	}
	os.Exit(command.Run(context.Background(), p, os.Args[1:], os.Stdout, os.Stderr))
}

// load reads the configuration.
func load(path string) (exchange.Config, error) {
	cfg := exchange.Default()
	err := conffile.Load(path, &cfg)
	return cfg, err
}

func check(_ context.Context, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	return command.Bad(exchange.Check(&cfg))
}

func serve(ctx context.Context, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	s := command.Service{Name: "pbx", Version: version, Log: cfg.Log, Metrics: cfg.Metrics, Control: cfg.Control, Drain: cfg.Limits.Drain}
	s.Build = func(ctx context.Context, log *slog.Logger, m *telemetry.Metrics, a *control.Server) (command.Core, error) {
		x, err := exchange.New(ctx, cfg, log, m)
		if err != nil {
			return nil, command.Bad(err)
		}
		admin.Routes(a, x, time.Now)
		if err := x.Serve(a); err != nil {
			x.Close()
			return nil, command.Bad(err)
		}
		return x, nil
	}
	return command.Serve(ctx, s, func(ctx context.Context, core command.Core, _ *slog.Logger) error {
		cfg, err := load(path)
		if err != nil {
			return err
		}
		return core.(*exchange.Exchange).Reload(ctx, cfg)
	})
}
