package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/border"
	"brickhouse/shared/command"
)

// maxMessage bounds what is read from standard input, in bytes.
const maxMessage = 256 << 10

// ruleCommand shows what the rules of a trunk do, without a border that runs.
func ruleCommand() *cobra.Command {
	group := &cobra.Command{Use: "rule", Short: "What the rules of a trunk do to a call"}
	var path string
	var trace bool
	test := &cobra.Command{
		Use: "test TRUNK in|out < MESSAGE", Args: cobra.ExactArgs(2),
		Short: "Read an INVITE and write what goes on of it: in, from the trunk to the exchange; out, from the exchange to the trunk",
		RunE: func(c *cobra.Command, args []string) error {
			if args[1] != "in" && args[1] != "out" {
				return command.Bad(fmt.Errorf("%q is no way; give in or out", args[1]))
			}
			cfg, err := load(path)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxMessage))
			if err != nil {
				return fmt.Errorf("reading the message: %w", err)
			}
			out, steps, err := border.TryRules(cfg, args[0], args[1] == "in", data)
			if trace {
				for _, s := range steps {
					fmt.Fprintf(c.ErrOrStderr(), "%s: %s: %s -> %s\n", s.Rule, s.Field, shown(s.Before), shown(s.After))
				}
			}
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(out)
			return err
		},
	}
	test.Flags().StringVarP(&path, "config", "c", "/etc/brickhouse/sbc.yaml", "configuration `FILE`")
	test.Flags().BoolVar(&trace, "trace", false, "tell on standard error which rule changed what")
	group.AddCommand(test)
	return group
}

func shown(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}
