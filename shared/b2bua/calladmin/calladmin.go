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

// Areas of the routes: a key is for some of them.
const (
	areaCalls   = "calls"
	areaProgram = "program"
)

// Routes adds what can be asked and done of calls to a server.
func Routes(s *control.Server, x Calls) {
	type none = control.None
	drained := func() Drained { return Drained{x.Draining(), len(x.Calls())} }
	control.Route(s, "GET /calls", control.Operation{ID: "listCalls", Summary: "List the calls in hand", Area: areaCalls},
		func(*http.Request, none) ([]b2bua.Info, error) { return x.Calls(), nil })
	control.Route(s, "GET /calls/{id}", control.Operation{ID: "getCall", Summary: "Show the calls of an ID or a trace with their messages", Area: areaCalls},
		func(r *http.Request, _ none) ([]b2bua.Record, error) {
			records := x.Records(r.PathValue("id"))
			if len(records) == 0 {
				return nil, control.Errorf(http.StatusNotFound, "no call has the ID or trace %q, or it is too long ago", r.PathValue("id"))
			}
			return records, nil
		})
	control.Route(s, "DELETE /calls/{id}", control.Operation{ID: "hangUp", Summary: "Hang up a call", Area: areaCalls},
		func(r *http.Request, _ none) (none, error) {
			if id := r.PathValue("id"); !x.Hangup(id) {
				return none{}, control.Errorf(http.StatusNotFound, "no call %q; call list shows those in hand", id)
			}
			return none{}, nil
		})
	shows := func(*http.Request) any { return drained() }
	control.Route(s, "GET /drain", control.Operation{ID: "getDrain", Summary: "Show whether new calls are taken", Area: areaProgram},
		func(*http.Request, none) (Drained, error) { return drained(), nil })
	control.Route(s, "PUT /drain", control.Operation{ID: "drain", Summary: "Take no new calls", Area: areaProgram, Shows: shows},
		func(*http.Request, none) (Drained, error) { x.Drain(true); return drained(), nil })
	control.Route(s, "DELETE /drain", control.Operation{ID: "undrain", Summary: "Take new calls again", Area: areaProgram, Shows: shows},
		func(*http.Request, none) (Drained, error) { x.Drain(false); return drained(), nil })
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
