package sipmsg

import (
	"strings"
	"unicode/utf8"
)

// class is a set of the character classes of RFC 3261 §25.1.
type class uint16

const (
	clAlpha class = 1 << iota
	clDigit
	clHex
	clToken    // token
	clWord     // word, of which Call-ID is made
	clUser     // user, without escapes
	clPassword // password, without escapes
	clParam    // paramchar, without escapes
	clHeader   // hname and hvalue, without escapes
	clURI      // reserved or unreserved: what any URI is made of
	clHost     // hostname
	clScheme   // scheme, behind its first letter
	clValue    // unquoted value of a header parameter: token, or host with its brackets and colons
)

// classes tells for each byte the classes it is in.
type classes [256]class

const (
	mark = "-_.!~*'()" // RFC 3261 §25.1, with alphanum: unreserved

	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// chars is a constant table.
var chars = makeClasses()

func makeClasses() *classes {
	t := new(classes)
	add := func(c class, sets ...string) {
		for _, set := range sets {
			for i := range len(set) {
				t[set[i]] |= c
			}
		}
	}
	add(clAlpha, letters)
	add(clDigit, digits)
	add(clHex, digits, "abcdefABCDEF")
	add(clToken, letters, digits, "-.!%*_+`'~")
	add(clWord, letters, digits, "-.!%*_+`'~()<>:\\\"/[]?{}")
	add(clUser, letters, digits, mark, "&=+$,;?/")
	add(clPassword, letters, digits, mark, "&=+$,")
	add(clParam, letters, digits, mark, "[]/:&+$")
	add(clHeader, letters, digits, mark, "[]/?:+$")
	add(clURI, letters, digits, mark, ";/?:@&=+$,[]")
	add(clScheme, letters, digits, "+-.")
	add(clHost, letters, digits, "-.")
	add(clValue, letters, digits, "-.!%*_+`'~[]:")
	return t
}

func is(c byte, want class) bool { return chars[c]&want != 0 }

// all reports whether s is not empty and has only bytes of the class.
func all(s string, want class) bool {
	for i := range len(s) {
		if chars[s[i]]&want == 0 {
			return false
		}
	}
	return len(s) > 0
}

// escaped reports whether s has only bytes of the class and well-formed %-escapes. Empty is right.
func escaped(s string, want class) bool {
	for i := 0; i < len(s); i++ {
		switch {
		case is(s[i], want):
		case s[i] == '%' && i+2 < len(s) && is(s[i+1], clHex) && is(s[i+2], clHex):
			i += 2
		default:
			return false
		}
	}
	return true
}

// isToken reports whether s is a token.
func isToken(s string) bool { return all(s, clToken) }

// plain reports whether s can stand in a header's value as it is: valid UTF-8 without controls but tab.
func plain(s string) bool {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80:
			ascii = false
		case c < ' ' && c != '\t', c == 0x7f:
			return false
		}
	}
	return ascii || utf8.ValidString(s)
}

// trim cuts blanks from both ends.
func trim(s string) string { return strings.Trim(s, " \t") }

// clean makes s plain: each control byte becomes a space, what is not UTF-8 is left out, blanks at the ends are cut.
func clean(s string) string {
	if !plain(s) {
		s = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(s, ""))
	}
	return trim(s)
}

// keep leaves out all bytes that are not of the class.
func keep(s string, want class) string {
	if all(s, want) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if is(s[i], want) {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// skipBlank returns the index of the first byte from i on that is no blank.
func skipBlank(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

// skip returns the index of the first byte from i on that is not of the class.
func skip(s string, i int, want class) int {
	for i < len(s) && is(s[i], want) {
		i++
	}
	return i
}

// skipQuoted returns the index behind the quoted-string that begins at s[i], and whether there is one.
// RFC 3261 §25.1; narrower in one thing: control bytes can't be escaped.
func skipQuoted(s string, i int) (int, bool) {
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1, true
		case c < ' ' && c != '\t', c == 0x7f:
			return i, false
		case c == '\\':
			// quoted-pair is for ASCII only: a backslash before UTF-8 would tear a character in two.
			if i++; i >= len(s) || s[i] < ' ' || s[i] >= 0x7f {
				return i, false
			}
		}
	}
	return i, false
}

// insideQuotes reports whether s can stand between the quotes of a quoted-string as it is.
func insideQuotes(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return false
		case '\\':
			if i++; i >= len(s) || s[i] < ' ' || s[i] >= 0x7f {
				return false
			}
		}
	}
	return plain(s)
}

// unquote turns the inside of a quoted-string to plain text.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// quote makes s the inside of a quoted-string: what is one already stays, all else is cleaned and escaped.
func quote(s string) string {
	if insideQuotes(s) {
		return s
	}
	s = clean(s)
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(b)
}

// splitList cuts a comma list outside quotes and angle brackets; elements are trimmed and may be empty.
func splitList(s string) []string {
	var out []string
	for {
		i := endOfElement(s)
		out = append(out, trim(s[:i]))
		if i == len(s) {
			return out
		}
		s = s[i+1:]
	}
}

// endOfElement returns the index of the first comma outside quotes and angle brackets, or len(s).
func endOfElement(s string) int {
	angle := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			if angle { // no quoted-string inside a URI
				continue
			}
			end, ok := skipQuoted(s, i)
			if !ok {
				return len(s) // an open quote: the element's reader refuses it
			}
			i = end - 1
		case '<':
			angle = true
		case '>':
			angle = false
		case ',':
			if !angle {
				return i
			}
		}
	}
	return len(s)
}
