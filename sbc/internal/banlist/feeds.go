package banlist

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// shapes reads the JSON that lists come in. A list is one or more values, one after the other.
type shapes struct {
	tokens
	c      *Collector
	format Format
	meta   bool // a metadata object has ended the list
	cidr   [maxEntry + 1]byte
}

func (c *Collector) json(in *bufio.Reader, format Format) error {
	s := shapes{tokens: tokens{in: in}, c: c, format: format}
	for !c.full {
		b, err := s.peek()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && s.meta {
			err = fmt.Errorf("%w: more after the metadata", errSyntax)
		}
		if err == nil && b == '[' {
			err = s.each('[', ']', func([]byte) error { return s.element(2) })
		} else if err == nil {
			err = s.element(1)
		}
		if err != nil {
			return s.at(err)
		}
	}
	return nil
}

// at tells how far the reading came.
func (s *shapes) at(err error) error {
	if errors.Is(err, errFull) {
		return nil // Finish tells
	}
	return fmt.Errorf("%w, behind entry %d", err, s.number)
}

// errFull ends the reading of a list that has too many entries.
var errFull = errors.New("full")

// element reads what should be an entry, or an object that has some.
func (s *shapes) element(depth int) error {
	if s.c.full {
		return errFull
	}
	b, err := s.peek()
	if err != nil {
		return inside(err)
	}
	s.number++
	switch b {
	case '"':
		return s.entry()
	case '{':
		if s.format == APIBAN {
			return s.answer(depth)
		}
		return s.object(depth)
	}
	s.c.bad(Malformed, s.number, []byte{b})
	return s.skip(depth)
}

func (s *shapes) entry() error {
	text, err := s.str()
	if err == nil {
		s.c.add(text, s.number)
	}
	return err
}

// object reads one of Spamhaus DROP: a network, or the metadata at the end.
func (s *shapes) object(depth int) error {
	cidr, seen, meta, records := s.cidr[:0], 0, false, -1
	err := s.each('{', '}', func(key []byte) error {
		b, err := s.peek()
		if err != nil {
			return inside(err)
		}
		switch {
		case string(key) == "cidr" && b == '"':
			text, err := s.str()
			seen++
			cidr = append(s.cidr[:0], text[:min(len(text), len(s.cidr))]...)
			return err
		case string(key) == "type" && b == '"':
			text, err := s.str()
			meta = string(text) == "metadata"
			return err
		case string(key) == "records" && b != '"' && b != '{' && b != '[':
			text, err := s.literal()
			if err == nil {
				records, err = count(text)
			}
			return err
		}
		return s.skip(depth + 1)
	})
	switch {
	case err != nil:
		return err
	case meta && seen == 0:
		return s.end(records)
	case seen != 1:
		s.c.bad(Malformed, s.number, []byte("cidr"))
		return nil
	}
	s.c.add(cidr, s.number)
	return nil
}

func count(text []byte) (int, error) {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %s records", errSyntax, clean(text))
	}
	return n, nil
}

// end holds the list to what its metadata says.
func (s *shapes) end(records int) error {
	s.meta, s.number = true, s.number-1
	if records >= 0 && records != s.c.report.Read {
		return fmt.Errorf("%w: %d entries, and its metadata says %d", ErrTruncated, s.c.report.Read, records)
	}
	return nil
}

// answer reads one of APIBAN: addresses in an array.
func (s *shapes) answer(depth int) error {
	found := false
	s.number--
	err := s.each('{', '}', func(key []byte) error {
		if string(key) != "ipaddress" && string(key) != "ips" {
			return s.skip(depth + 1)
		}
		found = true
		b, err := s.peek()
		if err != nil {
			return inside(err)
		}
		if b != '[' {
			if b != 'n' { // null: there is nothing; a text is an error message
				s.c.bad(Malformed, s.number, []byte("ipaddress"))
			}
			return s.skip(depth + 1)
		}
		return s.each('[', ']', func([]byte) error { return s.address(depth + 2) })
	})
	if err == nil && !found {
		s.c.bad(Malformed, s.number, []byte("no ipaddress"))
	}
	return err
}

func (s *shapes) address(depth int) error {
	if s.c.full {
		return errFull
	}
	b, err := s.peek()
	if err != nil {
		return inside(err)
	}
	s.number++
	if b == '"' {
		return s.entry()
	}
	s.c.bad(Malformed, s.number, []byte{b})
	return s.skip(depth)
}

// Cursor is the ID in an answer of APIBAN: what to ask for next, "none" behind the last page, and empty if there is no ID.
func Cursor(r io.Reader) (string, error) {
	t, id := tokens{in: bufio.NewReaderSize(r, maxLine)}, ""
	err := t.each('{', '}', func(key []byte) error {
		b, err := t.peek()
		if err != nil {
			return inside(err)
		}
		var text []byte
		switch {
		case string(key) != "ID" || b == '{' || b == '[':
			return t.skip(2)
		case b == '"':
			text, err = t.str()
		default:
			text, err = t.literal()
		}
		id = string(text)
		return err
	})
	return id, whole(err)
}
