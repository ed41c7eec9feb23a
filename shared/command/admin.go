package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"brickhouse/shared/control"
)

// Admin is the part that commands to a running program have in common: where its socket is, and how to print.
type Admin struct {
	Socket string // path of the Unix socket
	JSON   bool   // print JSON instead of tables
}

// Group returns a command with the sub-commands subs and the flags --socket and --json for all of them. The socket's
// path is taken from --socket, else from the environment variable env, else it is socket.
func (a *Admin) Group(use, short, env, socket string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	if v := os.Getenv(env); v != "" {
		socket = v
	}
	c.PersistentFlags().StringVar(&a.Socket, "socket", socket, "`PATH` of the running program's admin socket")
	c.PersistentFlags().BoolVar(&a.JSON, "json", false, "print JSON")
	_ = c.MarkPersistentFlagFilename("socket") // fails for an unknown flag only
	c.AddCommand(subs...)
	return c
}

// Do sends one request; see control.Client.
func (a *Admin) Do(ctx context.Context, method, path string, in, out any) error {
	cl := control.NewClient(a.Socket)
	defer cl.Close()
	return cl.Do(ctx, method, path, in, out)
}

// Upload sends a file; see control.Client.
func (a *Admin) Upload(ctx context.Context, method, path string, body io.Reader, out any) error {
	cl := control.NewClient(a.Socket)
	defer cl.Close()
	return cl.Upload(ctx, method, path, body, out)
}

// Stream calls each for every line of a stream; see control.Client.
func (a *Admin) Stream(ctx context.Context, path string, each func(line json.RawMessage) error) error {
	cl := control.NewClient(a.Socket)
	defer cl.Close()
	return cl.Stream(ctx, path, each)
}

// Print writes v as JSON with --json, else the table.
func (a *Admin) Print(c *cobra.Command, v any, table func() *control.Table) error {
	return control.Print(c.OutOrStdout(), a.JSON, v, table)
}

// Say writes v as JSON with --json, else one line of text.
func (a *Admin) Say(c *cobra.Command, v any, format string, args ...any) error {
	if a.JSON {
		return control.Print(c.OutOrStdout(), true, v, nil)
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), control.Clean(fmt.Sprintf(format, args...)))
	return err
}

// Watch prints what a stream sends, line by line, until it ends or a signal comes: the JSON as it is with --json, else
// what text makes of it.
func (a *Admin) Watch(c *cobra.Command, path string, text func(line json.RawMessage) (string, error)) error {
	return a.Stream(c.Context(), path, func(line json.RawMessage) error {
		out := string(line)
		if !a.JSON {
			s, err := text(line)
			if err != nil {
				return err
			}
			out = control.Clean(s)
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), out)
		return err
	})
}
