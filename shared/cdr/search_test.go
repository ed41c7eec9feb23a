package cdr

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shelf writes days of records: each day has n, one every minute from noon on, of callers 1000, 1001, …
func shelf(t *testing.T, days, n int) (dir string, first time.Time) {
	t.Helper()
	dir, first = t.TempDir(), time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for d := range days {
		var b strings.Builder
		for i := range n {
			end := first.AddDate(0, 0, d).Add(time.Duration(i) * time.Minute)
			r := Record{ID: fmt.Sprintf("%d.%d", d, i), Trace: fmt.Sprintf("t%d", i), Start: end.Add(-time.Second), End: end, Caller: fmt.Sprint(1000 + i), Callee: "1002", Dialled: "*8"}
			text, err := r.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(text, '\n'))
		}
		if err := os.WriteFile(filepath.Join(dir, dayFile(first.AddDate(0, 0, d))), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, first
}

func ids(lines []Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.ID)
	}
	return strings.Join(out, " ")
}

// TestPage holds that who goes on from place to place gets each record once, also of days and lines that come meanwhile.
func TestPage(t *testing.T) {
	dir, first := shelf(t, 3, 5)
	var got []string
	after := ""
	for {
		lines, next, err := Page(dir, after, Query{Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		if after = next; len(lines) == 0 {
			break
		}
		got = append(got, ids(lines))
	}
	if s := strings.Join(got, " "); s != "0.0 0.1 0.2 0.3 0.4 1.0 1.1 1.2 1.3 1.4 2.0 2.1 2.2 2.3 2.4" {
		t.Error(s)
	}
	path := filepath.Join(dir, dayFile(first.AddDate(0, 0, 2)))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, `{"id":"new"}`+"\n"+`{"id":"being wri`)
	lines, next, err := Page(dir, after, Query{Limit: 9})
	if err != nil || ids(lines) != "new" {
		t.Errorf("%s %v", ids(lines), err)
	}
	fmt.Fprintln(f, `tten"}`)
	if lines, next, err = Page(dir, next, Query{Limit: 9}); err != nil || ids(lines) != "being written" {
		t.Errorf("%s %v", ids(lines), err)
	}
	if err := os.Rename(path, filepath.Join(dir, dayFile(first.AddDate(0, 0, 3)))); err != nil { // as if the day of the place were forgotten
		t.Fatal(err)
	}
	if lines, _, err = Page(dir, next, Query{Limit: 1}); err != nil || ids(lines) != "2.0" {
		t.Errorf("%s %v", ids(lines), err)
	}
	for _, bad := range []string{"x", ":", "2026-11-20", "2026-11-20:-1", "2026-11-20:x", "2026-11-20:3", "2026-11-20:99999999", "../../etc:0", "2026-13-01:0"} {
		if _, _, err := Page(dir, bad, Query{Limit: 1}); !errors.Is(err, ErrCursor) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestQuery(t *testing.T) {
	dir, first := shelf(t, 3, 5)
	for name, c := range map[string]struct {
		q    Query
		want string // the newest first
	}{
		"last":   {Query{Limit: 3}, "2.4 2.3 2.2"},
		"many":   {Query{Limit: 7}, "2.4 2.3 2.2 2.1 2.0 1.4 1.3"},
		"since":  {Query{Since: first.AddDate(0, 0, 2).Add(3 * time.Minute), Limit: 9}, "2.4 2.3"},
		"until":  {Query{Until: first.Add(2 * time.Minute), Limit: 9}, "0.1 0.0"},
		"caller": {Query{Party: "1001", Limit: 2}, "2.1 1.1"},
		"callee": {Query{Party: "1002", Limit: 1}, "2.4"},
		"dialed": {Query{Party: "*8", Limit: 1}, "2.4"},
		"trace":  {Query{Trace: "t0", Limit: 9}, "2.0 1.0 0.0"},
		"nobody": {Query{Party: "100", Limit: 9}, ""},
	} {
		lines, err := Latest(dir, c.q)
		if err != nil || ids(lines) != c.want {
			t.Errorf("%s: %s %v, want %s", name, ids(lines), err, c.want)
		}
		c.q.Limit = 99
		all, err := Latest(dir, c.q)
		page, _, perr := Page(dir, "", c.q)
		if err = errors.Join(err, perr); err != nil || len(all) != len(page) {
			t.Errorf("%s: %d one way, %d the other (%v)", name, len(all), len(page), err)
		}
	}
}

func TestForget(t *testing.T) {
	dir, first := shelf(t, 3, 1)
	if n, err := Forget(dir, first.AddDate(0, 0, 1)); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if lines, _, err := Page(dir, "", Query{Limit: 9}); err != nil || ids(lines) != "1.0 2.0" {
		t.Errorf("%s %v", ids(lines), err)
	}
}
