package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/apikey"
	"brickhouse/pbx/internal/database"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Keys are what programs show to be let in. Only people on the machine make them, so a key that is stolen makes no others.
type Keys interface {
	AddKey(ctx context.Context, name string, scopes []string, life time.Duration) (token string, _ database.Key, err error)
	Keys() []database.Key
	DeleteKey(ctx context.Context, which string) (database.Key, error)
}

// key is a key as commands show it.
type key struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Scopes   []string  `json:"scopes" nullable:"false"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	Used     time.Time `json:"used,omitzero" doc:"When it was last used; up to a minute old after a crash."`
	UsedFrom string    `json:"used_from,omitempty"`
	Token    string    `json:"token,omitempty" doc:"What a program shows. It is said once, when the key is made."`
}

// keyRequest is the body of POST /keys.
type keyRequest struct {
	Name   string   `json:"name"`
	Scopes []string `json:"scopes" nullable:"false" doc:"AREA:read, AREA:write, or read and write for everything."`
	Life   int      `json:"life,omitempty" minimum:"0" maximum:"3153600000" doc:"Seconds; 0: for ever."`
}

func keyRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /keys", control.Operation{ID: "listKeys", Summary: "List the keys", Area: areaKeys, Local: true},
		func(*http.Request, control.None) ([]key, error) {
			out := []key{}
			for _, k := range x.Keys() {
				out = append(out, shownKey(k))
			}
			return out, nil
		})
	control.Route(s, "POST /keys", control.Operation{ID: "addKey", Summary: "Make a key", Area: areaKeys, Local: true},
		func(r *http.Request, req keyRequest) (key, error) {
			token, k, err := x.AddKey(r.Context(), req.Name, req.Scopes, time.Duration(req.Life)*time.Second)
			shown := shownKey(k)
			shown.Token = token
			return shown, keyFault(err)
		})
	control.Route(s, "DELETE /keys/{key}", control.Operation{ID: "deleteKey", Summary: "Forget a key, by its ID or name", Area: areaKeys, Local: true},
		func(r *http.Request, _ control.None) (done, error) {
			_, err := x.DeleteKey(r.Context(), r.PathValue("key"))
			return done{}, keyFault(err)
		})
}

func shownKey(k database.Key) key {
	return key{ID: k.ID, Name: k.Name, Scopes: k.Scopes, Created: k.Created, Expires: k.Expires, Used: k.Used, UsedFrom: k.UsedFrom}
}

// keyFault makes what a person got wrong its fault.
func keyFault(err error) error {
	switch {
	case errors.Is(err, database.ErrNotFound):
		return control.Errorf(http.StatusNotFound, "no such key; pbx key list shows those there are")
	case errors.Is(err, database.ErrTaken), errors.Is(err, database.ErrFull):
		return control.Errorf(http.StatusConflict, "%v", err)
	case errors.Is(err, apikey.ErrName), errors.Is(err, apikey.ErrScope), errors.Is(err, apikey.ErrLife):
		return control.Errorf(http.StatusBadRequest, "%v", err)
	}
	return err
}

func keyCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{keyList(a), keyAdd(a), keyDel(a)}
}

func keyList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the keys of the API", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []key
			if err := a.Do(c.Context(), "GET", "/keys", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "USED", "FROM"}, Empty: "no keys"}
				for _, k := range list {
					t.Add(k.ID, k.Name, strings.Join(k.Scopes, " "), moment(k.Created), moment(k.Expires), moment(k.Used), k.UsedFrom)
				}
				return t
			})
		},
	}
}

// moment is a time as tables show it; empty: none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func keyAdd(a *command.Admin) *cobra.Command {
	var req keyRequest
	var life time.Duration
	c := &cobra.Command{Use: "add NAME", Short: "Make a key of the API and print it, once", Args: cobra.ExactArgs(1)}
	c.Flags().StringSliceVar(&req.Scopes, "scope", nil, "`SCOPE` that the key is for: AREA:read, AREA:write, or read and write for everything")
	c.Flags().DurationVar(&life, "for", 0, "`DURATION` that the key is good for; 0: for ever")
	c.RunE = func(c *cobra.Command, args []string) error {
		if life < 0 || life%time.Second != 0 {
			return command.Badf("--for: give whole seconds, as 24h")
		}
		req.Name, req.Life = args[0], int(life/time.Second)
		if req.Scopes == nil {
			req.Scopes = []string{}
		}
		var k key
		if err := a.Do(c.Context(), "POST", "/keys", req, &k); err != nil {
			return err
		}
		return a.Say(c, k, "%s", k.Token)
	}
	return c
}

func keyDel(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "del KEY", Short: "Forget a key, by its ID or name: from then on it is refused", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", "/keys/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"removed": args[0]}, "key %s is forgotten", args[0])
		},
	}
}
