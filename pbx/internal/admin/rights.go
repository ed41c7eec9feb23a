package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
)

// Rights is what can be asked and changed of who may call what through trunks.
type Rights interface {
	Account(ctx context.Context, number string) (callcontrol.Account, bool, error)
	Forecast(ctx context.Context, from, dialled string) (callcontrol.Forecast, error)
	Classes() []string
	SetClass(ctx context.Context, number, class string) error
	Unblock(ctx context.Context, number string) (bool, error)
}

// classRequest is the body of PUT …/class.
type classRequest struct {
	Class string `json:"class"`
}

// maxDialled bounds the number of a forecast.
const maxDialled = 64

func rightRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /extensions/{number}", control.Operation{
		ID: "getExtension", Summary: "Show what an extension may call through trunks, what it has used, and what it has set for the calls to it", Area: areaExtensions,
	}, func(r *http.Request, _ control.None) (callcontrol.Account, error) {
		number := r.PathValue("number")
		a, ok, err := x.Account(r.Context(), number)
		if err == nil && !ok {
			err = unknown(number)
		}
		return a, err
	})
	control.Route(s, "DELETE /extensions/{number}/block", control.Operation{
		ID: "unblockExtension", Summary: "Let an extension call through trunks again", Area: areaExtensions, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, _ control.None) (done, error) {
		was, err := x.Unblock(r.Context(), number)
		if err == nil && !was {
			err = control.Errorf(http.StatusConflict, "extension %s is not blocked", number)
		}
		return done{}, err
	}))
	control.Route(s, "PUT /extensions/{number}/class", control.Operation{
		ID: "setClass", Summary: "Give an extension a class of service", Area: areaExtensions, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req classRequest) (done, error) {
		if classes := x.Classes(); !slices.Contains(classes, req.Class) {
			return done{}, control.Errorf(http.StatusBadRequest, "the dialplan has no class %q; it has %s", req.Class, strings.Join(classes, ", "))
		}
		return done{}, x.SetClass(r.Context(), number, req.Class)
	}))
	control.Route(s, "GET /dialplan/test", control.Operation{
		ID: "testDialplan", Summary: "Say what would become of a call of an extension to a number", Area: areaDialplan,
		Queries: []control.Query{{Name: "from", Doc: "The extension.", Required: true}, {Name: "number", Doc: "What it dials.", Required: true}},
	}, func(r *http.Request, _ control.None) (callcontrol.Forecast, error) {
		from, dialled := r.URL.Query().Get("from"), r.URL.Query().Get("number")
		if _, ok := x.Store().Extension(from); !ok {
			return callcontrol.Forecast{}, unknown(from)
		}
		if dialled == "" || len(dialled) > maxDialled {
			return callcontrol.Forecast{}, control.Errorf(http.StatusBadRequest, "the number must have 1 to %d characters", maxDialled)
		}
		return x.Forecast(r.Context(), from, dialled)
	})
}

// rightCommands are the commands of rights among those of extensions.
func rightCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{extensionShow(a), extensionClass(a), extensionUnblock(a)}
}

func extensionShow(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "show NUMBER", Short: "Show what an extension may call through trunks, what it has used, and what it has set for the calls to it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var acc callcontrol.Account
			if err := a.Do(c.Context(), "GET", "/extensions/"+url.PathEscape(args[0]), nil, &acc); err != nil {
				return err
			}
			return a.Print(c, acc, func() *control.Table { return accountTable(acc) })
		},
	}
}

func accountTable(a callcontrol.Account) *control.Table {
	t := &control.Table{Columns: []string{"EXTENSION", a.Number}}
	if a.Name != "" {
		t.Add("name", a.Name)
	}
	if a.Missing {
		t.Add("class", a.Class+" (not in the dialplan: it may call nothing through trunks)")
	} else {
		t.Add("class", a.Class)
		addRights(t, a.Rights)
	}
	used := func(what string, n, most int) { t.Add(what, of(n, most)) }
	used("calls now", a.Used.Concurrent, a.Rights.Concurrent)
	used("calls a minute", a.Used.Minute, a.Rights.PerMinute)
	used("calls an hour", a.Used.Hour, a.Rights.PerHour)
	used("calls a day", a.Used.Day, a.Rights.PerDay)
	used("minutes a day", int(a.Used.Talk/time.Minute), a.Rights.MinutesPerDay)
	denied := fmt.Sprintf("%d within an hour", a.Denied)
	if a.Rights.BlockDenied > 0 {
		denied += fmt.Sprintf("; %d block it", a.Rights.BlockDenied)
	}
	t.Add("denied", denied)
	blocked := "no"
	if a.Blocked != nil {
		blocked = fmt.Sprintf("since %s: %s (pbx extension unblock %s)", a.Blocked.Format(time.DateTime), a.Why, a.Number)
	}
	t.Add("blocked", blocked)
	addServices(t, a.Services)
	return t
}

func addRights(t *control.Table, c dialplan.Class) {
	t.Add("countries", strings.Join(c.Countries, " "))
	var also []string
	for _, k := range []struct {
		name string
		may  bool
	}{{"premium", c.Premium}, {"shared cost", c.SharedCost}, {"satellite", c.Satellite}, {"networks", c.Networks}} {
		if k.may {
			also = append(also, k.name)
		}
	}
	if len(also) > 0 {
		t.Add("also", strings.Join(also, ", "))
	}
	if len(c.Allow) > 0 {
		t.Add("allow", strings.Join(c.Allow, " "))
	}
	if len(c.Deny) > 0 {
		t.Add("deny", strings.Join(c.Deny, " "))
	}
}

func of(n, most int) string {
	if most >= dialplan.Unlimited {
		return fmt.Sprintf("%d, no cap", n)
	}
	return fmt.Sprintf("%d of %d", n, most)
}

func extensionClass(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "class NUMBER CLASS", Short: "Give an extension a class of service of the dialplan", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/class", classRequest{args[1]}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"number": args[0], "class": args[1]}, "extension %s has class %s", args[0], args[1])
		},
	}
}

func extensionUnblock(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "unblock NUMBER", Short: "Let a blocked extension call through trunks again; its counts begin anew", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", "/extensions/"+url.PathEscape(args[0])+"/block", nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"unblocked": args[0]}, "extension %s is unblocked", args[0])
		},
	}
}

func dialplanTest(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "test FROM NUMBER", Short: "Say what would become of a call of extension FROM to NUMBER, and why, without placing it", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var f callcontrol.Forecast
			if err := a.Do(c.Context(), "GET", "/dialplan/test?"+url.Values{"from": {args[0]}, "number": {args[1]}}.Encode(), nil, &f); err != nil {
				return err
			}
			return a.Print(c, f, func() *control.Table { return forecastTable(f) })
		},
	}
}

func forecastTable(f callcontrol.Forecast) *control.Table {
	verdict := "passes"
	if f.Reason != "" {
		verdict = "is refused: " + string(f.Reason)
	}
	t := &control.Table{Columns: []string{f.From + " → " + f.Dialled, verdict}}
	for _, row := range [][2]string{
		{"does", string(f.Does)}, {"number", f.Number}, {"trunk", f.Trunk}, {"country", f.Country}, {"kind", f.Kind}, {"class", f.Class}, {"because", f.Rule},
	} {
		if row[1] != "" {
			t.Add(row[0], row[1])
		}
	}
	for _, step := range f.Path {
		t.Add("way", step)
	}
	if len(f.Group) > 0 {
		t.Add("rings", strings.Join(f.Group, " "))
	}
	return t
}

func dialplanDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe", Short: "Print a dialplan file with every key, its documentation and its default", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return conffile.Describe(c.OutOrStdout(), dialplan.Describe())
		},
	}
}
