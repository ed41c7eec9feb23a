package admin

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/cdr"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Records are the call detail records.
type Records interface {
	RecordPage(after string, q cdr.Query) (lines []cdr.Line, next string, err error)
	LatestRecords(q cdr.Query) ([]cdr.Line, error)
}

// recordPage is the answer of GET /records.
type recordPage struct {
	Records []cdr.Line `json:"records" nullable:"false"`
	Next    string     `json:"next,omitempty" doc:"Where the next page begins: parameter after. Who keeps it gets each record once."`
}

func recordRoutes(s *control.Server, x Exchange) {
	looked := []control.Query{
		{Name: "since", Doc: "Calls that ended then or later, RFC 3339."}, {Name: "until", Doc: "Calls that ended before, RFC 3339."},
		{Name: "party", Doc: "Calls of this number only: caller, callee, or as dialled."}, {Name: "trace", Doc: "Calls of this trace only."},
		{Name: "limit", Doc: "At most so many: 100 unless told otherwise, 1000 at most."},
	}
	control.Route(s, "GET /records", control.Operation{
		ID: "listRecords", Summary: "Read the call detail records, the oldest first", Area: areaRecords,
		Queries: append(looked, control.Query{Name: "after", Doc: "The place where the last page ended."}),
	}, func(r *http.Request, _ control.None) (recordPage, error) {
		q, err := recordQuery(r.URL.Query())
		if err != nil {
			return recordPage{}, err
		}
		lines, next, err := x.RecordPage(r.URL.Query().Get("after"), q)
		if errors.Is(err, cdr.ErrCursor) {
			err = control.Errorf(http.StatusBadRequest, "after: %v; give what the last page said, or nothing", err)
		}
		return recordPage{append([]cdr.Line{}, lines...), next}, err
	})
	control.Route(s, "GET /records/latest", control.Operation{
		ID: "latestRecords", Summary: "Show the last call detail records, the newest first", Area: areaRecords, Queries: looked,
	}, func(r *http.Request, _ control.None) ([]cdr.Line, error) {
		q, err := recordQuery(r.URL.Query())
		if err != nil {
			return nil, err
		}
		lines, err := x.LatestRecords(q)
		return append([]cdr.Line{}, lines...), err
	})
}

func recordQuery(v url.Values) (q cdr.Query, err error) {
	q = cdr.Query{Party: v.Get("party"), Trace: v.Get("trace")}
	if q.Since, err = timeParameter(v, "since"); err != nil {
		return q, err
	}
	if q.Until, err = timeParameter(v, "until"); err != nil {
		return q, err
	}
	q.Limit, err = limitParameter(v)
	return q, err
}

// timeParameter is a moment after the question mark; zero: there is none.
func timeParameter(v url.Values, name string) (time.Time, error) {
	s := v.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, control.Errorf(http.StatusBadRequest, "%s: %q is no time; give it as 2026-11-27T08:00:00Z", name, control.Clean(s))
	}
	return t, nil
}

// How many rows an answer holds that could have any number.
const (
	usualRows = 100
	maxRows   = 1000
)

func limitParameter(v url.Values) (int, error) {
	s := v.Get("limit")
	if s == "" {
		return usualRows, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxRows {
		return 0, control.Errorf(http.StatusBadRequest, "limit: give 1 to %d", maxRows)
	}
	return n, nil
}

// lookedFor are the flags that say which records are of interest.
type lookedFor struct{ since, until, party, trace string }

func (f *lookedFor) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.since, "since", "", "show calls that ended at `TIME` or later: 2026-11-27, 2026-11-27T08:00:00Z, or 24h ago as 24h")
	c.Flags().StringVar(&f.until, "until", "", "show calls that ended before `TIME`")
	c.Flags().StringVar(&f.party, "party", "", "show calls of this `NUMBER` only: caller, callee, or as dialled")
	c.Flags().StringVar(&f.trace, "trace", "", "show calls of this `TRACE` only")
}

// query is what the flags say, as the API takes it.
func (f *lookedFor) query(limit int) (url.Values, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, m := range []struct{ name, text string }{{"since", f.since}, {"until", f.until}} {
		if m.text == "" {
			continue
		}
		t, err := when(m.text, time.Now())
		if err != nil {
			return nil, command.Badf("--%s: %v", m.name, err)
		}
		q.Set(m.name, t.UTC().Format(time.RFC3339))
	}
	for name, text := range map[string]string{"party": f.party, "trace": f.trace} {
		if text != "" {
			q.Set(name, text)
		}
	}
	return q, nil
}

// when reads a moment as people give it: a day (its beginning here), a time, or how long ago.
func when(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, errors.New("give a day as 2026-11-27, a time as 2026-11-27T08:00:00Z, or how long ago as 24h")
	}
	return t, nil
}

func recordCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{recordList(a), recordExport(a)}
}

func recordList(a *command.Admin) *cobra.Command {
	var f lookedFor
	var limit int
	c := &cobra.Command{Use: "list", Short: "Show the last call detail records, the newest first", Args: cobra.NoArgs}
	f.flags(c)
	c.Flags().IntVar(&limit, "limit", 20, "show at most `COUNT`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		q, err := f.query(limit)
		if err != nil {
			return err
		}
		var list []cdr.Line
		if err := a.Do(c.Context(), "GET", "/records/latest?"+q.Encode(), nil, &list); err != nil {
			return err
		}
		return a.Print(c, list, func() *control.Table {
			t := &control.Table{Columns: []string{"START", "CALLER", "DIALLED", "CALLEE", "DIRECTION", "DISPOSITION", "SECONDS", "REASON", "TRACE"}, Empty: "no call records"}
			for _, l := range list {
				t.Add(l.Start, l.Caller, l.Dialled, l.Callee, l.Direction, l.Disposition, l.Billable, l.Reason, l.Trace)
			}
			return t
		})
	}
	return c
}

func recordExport(a *command.Admin) *cobra.Command {
	var f lookedFor
	var format string
	c := &cobra.Command{Use: "export", Short: "Write call detail records to standard output, the oldest first", Args: cobra.NoArgs}
	f.flags(c)
	c.Flags().StringVar(&format, "format", "csv", "`FORMAT`: csv, or json for one object a line")
	c.RunE = func(c *cobra.Command, _ []string) error {
		q, err := f.query(maxRows)
		if err != nil {
			return err
		}
		var write func([]cdr.Line) error
		switch format {
		case "csv":
			write, err = writeCSV(c.OutOrStdout())
		case "json":
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetEscapeHTML(false)
			write = func(lines []cdr.Line) error {
				for _, l := range lines {
					if err := enc.Encode(l); err != nil {
						return err
					}
				}
				return nil
			}
		default:
			err = command.Badf("--format: %q is neither csv nor json", format)
		}
		if err != nil {
			return err
		}
		for {
			var page recordPage
			if err := a.Do(c.Context(), "GET", "/records?"+q.Encode(), nil, &page); err != nil {
				return err
			}
			if len(page.Records) == 0 {
				return nil
			}
			if err := write(page.Records); err != nil {
				return err
			}
			q.Set("after", page.Next)
		}
	}
	return c
}

// writeCSV writes the heading, which has the names of the JSON, and returns what writes records (RFC 4180).
func writeCSV(w io.Writer) (func([]cdr.Line) error, error) {
	out := csv.NewWriter(w)
	line := reflect.TypeFor[cdr.Line]()
	var names []string
	for i := range line.NumField() {
		name, _, _ := strings.Cut(line.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return func(lines []cdr.Line) error {
		for _, l := range lines {
			v := reflect.ValueOf(l)
			row := make([]string, len(names))
			for i := range row {
				row[i] = cell(v.Field(i))
			}
			if err := out.Write(row); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}, out.Write(names)
}

// cell is a field of a record. Text may be a stranger's: what a spreadsheet would run gets an apostrophe in front. A number with its + is left as
// it is.
func cell(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', 3, 64)
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	}
	s := v.String()
	if s == "" || !strings.ContainsRune("=+-@\t\r\n", rune(s[0])) || s[0] == '+' && strings.Trim(s[1:], "0123456789") == "" {
		return s
	}
	return "'" + s
}
