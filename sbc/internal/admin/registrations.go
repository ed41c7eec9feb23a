package admin

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// registration is a phone outside as commands show it.
type registration struct {
	AOR     string         `json:"aor"`
	Network string         `json:"network"`
	Source  netip.AddrPort `json:"source"`
	Contact string         `json:"contact"` // the phone's own words
	Expires time.Time      `json:"expires"` // as the phone knows it
	Inside  time.Time      `json:"inside"`  // until when the exchange keeps it
}

func registrations(b Border) []registration {
	out := []registration{}
	for _, r := range b.Registrations() {
		out = append(out, registration{
			AOR: r.AOR, Network: string(r.Flow.Network()), Source: r.Flow.Remote(), Contact: r.Contact.String(), Expires: r.Expires, Inside: r.Inside,
		})
	}
	slices.SortFunc(out, func(a, b registration) int {
		return cmp.Or(cmp.Compare(a.AOR, b.AOR), a.Source.Compare(b.Source), cmp.Compare(a.Contact, b.Contact))
	})
	return out
}

func registrationList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the phones that are registered through the border", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []registration
			if err := a.Do(c.Context(), "GET", "/registrations", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"ACCOUNT", "NETWORK", "SOURCE", "CONTACT", "EXPIRES IN", "INSIDE"}, Empty: "no phone is registered"}
				for _, r := range list {
					t.Add(r.AOR, r.Network, r.Source, r.Contact, time.Until(r.Expires).Round(time.Second), time.Until(r.Inside).Round(time.Second))
				}
				return t
			})
		},
	}
}
