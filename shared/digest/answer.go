package digest

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoChallenge says that none of the challenges can be answered.
var ErrNoChallenge = errors.New("no digest challenge that can be answered")

// Secret gives the HA1 for an algorithm and a realm, and whether there is one.
type Secret func(a Algorithm, realm string) (ha1 string, ok bool)

// Password is the Secret of who knows the password.
func Password(username, password string) Secret {
	return func(a Algorithm, realm string) (string, bool) { return HA1(a, username, realm, password), true }
}

// Asked is a request that was challenged, and what the answer to it is made of.
type Asked struct {
	Username string
	Realm    string // the only realm to answer (so that nobody gets a response for another one out of us); empty: any
	Method   string
	URI      string // Request-URI as it is sent
	Body     []byte // only used when the challenge offers nothing but auth-int
	Cnonce   string // random, from the caller
	NC       uint32 // 1 for the first request with a nonce, one more for each further one
}

// Answer returns the credentials for the first of the challenges that can be answered (RFC 8760 §2.4: the server puts
// the one it likes best on top), and that challenge. challenges are values of WWW-Authenticate or Proxy-Authenticate
// headers in their order. The error is ErrNoChallenge, with what was wrong with each.
func Answer(challenges []string, secret Secret, q Asked) (value string, took Challenge, err error) {
	why := make([]string, 0, len(challenges))
	for _, s := range challenges {
		c, err := ParseChallenge(s)
		if err != nil {
			why = append(why, err.Error())
			continue
		}
		if q.Realm != "" && c.Realm != q.Realm {
			why = append(why, fmt.Sprintf("realm %q is not %q", clip(c.Realm), q.Realm))
			continue
		}
		ha1, ok := secret(c.Algorithm, c.Realm)
		if !ok {
			why = append(why, fmt.Sprintf("no secret for %s in realm %q", c.Algorithm, clip(c.Realm)))
			continue
		}
		return c.answer(ha1, q), c, nil
	}
	return "", Challenge{}, fmt.Errorf("%w: %s", ErrNoChallenge, strings.Join(why, "; "))
}

// answer writes the credentials for one challenge.
func (c Challenge) answer(ha1 string, q Asked) string {
	var b hashBuf
	a := c.Algorithm
	nc := fmt.Sprintf("%08x", q.NC)
	if c.Session { // RFC 7616 §3.4.2
		ha1 = string(a.sum(nil, b.join(ha1, c.Nonce, q.Cnonce)))
	}
	qop, ha2 := "", ""
	switch {
	case c.Auth || !c.AuthInt:
		if c.Auth {
			qop = "auth"
		}
		ha2 = string(a.sum(nil, b.join(q.Method, q.URI)))
	default:
		qop = "auth-int"
		ha2 = string(a.sum(nil, b.join(q.Method, q.URI, string(a.sum(nil, q.Body))))) // RFC 7616 §3.4.3
	}
	var resp string
	if qop == "" {
		resp = string(a.sum(nil, b.join(ha1, c.Nonce, ha2)))
	} else {
		resp = string(a.sum(nil, b.join(ha1, c.Nonce, nc, q.Cnonce, qop, ha2)))
	}
	alg := string(a)
	if c.Session {
		alg += "-sess"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Digest username=%s, realm=%s, nonce=%s, uri=%s, response=%q, algorithm=%s",
		quote(q.Username), quote(c.Realm), quote(c.Nonce), quote(q.URI), resp, alg)
	if qop != "" {
		fmt.Fprintf(&out, ", qop=%s, nc=%s", qop, nc)
	}
	if qop != "" || c.Session {
		fmt.Fprintf(&out, ", cnonce=%s", quote(q.Cnonce))
	}
	if c.Opaque != "" {
		fmt.Fprintf(&out, ", opaque=%s", quote(c.Opaque))
	}
	return out.String()
}
