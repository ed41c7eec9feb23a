// Package calladmin lets a person look at the calls in hand and hang one up: the routes and the commands, the same for
// both programs.
package calladmin

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Calls is what can be steered.
type Calls interface {
	Calls() []b2bua.Info
	Records(id string) []b2bua.Record
	Hangup(id string) bool
	Drain(on bool)
	Draining() bool
}

// Routes adds GET /calls and DELETE /calls/{id} to a server.
func Routes(s *control.Server, x Calls) {
	s.Handle("GET /calls", func(*http.Request) (any, error) { return x.Calls(), nil })
	s.Handle("GET /calls/{id}", func(r *http.Request) (any, error) {
		records := x.Records(r.PathValue("id"))
		if len(records) == 0 {
			return nil, control.Errorf(http.StatusNotFound, "no call has the ID or trace %q, or it is too long ago", r.PathValue("id"))
		}
		return records, nil
	})
	drained := func() any { return Drained{x.Draining(), len(x.Calls())} }
	s.Handle("GET /drain", func(*http.Request) (any, error) { return drained(), nil })
	s.Handle("PUT /drain", func(*http.Request) (any, error) { x.Drain(true); return drained(), nil })
	s.Handle("DELETE /drain", func(*http.Request) (any, error) { x.Drain(false); return drained(), nil })
	s.Handle("DELETE /calls/{id}", func(r *http.Request) (any, error) {
		if id := r.PathValue("id"); !x.Hangup(id) {
			return nil, control.Errorf(http.StatusNotFound, "no call %q; call list shows those in hand", id)
		}
		return nil, nil
	})
}

// Command is the command group "call". env and socket are those of command.Admin.Group.
func Command(env, socket string) *cobra.Command {
	a := &command.Admin{}
	return a.Group("call", "Calls in hand", env, socket, list(a), show(a), kill(a))
}

func list(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the calls in hand", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var calls []b2bua.Info
			if err := a.Do(c.Context(), "GET", "/calls", nil, &calls); err != nil {
				return err
			}
			return a.Print(c, calls, func() *control.Table { return table(calls, time.Now()) })
		},
	}
}

func table(calls []b2bua.Info, now time.Time) *control.Table {
	t := &control.Table{Columns: []string{"ID", "STATE", "CALLER", "CALLEE", "FROM", "TO", "SINCE", "TALKING"}, Empty: "no calls"}
	for _, c := range calls {
		talking := ""
		if !c.Answered.IsZero() {
			talking = now.Sub(c.Answered).Round(time.Second).String()
		}
		t.Add(c.ID, c.State, c.Caller, c.Callee, c.From, c.To, c.Started.Format(time.TimeOnly), talking)
	}
	return t
}

func kill(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "kill ID", Short: "Hang up a call", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", "/calls/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"ended": args[0]}, "call %s is hung up", args[0])
		},
	}
}
