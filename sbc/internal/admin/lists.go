package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// maxImport is how large an imported file may be, in bytes.
const maxImport = 128 << 20

// exportChunk is how many networks one line of an export has.
const exportChunk = 1000

// kinds are the words for what a list does.
var kinds = map[string]guard.FeedKind{"ban": guard.FeedBans, "monitor": guard.FeedMonitor, "allow": guard.FeedAllow}

func importList(r *http.Request, b Border) (any, error) {
	q := r.URL.Query()
	kind, ok := kinds[q.Get("does")]
	if !ok {
		return nil, control.Errorf(http.StatusBadRequest, "%q is nothing that a list does; use ban, monitor or allow", q.Get("does"))
	}
	if slices.ContainsFunc(b.Lists(), func(s follow.Status) bool { return s.Name == r.PathValue("name") }) { // though it may not be in force yet
		return nil, control.Errorf(http.StatusBadRequest, "list %s: %v", r.PathValue("name"), guard.ErrListTaken)
	}
	o := banlist.Options{Format: banlist.Format(q.Get("format")), Column: q.Get("column"), MaxEntries: banlist.MostEntries, MaxBytes: maxImport}
	report, err := b.Guard().Import(r.PathValue("name"), kind, r.Body, o, control.Caller(r.Context()))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, control.Errorf(http.StatusRequestEntityTooLarge, "the file is larger than %d MiB", maxImport>>20)
	case refusedList(err):
		return nil, control.Errorf(http.StatusBadRequest, "%v", err)
	}
	return report, err
}

// refusedList reports whether the caller is at fault.
func refusedList(err error) bool {
	for _, e := range []error{
		guard.ErrListName, guard.ErrListTaken, guard.ErrManyLists, guard.ErrNoRoom, banlist.ErrGarbage, banlist.ErrTooMany, banlist.ErrTooLarge, banlist.ErrTruncated, banlist.ErrEmpty,
		banlist.ErrOptions,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func dropList(r *http.Request, b Border) error {
	err := b.Guard().DropImport(r.PathValue("name"), control.Caller(r.Context()))
	switch {
	case errors.Is(err, guard.ErrNoBan):
		return control.Errorf(http.StatusNotFound, "there is no imported list %s", r.PathValue("name"))
	case refusedList(err):
		return control.Errorf(http.StatusBadRequest, "%v", err)
	}
	return err
}

// exported is one line of an export.
type exported struct {
	Prefixes []netip.Prefix `json:"prefixes"`
}

func export(r *http.Request, send func(any) error, b Border) error {
	list, err := b.Guard().Export(r.URL.Query().Get("list"))
	if err != nil {
		return control.Errorf(http.StatusNotFound, "there is no list %s", r.URL.Query().Get("list"))
	}
	if err := control.Ready(r); err != nil {
		return err
	}
	for len(list) > 0 {
		n := min(exportChunk, len(list))
		if err := send(exported{list[:n]}); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func banImport(a *command.Admin) *cobra.Command {
	var does, format, column string
	var drop bool
	c := &cobra.Command{
		Use: "import NAME [FILE]", Short: "Put a list of networks into force, or drop it", Args: cobra.RangeArgs(1, 2),
		Long: "Puts the networks of a file (or of standard input: -) into force as the list NAME, in place of an earlier one of that name, in\n" +
			"one step. The list stays, also after a restart, until it is imported anew or dropped.",
		RunE: func(c *cobra.Command, args []string) error {
			path := "/bans/lists/" + url.PathEscape(args[0])
			if drop {
				if len(args) > 1 {
					return command.Badf("--drop takes no file")
				}
				if err := a.Do(c.Context(), "DELETE", path, nil, nil); err != nil {
					return err
				}
				return a.Say(c, map[string]string{"dropped": args[0]}, "the list %s is dropped", args[0])
			}
			if len(args) < 2 {
				return command.Badf("name the file, or - for standard input; or --drop the list")
			}
			in, err := openInput(c, args[1])
			if err != nil {
				return command.Bad(err)
			}
			defer in.Close()
			q := url.Values{"does": {does}, "format": {format}, "column": {column}}
			var report banlist.Report
			if err := a.Upload(c.Context(), "PUT", path+"?"+q.Encode(), in, &report); err != nil {
				return err
			}
			return a.Say(c, report, "the list %s is in force: %s", args[0], report)
		},
	}
	c.Flags().StringVar(&does, "does", "ban", "what it `DOES`: ban, monitor (count only) or allow (never ban)")
	c.Flags().StringVar(&format, "format", "auto", "`FORMAT`: auto, plain, csv, drop-json or apiban")
	c.Flags().StringVar(&column, "column", "", "csv: name or number of the `COLUMN` with the addresses")
	c.Flags().BoolVar(&drop, "drop", false, "end the list")
	return c
}

// openInput opens a file, or standard input for "-".
func openInput(c *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.InOrStdin()), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s is a directory", name)
	}
	return f, nil
}

func banExport(a *command.Admin) *cobra.Command {
	var list, format string
	c := &cobra.Command{
		Use: "export", Short: "Write the banned networks, so that import reads them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.JSON {
				format = string(banlist.DropJSON)
			}
			if err := banlist.Write(io.Discard, nil, banlist.Format(format)); err != nil { // before anything is asked
				return command.Bad(err)
			}
			var all []netip.Prefix
			err := streamJSON(c, a, "/bans/export?list="+url.QueryEscape(list), func(e exported) error {
				all = append(all, e.Prefixes...)
				return nil
			})
			if err != nil {
				return err
			}
			if err := banlist.Write(c.OutOrStdout(), all, banlist.Format(format)); err != nil {
				return fmt.Errorf("writing the list: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&list, "list", "", "a `LIST` by its name; without it, the bans by rules and persons")
	c.Flags().StringVar(&format, "format", "plain", "`FORMAT`: plain, csv or drop-json")
	return c
}

// number reads a query's number.
func number(r *http.Request, key string, def, most int) (int, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, control.Errorf(http.StatusBadRequest, "%s %q is no number from 0 to %d", key, text, most)
	}
	return n, nil
}
