package banlist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// rows reads the rows of a CSV file: comma, semicolon or tab part the cells. A row may go over several
// lines within quotes, up to maxLine bytes in all.
type rows struct {
	lines
	comma byte // 0 until the first row tells
	long  []byte
	cells [][]byte
}

// next returns a row's cells, good until the next call; nil for one that is too long or whose quotes do not close.
func (r *rows) next() (cells [][]byte, text []byte, why Refusal, err error) {
	for {
		line, long, err := r.lines.next()
		if err != nil {
			return nil, nil, "", err
		}
		if long {
			return nil, line, TooLong, nil
		}
		if trimmed := bytes.TrimSpace(line); len(trimmed) == 0 || trimmed[0] == '#' {
			continue
		}
		if bytes.IndexByte(line, '"') >= 0 {
			if line, why, err = r.quoted(line); why != "" || err != nil {
				return nil, line, why, err
			}
		}
		if r.comma == 0 {
			r.comma = separator(line)
		}
		return r.split(line), line, "", nil
	}
}

// quoted adds lines to the first one until its quotes close.
func (r *rows) quoted(line []byte) ([]byte, Refusal, error) {
	open := bytes.Count(line, []byte{'"'})%2 == 1
	if !open {
		return line, "", nil
	}
	r.long = append(r.long[:0], line...)
	for open {
		line, long, err := r.lines.next()
		if errors.Is(err, io.EOF) {
			return r.long, Malformed, nil
		}
		if err != nil {
			return nil, "", err
		}
		if long || len(r.long)+len(line) > maxLine {
			return r.long, TooLong, nil
		}
		r.long = append(append(r.long, '\n'), line...)
		open = bytes.Count(line, []byte{'"'})%2 == 0
	}
	return r.long, "", nil
}

// separator is whichever comes first outside of quotes.
func separator(line []byte) byte {
	quoted := false
	for _, b := range line {
		switch {
		case b == '"':
			quoted = !quoted
		case !quoted && (b == ',' || b == ';' || b == '\t'):
			return b
		}
	}
	return ','
}

// split cuts a row into cells. Quotes around a cell go; doubled ones inside stay doubled, since no address has any.
func (r *rows) split(line []byte) [][]byte {
	r.cells = r.cells[:0]
	if bytes.IndexByte(line, '"') < 0 {
		for {
			i := bytes.IndexByte(line, r.comma)
			if i < 0 {
				break
			}
			r.cells, line = append(r.cells, bytes.TrimSpace(line[:i])), line[i+1:]
		}
		r.cells = append(r.cells, bytes.TrimSpace(line))
		return r.cells
	}
	quoted, start := false, 0
	for i, b := range line {
		if b == '"' {
			quoted = !quoted
		} else if b == r.comma && !quoted {
			r.cells, start = append(r.cells, unquote(line[start:i])), i+1
		}
	}
	r.cells = append(r.cells, unquote(line[start:]))
	return r.cells
}

func unquote(cell []byte) []byte {
	cell = bytes.TrimSpace(cell)
	if len(cell) >= 2 && cell[0] == '"' && cell[len(cell)-1] == '"' {
		return bytes.TrimSpace(cell[1 : len(cell)-1])
	}
	return cell
}

// csv takes the entries of one column.
func (c *Collector) csv(in *bufio.Reader, column string) error {
	r := rows{lines: lines{in: in}}
	index, named := -1, false
	if n, err := strconv.Atoi(column); err == nil && n > 0 {
		index = n - 1
	} else {
		named = column != ""
	}
	for first := true; !c.full; {
		cells, text, why, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case why != "":
			c.bad(why, r.number, text)
			continue
		case first && named:
			if index = find(cells, column); index < 0 {
				return fmt.Errorf("%w: the header has no column %q: %s", ErrOptions, column, clean(text))
			}
			first = false
			continue
		}
		header := first && !anyEntry(cells)
		first = false
		if header {
			continue
		}
		if index < 0 {
			index = firstEntry(cells)
		}
		if index < 0 || index >= len(cells) {
			c.bad(Malformed, r.number, text)
			continue
		}
		c.add(cells[index], r.number)
	}
	return nil
}

func find(cells [][]byte, name string) int {
	for i, cell := range cells {
		if bytes.EqualFold(cell, []byte(name)) {
			return i
		}
	}
	return -1
}

func anyEntry(cells [][]byte) bool { return firstEntry(cells) >= 0 }

// firstEntry is the first cell that reads as an entry, be it one that is refused or not.
func firstEntry(cells [][]byte) int {
	var try Collector
	for i, cell := range cells {
		if !try.parse(cell).garbage() {
			return i
		}
	}
	return -1
}
