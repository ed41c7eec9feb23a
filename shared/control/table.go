package control

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table is what a command shows to a person.
type Table struct {
	Columns []string // headings, in capitals by custom
	Rows    [][]string
	Empty   string // said instead of a table without rows
}

// Add appends a row; the cells are the values as fmt prints them.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// Write writes the columns aligned, two spaces apart. Cells may hold a stranger's bytes: what could move the cursor of a
// terminal is replaced.
func (t *Table) Write(w io.Writer) error {
	if len(t.Rows) == 0 && t.Empty != "" {
		_, err := fmt.Fprintln(w, t.Empty)
		return err
	}
	lines := append([][]string{t.Columns}, t.Rows...)
	var widths []int
	for l, line := range lines {
		clean := make([]string, len(line))
		for i, cell := range line {
			clean[i] = Clean(cell)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(clean[i]))
		}
		lines[l] = clean
	}
	var b strings.Builder
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			row.WriteString(cell)
			row.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Clean replaces what is not printable (control characters, marks that turn the direction of writing) by "?", and an
// empty text by "-".
func Clean(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// Print writes v as indented JSON if asJSON, else the table.
func Print(w io.Writer, asJSON bool, v any, table func() *Table) error {
	if !asJSON {
		return table().Write(w)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
