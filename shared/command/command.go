// Package command is the command line that both programs share: serve, check, describe, version and completion, and a
// place for each program's own commands.
//
// Errors take one line each on standard error and never come with a usage text. The exit status says whose fault it was:
//
//	0    done
//	1    it failed while it ran
//	2    bad input: a flag, a command, a file, a port, a certificate, a secret; nothing was started
//	130  interrupted from the keyboard
//
// An error is bad input if it, or one that it wraps, has a method BadInput() bool that returns true.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"brickhouse/shared/conffile"
)

// The exit statuses.
const (
	OK          = 0
	Failed      = 1
	BadInput    = 2
	Interrupted = 130
)

// Program is what differs between the programs.
type Program struct {
	Name    string // as it is called: sbc, pbx
	Short   string // one line about it
	Version string // as the build stamped it; empty: what the Go build information knows
	Config  string // path of the configuration that serve and check take without -c

	// Serve runs the program with the configuration at path until it is told to stop. It handles the signals itself.
	Serve func(ctx context.Context, path string) error
	// Check loads the configuration at path and all that it names, and starts nothing.
	Check func(ctx context.Context, path string) error
	// Describe writes the commented configuration with its defaults.
	Describe func(w io.Writer) error

	Commands []*cobra.Command // the program's own commands
}

// Run executes one command line and returns the exit status. args are those after the program's name.
func Run(ctx context.Context, p Program, args []string, stdout, stderr io.Writer) int {
	root := newRoot(p)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return OK
	}
	for _, line := range errorLines(p.Name, err) {
		fmt.Fprintln(stderr, line)
	}
	return status(err)
}

// inputError is an error that the person who typed the command can mend.
type inputError struct{ error }

func (e inputError) Unwrap() error  { return e.error }
func (e inputError) BadInput() bool { return true }

// Bad marks err as bad input.
func Bad(err error) error {
	if err == nil {
		return nil
	}
	return inputError{err}
}

// Badf returns a formatted error that is bad input.
func Badf(format string, args ...any) error { return inputError{fmt.Errorf(format, args...)} }

// ranError is an error of a command that was understood, in contrast to one of the command line itself.
type ranError struct{ error }

func (e ranError) Unwrap() error { return e.error }

func status(err error) int {
	if _, ran := errors.AsType[ranError](err); !ran {
		return BadInput
	}
	if bad, ok := errors.AsType[interface {
		error
		BadInput() bool
	}](err); ok && bad.BadInput() {
		return BadInput
	}
	if _, ok := errors.AsType[interruptError](err); ok {
		return Interrupted
	}
	return Failed
}

// errorLines is what is written about err: a line for each fault of a file, otherwise one line with the program's name.
func errorLines(name string, err error) []string {
	if _, ok := errors.AsType[interruptError](err); ok {
		return nil // whoever pressed the key knows
	}
	if faults, ok := errors.AsType[conffile.Faults](err); ok && len(faults) > 0 {
		return faults.Lines()
	}
	var parts []string
	for _, line := range strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.Join(parts, "; "))
	return []string{name + ": " + text}
}

// interruptError ends a command that a signal stopped.
type interruptError struct{}

func (interruptError) Error() string { return "interrupted" }

func newRoot(p Program) *cobra.Command {
	root := &cobra.Command{
		Use: p.Name, Short: p.Short, Long: p.Short + ".",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(serveCommand(p), checkCommand(p), describeCommand(p), versionCommand(p))
	root.AddCommand(p.Commands...)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	tame(root, root.Name())
	return root
}

// tame walks the tree: groups refuse what they don't know, leaves say how many arguments they take, and commands that
// are no servers stop on a signal.
func tame(c *cobra.Command, program string) {
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SuggestionsMinimumDistance = 2
	for _, sub := range c.Commands() {
		tame(sub, program)
	}
	switch {
	case c.HasSubCommands() && !c.Runnable():
		c.Args = cobra.ArbitraryArgs
		c.RunE = refuse
		return
	case c.Args == nil && c.Name() != "help":
		c.Args = cobra.NoArgs
	}
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, given []string) error {
			if err := args(c, given); err != nil {
				return fmt.Errorf("%swrong number of arguments (%d); usage: %s", place(c), len(given), c.UseLine())
			}
			return nil
		}
	}
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if c.Annotations[ownSignals] == "" {
				ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
				defer stop()
				c.SetContext(ctx)
			}
			err := run(c, args)
			if err == nil {
				return nil
			}
			if errors.Is(err, context.Canceled) && c.Context().Err() != nil {
				err = interruptError{}
			}
			return ranError{err}
		}
	}
}

// ownSignals annotates a command that handles signals itself.
const ownSignals = "own-signals"

// place is where in the tree a command stands, as a prefix of an error; the program's own name stands before it anyway.
func place(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ") + ": "
}

// refuse is the command of a group: it names what was not understood and what there is.
func refuse(c *cobra.Command, args []string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if len(args) == 0 {
		return fmt.Errorf("%sno command is given; use one of %s", place(c), strings.Join(names, ", "))
	}
	near := c.SuggestionsFor(args[0])
	if len(near) == 0 {
		return fmt.Errorf("%sunknown command %q; use one of %s", place(c), args[0], strings.Join(names, ", "))
	}
	return fmt.Errorf("%sunknown command %q; did you mean %s?", place(c), args[0], strings.Join(near, " or "))
}

// configFlag adds -c.
func configFlag(c *cobra.Command, p Program) *string {
	path := c.Flags().StringP("config", "c", p.Config, "configuration `FILE`")
	_ = c.MarkFlagFilename("config", "yaml", "yml") // fails for an unknown flag only
	return path
}

func serveCommand(p Program) *cobra.Command {
	c := &cobra.Command{
		Use: "serve -c FILE", Short: "Run the program",
		Annotations: map[string]string{ownSignals: "yes"},
	}
	path := configFlag(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error { return p.Serve(c.Context(), *path) }
	return c
}

func checkCommand(p Program) *cobra.Command {
	c := &cobra.Command{Use: "check -c FILE", Short: "Say what is wrong with a configuration, without starting anything"}
	path := configFlag(c, p)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := p.Check(c.Context(), *path); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s: no fault found\n", *path)
		return err
	}
	return c
}

func describeCommand(p Program) *cobra.Command {
	return &cobra.Command{
		Use: "describe", Short: "Print a configuration with every key, its default and what it means",
		RunE: func(c *cobra.Command, _ []string) error { return p.Describe(c.OutOrStdout()) },
	}
}

// Build says which program this is.
type Build struct {
	Program  string `json:"program"`
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source
	Modified bool   `json:"modified,omitempty"` // the source differed from that revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// BuildOf reads the build information that the Go linker left in the program.
func BuildOf(program, version string) Build {
	b := Build{Program: program, Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// String is the one line that version prints.
func (b Build) String() string {
	s := fmt.Sprintf("%s %s (%s, %s", b.Program, b.Version, b.Go, b.Platform)
	if b.Revision != "" {
		s += ", revision " + b.Revision
		if b.Modified {
			s += " modified"
		}
	}
	return s + ")"
}

func versionCommand(p Program) *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version"}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		b := BuildOf(p.Name, p.Version)
		if *asJSON {
			return json.NewEncoder(c.OutOrStdout()).Encode(b)
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), b)
		return err
	}
	return c
}
