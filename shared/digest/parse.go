package digest

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of what is read. A stranger's header is refused before anything is built from it.
const (
	maxHeader = 4096 // bytes of a whole value
	maxParams = 24   // parameters
)

// Errors of the readers. They come wrapped, with what was wrong.
var (
	ErrSyntax      = errors.New("malformed digest header")
	ErrScheme      = errors.New("not the Digest scheme")
	ErrUnsupported = errors.New("digest option is not supported")
)

// param is one name=value of a header. The name is lower case, the value without quotes.
type param struct {
	name, value string
	quoted      bool
}

// params reads `Digest name=value, name="value", ...` (RFC 7616 §3.4; RFC 3261 §25.1: challenge and credentials).
func params(s string) ([]param, error) {
	if len(s) > maxHeader {
		return nil, fmt.Errorf("%w: %d bytes", ErrSyntax, len(s))
	}
	s = strings.Trim(s, " \t")
	if len(s) < 7 || !strings.EqualFold(s[:6], "Digest") || s[6] != ' ' && s[6] != '\t' {
		return nil, ErrScheme
	}
	out := make([]param, 0, 12)
	for s = s[7:]; ; {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			break
		}
		if s[0] == ',' { // empty elements of a list are allowed (RFC 9110 §5.6.1.2)
			s = s[1:]
			continue
		}
		p, rest, err := oneParam(s)
		if err != nil {
			return nil, err
		}
		for i := range out {
			if out[i].name == p.name { // readers differ in which of two they take
				return nil, fmt.Errorf("%w: %q stands twice", ErrSyntax, clip(p.name))
			}
		}
		if out = append(out, p); len(out) > maxParams {
			return nil, fmt.Errorf("%w: more than %d parameters", ErrSyntax, maxParams)
		}
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ',' {
			return nil, fmt.Errorf("%w: no comma behind %q", ErrSyntax, clip(p.name))
		}
		s = rest
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no parameters", ErrSyntax)
	}
	return out, nil
}

func oneParam(s string) (p param, rest string, err error) {
	n := 0
	for n < len(s) && isToken(s[n]) {
		n++
	}
	if n == 0 {
		return p, "", fmt.Errorf("%w: no name at %q", ErrSyntax, clip(s))
	}
	p.name = strings.ToLower(s[:n])
	s = strings.TrimLeft(s[n:], " \t")
	if s == "" || s[0] != '=' {
		return p, "", fmt.Errorf("%w: no value of %q", ErrSyntax, clip(p.name))
	}
	s = strings.TrimLeft(s[1:], " \t")
	if s != "" && s[0] == '"' {
		p.quoted = true
		p.value, rest, err = quoted(s)
		return p, rest, err
	}
	n = 0
	for n < len(s) && isToken(s[n]) {
		n++
	}
	if n == 0 {
		return p, "", fmt.Errorf("%w: no value of %q", ErrSyntax, clip(p.name))
	}
	p.value = s[:n]
	return p, s[n:], nil
}

// quoted reads a quoted-string and takes its escapes off.
func quoted(s string) (value, rest string, err error) {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if value == "" {
				value = s[1:i]
			}
			return value, s[i+1:], nil
		case c == '\\':
			return unescape(s, i)
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", "", fmt.Errorf("%w: control byte in a quoted string", ErrSyntax)
		}
	}
	return "", "", fmt.Errorf("%w: a quoted string does not end", ErrSyntax)
}

// unescape reads on from the first backslash of a quoted-string, which is at i.
func unescape(s string, i int) (value, rest string, err error) {
	b := []byte(s[1:i])
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return string(b), s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) {
				return "", "", fmt.Errorf("%w: a quoted string does not end", ErrSyntax)
			}
			c = s[i]
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", fmt.Errorf("%w: control byte in a quoted string", ErrSyntax)
		}
		b = append(b, c)
	}
	return "", "", fmt.Errorf("%w: a quoted string does not end", ErrSyntax)
}

// isToken reports whether c may stand in a token (RFC 3261 §25.1).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-.!%*_+`'~", c) >= 0
}

// quote writes a quoted-string. Control bytes, which can't stand in one, are left out.
func quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
