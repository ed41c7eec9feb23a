package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxFile bounds a certificate or key file, in bytes.
const maxFile = 1 << 20

// Check is what Load holds a certificate to.
type Check struct {
	Now   time.Time      // must lie in the certificate's time
	Name  string         // DNS name or address that it must be for; empty: any
	Use   Use            // what it must be good for; 0: anything
	Roots *x509.CertPool // authority that must have issued it; nil: any
}

// Load reads a certificate and its key and checks them. An error is always an *Error.
func Load(certFile, keyFile string, c Check) (*tls.Certificate, error) {
	certPEM, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	chain, err := certificates(certFile, certPEM)
	if err != nil {
		return nil, err
	}
	if !hasBlock(keyPEM, "PRIVATE KEY") {
		return nil, &Error{keyFile, "holds no unencrypted private key in PEM", "write one that begins with -----BEGIN PRIVATE KEY-----"}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, &Error{keyFile, "is not the key of the certificate in " + certFile, "name the two files that belong together"}
		}
		return nil, &Error{keyFile, "can't be used: " + strings.TrimPrefix(err.Error(), "tls: "), "use an ECDSA, Ed25519 or RSA key"}
	}
	pair.Leaf = chain[0]
	if err := c.verify(certFile, chain); err != nil {
		return nil, err
	}
	return &pair, nil
}

// verify holds the first certificate of a chain to the check.
func (c Check) verify(file string, chain []*x509.Certificate) error {
	leaf := chain[0]
	if err := inTime(file, leaf, c.Now); err != nil {
		return err
	}
	if leaf.IsCA {
		return &Error{file, "is the certificate of an authority", "name one that the authority issued for this program"}
	}
	for _, u := range []struct {
		use Use
		ext x509.ExtKeyUsage
	}{{Server, x509.ExtKeyUsageServerAuth}, {Client, x509.ExtKeyUsageClientAuth}} {
		if c.Use&u.use != 0 && !goodFor(leaf, u.ext) {
			return &Error{file, fmt.Sprintf("is not good for a %v", u.use), fmt.Sprintf("issue one with the extended key usage %vAuth", u.use)}
		}
	}
	if c.Name != "" && leaf.VerifyHostname(c.Name) != nil {
		return &Error{file, fmt.Sprintf("is for %s, not for %s", names(leaf), c.Name), "issue one for that name, or correct the name"}
	}
	if c.Roots == nil {
		return nil
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: c.Roots, Intermediates: between, CurrentTime: c.Now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return &Error{file, "was not issued by the configured authority: " + strings.TrimPrefix(err.Error(), "x509: "),
			"issue one with it, or name its authority"}
	}
	return nil
}

func inTime(file string, cert *x509.Certificate, now time.Time) error {
	const day = "2006-01-02 15:04 MST"
	switch {
	case now.After(cert.NotAfter):
		return &Error{file, "the certificate has expired on " + cert.NotAfter.UTC().Format(day), "issue a new one"}
	case now.Before(cert.NotBefore):
		return &Error{file, "the certificate is not valid before " + cert.NotBefore.UTC().Format(day), "set this machine's clock, or wait"}
	}
	return nil
}

func goodFor(cert *x509.Certificate, use x509.ExtKeyUsage) bool {
	if len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 {
		return true // RFC 5280 §4.2.1.12: without the extension there is no limit
	}
	for _, u := range cert.ExtKeyUsage {
		if u == use || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// names lists what a certificate is for, as far as it fits a line.
func names(cert *x509.Certificate) string {
	all := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		if !slices.Contains(all, ip.String()) { // Issue makes an address a name, too
			all = append(all, ip.String())
		}
	}
	for _, u := range cert.URIs {
		all = append(all, u.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	if len(all) > 5 {
		all = append(all[:5], "others")
	}
	return strings.Join(all, ", ")
}

// Roots reads the certificates of the authorities in a file.
func Roots(file string, now time.Time) (*x509.CertPool, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	certs, err := certificates(file, data)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		if !cert.IsCA {
			return nil, &Error{file, "holds a certificate that is no authority's: " + names(cert), "name the authority's file"}
		}
		if err := inTime(file, cert, now); err != nil {
			return nil, err
		}
		pool.AddCert(cert)
	}
	return pool, nil
}

// LoadAuthority reads an authority that NewAuthority made, to issue more certificates.
func LoadAuthority(certFile, keyFile string, now time.Time) (*Authority, error) {
	certPEM, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	certs, err := certificates(certFile, certPEM)
	if err != nil {
		return nil, err
	}
	if !certs[0].IsCA {
		return nil, &Error{certFile, "is not the certificate of an authority", "name the authority's file"}
	}
	if err := inTime(certFile, certs[0], now); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, &Error{keyFile, "holds no PEM", "name the authority's key file"}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, &Error{keyFile, "holds no ECDSA key", "name the authority's key file"}
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, &Error{keyFile, "is not the key of the certificate in " + certFile, "name the two files that belong together"}
	}
	return &Authority{Cert: certs[0], key: key}, nil
}

// certificates reads every certificate of a PEM file; there is at least one.
func certificates(file string, data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{file, "holds a certificate that can't be read: " + strings.TrimPrefix(err.Error(), "x509: "), "issue a new one"}
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, &Error{file, "holds no certificate in PEM", "write one that begins with -----BEGIN CERTIFICATE-----"}
	}
	return out, nil
}

func hasBlock(data []byte, suffix string) bool {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, suffix) && !strings.HasPrefix(block.Type, "ENCRYPTED") {
			return true
		}
		data = rest
	}
}

// readKey reads a file that only its owner may read.
func readKey(file string) ([]byte, error) {
	if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
		return nil, &Error{file, fmt.Sprintf("is open to others (mode %04o)", st.Mode().Perm()), "run chmod 600 " + file}
	}
	return readFile(file)
}

func readFile(file string) ([]byte, error) {
	if file == "" {
		return nil, &Error{"certificate", "no file is named", "name one in the configuration"}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hang us
	if err != nil {
		return nil, readError(file, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, readError(file, err)
	}
	if len(data) > maxFile {
		return nil, &Error{file, fmt.Sprintf("is larger than %d bytes", maxFile), "name a certificate or key file"}
	}
	return data, nil
}

func readError(file string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{file, "no such file", "check the path, or make certificates with quickstart"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{file, "no permission to read it", "give it to the program's user"}
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &Error{file, "can't be read: " + err.Error(), "check the path"}
}

// addDomains writes SIP domains into a certificate as RFC 5922 §7.1 has them.
func addDomains(t *x509.Certificate, domains []string) error {
	for _, d := range domains {
		u, err := url.Parse("sip:" + d)
		if err != nil || d == "" || strings.ContainsAny(d, "@?;/") {
			return fmt.Errorf("issuing a certificate: %q is no SIP domain", d)
		}
		t.URIs = append(t.URIs, u)
	}
	return nil
}
