// Package digest is HTTP digest authentication as SIP uses it: RFC 3261 §22, RFC 7616 and RFC 8760.
//
// The server side issues nonces that need no memory (an HMAC over their age and the flow they were sent to), keeps one
// counter per nonce that was used with right credentials, and checks a response against a stored HA1. The client side
// chooses the first challenge it can answer. Everything here is a pure function of its arguments, but for the table of
// nonce counters; the clock and the random source are arguments.
//
// What is left out on purpose: userhash (RFC 7616 §3.4.4) and, on the server side, auth-int and the -sess algorithms.
package digest

import (
	"crypto/fips140"
	"crypto/md5" //nolint:gosec // RFC 3261 phones know nothing else; an account must allow it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
)

// Algorithm is the hash of a challenge, in the spelling of RFC 7616 §3.3.
type Algorithm string

// The algorithms (RFC 8760 §2.1).
const (
	MD5       Algorithm = "MD5"
	SHA256    Algorithm = "SHA-256"
	SHA512256 Algorithm = "SHA-512-256"
)

// ParseAlgorithm reads the algorithm parameter, in any case. The empty string is MD5 (RFC 7616 §3.3).
func ParseAlgorithm(s string) (Algorithm, error) {
	switch {
	case s == "", strings.EqualFold(s, string(MD5)):
		return MD5, nil
	case strings.EqualFold(s, string(SHA256)):
		return SHA256, nil
	case strings.EqualFold(s, string(SHA512256)):
		return SHA512256, nil
	}
	return "", fmt.Errorf("digest algorithm %q is not one of MD5, SHA-256, SHA-512-256", clip(s))
}

// HexLen is the length of the algorithm's hash in hexadecimal digits, or 0 for an unknown algorithm.
func (a Algorithm) HexLen() int {
	switch a {
	case MD5:
		return 2 * md5.Size
	case SHA256, SHA512256:
		return 2 * sha256.Size
	}
	return 0
}

// HA1 is H(username:realm:password) in lower-case hexadecimal: what is stored in place of a password
// (RFC 7616 §3.4.2). It returns "" for an unknown algorithm.
func HA1(a Algorithm, username, realm, password string) string {
	var b hashBuf
	return string(a.sum(nil, b.join(username, realm, password)))
}

// sum appends the hexadecimal hash of data to dst.
func (a Algorithm) sum(dst, data []byte) []byte {
	switch a {
	case MD5:
		var s [md5.Size]byte
		// A strict FIPS process panics on MD5. Whether MD5 is allowed is the account's policy, decided before we get here;
		// what a stranger sends must never decide whether the process lives.
		fips140.WithoutEnforcement(func() { s = md5.Sum(data) }) //nolint:gosec // see above
		return hex.AppendEncode(dst, s[:])
	case SHA256:
		s := sha256.Sum256(data)
		return hex.AppendEncode(dst, s[:])
	case SHA512256:
		s := sha512.Sum512_256(data)
		return hex.AppendEncode(dst, s[:])
	}
	return dst
}

// hashBuf is scratch space in which the parts of a hash input are joined with colons.
type hashBuf struct {
	small [512]byte
}

func (b *hashBuf) join(parts ...string) []byte {
	out := b.small[:0]
	for i, p := range parts {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, p...)
	}
	return out
}

// clip bounds a stranger's text for an error message.
func clip(s string) string {
	const most = 32
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
