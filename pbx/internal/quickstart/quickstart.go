// Package quickstart writes a working configuration of the exchange, with two extensions.
package quickstart

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/admin"
	"brickhouse/pbx/internal/exchange"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/pki"
	"brickhouse/shared/secret"
	"brickhouse/shared/setup"
)

//go:embed pbx.yaml.tmpl
var config string

//go:embed dialplan.yaml.tmpl
var dialplan string

// account is an extension as accounts.json shows it to who sets up the phones.
type account struct {
	Number   string `json:"number"`
	Name     string `json:"name"`
	Password string `json:"password"`
	Realm    string `json:"realm"`
}

// Command is the command quickstart.
func Command() *cobra.Command {
	return setup.Command("Write a working configuration of the exchange with two extensions into DIR", write)
}

func write(c *cobra.Command, s setup.Site) error {
	for _, name := range []string{"pbx.yaml", "dialplan.yaml", "accounts.json", "secrets", "secrets.key", "pbx-state"} {
		if err := s.Fresh(name); err != nil {
			return err
		}
	}
	ca, err := s.Authority()
	if err != nil {
		return err
	}
	if err := s.Issue(ca, "pbx", s.Server(setup.ExchangeName)); err != nil {
		return err
	}
	if err := s.Write("dialplan.yaml", dialplan, s); err != nil {
		return err
	}
	accounts := []account{
		{Number: "1001", Name: "Alice", Password: admin.NewPassword(), Realm: s.Domain},
		{Number: "1002", Name: "Bob", Password: admin.NewPassword(), Realm: s.Domain},
	}
	if err := seed(c.Context(), s, accounts); err != nil {
		return err
	}
	text, err := json.MarshalIndent(accounts, "", "  ")
	if err != nil {
		return err
	}
	if err := pki.WriteFile(s.Path("accounts.json"), append(text, '\n')); err != nil {
		return err
	}
	if err := s.Write("pbx.yaml", config, s); err != nil {
		return err
	}
	return say(c, s, accounts)
}

// seed makes the secret store and the extensions, while no exchange runs on them.
func seed(ctx context.Context, s setup.Site, accounts []account) error {
	if err := secret.CreateFile(s.Path("secrets"), s.Path("secrets.key")); err != nil {
		return err
	}
	secrets, err := secret.OpenFile(s.Path("secrets"), s.Path("secrets.key"))
	if err != nil {
		return err
	}
	defer secrets.Close()
	if err := os.MkdirAll(s.Path("pbx-state"), 0o700); err != nil {
		return err
	}
	rows, err := exchange.OpenStore(ctx, s.Path("pbx-state"), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, a := range accounts {
		e := store.Extension{Number: a.Number, Name: a.Name, CreatedAt: time.Now()}
		if err := exchange.AddExtension(ctx, rows, secrets, e, s.Domain, a.Password, true); err != nil {
			rows.Close()
			return err
		}
	}
	return rows.Close()
}

func say(c *cobra.Command, s setup.Site, accounts []account) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Exchange: %s written. A phone on the inside is set up with\n", s.Path("pbx.yaml"))
	fmt.Fprintf(&b, "  server         %s port %d, UDP or TCP\n  domain         %s\n", s.Address, s.PhonePort(), s.Domain)
	fmt.Fprintf(&b, "Accounts, for phones inside and outside (also in %s; delete it when the phones have them):\n", filepath.Base(s.Path("accounts.json")))
	for _, a := range accounts {
		fmt.Fprintf(&b, "  user %s  password %s  (%s)\n", a.Number, a.Password, a.Name)
	}
	fmt.Fprintf(&b, "Numbers to try: *43 echo test, *44 test tone, 1001, 1002\n")
	_, err := fmt.Fprint(c.OutOrStdout(), b.String())
	return err
}
