package digest

import (
	"fmt"
	"strings"
)

// Challenge is what a WWW-Authenticate or Proxy-Authenticate header says.
type Challenge struct {
	Realm     string
	Nonce     string
	Opaque    string
	Algorithm Algorithm
	Session   bool // the algorithm's -sess variant
	Auth      bool // qop holds "auth"
	AuthInt   bool // qop holds "auth-int"
	Stale     bool // the response was right and only the nonce was not (RFC 7616 §3.3)
}

// String is the header's value. Servers of ours offer qop "auth" and nothing else.
func (c Challenge) String() string {
	var b strings.Builder
	b.Grow(192)
	b.WriteString("Digest realm=")
	b.WriteString(quote(c.Realm))
	b.WriteString(", nonce=")
	b.WriteString(quote(c.Nonce))
	if c.Opaque != "" {
		b.WriteString(", opaque=")
		b.WriteString(quote(c.Opaque))
	}
	if c.Stale {
		b.WriteString(", stale=true")
	}
	if c.Algorithm != "" {
		b.WriteString(", algorithm=")
		b.WriteString(string(c.Algorithm))
		if c.Session {
			b.WriteString("-sess")
		}
	}
	switch {
	case c.Auth && c.AuthInt:
		b.WriteString(`, qop="auth,auth-int"`)
	case c.Auth:
		b.WriteString(`, qop="auth"`)
	case c.AuthInt:
		b.WriteString(`, qop="auth-int"`)
	}
	return b.String()
}

// ParseChallenge reads a header's value. Errors: ErrScheme, ErrSyntax, or ErrUnsupported for an algorithm or quality of
// protection that we can't answer.
func ParseChallenge(s string) (Challenge, error) {
	ps, err := params(s)
	if err != nil {
		return Challenge{}, err
	}
	var c Challenge
	alg, qop, hasQOP, hasNonce, hasRealm := "", "", false, false, false
	for _, p := range ps {
		switch p.name {
		case "realm":
			c.Realm, hasRealm = p.value, true
		case "nonce":
			c.Nonce, hasNonce = p.value, true
		case "opaque":
			c.Opaque = p.value
		case "stale":
			c.Stale = strings.EqualFold(p.value, "true")
		case "algorithm":
			alg = p.value
		case "qop":
			qop, hasQOP = p.value, true
		}
	}
	if !hasNonce || !hasRealm || c.Nonce == "" {
		return Challenge{}, fmt.Errorf("%w: no realm or no nonce", ErrSyntax)
	}
	if n := len(alg) - len("-sess"); n > 0 && strings.EqualFold(alg[n:], "-sess") {
		alg, c.Session = alg[:n], true
	}
	if c.Algorithm, err = ParseAlgorithm(alg); err != nil {
		return Challenge{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	for q := range strings.SplitSeq(qop, ",") {
		switch strings.ToLower(strings.Trim(q, " \t")) {
		case "auth":
			c.Auth = true
		case "auth-int":
			c.AuthInt = true
		}
	}
	if hasQOP && !c.Auth && !c.AuthInt {
		return Challenge{}, fmt.Errorf("%w: qop %q", ErrUnsupported, clip(qop))
	}
	return c, nil
}
