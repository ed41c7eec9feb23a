package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
)

// aeadSuites are the TLS 1.2 suites with forward secrecy and AEAD. TLS 1.3 has no others.
func aeadSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// ServerTLS returns a copy of base that speaks TLS 1.2 or later with forward-secret AEAD suites only. Certificates, client
// certificate policy and pools stay as base has them.
func ServerTLS(base *tls.Config) *tls.Config { return hardened(base) }

// ClientTLS is ServerTLS for connections that we open. It never skips the verification of the peer.
func ClientTLS(base *tls.Config) *tls.Config {
	c := hardened(base)
	c.InsecureSkipVerify = false
	return c
}

func hardened(base *tls.Config) *tls.Config {
	if base == nil {
		base = &tls.Config{}
	}
	c := base.Clone()
	if c.MinVersion < tls.VersionTLS12 {
		c.MinVersion = tls.VersionTLS12
	}
	c.CipherSuites = aeadSuites()
	c.Renegotiation = tls.RenegotiateNever
	return c
}

// Certificates is a certificate with its key, read from files and swapped by Reload while handshakes go on.
type Certificates struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificates reads a PEM chain and its key.
func LoadCertificates(certFile, keyFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again. If they are bad, the certificate in use stays.
func (c *Certificates) Reload() error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("loading certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	if cert.Leaf == nil {
		return fmt.Errorf("loading certificate %s: %w", c.certFile, errors.New("no leaf certificate"))
	}
	c.current.Store(&cert)
	return nil
}

// GetCertificate is for tls.Config.GetCertificate.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// GetClientCertificate is for tls.Config.GetClientCertificate.
func (c *Certificates) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Leaf returns the certificate in use.
func (c *Certificates) Leaf() *x509.Certificate { return c.current.Load().Leaf }
