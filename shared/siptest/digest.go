package siptest

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// The digest algorithms that a phone may know (RFC 7616, RFC 8760).
const (
	MD5    = "MD5"
	SHA256 = "SHA-256"
)

// challenge is what a WWW-Authenticate or Proxy-Authenticate header holds.
type challenge struct {
	realm, nonce, opaque, algorithm string
	qop                             bool // "auth" is offered
	stale                           bool
}

var errChallenge = errors.New("no usable digest challenge")

// digestFields reads the parameters of a Digest header value. It keeps the first of equal names.
func digestFields(value string) (map[string]string, bool) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok || !strings.EqualFold(scheme, "Digest") {
		return nil, false
	}
	out := make(map[string]string)
	for _, p := range splitList(rest) {
		name, v, ok := strings.Cut(p, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" {
			return nil, false
		}
		v = strings.TrimSpace(v)
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(v[1 : len(v)-1])
		}
		if _, twice := out[name]; !twice {
			out[name] = v
		}
	}
	return out, true
}

// chooseChallenge is the first of the header values whose algorithm is known: RFC 8760 §2.4 has the server sort them and the
// client take the topmost that it supports.
func chooseChallenge(values, algorithms []string) (challenge, error) {
	for _, v := range values {
		f, ok := digestFields(v)
		if !ok || f["nonce"] == "" {
			continue
		}
		c := challenge{realm: f["realm"], nonce: f["nonce"], opaque: f["opaque"], algorithm: f["algorithm"],
			stale: strings.EqualFold(f["stale"], "true")}
		if c.algorithm == "" {
			c.algorithm = MD5 // RFC 7616 §3.3
		}
		for _, q := range strings.Split(f["qop"], ",") {
			c.qop = c.qop || strings.EqualFold(strings.TrimSpace(q), "auth")
		}
		if f["qop"] != "" && !c.qop {
			continue // auth-int alone is not known here
		}
		for _, a := range algorithms {
			if strings.EqualFold(a, c.algorithm) {
				return c, nil
			}
		}
	}
	return challenge{}, fmt.Errorf("%w among %d for algorithms %v", errChallenge, len(values), algorithms)
}

// hashHex is the digest's H() of RFC 7616 §3.2 for an algorithm.
func hashHex(algorithm, s string) string {
	var h hash.Hash
	if strings.EqualFold(algorithm, SHA256) {
		h = sha256.New()
	} else {
		h = md5.New() // RFC 3261 §22.4; most phones know nothing else
	}
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil))
}

// credentials are what a phone answers a challenge with.
type credentials struct {
	user, password, method, uri string
	count                       uint32 // how often this nonce was used, this time included
	cnonce                      string
}

// answer is the value of the Authorization header (RFC 7616 §3.4).
func (c challenge) answer(k credentials) string {
	response := c.response(k)
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username=%s, realm=%s, nonce=%s, uri=%s, response="%s", algorithm=%s`,
		quote(k.user), quote(c.realm), quote(c.nonce), quote(k.uri), response, c.algorithm)
	if c.opaque != "" {
		fmt.Fprintf(&b, `, opaque=%s`, quote(c.opaque))
	}
	if c.qop {
		fmt.Fprintf(&b, `, qop=auth, nc=%08x, cnonce=%s`, k.count, quote(k.cnonce))
	}
	return b.String()
}

// response is the request-digest of RFC 7616 §3.4.1, or of RFC 2069 if no qop was offered.
func (c challenge) response(k credentials) string {
	ha1 := hashHex(c.algorithm, k.user+":"+c.realm+":"+k.password)
	ha2 := hashHex(c.algorithm, k.method+":"+k.uri)
	if !c.qop {
		return hashHex(c.algorithm, ha1+":"+c.nonce+":"+ha2)
	}
	return hashHex(c.algorithm, fmt.Sprintf("%s:%s:%08x:%s:auth:%s", ha1, c.nonce, k.count, k.cnonce, ha2))
}

// header is the challenge as a server writes it.
func (c challenge) header() string {
	s := fmt.Sprintf(`Digest realm=%s, nonce=%s, algorithm=%s, qop="auth"`, quote(c.realm), quote(c.nonce), c.algorithm)
	if c.stale {
		s += ", stale=true"
	}
	return s
}

// accepts reports whether an Authorization value answers the challenge with the right password.
func (c challenge) accepts(value, user, password, method string) bool {
	f, ok := digestFields(value)
	if !ok || f["username"] != user || f["realm"] != c.realm || f["nonce"] != c.nonce || f["qop"] != "auth" {
		return false
	}
	c.qop = true // as header offers it
	k := credentials{user: user, password: password, method: method, uri: f["uri"], cnonce: f["cnonce"]}
	if _, err := fmt.Sscanf(f["nc"], "%08x", &k.count); err != nil {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(c.response(k)), []byte(strings.ToLower(f["response"]))) == 1
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// token is a random word of 16 hexadecimal digits, for tags, branches, nonces and Call-IDs.
func token() string {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// newNumber is a random number of 32 bit, for SSRCs, sequence numbers and timestamps.
func newNumber() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}
