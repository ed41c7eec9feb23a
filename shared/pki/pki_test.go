package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("Brickhouse test authority", AuthorityLife, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// files writes a pair into a directory and returns the paths.
func files(t *testing.T, p Pair) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := p.Write(cert, key); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func issue(t *testing.T, a *Authority, r Request) Pair {
	t.Helper()
	p, err := a.Issue(r, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func roots(t *testing.T, a *Authority) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

var border = Request{Name: "border", DNS: []string{"sip.example.org"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"),
	netip.MustParseAddr("::ffff:192.0.2.2"), netip.MustParseAddr("2001:db8::1")}, Use: Server | Client, Life: LeafLife,
	Domains: []string{"example.org"}}

func TestIssueAndLoad(t *testing.T) {
	a := authority(t)
	cert, key := files(t, issue(t, a, border))
	for _, name := range []string{"", "sip.example.org", "192.0.2.1", "192.0.2.2", "2001:db8::1"} {
		c, err := Load(cert, key, Check{Now: now, Name: name, Use: Server | Client, Roots: roots(t, a)})
		if err != nil || c.Leaf.URIs[0].String() != "sip:example.org" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, f := range []string{cert, key} {
		if st, err := os.Stat(f); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v %v", f, st.Mode(), err)
		}
	}
}

// An IPv4 address is a name, too, in what a server shows; an IPv6 address cannot be one (RFC 5280 §4.2.1.6).
func TestAddressesAsNames(t *testing.T) {
	a := authority(t)
	for use, want := range map[Use][]string{
		Server: {"sip.example.org", "192.0.2.1", "192.0.2.2"}, Client: {"sip.example.org"},
	} {
		r := border
		r.Use = use
		c, err := issue(t, a, r).TLS()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Leaf.DNSNames; !slices.Equal(got, want) {
			t.Errorf("%s: names %q, want %q", use, got, want)
		}
		if n := len(c.Leaf.IPAddresses); n != len(border.IPs) {
			t.Errorf("%s: %d addresses", use, n)
		}
		if use == Server && names(c.Leaf) != "sip.example.org, 192.0.2.1, 192.0.2.2, 2001:db8::1, sip:example.org" {
			t.Errorf("named %s", names(c.Leaf))
		}
	}
}

func TestHandshake(t *testing.T) {
	a := authority(t)
	pair := func(use Use) tls.Certificate {
		p, err := a.Issue(Request{Name: "x", DNS: []string{"sip.example.org"}, Use: use, Life: LeafLife}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tc := range []struct {
		client Use
		name   string
		ok     bool
	}{{Client, "sip.example.org", true}, {Server, "sip.example.org", false}, {Client, "other.example.org", false}} {
		here, there := net.Pipe()
		server := tls.Server(here, &tls.Config{Certificates: []tls.Certificate{pair(Server)}, ClientCAs: roots(t, a),
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
		client := tls.Client(there, &tls.Config{Certificates: []tls.Certificate{pair(tc.client)}, RootCAs: roots(t, a),
			ServerName: tc.name, MinVersion: tls.VersionTLS12})
		for _, c := range []net.Conn{here, there} {
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() {
			err := server.Handshake()
			if err != nil {
				here.Close()
			} else {
				_, err = server.Write([]byte("x"))
			}
			done <- err
		}()
		cerr := client.Handshake()
		if cerr == nil {
			_, cerr = io.ReadFull(client, make([]byte, 1))
		}
		there.Close()
		if serr := <-done; (cerr == nil && serr == nil) != tc.ok {
			t.Errorf("client %v, name %s: %v, %v; want ok %v", tc.client, tc.name, cerr, serr, tc.ok)
		}
	}
}

func TestAuthorityIsNarrow(t *testing.T) {
	a := authority(t)
	if !a.Cert.MaxPathLenZero || a.Cert.KeyUsage&x509.KeyUsageDigitalSignature != 0 {
		t.Error("the authority may do more than issue leaves")
	}
	p := issue(t, a, Request{Name: "x", DNS: []string{"x"}, Use: Server, Life: 10 * AuthorityLife})
	c, err := p.TLS()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil || leaf.NotAfter.After(a.Cert.NotAfter) || leaf.IsCA {
		t.Errorf("leaf ends %v, authority %v, %v", leaf.NotAfter, a.Cert.NotAfter, err)
	}
	for range 100 {
		if s := serial(); s.Sign() <= 0 || s.BitLen() > 127 {
			t.Fatal(s)
		}
	}
}

func TestBadRequests(t *testing.T) {
	a := authority(t)
	for _, r := range []Request{{Name: "x", Use: Server}, {Domains: []string{"a@b"}, Use: Client}, {Domains: []string{""}, Use: Client}} {
		if _, err := a.Issue(r, now); err == nil {
			t.Errorf("%+v was issued", r)
		}
	}
}

func TestLoadAuthority(t *testing.T) {
	a := authority(t)
	p, err := a.Pair()
	if err != nil {
		t.Fatal(err)
	}
	cert, key := files(t, p)
	b, err := LoadAuthority(cert, key, now)
	if err != nil {
		t.Fatal(err)
	}
	leafCert, leafKey := files(t, issue(t, b, border))
	if _, err := Load(leafCert, leafKey, Check{Now: now, Roots: roots(t, a)}); err != nil {
		t.Error(err)
	}
	other, err := authority(t).Pair()
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey := files(t, other)
	for _, tc := range []struct{ cert, key, want string }{
		{leafCert, leafKey, "is not the certificate of an authority"},
		{cert, otherKey, "is not the key of the certificate in " + cert},
		{cert, cert, "holds no ECDSA key"},
		{key, key, "holds no certificate"},
	} {
		if _, err := LoadAuthority(tc.cert, tc.key, now); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
	if _, err := LoadAuthority(cert, key, now.Add(2*AuthorityLife)); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Error(err)
	}
}

// Each fault has its own words, names the file and the remedy.
func TestLoadFaults(t *testing.T) {
	a := authority(t)
	cert, key := files(t, issue(t, a, border))
	_, wrongKey := files(t, issue(t, a, border))
	clientCert, clientKey := files(t, issue(t, a, Request{Name: "c", Use: Client, Life: LeafLife}))
	p, err := a.Pair()
	if err != nil {
		t.Fatal(err)
	}
	caCert, caKey := files(t, p)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	open := write("open.pem", string(keyPEM), 0o644)
	garbage := write("garbage.pem", "hello", 0o600)
	broken := write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600)
	sealed := write("sealed.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", 0o600)
	large := write("large.pem", strings.Repeat("x", maxFile+1), 0o600)
	for _, tc := range []struct {
		name, cert, key string
		check           Check
		want            string
	}{
		{"expired", cert, key, Check{Now: now.Add(2 * LeafLife)}, cert + ": the certificate has expired on 2027-12-23 12:00 UTC; issue a new one"},
		{"early", cert, key, Check{Now: now.Add(-2 * backdate)},
			cert + ": the certificate is not valid before 2026-11-21 11:00 UTC; set this machine's clock, or wait"},
		{"mismatch", cert, wrongKey, Check{Now: now}, wrongKey + ": is not the key of the certificate in " + cert + "; name the two files that belong together"},
		{"name", cert, key, Check{Now: now, Name: "pbx.example.org"}, cert +
			": is for sip.example.org, 192.0.2.1, 192.0.2.2, 2001:db8::1, sip:example.org, not for pbx.example.org; issue one for that name, or correct the name"},
		{"use", clientCert, clientKey, Check{Now: now, Use: Server}, clientCert + ": is not good for a server; issue one with the extended key usage serverAuth"},
		{"authority", caCert, caKey, Check{Now: now}, caCert + ": is the certificate of an authority; name one that the authority issued for this program"},
		{"issuer", cert, key, Check{Now: now, Roots: roots(t, authority(t))}, cert + ": was not issued by the configured authority: "},
		{"open key", cert, open, Check{Now: now}, open + ": is open to others (mode 0644); run chmod 600 " + open},
		{"no file", dir + "/x", key, Check{Now: now}, dir + "/x: no such file; check the path, or make certificates with quickstart"},
		{"no key file", cert, dir + "/x", Check{Now: now}, dir + "/x: no such file"},
		{"unnamed", "", key, Check{Now: now}, "certificate: no file is named; name one in the configuration"},
		{"directory", dir, key, Check{Now: now}, dir + ": can't be read: is a directory; check the path"},
		{"no PEM", garbage, key, Check{Now: now}, garbage + ": holds no certificate in PEM"},
		{"broken", broken, key, Check{Now: now}, broken + ": holds a certificate that can't be read"},
		{"swapped", key, cert, Check{Now: now}, key + ": holds no certificate in PEM"},
		{"no key", cert, cert, Check{Now: now}, cert + ": holds no unencrypted private key in PEM"},
		{"encrypted key", cert, sealed, Check{Now: now}, sealed + ": holds no unencrypted private key in PEM"},
		{"large", large, key, Check{Now: now}, large + ": is larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Load(tc.cert, tc.key, tc.check)
			var e *Error
			if !errors.As(err, &e) || !e.BadInput() || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestRoots(t *testing.T) {
	a := authority(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.pem")
	if err := WriteFile(path, append(a.CertPEM(), authority(t).CertPEM()...)); err != nil {
		t.Fatal(err)
	}
	pool, err := Roots(path, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := files(t, issue(t, a, border))
	if _, err := Load(cert, key, Check{Now: now, Roots: pool}); err != nil {
		t.Error(err)
	}
	if _, err := Roots(cert, now); err == nil || !strings.Contains(err.Error(), "no authority's: sip.example.org") {
		t.Error(err)
	}
	if _, err := Roots(path, now.Add(2*AuthorityLife)); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Error(err)
	}
	if _, err := Roots(dir+"/none", now); err == nil {
		t.Error("no error")
	}
}

func TestChain(t *testing.T) {
	a := authority(t)
	p := issue(t, a, border)
	p.CertPEM = append(p.CertPEM, a.CertPEM()...)
	cert, key := files(t, p)
	c, err := Load(cert, key, Check{Now: now})
	if err != nil || len(c.Certificate) != 2 {
		t.Error(err)
	}
}

func TestWriteFileLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q %v", got, err)
		}
	}
	if err := os.Mkdir(dir+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(dir+"/d", nil); err == nil {
		t.Error("wrote over a directory")
	}
	if err := WriteFile(dir+"/none/f", nil); err == nil {
		t.Error("wrote into nothing")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestGoodFor(t *testing.T) {
	if !goodFor(&x509.Certificate{}, x509.ExtKeyUsageServerAuth) ||
		!goodFor(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, x509.ExtKeyUsageServerAuth) ||
		goodFor(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, x509.ExtKeyUsageServerAuth) {
		t.Error("wrong")
	}
}

func FuzzCertificates(f *testing.F) {
	a, err := NewAuthority("x", time.Hour, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.CertPEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte{1}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := certificates("f", data)
		if (err == nil) != (len(certs) > 0) {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
	})
}
