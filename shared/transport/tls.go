package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
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

// Certificates is a list of certificates with their keys, the default first, swapped by Reload while handshakes go on.
type Certificates struct {
	load    func() ([]*tls.Certificate, error)
	current atomic.Pointer[[]*tls.Certificate]
}

// NewCertificates returns what load returns, now and again at each Reload. load must set Leaf.
func NewCertificates(load func() (*tls.Certificate, error)) (*Certificates, error) {
	return NewCertificateList(func() ([]*tls.Certificate, error) {
		cert, err := load()
		return []*tls.Certificate{cert}, err
	})
}

// NewCertificateList is NewCertificates for several, of which a handshake shows the one for the name that was asked for.
func NewCertificateList(load func() ([]*tls.Certificate, error)) (*Certificates, error) {
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

// Reload loads the certificates again. If one is bad, those in use stay.
func (c *Certificates) Reload() error {
	use, err := c.Prepare()
	if err == nil {
		use()
	}
	return err
}

// Prepare loads the certificates again and returns what takes them into use, for a caller that has more to check before.
func (c *Certificates) Prepare() (use func(), err error) {
	list, err := c.load()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errNoCertificate
	}
	for _, cert := range list {
		if cert.Leaf == nil {
			return nil, errNoLeaf
		}
	}
	return func() { c.current.Store(&list) }, nil
}

var (
	errNoCertificate = errors.New("no certificate")
	errNoLeaf        = errors.New("no leaf certificate")
)

// GetCertificate is for tls.Config.GetCertificate: the first certificate for the name that the client asks for, and whose
// kind it knows (RFC 6066 §3); otherwise the default.
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list := *c.current.Load()
	if len(list) == 1 || hello.ServerName == "" {
		return list[0], nil
	}
	for _, cert := range list {
		if hello.SupportsCertificate(cert) == nil {
			return cert, nil // the name, too, is looked at
		}
	}
	return list[0], nil
}

// GetClientCertificate is for tls.Config.GetClientCertificate.
func (c *Certificates) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return (*c.current.Load())[0], nil
}

// Leaf returns the default certificate in use.
func (c *Certificates) Leaf() *x509.Certificate { return (*c.current.Load())[0].Leaf }

// Leaves returns all certificates in use, the default first.
func (c *Certificates) Leaves() []*x509.Certificate {
	var out []*x509.Certificate
	for _, cert := range *c.current.Load() {
		out = append(out, cert.Leaf)
	}
	return out
}

// peerNames are the identities that a certificate proves for SIP (RFC 5922 §7.1): the domains of its SIP URIs, or else its
// DNS names, lower case. The common name is none.
func peerNames(cert *x509.Certificate) []string {
	var out []string
	for _, u := range cert.URIs {
		if host := sipDomain(u); host != "" {
			out = append(out, host)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, name := range cert.DNSNames {
		out = append(out, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	return out
}

// sipDomain is the domain that a subjectAltName URI proves; one with a user part proves that user, not a domain.
func sipDomain(u *url.URL) string {
	if !strings.EqualFold(u.Scheme, "sip") || u.Opaque == "" || strings.Contains(u.Opaque, "@") {
		return ""
	}
	host := u.Opaque
	if cut := strings.IndexAny(host, ":;?"); cut >= 0 {
		host = host[:cut]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
