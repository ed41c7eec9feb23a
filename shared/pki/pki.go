// Package pki makes and loads the certificates of one installation: a private authority, certificates for the border, the
// exchange and the link between them, and those that an operator brings along.
//
// Keys are ECDSA P-256; files are PEM with mode 0600. What is wrong with a file is said by an Error: which file, what,
// and what to do. Loading checks what would otherwise fail at the first handshake: that the key belongs to the
// certificate, that today lies in its time, that it is for this use and this name, that others can't read the key.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The lives that the quickstart gives.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 397 * 24 * time.Hour // what phones accept at most
)

// backdate is how much earlier than now a certificate begins to be valid, for peers whose clocks are late.
const backdate = time.Hour

// Error says what is wrong with a file.
type Error struct{ File, Problem, Remedy string }

func (e *Error) Error() string { return e.File + ": " + e.Problem + "; " + e.Remedy }

// BadInput says that the operator can mend it: programs end with status 2.
func (e *Error) BadInput() bool { return true }

// Pair is a certificate, with those of its issuers behind it, and its key, both PEM.
type Pair struct{ CertPEM, KeyPEM []byte }

// Authority issues certificates.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a private authority that may only issue certificates for programs, not further authorities.
func NewAuthority(name string, life time.Duration, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate back: %w", err)
	}
	return &Authority{Cert: cert, key: key}, nil
}

// serial is 127 random bits: positive, and at most 20 octets as RFC 5280 §4.1.2.2 asks.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	b[15] |= 1 // not zero
	return new(big.Int).SetBytes(b[:])
}

// Pair returns the authority's own certificate and key.
func (a *Authority) Pair() (Pair, error) { return encode(a.key, a.Cert.Raw) }

// CertPEM returns the authority's certificate, for those who shall trust it.
func (a *Authority) CertPEM() []byte { return pemBlock("CERTIFICATE", a.Cert.Raw) }

// Use says what a certificate is for.
type Use uint8

// The uses; they may be joined by "|".
const (
	Server Use = 1 << iota
	Client
)

func (u Use) String() string {
	switch u {
	case Server:
		return "server"
	case Client:
		return "client"
	case Server | Client:
		return "server and client"
	}
	return "nothing"
}

// Request is what a certificate shall say.
type Request struct {
	Name    string        // common name; not looked at by anybody who verifies
	DNS     []string      // names that the program is reached under
	IPs     []netip.Addr  // addresses that it is reached under
	Use     Use           // at least one
	Life    time.Duration // cut to the authority's own
	Domains []string      // SIP domains, as URI entries "sip:domain" (RFC 5922 §7.1)
}

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(r Request, now time.Time) (Pair, error) {
	if len(r.DNS)+len(r.IPs)+len(r.Domains) == 0 && r.Use&Server != 0 {
		return Pair{}, errors.New("issuing a certificate: a server needs a name or an address")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making a key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: r.Name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(r.Life),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: slices.Clone(r.DNS),
	}
	for _, ip := range r.IPs {
		ip = ip.Unmap()
		t.IPAddresses = append(t.IPAddresses, net.IP(ip.AsSlice()))
		if r.Use&Server != 0 && ip.Is4() { // Linphone (mbedTLS 2.28) compares the address that it dials with names only
			t.DNSNames = append(t.DNSNames, ip.String())
		}
	}
	if err := addDomains(t, r.Domains); err != nil {
		return Pair{}, err
	}
	if r.Use&Server != 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if r.Use&Client != 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if t.NotAfter.After(a.Cert.NotAfter) {
		t.NotAfter = a.Cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.Cert, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing the certificate of %s: %w", r.Name, err)
	}
	return encode(key, der)
}

func encode(key *ecdsa.PrivateKey, der []byte) (Pair, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encoding a key: %w", err)
	}
	return Pair{CertPEM: pemBlock("CERTIFICATE", der), KeyPEM: pemBlock("PRIVATE KEY", raw)}, nil
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Write writes both files with mode 0600, the key first, each by a rename, so that no reader sees half a file. Files
// that exist are replaced.
func (p Pair) Write(certFile, keyFile string) error {
	if err := WriteFile(keyFile, p.KeyPEM); err != nil {
		return err
	}
	return WriteFile(certFile, p.CertPEM)
}

// WriteFile writes data to path with mode 0600: whole and on the disk, or not at all.
func WriteFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// TLS returns the pair as crypto/tls has it.
func (p Pair) TLS() (tls.Certificate, error) {
	c, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
	if err != nil {
		return c, fmt.Errorf("joining certificate and key: %w", err)
	}
	return c, nil
}
