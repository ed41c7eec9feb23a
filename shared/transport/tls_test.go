package transport_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

// authority is a private CA for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	dir  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert: cert, key: key, pool: pool, dir: t.TempDir()}
}

// issue writes a certificate for 127.0.0.1 under that name to the same two files each time, and returns their paths.
func (a *authority) issue(t testing.TB, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, "cert.pem"), filepath.Join(a.dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// tlsInterface serves TLS with a certificate named "first".
func tlsInterface(t testing.TB, h transport.Handler, base *tls.Config, cfg transport.Config) (*transport.Interface, *authority, *transport.Certificates) {
	t.Helper()
	ca := newAuthority(t)
	certs, err := transport.LoadCertificates(ca.issue(t, "first"))
	if err != nil {
		t.Fatal(err)
	}
	base.GetCertificate = certs.GetCertificate
	if base.ClientAuth != tls.NoClientCert {
		base.ClientCAs = ca.pool
	}
	server := transport.ServerTLS(base)
	cfg.Network = transport.TLS
	cfg.TLS = func() *tls.Config { return server }
	cfg.ClientTLS = nil
	return serve(t, cfg, h), ca, certs
}

func dialTLS(t testing.TB, i *transport.Interface, cfg *tls.Config) (*tls.Conn, error) {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: cfg}
	c, err := d.Dial("tcp", i.Local().String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*tls.Conn), nil
}

func TestTLSVersionsAndSuites(t *testing.T) {
	i, ca, _ := tlsInterface(t, newRecorder(), &tls.Config{MinVersion: tls.VersionTLS10}, transport.Config{})
	ecdhe := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for _, tt := range []struct {
		name string
		cfg  *tls.Config
		ok   bool
	}{
		{"1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		{"1.2 with AEAD", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: ecdhe}, true},
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, false},
		{"CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"no forward secrecy", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
	} {
		cfg := tt.cfg.Clone()
		cfg.RootCAs = ca.pool
		c, err := dialTLS(t, i, cfg)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want success %v", tt.name, err, tt.ok)
		}
		if err == nil {
			write(t, c, request("tls", 1))
			if got := readStatus(t, bufio.NewReader(c)); got != "SIP/2.0 200 OK" {
				t.Errorf("%s: answered %q", tt.name, got)
			}
		}
	}
	if c := transport.ClientTLS(&tls.Config{InsecureSkipVerify: true}); c.InsecureSkipVerify || c.MinVersion < tls.VersionTLS12 {
		t.Error("a client configuration skips verification or allows old versions")
	}
}

// Certificates are swapped under live connections.
func TestCertificatesReload(t *testing.T) {
	i, ca, certs := tlsInterface(t, newRecorder(), &tls.Config{}, transport.Config{})
	first, err := dialTLS(t, i, &tls.Config{RootCAs: ca.pool})
	if err != nil {
		t.Fatal(err)
	}
	ca.issue(t, "second")
	if err := certs.Reload(); err != nil {
		t.Fatal(err)
	}
	second, err := dialTLS(t, i, &tls.Config{RootCAs: ca.pool})
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]*tls.Conn{"first": first, "second": second} {
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("certificate %q, want %q", got, want)
		}
		write(t, c, request("reload", 1))
		if got := readStatus(t, bufio.NewReader(c)); got != "SIP/2.0 200 OK" {
			t.Errorf("%s connection answered %q", want, got)
		}
	}
	certFile := filepath.Join(ca.dir, "cert.pem")
	if err := os.WriteFile(certFile, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := certs.Reload(); err == nil || certs.Leaf().Subject.CommonName != "second" {
		t.Errorf("a bad file: %v, certificate in use %q", err, certs.Leaf().Subject.CommonName)
	}
	if _, err := transport.LoadCertificates(certFile, filepath.Join(ca.dir, "none.pem")); !errors.Is(err, os.ErrNotExist) && err == nil {
		t.Error("a missing key is taken")
	}
}

// T3b: silent TLS clients don't hold up others, and end.
func TestSilentHandshakesEnd(t *testing.T) {
	rec := newRecorder()
	limits := quickly()
	limits.MaxPerSource = 100
	i, ca, _ := tlsInterface(t, rec, &tls.Config{}, transport.Config{Limits: limits})
	const silent = 50
	for n := range silent {
		c := dialTCP(t, i.Local())
		if n%2 == 0 {
			write(t, c, []byte{0x16, 0x03, 0x01, 0x02}) // half a record header
		}
	}
	c, err := dialTLS(t, i, &tls.Config{RootCAs: ca.pool})
	if err != nil {
		t.Fatalf("an honest client among %d silent ones: %v", silent, err)
	}
	write(t, c, request("honest", 1))
	if got := readStatus(t, bufio.NewReader(c)); got != "SIP/2.0 200 OK" {
		t.Errorf("answered %q", got)
	}
	rec.Wait(t, "the silent ones to end", func() bool { return len(rec.Drops()) == silent })
	for _, d := range rec.Drops() {
		if d.Why != verdict.HandshakeFailed {
			t.Fatalf("dropped for %q", d.Why)
		}
	}
	if _, strangers := i.ConnectionCounts(); strangers > 1 {
		t.Errorf("%d strangers are left", strangers)
	}
}

// The core link: both sides show a certificate, and the connection is trusted at once.
func TestMutualTLS(t *testing.T) {
	rec := newRecorder()
	i, ca, certs := tlsInterface(t, rec, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert},
		transport.Config{TrustHandshake: true, Limits: quickly()})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &transporttest.Recorder{}
	dial := func(cfg *tls.Config) (*transport.Flow, error) {
		return transport.Dial(ctx, transport.DialConfig{Name: "core", Network: transport.TLS, Remote: i.Local(), TLS: cfg}, client)
	}
	cfg := transport.ClientTLS(&tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1", GetClientCertificate: certs.GetClientCertificate})
	f, err := dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Secure() || len(f.PeerCertificates()) != 1 || f.PeerCertificates()[0].Subject.CommonName != "first" {
		t.Errorf("dialled flow: secure %v, certificates %v", f.Secure(), f.PeerCertificates())
	}
	time.Sleep(2 * quickly().RequestTimeout) // trusted: silence is no fault
	if err := f.Send(request("core", 1)); err != nil {
		t.Fatal(err)
	}
	client.WaitMessages(t, 1)
	far := rec.Messages()[0].Flow
	if got := far.PeerCertificates(); len(got) == 0 || got[0].Subject.CommonName != "first" {
		t.Errorf("accepted flow's peer: %v", got)
	}
	if trusted, _ := i.ConnectionCounts(); trusted != 1 {
		t.Errorf("%d trusted connections", trusted)
	}
	// Without a certificate TLS 1.3 tells the client only when it reads.
	if f, err := dial(transport.ClientTLS(&tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"})); err == nil {
		select {
		case <-f.Closed():
		case <-ctx.Done():
			t.Error("a client without a certificate stays connected")
		}
	}
	if _, err := dial(transport.ClientTLS(&tls.Config{RootCAs: ca.pool, ServerName: "wrong.example.com"})); err == nil {
		t.Error("the wrong name is taken")
	}
	if _, err := dial(transport.ClientTLS(&tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"})); err == nil {
		t.Error("an unknown authority is taken")
	}
	if _, err := dial(nil); !errors.Is(err, transport.ErrNoTLS) {
		t.Errorf("without configuration: %v", err)
	}
	rec.Wait(t, "the refused client", func() bool { return len(rec.Drops()) >= 1 })
}

// A read deadline that passes while a TLS connection becomes trusted must not break the connection.
func TestTLSSurvivesAMovedDeadline(t *testing.T) {
	rec := newRecorder()
	i, ca, _ := tlsInterface(t, rec, &tls.Config{}, transport.Config{Limits: quickly()})
	c, err := dialTLS(t, i, &tls.Config{RootCAs: ca.pool})
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, request("moved", 1))
	r := bufio.NewReader(c)
	readStatus(t, r)
	rec.WaitMessages(t, 1)[0].Flow.MarkTrusted()
	time.Sleep(2 * quickly().IdleTimeout)
	write(t, c, request("moved", 2))
	if got := readStatus(t, r); got != "SIP/2.0 200 OK" {
		t.Errorf("answered %q", got)
	}
}

func TestDialTLSByName(t *testing.T) {
	rec := newRecorder()
	far, ca, _ := tlsInterface(t, rec, &tls.Config{}, transport.Config{})
	i, _, _ := tlsInterface(t, rec, &tls.Config{}, transport.Config{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg := transport.ClientTLS(&tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"})
	a, err := i.DialTLS(ctx, far.Local(), "carrier-a", cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := i.DialTLS(ctx, far.Local(), "carrier-b", cfg)
	if err != nil || a == b {
		t.Errorf("two names share a connection: %v", err)
	}
	if again, err := i.DialTLS(ctx, far.Local(), "carrier-a", cfg); err != nil || again != a {
		t.Errorf("the same name has another connection: %v", err)
	}
	if _, err := i.Dial(ctx, far.Local()); !errors.Is(err, transport.ErrNoTLS) {
		t.Errorf("dialling without ClientTLS: %v", err)
	}
}

// A panic in the owner's TLS callback ends that connection, and leaves nothing of it.
func TestPanicInHandshake(t *testing.T) {
	rec := newRecorder()
	i := serve(t, transport.Config{Network: transport.TLS, TLS: func() *tls.Config { panic("a fault of ours") }}, rec)
	for n := range 2 {
		if c, err := net.Dial("tcp", i.Local().String()); err == nil { // else it was reset already
			_ = c.SetDeadline(time.Now().Add(patience))
			ends(t, c)
			_ = c.Close()
		}
		rec.Wait(t, "the drop", func() bool { return len(rec.Drops()) == n+1 })
	}
	if d := rec.Drops()[0]; d.Why != verdict.Internal {
		t.Errorf("dropped for %q", d.Why)
	}
	if trusted, strangers := i.ConnectionCounts(); trusted+strangers != 0 {
		t.Errorf("%d connections are left", trusted+strangers)
	}
}
