package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"brickhouse/shared/conffile"
	"brickhouse/shared/pki"
	"brickhouse/shared/transport"
)

// TLS is what a realm shows to those who connect over TLS, and what it wants to see of them.
type TLS struct {
	Identity     `yaml:",inline"`
	Certificates []Identity `yaml:"certificates" doc:"More certificates. The one for the server name that the other side asks for is shown (SNI); the first of all to those who ask for none or for an unknown one."`
	Client       string     `yaml:"client" oneof:"none|request|require" doc:"Certificates of the other side. request: one that is shown must be good. require: nobody connects without one."`
	ClientCA     string     `yaml:"client_ca" doc:"File with the certificate authorities that the other side's certificates come from, PEM. Read again on SIGHUP."`
}

// DefaultTLS is what holds unless the file says otherwise.
func DefaultTLS() TLS { return TLS{Client: "none"} }

// maxCertificates bounds the certificates of a realm: each handshake may look at all of them.
const maxCertificates = 100

// identities lists the certificates, the default first.
func (t TLS) identities() []Identity {
	if t.Identity == (Identity{}) {
		return t.Certificates
	}
	return append([]Identity{t.Identity}, t.Certificates...)
}

// clientAuth is what the handshake wants of the other side.
func (t TLS) clientAuth() tls.ClientAuthType {
	switch t.Client {
	case "request":
		return tls.VerifyClientCertIfGiven
	case "require":
		return tls.RequireAndVerifyClientCert
	}
	return tls.NoClientCert
}

// check says what is wrong under key. needed says that an interface listens for TLS.
func (t TLS) check(key string, needed bool) []conffile.Fault {
	var fs []conffile.Fault
	bad := func(at, problem, remedy string) { fs = append(fs, conffile.Bad(at, problem, remedy)) }
	if one := t.Identity; needed && (len(t.identities()) == 0 || one != (Identity{}) && !one.complete()) {
		bad(key, "certificate and key are needed to listen for TLS", "name both files")
	}
	seen := map[Identity]bool{t.Identity: true}
	for i, id := range t.Certificates {
		at := fmt.Sprintf("%s.certificates[%d]", key, i)
		switch {
		case !id.complete():
			bad(at, "certificate and key are needed", "name both files")
		case seen[id]:
			bad(at, "stands twice", "take one away")
		}
		seen[id] = true
	}
	if len(t.Certificates) > maxCertificates {
		bad(key+".certificates", fmt.Sprintf("has more than %d", maxCertificates), "use certificates with several names")
	}
	asked := t.Client == "request" || t.Client == "require"
	if asked && t.ClientCA == "" {
		bad(key+".client_ca", "is missing: client certificates are asked for and nothing says which are good", "name the authority's PEM file, or set client to none")
	}
	if !asked && t.ClientCA != "" {
		bad(key+".client", "is none, so client_ca has no effect", "set it to request or require, or take client_ca away")
	}
	return fs
}

// Credentials are a realm's certificates and, where it listens for TLS, its side of the handshake. Both are replaced at
// once by what Prepare returns, while handshakes go on.
type Credentials struct {
	*transport.Certificates
	conf   TLS
	server atomic.Pointer[tls.Config]
}

// credentials reads what conf names.
func credentials(conf TLS) (*Credentials, error) {
	c := &Credentials{conf: conf}
	var err error
	c.Certificates, err = transport.NewCertificateList(func() ([]*tls.Certificate, error) {
		var list []*tls.Certificate
		for _, id := range conf.identities() {
			cert, err := pki.Load(id.Certificate, id.Key, pki.Check{Now: time.Now(), Use: pki.Server})
			if err != nil {
				return nil, err
			}
			list = append(list, cert)
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	server, err := c.build()
	if err != nil {
		return nil, err
	}
	c.server.Store(server)
	return c, nil
}

// build makes the server's configuration. Its session ticket keys are its own and change daily (crypto/tls).
func (c *Credentials) build() (*tls.Config, error) {
	var roots *x509.CertPool
	if c.conf.ClientCA != "" {
		var err error
		if roots, err = pki.Roots(c.conf.ClientCA, time.Now()); err != nil {
			return nil, fmt.Errorf("client_ca: %w", err)
		}
	}
	return transport.ServerTLS(&tls.Config{
		GetCertificate: c.GetCertificate, ClientAuth: c.conf.clientAuth(), ClientCAs: roots,
	}), nil
}

// Server is the configuration for the next handshake. It stays the same until authorities are read again, so that
// session tickets are of use; then sessions that the old ones vouched for end with them.
func (c *Credentials) Server() *tls.Config { return c.server.Load() }

// Prepare reads everything again and returns what takes it into use, for a caller that has more to check before.
func (c *Credentials) Prepare() (use func(), err error) {
	certs, err := c.Certificates.Prepare()
	if err != nil || c.conf.ClientCA == "" {
		return certs, err
	}
	server, err := c.build()
	if err != nil {
		return nil, err
	}
	return func() { certs(); c.server.Store(server) }, nil
}
