package siptest

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/pion/srtp/v3"
)

// Suite is an SRTP crypto suite by its name in SDP.
type Suite string

// The suites (RFC 4568 §6.2, RFC 7714 §14.2).
const (
	AESCM  Suite = "AES_CM_128_HMAC_SHA1_80"
	AESGCM Suite = "AEAD_AES_256_GCM"
)

func (s Suite) known() bool { return s == AESCM || s == AESGCM }

// keyLen and saltLen are the lengths of master key and salt in bytes.
func (s Suite) keyLen() int {
	if s == AESGCM {
		return 32
	}
	return 16
}

func (s Suite) saltLen() int {
	if s == AESGCM {
		return 12
	}
	return 14
}

func (s Suite) profile() srtp.ProtectionProfile {
	if s == AESGCM {
		return srtp.ProtectionProfileAeadAes256Gcm
	}
	return srtp.ProtectionProfileAes128CmHmacSha1_80
}

// newKey is a random master key and salt.
func (s Suite) newKey() []byte {
	b := make([]byte, s.keyLen()+s.saltLen())
	rand.Read(b)
	return b
}

// cipher is SRTP and SRTCP of one direction. Not for several goroutines at once.
type cipher struct {
	crypto Crypto
	ctx    *srtp.Context
}

// newCipher makes a cipher; an old one with the same suite and key is kept, so that its rollover counter and replay list
// survive a re-INVITE (RFC 3711 §9.1 forbids to begin again with a used key).
func newCipher(old *cipher, c Crypto) (*cipher, error) {
	if old != nil && old.crypto.Suite == c.Suite && bytes.Equal(old.crypto.Key, c.Key) {
		return old, nil
	}
	n := c.Suite.keyLen()
	ctx, err := srtp.CreateContext(c.Key[:n], c.Key[n:], c.Suite.profile(), srtp.SRTPReplayProtection(64),
		srtp.SRTCPReplayProtection(64))
	if err != nil {
		return nil, fmt.Errorf("making SRTP context for %s: %w", c.Suite, err)
	}
	return &cipher{crypto: c, ctx: ctx}, nil
}
