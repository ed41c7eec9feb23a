package dialplan

import (
	"fmt"
	"strings"
)

// pattern is a compiled number pattern: one set of bytes for each position, and what may follow.
type pattern struct {
	places []set
	rest   rest
}

type rest uint8

const (
	restNone rest = iota // nothing may follow
	restSome             // "." one or more of anything
	restAny              // "!" anything or nothing
)

// set is a set of the bytes 0–127.
type set [2]uint64

func (s *set) add(c byte)     { s[c>>6&1] |= 1 << (c & 63) }
func (s set) has(c byte) bool { return c < 128 && s[c>>6]&(1<<(c&63)) != 0 }

func (s *set) addRange(from, to byte) {
	for c := from; c <= to; c++ {
		s.add(c)
	}
}

// parsePattern compiles a pattern.
func parsePattern(text string) (pattern, error) {
	var p pattern
	if text == "" || len(text) > maxNumber {
		return p, fmt.Errorf("%w: %.20q", ErrPattern, text)
	}
	for i := 0; i < len(text); i++ {
		var s set
		switch c := text[i]; {
		case (c == '.' || c == '!') && i == len(text)-1:
			p.rest = restSome
			if c == '!' {
				p.rest = restAny
			}
			return p, nil
		case c == 'X':
			s.addRange('0', '9')
		case c == 'Z':
			s.addRange('1', '9')
		case c == 'N':
			s.addRange('2', '9')
		case c == '[':
			end, ok := parseSet(text[i+1:], &s)
			if !ok {
				return p, fmt.Errorf("%w: %.20q", ErrPattern, text)
			}
			i += end
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || strings.IndexByte("*#+-_", c) >= 0:
			s.add(c)
		default:
			return p, fmt.Errorf("%w: %.20q", ErrPattern, text)
		}
		p.places = append(p.places, s)
	}
	return p, nil
}

// parseSet reads what stands after "[" and returns the length up to and with "]".
func parseSet(text string, s *set) (int, bool) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ']':
			return i + 1, i > 0
		case c < '0' || c > '9':
			return 0, false
		case i+2 < len(text) && text[i+1] == '-':
			to := text[i+2]
			if to < c || to > '9' {
				return 0, false
			}
			s.addRange(c, to)
			i += 2
		default:
			s.add(c)
		}
	}
	return 0, false
}

func (p pattern) matches(number string) bool {
	if len(number) < len(p.places) {
		return false
	}
	for i, s := range p.places {
		if !s.has(number[i]) {
			return false
		}
	}
	switch left := len(number) - len(p.places); p.rest {
	case restNone:
		return left == 0
	case restSome:
		return left > 0
	}
	return true
}
