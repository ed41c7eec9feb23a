package digest

import (
	"crypto/subtle"
	"fmt"
	"strconv"
	"strings"
)

// Credentials is what an Authorization or Proxy-Authorization header says.
type Credentials struct {
	Username  string
	Realm     string
	Nonce     string
	URI       string
	Response  string // hexadecimal, lower case
	Algorithm Algorithm
	Cnonce    string
	Opaque    string
	NC        uint32 // nonce count; 0 without qop
	QOP       bool   // qop is "auth"; without, it is the old form of RFC 2069
	nc        string // as it came: eight hexadecimal digits
}

// ParseCredentials reads a header's value. Errors: ErrScheme, ErrSyntax, or ErrUnsupported for what we never offered:
// userhash, auth-int, -sess, another algorithm.
func ParseCredentials(s string) (*Credentials, error) {
	ps, err := params(s)
	if err != nil {
		return nil, err
	}
	c := &Credentials{}
	alg, qop, hasQOP, star := "", "", false, false
	for _, p := range ps {
		switch p.name {
		case "username":
			c.Username = p.value
		case "username*": // RFC 7616 §3.4: a name that needs an encoding; none of ours does
			star = true
		case "realm":
			c.Realm = p.value
		case "nonce":
			c.Nonce = p.value
		case "uri":
			c.URI = p.value
		case "response":
			c.Response = strings.ToLower(p.value)
		case "algorithm":
			alg = p.value
		case "cnonce":
			c.Cnonce = p.value
		case "opaque":
			c.Opaque = p.value
		case "qop":
			qop, hasQOP = p.value, true
		case "nc":
			c.nc = p.value
		case "userhash":
			if strings.EqualFold(p.value, "true") {
				return nil, fmt.Errorf("%w: userhash", ErrUnsupported)
			}
		}
	}
	if star {
		return nil, fmt.Errorf("%w: username*", ErrUnsupported)
	}
	if c.Algorithm, err = ParseAlgorithm(alg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if c.Username == "" || c.Nonce == "" || c.URI == "" || c.Realm == "" {
		return nil, fmt.Errorf("%w: username, realm, nonce or uri is missing", ErrSyntax)
	}
	if len(c.Response) != c.Algorithm.HexLen() || !isHex(c.Response) {
		return nil, fmt.Errorf("%w: response is no %s", ErrSyntax, c.Algorithm)
	}
	if !hasQOP {
		c.nc, c.Cnonce = "", ""
		return c, nil
	}
	if !strings.EqualFold(qop, "auth") {
		return nil, fmt.Errorf("%w: qop %q", ErrUnsupported, clip(qop))
	}
	return c, c.count()
}

// count reads the nonce count (RFC 7616 §3.4: nc and cnonce must be there with qop).
func (c *Credentials) count() error {
	n, err := strconv.ParseUint(c.nc, 16, 32)
	if err != nil || len(c.nc) != 8 || n == 0 || c.Cnonce == "" {
		return fmt.Errorf("%w: nc or cnonce", ErrSyntax)
	}
	c.QOP, c.NC = true, uint32(n)
	return nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Verify reports whether the response is right for the HA1 of the credentials' algorithm and the request's method
// (RFC 7616 §3.4.1). It takes the same time whether it is or not. Nonce, nonce count, realm, user and URI are for the
// caller to check.
func (c *Credentials) Verify(ha1, method string) bool {
	var want [64]byte
	var b hashBuf
	got := response(want[:0], &b, c.Algorithm, ha1, c.Nonce, c.nc, c.Cnonce, c.QOP, method, c.URI)
	return len(ha1) == c.Algorithm.HexLen() && subtle.ConstantTimeCompare(got, []byte(c.Response)) == 1
}

// response appends KD(H(A1), ...) in hexadecimal to dst.
func response(dst []byte, b *hashBuf, a Algorithm, ha1, nonce, nc, cnonce string, qop bool, method, uri string) []byte {
	var ha2buf [64]byte
	ha2 := string(a.sum(ha2buf[:0], b.join(method, uri))) // RFC 7616 §3.4.3: A2 with qop "auth"
	if !qop {
		return a.sum(dst, b.join(ha1, nonce, ha2)) // RFC 2617 §3.2.2.1, for RFC 2069
	}
	return a.sum(dst, b.join(ha1, nonce, nc, cnonce, "auth", ha2)) // RFC 7616 §3.4.1
}
