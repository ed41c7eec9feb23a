// Sbc is the session border controller: it stands between the Internet and the exchange. README.md tells how to use it.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/admin"
	"brickhouse/sbc/internal/border"
	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/quickstart"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
	"brickhouse/shared/telemetry"
)

// version is stamped by the build.
var version string

func main() {
	d := border.Default()
	p := command.Program{
		Name: "sbc", Short: "The border: session border controller with a kernel ban filter", Version: version,
		Config: "/etc/brickhouse/sbc.yaml",
		Serve:  serve, Check: check,
		Describe: func(w io.Writer) error { return conffile.Describe(w, d) },
		Commands: append(admin.Commands(d.Control), quickstart.Command(), detachCommand(), ruleCommand()),
	}
	os.Exit(command.Run(context.Background(), p, os.Args[1:], os.Stdout, os.Stderr))
}

// load reads the configuration.
func load(path string) (border.Config, error) {
	cfg := border.Default()
	err := conffile.Load(path, &cfg)
	return cfg, err
}

// detachCommand takes the kernel filter away after the program has ended.
func detachCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "detach", Short: "Take the kernel filter off its interfaces while the border is stopped; the bans stay in its journal", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := load(path)
			if err != nil {
				return err
			}
			return guard.Remove(cfg.Guard.XDP)
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "/etc/brickhouse/sbc.yaml", "configuration `FILE`")
	return c
}

func check(_ context.Context, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	return command.Bad(border.Check(&cfg))
}

func serve(ctx context.Context, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	s := command.Service{Name: "sbc", Version: version, Log: cfg.Log, Metrics: cfg.Metrics, Control: cfg.Control, Drain: cfg.Limits.Drain}
	s.Build = func(_ context.Context, log *slog.Logger, m *telemetry.Metrics, a *control.Server) (command.Core, error) {
		b, err := border.New(cfg, log, m)
		if err != nil {
			return nil, command.Bad(err)
		}
		admin.Routes(a, b)
		return b, nil
	}
	return command.Serve(ctx, s, func(_ context.Context, core command.Core, _ *slog.Logger) error {
		cfg, err := load(path)
		if err != nil {
			return err
		}
		return core.(*border.Border).Reload(cfg)
	})
}
