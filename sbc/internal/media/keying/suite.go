// Package keying holds what SRTP needs: the suites, the keys as SDES carries them (RFC 4568), and the two halves of a
// cryptographic context (RFC 3711), a Receiver and a Sender, made so that a packet index never repeats with one key.
//
// The crypto itself is pion/srtp's. Keys are in no error, no log and no String; Wipe overwrites the master keys. The session keys
// derived from them live inside pion's ciphers and the runtime's AES tables, which nothing can overwrite: they go with the garbage.
package keying

import (
	"fmt"

	"github.com/pion/srtp/v3"
)

// Suite is an SRTP crypto suite that we use.
type Suite uint8

// The suites, weaker before stronger. The 32-bit tags of AES_CM_128_HMAC_SHA1_32 are not among them: a forger
// needs too few tries.
const (
	None               Suite = iota
	AESCM128HMACSHA180       // RFC 4568 §6.2.1
	AEADAES128GCM            // RFC 7714 §14.2
	AEADAES256GCM            // RFC 7714 §14.2
)

// DefaultSuites are offered and chosen in this order if a realm says nothing else.
func DefaultSuites() []Suite { return []Suite{AEADAES256GCM, AESCM128HMACSHA180} }

// MaxOverhead is by how many bytes a protected packet is longer at most: the GCM tag and, with SRTCP, the index.
const MaxOverhead = 16 + 4

// String is the name in SDES; None is empty.
func (s Suite) String() string {
	switch s {
	case AESCM128HMACSHA180:
		return "AES_CM_128_HMAC_SHA1_80"
	case AEADAES128GCM:
		return "AEAD_AES_128_GCM"
	case AEADAES256GCM:
		return "AEAD_AES_256_GCM"
	}
	return ""
}

// ParseSuite finds the suite of that SDES name.
func ParseSuite(name string) (Suite, error) {
	for s := AESCM128HMACSHA180; s <= AEADAES256GCM; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return None, fmt.Errorf("SRTP suite %q is not supported", name)
}

func (s Suite) profile() srtp.ProtectionProfile {
	switch s {
	case AEADAES128GCM:
		return srtp.ProtectionProfileAeadAes128Gcm
	case AEADAES256GCM:
		return srtp.ProtectionProfileAeadAes256Gcm
	}
	return srtp.ProtectionProfileAes128CmHmacSha1_80
}

// keyLen and saltLen are in bytes: RFC 4568 §6.2.1, RFC 7714 §12.
func (s Suite) keyLen() int {
	if s == AEADAES256GCM {
		return 32
	}
	return 16
}

func (s Suite) saltLen() int {
	if s == AESCM128HMACSHA180 {
		return 14
	}
	return 12
}

// trailer tells what follows the payload: bytes of tag before and after the SRTCP index word.
func (s Suite) trailer() (before, after int) {
	if s == AESCM128HMACSHA180 {
		return 0, 10
	}
	return 16, 0
}
