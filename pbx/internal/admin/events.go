package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Waiting is what can be said of messages that an outside system keeps.
type Waiting interface {
	// SetWaiting reports whether there is such an extension.
	SetWaiting(ctx context.Context, number string, fresh, old int) (bool, error)
}

// subscription is a subscription as commands show it.
type subscription struct {
	Watcher string    `json:"watcher"`
	Event   string    `json:"event"`
	Watched string    `json:"watched"`
	Via     string    `json:"via"` // "border", or the network and address of a phone inside
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"`
}

// waitingRequest is the body of PUT …/messages.
type waitingRequest struct {
	New int `json:"new"`
	Old int `json:"old"`
}

// maxWaiting bounds the messages that may be said to wait.
const maxWaiting = 999_999

func eventRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /subscriptions", control.Operation{
		ID: "listSubscriptions", Summary: "List who watches whom", Area: areaSubscriptions,
	}, func(*http.Request, control.None) ([]subscription, error) {
		out := []subscription{}
		for _, r := range x.Store().Subscriptions() {
			via := r.Remote
			if r.Outside {
				via = "border"
			}
			out = append(out, subscription{r.Watcher, r.Event, r.Resource, via, r.Since, r.Expires})
		}
		return out, nil
	})
	control.Route(s, "PUT /extensions/{number}/messages", control.Operation{
		ID: "setWaiting", Summary: "Say how many messages wait for an extension in an outside system", Area: areaMailboxes,
	}, func(r *http.Request, req waitingRequest) (done, error) {
		if min(req.New, req.Old) < 0 || max(req.New, req.Old) > maxWaiting {
			return done{}, control.Errorf(http.StatusBadRequest, "a number of messages is from 0 to %d", maxWaiting)
		}
		number := r.PathValue("number")
		known, err := x.SetWaiting(r.Context(), number, req.New, req.Old)
		if err == nil && !known {
			err = unknown(number)
		}
		return done{}, unfit(err)
	})
}

func subscriptionList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List who watches whom", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []subscription
			if err := a.Do(c.Context(), "GET", "/subscriptions", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"WATCHER", "EVENT", "WATCHED", "VIA", "SINCE", "EXPIRES IN"}, Empty: "nobody watches"}
				for _, s := range list {
					t.Add(s.Watcher, s.Event, s.Watched, s.Via, s.Since.Format(time.TimeOnly), time.Until(s.Expires).Round(time.Second))
				}
				return t
			})
		},
	}
}

func extensionMessages(a *command.Admin) *cobra.Command {
	var req waitingRequest
	c := &cobra.Command{Use: "messages NUMBER", Short: "Say how many messages wait for an extension in an outside system", Args: cobra.ExactArgs(1)}
	c.Flags().IntVar(&req.New, "new", 0, "`COUNT` of messages that were not heard yet")
	c.Flags().IntVar(&req.Old, "old", 0, "`COUNT` of messages that were heard")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/messages", req, nil); err != nil {
			return err
		}
		return a.Say(c, map[string]any{"number": args[0], "new": req.New, "old": req.Old}, "extension %s has %d new and %d old messages", args[0], req.New, req.Old)
	}
	return c
}
