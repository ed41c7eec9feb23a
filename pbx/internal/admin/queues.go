package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/queue"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Queues is where callers wait for agents.
type Queues interface {
	Queues() []queue.Status
	SetAgent(ctx context.Context, extension string, p queue.Presence) error
}

// queueStatus is a queue as commands show it.
type queueStatus struct {
	Name      string          `json:"name"`
	Number    string          `json:"number"`
	Waiting   []waitingCaller `json:"waiting"`
	Agents    []agentStatus   `json:"agents"`
	Answered  int             `json:"answered"` // since the start
	Abandoned int             `json:"abandoned"`
	MeanWait  float64         `json:"mean_wait"` // seconds, of those who were answered
}

// waitingCaller is one who waits.
type waitingCaller struct {
	Number  string    `json:"number"`
	Call    string    `json:"call"`
	Since   time.Time `json:"since"`
	Calling []string  `json:"calling,omitempty"` // agents that are called for it now
}

// agentStatus is an agent of a queue.
type agentStatus struct {
	Extension string `json:"extension"`
	Presence  string `json:"presence"` // "in", "out", "paused"
	State     string `json:"state"`    // "free", "called", "talks", "wraps-up", "busy"
	Took      int    `json:"took"`     // calls of queues since the start
}

// agentRequest is the body of PUT …/agent.
type agentRequest struct {
	Presence string `json:"presence" enum:"in,out,paused"`
}

func queueRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /queues", control.Operation{
		ID: "listQueues", Summary: "List the queues, who waits in them and what their agents do", Area: areaQueues,
	}, func(*http.Request, control.None) ([]queueStatus, error) {
		out := []queueStatus{}
		for _, q := range x.Queues() {
			shown := queueStatus{
				Name: q.Name, Number: q.Number, Waiting: []waitingCaller{}, Agents: []agentStatus{},
				Answered: q.Answered, Abandoned: q.Abandoned, MeanWait: q.MeanWait.Seconds(),
			}
			for _, c := range q.Waiting {
				shown.Waiting = append(shown.Waiting, waitingCaller(c))
			}
			for _, a := range q.Agents {
				shown.Agents = append(shown.Agents, agentStatus{a.Extension, string(a.Presence), a.State, a.Took})
			}
			out = append(out, shown)
		}
		return out, nil
	})
	control.Route(s, "PUT /extensions/{number}/agent", control.Operation{
		ID: "setAgent", Summary: "Log an agent in at its queues, out, or pause it", Area: areaQueues,
		Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req agentRequest) (done, error) {
		return done{}, x.SetAgent(r.Context(), number, queue.Presence(req.Presence))
	}))
}

func queueList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the queues: who waits, and what the agents do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []queueStatus
			if err := a.Do(c.Context(), "GET", "/queues", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"QUEUE", "NUMBER", "WAITING", "LONGEST", "AGENTS", "ANSWERED", "ABANDONED", "MEAN WAIT"}, Empty: "no queues"}
				for _, q := range list {
					longest := "-"
					if len(q.Waiting) > 0 {
						longest = time.Since(q.Waiting[0].Since).Round(time.Second).String()
					}
					var agents []string
					for _, s := range q.Agents {
						what := s.State
						if s.Presence != string(queue.In) {
							what = s.Presence
						}
						agents = append(agents, fmt.Sprintf("%s %s", s.Extension, what))
					}
					t.Add(q.Name, q.Number, len(q.Waiting), longest, strings.Join(agents, ", "), q.Answered, q.Abandoned,
						time.Duration(q.MeanWait*float64(time.Second)).Round(time.Second))
				}
				return t
			})
		},
	}
}

func extensionAgent(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "agent NUMBER in|out|paused", Short: "Log an agent in at its queues, out, or pause it", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/agent", agentRequest{args[1]}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"number": args[0], "agent": args[1]}, "agent %s is %s", args[0], args[1])
		},
	}
}
