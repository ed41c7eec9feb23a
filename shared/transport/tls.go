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

// Certificates is a certificate with its key, swapped by Reload while handshakes go on.
type Certificates struct {
	load    func() (*tls.Certificate, error)
	current atomic.Pointer[tls.Certificate]
}

// NewCertificates returns what load returns, now and again at each Reload. load must set Leaf.
func NewCertificates(load func() (*tls.Certificate, error)) (*Certificates, error) {
	c := &Certificates{load: load}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadCertificates reads a PEM chain and its key from files, with no check but that they belong together.
func LoadCertificates(certFile, keyFile string) (*Certificates, error) {
	return NewCertificates(func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("loading certificate %s with key %s: %w", certFile, keyFile, err)
		}
		return &cert, nil
	})
}

// Reload loads the certificate again. If it is bad, the one in use stays.
func (c *Certificates) Reload() error {
	use, err := c.Prepare()
	if err == nil {
		use()
	}
	return err
}

// Prepare loads the certificate again and returns what takes it into use, for a caller that has more to check before.
func (c *Certificates) Prepare() (use func(), err error) {
	cert, err := c.load()
	if err != nil {
		return nil, err
	}
	if cert.Leaf == nil {
		return nil, errNoLeaf
	}
	return func() { c.current.Store(cert) }, nil
}

var errNoLeaf = errors.New("no leaf certificate")

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
