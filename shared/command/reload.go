package command

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"
)

// reloads has one reload at a time, whoever asks for it: a signal or a person.
type reloads struct {
	reload func(ctx context.Context, core Core, log *slog.Logger) error
	log    *slog.Logger

	mu   sync.Mutex
	core Core // nil until it runs
}

func reloader(reload func(ctx context.Context, core Core, log *slog.Logger) error, log *slog.Logger) *reloads {
	return &reloads{reload: reload, log: log}
}

// use says what is to be reloaded.
func (r *reloads) use(core Core) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core = core
}

var errStarting = errors.New("the program is still starting")

func (r *reloads) do(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.core == nil {
		return errStarting
	}
	return r.reload(ctx, r.core, r.log)
}

// Reload is the command that has a running program read its configuration again, as SIGHUP does, and says what is wrong
// with it. env and socket are those of Admin.Group.
func Reload(env, socket string) *cobra.Command {
	a := &Admin{}
	c := a.Group("reload", "Have the running program read its configuration again, whole or not at all", env, socket)
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := a.Do(c.Context(), "POST", "/reload", nil, nil); err != nil {
			return err
		}
		return a.Say(c, map[string]bool{"reloaded": true}, "the configuration is reloaded")
	}
	return c
}
