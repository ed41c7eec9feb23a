package banlist

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// tokens reads JSON as it streams by. It is no general reader: it knows strings, skips what it is not asked for, and holds no
// more than one string.
type tokens struct {
	in     *bufio.Reader
	number int      // of the string or object at hand
	text   []byte   // of a string that did not stand in the buffer as it is
	key    [16]byte // of the value at hand, cut: no key that we know is that long
}

// maxDepth bounds how deep values may be nested.
const maxDepth = 16

var errSyntax = fmt.Errorf("%w: broken JSON", ErrGarbage)

// peek returns the next byte that is no space, and leaves it there.
func (t *tokens) peek() (byte, error) {
	for {
		b, err := t.in.ReadByte()
		if err != nil {
			return 0, err
		}
		switch b {
		case ' ', '\t', '\r', '\n':
		default:
			return b, t.in.UnreadByte()
		}
	}
}

// take reads the next byte that is no space.
func (t *tokens) take() (byte, error) {
	b, err := t.peek()
	if err == nil {
		_, err = t.in.ReadByte()
	}
	return b, inside(err)
}

// inside is for an end of the input where there should be more.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (t *tokens) expect(want byte) error {
	b, err := t.take()
	if err == nil && b != want {
		err = fmt.Errorf("%w: %q where %q should be", errSyntax, b, want)
	}
	return err
}

// str reads a string. It is good until the next call of any method.
func (t *tokens) str() ([]byte, error) {
	if err := t.expect('"'); err != nil {
		return nil, err
	}
	part, err := t.in.ReadSlice('"')
	if err == nil && bytes.IndexByte(part, '\\') < 0 {
		part = part[:len(part)-1]
		return part, plainText(part)
	}
	t.text = append(t.text[:0], '"')
	for {
		if errors.Is(err, bufio.ErrBufferFull) || len(t.text)+len(part) > maxLine {
			return nil, fmt.Errorf("%w: a string over %d bytes", errSyntax, maxLine)
		}
		if err != nil {
			return nil, inside(err)
		}
		if t.text = append(t.text, part...); !escaped(t.text[1:]) {
			break
		}
		part, err = t.in.ReadSlice('"')
	}
	var s string
	if err := json.Unmarshal(t.text, &s); err != nil {
		return nil, fmt.Errorf("%w: a string that is none", errSyntax)
	}
	t.text = append(t.text[:0], s...)
	return t.text, nil
}

// escaped tells whether the quote that ends b belongs to the string.
func escaped(b []byte) bool {
	b = b[:len(b)-1]
	return (len(b)-len(bytes.TrimRight(b, `\`)))%2 == 1
}

func plainText(b []byte) error {
	for _, c := range b {
		if c < ' ' {
			return fmt.Errorf("%w: a control character in a string", errSyntax)
		}
	}
	return nil
}

// literal reads a number, true, false or null.
func (t *tokens) literal() ([]byte, error) {
	t.text = t.text[:0]
	for {
		b, err := t.in.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if b != '+' && b != '-' && b != '.' && (b < '0' || b > '9') && (b < 'a' || b > 'z') && b != 'E' {
			if err := t.in.UnreadByte(); err != nil {
				return nil, err
			}
			break
		}
		if t.text = append(t.text, b); len(t.text) > maxEntry {
			break
		}
	}
	if len(t.text) > maxEntry || !json.Valid(t.text) {
		return nil, fmt.Errorf("%w: %s", errSyntax, clean(t.text))
	}
	return t.text, nil
}

// each calls do before each element of an array or each value of an object; do must read the value. The key is good
// until then.
func (t *tokens) each(open, end byte, do func(key []byte) error) error {
	if err := t.expect(open); err != nil {
		return err
	}
	b, err := t.peek()
	if err != nil {
		return inside(err)
	}
	if b == end {
		_, err = t.in.ReadByte()
		return err
	}
	for {
		var key []byte
		if open == '{' {
			if key, err = t.str(); err != nil {
				return err
			}
			key = append(t.key[:0], key[:min(len(key), cap(t.key))]...)
			if err := t.expect(':'); err != nil {
				return err
			}
		}
		if err := do(key); err != nil {
			return err
		}
		b, err := t.take()
		switch {
		case err != nil:
			return err
		case b == end:
			return nil
		case b != ',':
			return fmt.Errorf("%w: %q where %q or ',' should be", errSyntax, b, end)
		}
	}
}

// skip reads a value and forgets it.
func (t *tokens) skip(depth int) error {
	b, err := t.peek()
	if err != nil {
		return inside(err)
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: nested too deep", errSyntax)
	}
	next := func([]byte) error { return t.skip(depth + 1) }
	switch b {
	case '{':
		return t.each('{', '}', next)
	case '[':
		return t.each('[', ']', next)
	case '"':
		_, err = t.str()
		return err
	}
	_, err = t.literal()
	return err
}
