package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// CA is a certificate authority of one run, for programs that get none from the product.
type CA struct {
	File string // PEM
	lab  *Lab
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// Certificate is a certificate and its key as PEM files.
type Certificate struct{ Cert, Key string }

// CA makes a certificate authority.
func (l *Lab) CA() *CA {
	l.t.Helper()
	ca := &CA{lab: l, next: 1}
	template := ca.template("lab CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	ca.cert, ca.key = template, nil
	der, key := ca.sign(template)
	ca.key = key
	ca.File = l.file("ca.pem", pemText("CERTIFICATE", der))
	return ca
}

// Issue makes a certificate for a name and addresses, for server and client use, good for a day. Each address stands in
// it as a DNS name too: linphone (mbedTLS 2.28) compares the address that it dials with nothing else.
func (ca *CA) Issue(name string, addrs ...netip.Addr) *Certificate {
	ca.lab.t.Helper()
	template := ca.template(name)
	template.DNSNames = []string{name}
	for _, a := range addrs {
		template.DNSNames = append(template.DNSNames, a.String())
		template.IPAddresses = append(template.IPAddresses, net.IP(a.AsSlice()))
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, key := ca.sign(template)
	b, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		ca.lab.t.Fatalf("lab: key of %s: %v", name, err)
	}
	return &Certificate{Cert: ca.lab.file(name+".crt", pemText("CERTIFICATE", der)), Key: ca.lab.file(name+".key", pemText("EC PRIVATE KEY", b))}
}

func (ca *CA) template(name string) *x509.Certificate {
	ca.next++
	return &x509.Certificate{
		SerialNumber: big.NewInt(ca.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// sign makes a key and a certificate for it; without a key of its own the CA signs itself.
func (ca *CA) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	ca.lab.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.lab.t.Fatalf("lab: making a key: %v", err)
	}
	signer := ca.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, signer)
	if err != nil {
		ca.lab.t.Fatalf("lab: making a certificate: %v", err)
	}
	return der, key
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
