package admin

import (
	"fmt"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/banapi"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// newToken is what banToken prints as JSON.
type newToken struct {
	Name   string       `json:"name"`
	Token  string       `json:"token"`
	SHA256 string       `json:"sha256"`
	Scope  banapi.Scope `json:"scope"`
}

// banToken makes a token for ban_api. It asks no running border: the configuration is where tokens become valid.
func banToken(a *command.Admin) *cobra.Command {
	var scope string
	c := &cobra.Command{
		Use: "token NAME", Short: "Make a token with which another tool on this host may ban", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			t := newToken{Name: args[0], Scope: banapi.Scope(scope)}
			t.Token, t.SHA256 = banapi.NewKey()
			if err := t.check(); err != nil {
				return command.Bad(err)
			}
			if a.JSON {
				return control.Print(c.OutOrStdout(), true, t, nil)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "The token, for the tool alone; it is shown this once:\n\n  %s\n\n"+
				"For the border's configuration, below ban_api.tokens:\n\n  - {name: %q, sha256: %s, scope: %s}\n", t.Token, t.Name, t.SHA256, t.Scope)
			return err
		},
	}
	c.Flags().StringVar(&scope, "scope", string(banapi.ScopeBan), "`WHAT` it may do: read, or ban and read")
	return c
}

// check holds t to what the configuration takes.
func (t newToken) check() error {
	if t.Scope != banapi.ScopeBan && t.Scope != banapi.ScopeRead {
		return fmt.Errorf("--scope %q is not known here; use read or ban", t.Scope)
	}
	var one banapi.Token
	one.SetDefaults()
	one.Name, one.SHA256, one.Scope = t.Name, t.SHA256, t.Scope
	for _, f := range (&banapi.Config{Tokens: []banapi.Token{one}}).Validate() {
		return fmt.Errorf("%s; %s", f.Problem, f.Remedy)
	}
	return nil
}
