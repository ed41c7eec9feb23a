// Package quickstart writes a working configuration of the border.
package quickstart

import (
	_ "embed"
	"fmt"

	"github.com/spf13/cobra"

	"brickhouse/shared/pki"
	"brickhouse/shared/setup"
)

//go:embed sbc.yaml.tmpl
var config string

// Command is the command quickstart.
func Command() *cobra.Command {
	return setup.Command("Write a working configuration of the border into DIR", write)
}

func write(c *cobra.Command, s setup.Site) error {
	if err := s.Fresh("sbc.yaml"); err != nil {
		return err
	}
	ca, err := s.Authority()
	if err != nil {
		return err
	}
	if err := s.Issue(ca, "sbc", s.Server()); err != nil {
		return err
	}
	if err := s.Issue(ca, "sbc-core", pki.Request{DNS: []string{setup.BorderName}, Use: pki.Client}); err != nil {
		return err
	}
	if err := s.Write("sbc.yaml", config, s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), `Border: %s written. A remote phone is set up with
  transport      TLS, media encryption SRTP (SDES)
  server         %s port %d (as outbound proxy, if the domain does not resolve)
  domain         %s
  trust          %s
`, s.Path("sbc.yaml"), s.Address, s.BorderPort(), s.Domain, s.Path("ca.crt"))
	return err
}
