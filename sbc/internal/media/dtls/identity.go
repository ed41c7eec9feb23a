package dtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"brickhouse/shared/sdp"
)

// Identity is the certificate that the border shows in DTLS. It is made at each start, says nothing about us, and is worth only what
// the fingerprint in the signalling makes of it.
type Identity struct {
	certificate tls.Certificate
	fingerprint sdp.Fingerprint
}

// validity is how long a certificate is good for: longer than any program runs. Its end is checked by nobody, but some read it.
const validity = 10 * 365 * 24 * time.Hour

// NewIdentity makes a key of P-256 and signs its certificate.
func NewIdentity(now time.Time) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a DTLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, fmt.Errorf("making a DTLS certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "WebRTC"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(validity), // the phone's clock may be slow
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making a DTLS certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return &Identity{
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		fingerprint: sdp.Fingerprint{Hash: "sha-256", Digest: sum[:]},
	}, nil
}

// Fingerprint is what our descriptions say of the certificate.
func (i *Identity) Fingerprint() sdp.Fingerprint { return i.fingerprint }

// hashes are those that we take, the best first (RFC 8122 §5). MD5 and SHA-1 are none: a second certificate can be made for them.
var hashes = []struct {
	name string
	sum  func([]byte) []byte
}{
	{"sha-512", func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }},
	{"sha-384", func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }},
	{"sha-256", func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }},
}

// ErrNoHash says that a description has no fingerprint that is worth anything.
var ErrNoHash = errors.New("no fingerprint by sha-256, sha-384 or sha-512")

// ErrMismatch says that the far side's certificate is not the one that its description promised.
var ErrMismatch = errors.New("certificate does not match the fingerprint")

// Usable returns those of the fingerprints that count: all of the best hash among them. The error is ErrNoHash.
func Usable(all []sdp.Fingerprint) ([]sdp.Fingerprint, error) {
	for _, h := range hashes {
		var good []sdp.Fingerprint
		for _, f := range all {
			if f.Hash == h.name && len(f.Digest) == len(h.sum(nil)) {
				good = append(good, f)
			}
		}
		if good != nil {
			return good, nil
		}
	}
	return nil, ErrNoHash
}

// Same reports whether two lists of usable fingerprints promise the same certificates.
func Same(a, b []sdp.Fingerprint) bool {
	return slices.EqualFunc(a, b, func(a, b sdp.Fingerprint) bool { return a.Hash == b.Hash && bytes.Equal(a.Digest, b.Digest) })
}

// match compares a certificate with usable fingerprints: one must be its own.
func match(usable []sdp.Fingerprint, der []byte) error {
	found := 0
	for _, h := range hashes {
		for _, f := range usable {
			if f.Hash == h.name {
				found |= subtle.ConstantTimeCompare(h.sum(der), f.Digest)
			}
		}
	}
	if found == 0 {
		return ErrMismatch
	}
	return nil
}
