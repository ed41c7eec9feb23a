package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// testPatience is the longest that a test of a trunk may take: names are looked up, then every gateway is asked at once.
const testPatience = 25 * time.Second

// trunkRoutes adds the routes of the trunks.
func trunkRoutes(s *control.Server, b Border) {
	s.Handle("GET /trunks", func(*http.Request) (any, error) { return b.Trunks().List(), nil })
	for verb, on := range map[string]bool{"enable": true, "disable": false} {
		s.Handle("POST /trunks/{name}/"+verb, func(r *http.Request) (any, error) {
			name := r.PathValue("name")
			return nil, trunkError(name, b.Trunks().SetEnabled(name, on))
		})
	}
	s.Handle("POST /trunks/{name}/test", func(r *http.Request) (any, error) {
		name := r.PathValue("name")
		t, ok := b.Trunks().Trunk(name)
		if !ok {
			return nil, trunkError(name, trunk.ErrNoTrunk)
		}
		ctx, cancel := context.WithTimeout(r.Context(), testPatience)
		defer cancel()
		return t.Test(ctx), nil
	})
}

func trunkError(name string, err error) error {
	if errors.Is(err, trunk.ErrNoTrunk) {
		return control.Errorf(http.StatusNotFound, "there is no trunk %q; sbc trunk list shows them", name)
	}
	return err
}

func trunkCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{
		trunkList(a), trunkTest(a),
		trunkSwitch(a, "enable", "Let calls use a trunk again"),
		trunkSwitch(a, "disable", "Let no new call use a trunk, also after a restart; calls that are up go on"),
	}
}

func trunkList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the trunks, their gateways and how these are", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []trunk.Status
			if err := a.Do(c.Context(), "GET", "/trunks", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table { return trunkTable(list, time.Now()) })
		},
	}
}

// trunkTable has a line for each address that a gateway leads to.
func trunkTable(list []trunk.Status, now time.Time) *control.Table {
	t := &control.Table{Columns: []string{"TRUNK", "STATE", "PRIORITY", "WEIGHT", "GATEWAY", "ADDRESS", "IS", "FOR", "LAST"}, Empty: "no trunk is configured"}
	for _, s := range list {
		for _, g := range s.Gateways {
			if len(g.Hops) == 0 {
				t.Add(s.Name, s.State, g.Priority, g.Weight, g.Transport+" "+g.Address, "-", g.State, "-", orDash(g.Error))
			}
			for _, h := range g.Hops {
				last := any(orDash(h.Error))
				if h.Code != 0 {
					last = h.Code
				}
				t.Add(s.Name, s.State, g.Priority, g.Weight, g.Transport+" "+g.Address, h.Hop, h.State, now.Sub(h.Since).Round(time.Second), last)
			}
		}
	}
	return t
}

func trunkSwitch(a *command.Admin, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.Do(c.Context(), "POST", "/trunks/"+url.PathEscape(args[0])+"/"+verb, nil, nil)
		},
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// errNoGateway ends a test that found nobody.
var errNoGateway = errors.New("no gateway of the trunk answers")

func trunkTest(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Ask every gateway of a trunk with OPTIONS; fails if none is alive", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var found []trunk.Probed
			if err := a.Do(c.Context(), "POST", "/trunks/"+url.PathEscape(args[0])+"/test", nil, &found); err != nil {
				return err
			}
			alive := false
			err := a.Print(c, found, func() *control.Table {
				t := &control.Table{Columns: []string{"GATEWAY", "ADDRESS", "ALIVE", "ANSWER", "AFTER", "ERROR"}}
				for _, p := range found {
					answer := any("-")
					if p.Code != 0 {
						answer = p.Code
					}
					t.Add(p.Gateway, orDash(p.Hop), p.Alive, answer, orDash(p.RTT), orDash(p.Error))
				}
				return t
			})
			for _, p := range found {
				alive = alive || p.Alive
			}
			if err == nil && !alive {
				err = errNoGateway
			}
			return err
		},
	}
}
