package calladmin

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/command"
)

// Drained says whether new calls are refused, and how many are in hand.
type Drained struct {
	Draining bool `json:"draining"`
	Calls    int  `json:"calls"`
}

// look is how often a command that waits looks again.
const look = 500 * time.Millisecond

// DrainCommand is the command "drain". env and socket are those of command.Admin.Group.
func DrainCommand(env, socket string) *cobra.Command {
	a := &command.Admin{}
	var off bool
	var wait time.Duration
	c := a.Group("drain", "Take no new calls; those in hand go on", env, socket)
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		method := "PUT"
		if off {
			method = "DELETE"
		}
		var d Drained
		if err := a.Do(c.Context(), method, "/drain", nil, &d); err != nil {
			return err
		}
		if !off && wait > 0 {
			if err := await(c.Context(), a, wait, &d); err != nil {
				return err
			}
		}
		if off {
			return a.Say(c, d, "new calls are taken again")
		}
		return a.Say(c, d, "no new calls are taken; %d in hand", d.Calls)
	}
	c.Flags().BoolVar(&off, "off", false, "take new calls again")
	c.Flags().DurationVar(&wait, "wait", 0, "wait at most so `LONG` for the calls in hand to end")
	return c
}

// await waits for the last call to end.
func await(ctx context.Context, a *command.Admin, wait time.Duration, d *Drained) error {
	t := time.NewTicker(look)
	defer t.Stop()
	for end := time.Now().Add(wait); d.Calls > 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := a.Do(ctx, "GET", "/drain", nil, d); err != nil {
			return err
		}
	}
	return nil
}
