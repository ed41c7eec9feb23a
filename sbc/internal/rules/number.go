package rules

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
)

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// number reports whether s is a telephone number: digits, with "+" before them or not.
func number(s string) bool { return digits(strings.TrimPrefix(s, "+")) && len(s) <= 32 }

// user returns the user part of an address, or the number of a tel URI without its separators (RFC 3966 §3), or "".
func user(u *sip.Uri) string {
	if u.Scheme == "tel" {
		text := u.Raw()
		if text == "" {
			text = strings.TrimPrefix(u.String(), "tel:")
		}
		text, _, _ = strings.Cut(text, ";")
		return topologyUser(plainNumber(text))
	}
	return topologyUser(u.User)
}

func topologyUser(s string) string {
	s, err := topology.User(sip.Uri{User: s})
	if err != nil {
		return ""
	}
	return s
}

// plainNumber takes the visual separators of RFC 3966 §3 out of a number; what is none stays as it is.
func plainNumber(s string) string {
	out := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()", r) {
			return -1
		}
		return r
	}, s)
	if number(out) {
		return out
	}
	return s
}

// normal writes a number in the wanted form. It reports false for one that has too many digits. What is no number, or too
// short to be one of the telephone network, stays as it is.
func (n *Numbers) normal(s string) (string, bool) {
	plain := plainNumber(s)
	if n.Country == "" || !number(plain) || len(strings.TrimPrefix(plain, "+")) < n.Least {
		return s, true
	}
	e164, ok := n.read(plain)
	if !ok {
		return s, true
	}
	if len(e164) > n.Most {
		return s, false
	}
	return n.write(e164), true
}

// read returns country code and number, in digits alone.
func (n *Numbers) read(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		return rest, rest[0] != '0'
	}
	if rest, ok := strings.CutPrefix(s, n.International); ok && rest != "" && rest[0] != '0' {
		return rest, true
	}
	if n.National != "" {
		if rest, ok := strings.CutPrefix(s, n.National); ok && rest != "" {
			return n.Country + rest, rest[0] != '0'
		}
	}
	switch n.Bare {
	case "national":
		return n.Country + s, true
	case "international":
		return s, s[0] != '0'
	}
	return "", false
}

func (n *Numbers) write(e164 string) string {
	switch n.Format {
	case "digits":
		return e164
	case "international":
		return n.International + e164
	case "national":
		if rest, ok := strings.CutPrefix(e164, n.Country); ok {
			return n.National + rest
		}
		return n.International + e164
	}
	return "+" + e164
}
