package admin

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/cdr"
)

// TestRecords: an operator looks for calls and exports them, more than fit into one answer.
func TestRecords(t *testing.T) {
	r := newRig(t)
	if out := r.do("cdr", "list"); out != "no call records\n" {
		t.Errorf("%q", out)
	}
	w, _, err := cdr.Open(r.x.records, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-time.Minute)
	if err := w.Begin(cdr.Record{ID: "first", Start: start, Caller: "=cmd()", Dialled: "+4930123", Callee: "-1+1"}); err != nil {
		t.Fatal(err)
	}
	if err := w.End(cdr.Record{ID: "first", Start: start, Answer: start, End: start.Add(1500 * time.Millisecond), Caller: "=cmd()", Dialled: "+4930123", Callee: "-1+1", Trace: "t1"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(r.x.records, "cdr-*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2500 {
		fmt.Fprintf(f, `{"id":"n%d","caller":"1001","end":%q}`+"\n", n, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	f.Close()

	rows, err := csv.NewReader(strings.NewReader(r.do("cdr", "export"))).ReadAll()
	if err != nil || len(rows) != 2502 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	col := map[string]int{}
	for i, name := range rows[0] {
		col[name] = i
	}
	first := rows[1]
	for name, want := range map[string]string{"id": "first", "caller": "'=cmd()", "dialled": "+4930123", "callee": "'-1+1", "billable": "2", "duration": "1.500", "emergency": "false", "trace": "t1"} {
		if got := first[col[name]]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if out := r.do("cdr", "export", "--format", "json", "--party", "+4930123"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"caller":"=cmd()"`) {
		t.Errorf("%s", out)
	}
	if out := r.do("cdr", "list", "--limit", "2", "--since", "1h"); strings.Count(out, "\n") != 3 || strings.Contains(out, "cmd") {
		t.Errorf("%s", out)
	}
	if out := r.do("cdr", "list", "--until", time.Now().Add(-30*time.Second).Format(time.RFC3339)); strings.Count(out, "\n") != 2 || !strings.Contains(out, "t1") {
		t.Errorf("%s", out)
	}
	for _, args := range []string{"list --since yesterday", "list --limit 0", "list --limit 1001", "export --format xml", "export --until 2026"} {
		if status, _, errs := r.run(append([]string{"cdr"}, strings.Fields(args)...)...); status != 2 || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %q", args, status, errs)
		}
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h":                  now.AddDate(0, 0, -1),
		"2026-11-01":           time.Date(2026, 11, 1, 0, 0, 0, 0, time.Local),
		"2026-11-01T08:00:00Z": time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC),
	} {
		if got, err := when(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
	}
}
