package sipmsg

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// NameAddr is a name-addr or addr-spec with the parameters behind it, as From, Path, P-Asserted-Identity and others hold it.
type NameAddr struct {
	Display string // inside of a quoted-string, see CleanDisplayName
	URI     sip.Uri
	Params  sip.HeaderParams
}

// String writes it with brackets and safe quoting.
func (n NameAddr) String() string {
	return string(appendNameAddr(nil, n.Display, &n.URI, n.Params))
}

// ParseNameAddr reads ( name-addr / addr-spec ) *( SEMI param ). A URI that has "?", ";" or "," must stand in brackets
// (RFC 3261 §20): without them what follows ";" are parameters of the header, and "?" is an error.
func ParseNameAddr(s string) (NameAddr, error) {
	var n NameAddr
	s = trim(s)
	i := 0
	if strings.HasPrefix(s, `"`) {
		end, ok := skipQuoted(s, 0)
		if !ok {
			return n, fmt.Errorf("%w: display name has no end", ErrHeader)
		}
		n.Display = s[1 : end-1]
		if i = skipBlank(s, end); i >= len(s) || s[i] != '<' {
			return NameAddr{}, fmt.Errorf("%w: no URI behind the display name", ErrHeader)
		}
	} else if open := strings.IndexByte(s, '<'); open >= 0 {
		n.Display = trim(s[:open])
		if !validTokens(n.Display) {
			return NameAddr{}, fmt.Errorf("%w: display name needs quotes", ErrHeader)
		}
		i = open
	} else {
		return parseAddrSpec(s)
	}
	end := strings.IndexByte(s[i:], '>')
	if end < 0 {
		return NameAddr{}, fmt.Errorf("%w: bracket has no end", ErrHeader)
	}
	var err error
	if n.URI, err = ParseURI(s[i+1 : i+end]); err != nil {
		return NameAddr{}, err
	}
	if n.Params, err = parseParams(s[i+end+1:]); err != nil {
		return NameAddr{}, err
	}
	return n, nil
}

func parseAddrSpec(s string) (n NameAddr, err error) {
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	if strings.ContainsAny(s[:end], "?,") {
		return n, fmt.Errorf("%w: URI needs brackets", ErrHeader)
	}
	if n.URI, err = ParseURI(trim(s[:end])); err != nil {
		return NameAddr{}, err
	}
	if n.Params, err = parseParams(s[end:]); err != nil {
		return NameAddr{}, err
	}
	return n, nil
}

// validTokens reports whether s is *( token LWS ).
func validTokens(s string) bool {
	for i := range len(s) {
		if !is(s[i], clToken) && s[i] != ' ' && s[i] != '\t' {
			return false
		}
	}
	return true
}

// parseParams reads *( SEMI name [ EQUAL value ] ) to the end of s, with the blanks that RFC 3261 §25.1 lets stand around
// ";" and "=". Names become lower case; one that stands twice is an error (§7.3.1).
func parseParams(s string) (sip.HeaderParams, error) {
	i := skipBlank(s, 0)
	if i == len(s) {
		return nil, nil
	}
	params := make(sip.HeaderParams, 0, 4)
	for i < len(s) {
		if s[i] != ';' {
			return nil, fmt.Errorf("%w: no parameter where one was expected", ErrHeader)
		}
		i = skipBlank(s, i+1)
		end := skip(s, i, clToken)
		name := strings.ToLower(s[i:end])
		value := ""
		if i = skipBlank(s, end); i < len(s) && s[i] == '=' {
			var ok bool
			if value, i, ok = paramValue(s, skipBlank(s, i+1)); !ok {
				return nil, fmt.Errorf("%w: value of parameter %q", ErrHeader, name)
			}
			i = skipBlank(s, i)
		}
		if name == "" || params.Has(name) || len(params) >= maxParams {
			return nil, fmt.Errorf("%w: parameter without name, twice, or too many", ErrHeader)
		}
		params = append(params, sip.HeaderKV{K: name, V: value})
	}
	return params, nil
}

// paramValue reads token / host / quoted-string at s[i] and returns it as it stands, and the index behind it.
func paramValue(s string, i int) (value string, end int, ok bool) {
	if i < len(s) && s[i] == '"' {
		end, ok = skipQuoted(s, i)
		if !ok {
			return "", i, false
		}
		return s[i:end], end, true
	}
	end = skip(s, i, clValue)
	return s[i:end], end, end > i
}

// Param returns the plain value of a parameter, its quotes taken off, by its name in any case.
func Param(params sip.HeaderParams, name string) (string, bool) {
	for _, p := range params {
		if strings.EqualFold(p.K, name) {
			return plainValue(p.V), true
		}
	}
	return "", false
}

func plainValue(v string) string {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return unquote(v[1 : len(v)-1])
	}
	return v
}

// HeaderParam returns the plain value of a parameter in a header's value, by its name in any case. Parameters inside the
// brackets of a URI and text inside quotes are not seen. Of a value that is malformed it returns nothing.
func HeaderParam(value, param string) (string, bool) {
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '"':
			end, ok := skipQuoted(value, i)
			if !ok {
				return "", false
			}
			i = end - 1
		case '<':
			end := strings.IndexByte(value[i:], '>')
			if end < 0 {
				return "", false
			}
			i += end
		case ';':
			params, err := parseParams(value[i:])
			if err != nil {
				return "", false
			}
			return Param(params, param)
		}
	}
	return "", false
}

// maxDisplay bounds a display name that we make, in bytes.
const maxDisplay = 256

// CleanDisplayName makes the inside of a quoted-string from any text: controls and what is not UTF-8 are left out, quotes
// and backslashes escaped, the length bounded. Text that is the inside of a quoted-string already, as Parse gives it,
// stays what it is.
func CleanDisplayName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	s = quote(s)
	if len(s) <= maxDisplay {
		return s
	}
	cut := make([]byte, 0, maxDisplay)
	for _, r := range DisplayText(s) {
		n := len(cut)
		if r == '"' || r == '\\' {
			cut = append(cut, '\\')
		}
		if cut = utf8.AppendRune(cut, r); len(cut) > maxDisplay {
			return string(cut[:n])
		}
	}
	return string(cut)
}

// DisplayText returns the plain text of a display name as it stands in a message.
func DisplayText(display string) string { return unquote(display) }
