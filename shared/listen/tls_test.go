package listen

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/pki"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
)

func TestCheckTLS(t *testing.T) {
	one, two := Identity{Certificate: "c", Key: "k"}, Identity{Certificate: "d", Key: "l"}
	for name, c := range map[string]struct {
		conf TLS
		want string // key: problem, of the one fault; empty: none
	}{
		"one":                     {TLS{Identity: one, Client: "none"}, ""},
		"a list alone":            {TLS{Certificates: []Identity{one, two}}, ""},
		"both":                    {TLS{Identity: one, Certificates: []Identity{two}}, ""},
		"none":                    {TLS{}, "x.tls: certificate and key"},
		"half a default":          {TLS{Identity: Identity{Key: "k"}, Certificates: []Identity{two}}, "x.tls: certificate and key"},
		"half of one more":        {TLS{Identity: one, Certificates: []Identity{{Key: "l"}}}, "x.tls.certificates[0]: certificate and key"},
		"the default again":       {TLS{Identity: one, Certificates: []Identity{two, one}}, "x.tls.certificates[1]: stands twice"},
		"one twice":               {TLS{Certificates: []Identity{one, two, two}}, "x.tls.certificates[2]: stands twice"},
		"asked, by nobody":        {TLS{Identity: one, Client: "request"}, "x.tls.client_ca: is missing"},
		"demanded, by nobody":     {TLS{Identity: one, Client: "require"}, "x.tls.client_ca: is missing"},
		"an authority for nobody": {TLS{Identity: one, Client: "none", ClientCA: "ca"}, "x.tls.client: is none"},
		"demanded":                {TLS{Identity: one, Client: "require", ClientCA: "ca"}, ""},
		"too many":                {TLS{Identity: one, Certificates: many(101)}, "x.tls.certificates: has more than 100"},
	} {
		fs := Check("x", []Interface{at("tls", "192.0.2.1:5061")}, c.conf, map[string]string{})
		if c.want == "" {
			if len(fs) > 0 {
				t.Errorf("%s: %v", name, fs)
			}
			continue
		}
		if len(fs) != 1 || !strings.HasPrefix(fs[0].String(), c.want) || fs[0].Remedy == "" {
			t.Errorf("%s: %v, want %s", name, fs, c.want)
		}
	}
}

func many(n int) []Identity {
	var out []Identity
	for i := range n {
		out = append(out, Identity{Certificate: strings.Repeat("c", i+2), Key: "k"})
	}
	return out
}

// office is an authority with a directory for its files.
type office struct {
	t    *testing.T
	ca   *pki.Authority
	dir  string
	pool *x509.CertPool
}

func newOffice(t *testing.T) *office {
	t.Helper()
	ca, err := pki.NewAuthority("test", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, ca: ca, dir: t.TempDir(), pool: x509.NewCertPool()}
	o.pool.AddCert(ca.Cert)
	return o
}

// issue writes a certificate for a name and 127.0.0.1.
func (o *office) issue(name string, use pki.Use) Identity {
	o.t.Helper()
	id := Identity{Certificate: filepath.Join(o.dir, name+".crt"), Key: filepath.Join(o.dir, name+".key")}
	pair, err := o.ca.Issue(pki.Request{Name: name, DNS: []string{name}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Use: use, Life: time.Hour}, time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	if err := pair.Write(id.Certificate, id.Key); err != nil {
		o.t.Fatal(err)
	}
	return id
}

// authority writes the authority's certificate.
func (o *office) authority() string {
	o.t.Helper()
	file := filepath.Join(o.dir, "ca.crt")
	if err := os.WriteFile(file, o.ca.CertPEM(), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return file
}

// realm opens one TLS interface.
func realm(t *testing.T, conf TLS, h transport.Handler) (*transport.Interface, *Credentials) {
	t.Helper()
	list := []Interface{at("tls", "127.0.0.1:0")}
	certs, err := Certificates("x", list, conf)
	if err != nil {
		t.Fatal(err)
	}
	open, err := Open("x", list, certs, transport.Config{}, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(open) })
	Serve(open)
	return open[0], certs
}

// shown connects and returns whom the certificate names.
func (o *office) shown(i *transport.Interface, ask string) string {
	o.t.Helper()
	conn, err := tls.Dial("tcp", i.Local().String(), &tls.Config{ServerName: ask, InsecureSkipVerify: true}) //nolint:gosec // what is shown is looked at
	if err != nil {
		o.t.Fatalf("asking for %q: %v", ask, err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

// TestServerNames: each handshake gets the certificate for the name that it asks for, and after a reload the new ones; a
// bad file changes nothing, and no connection ends.
func TestServerNames(t *testing.T) {
	o := newOffice(t)
	first, second := o.issue("a.test", pki.Server), o.issue("b.test", pki.Server)
	i, certs := realm(t, TLS{Identity: first, Certificates: []Identity{second}}, &transporttest.Recorder{})
	for ask, want := range map[string]string{"a.test": "a.test", "b.test": "b.test", "B.TEST": "b.test", "c.test": "a.test", "": "a.test"} {
		if got := o.shown(i, ask); got != want {
			t.Errorf("asked for %q, shown %q, want %q", ask, got, want)
		}
	}
	stays, err := tls.Dial("tcp", i.Local().String(), &tls.Config{ServerName: "b.test", RootCAs: o.pool})
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	old := certs.Leaves()[1].SerialNumber
	if err := os.WriteFile(second.Certificate, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Prepare(); err == nil || certs.Leaves()[1].SerialNumber.Cmp(old) != 0 {
		t.Errorf("a bad file: %v", err)
	}
	o.issue("b.test", pki.Server)
	use, err := certs.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	use()
	if certs.Leaves()[1].SerialNumber.Cmp(old) == 0 {
		t.Error("the old certificate is still shown")
	}
	if _, err := stays.Write([]byte(options + "\r\n\r\n")); err != nil { // answered: RFC 5626 §4.4.1
		t.Fatal(err)
	}
	_ = stays.SetReadDeadline(time.Now().Add(20 * time.Second))
	if b := make([]byte, 2); readFull(stays, b) != nil || string(b) != "\r\n" {
		t.Errorf("the connection from before the reload says %q", b)
	}
}

func readFull(c *tls.Conn, b []byte) error {
	for n := 0; n < len(b); {
		m, err := c.Read(b[n:])
		if err != nil {
			return err
		}
		n += m
	}
	return nil
}

// TestClientCertificates: whether the other side must show a certificate, and what it is called then.
func TestClientCertificates(t *testing.T) {
	o, foreign := newOffice(t), newOffice(t)
	server, client, strange := o.issue("sbc.test", pki.Server), o.issue("phone.test", pki.Client), foreign.issue("phone.test", pki.Client)
	ca := o.authority()
	for _, c := range []struct {
		mode  string
		shown *Identity
		names string // what the flow says of the peer; "refused": no connection
	}{
		{"none", nil, ""}, {"none", &client, ""},
		{"request", nil, ""}, {"request", &client, "phone.test"}, {"request", &strange, "refused"},
		{"require", nil, "refused"}, {"require", &client, "phone.test"}, {"require", &strange, "refused"},
	} {
		conf := TLS{Identity: server, Client: c.mode}
		if c.mode != "none" {
			conf.ClientCA = ca
		}
		got := make(chan string, 1)
		i, _ := realm(t, conf, &transporttest.Recorder{OnMessage: func(f *transport.Flow, _ sip.Message) {
			got <- strings.Join(f.PeerNames(), ",")
		}})
		if names := connect(t, i, o.pool, c.shown, got); names != c.names {
			t.Errorf("%s, shown %v: %q, want %q", c.mode, c.shown, names, c.names)
		}
	}
}

// connect shows a certificate, or none, and returns what the flow says of it.
func connect(t *testing.T, i *transport.Interface, pool *x509.CertPool, show *Identity, got chan string) string {
	t.Helper()
	conf := &tls.Config{ServerName: "sbc.test", RootCAs: pool}
	if show != nil {
		pair, err := tls.LoadX509KeyPair(show.Certificate, show.Key)
		if err != nil {
			t.Fatal(err)
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	conn, err := tls.Dial("tcp", i.Local().String(), conf)
	if err != nil {
		return "refused"
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(options)); err != nil {
		return "refused"
	}
	ended := make(chan struct{})
	go func() { // TLS 1.3 tells a client only afterwards that it is refused
		_, _ = conn.Read(make([]byte, 1))
		close(ended)
	}()
	select {
	case names := <-got:
		return names
	case <-ended:
		return "refused"
	}
}

const options = "OPTIONS sip:a@x SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKa\r\nFrom: <sip:b@x>;tag=1\r\nTo: <sip:a@x>\r\n" +
	"Call-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"

// TestClientAuthorityReload: a new authority is taken into use, and the configuration stays the same while nothing changes.
func TestClientAuthorityReload(t *testing.T) {
	o := newOffice(t)
	conf := TLS{Identity: o.issue("sbc.test", pki.Server), Client: "require", ClientCA: o.authority()}
	certs, err := credentials(conf)
	if err != nil {
		t.Fatal(err)
	}
	before := certs.Server()
	if before != certs.Server() || before.MinVersion != tls.VersionTLS12 {
		t.Error("another configuration at each handshake, or old versions")
	}
	if err := os.WriteFile(conf.ClientCA, newOffice(t).ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	use, err := certs.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	use()
	if certs.Server() == before || certs.Server().ClientCAs.Equal(before.ClientCAs) {
		t.Error("the old authority is still trusted")
	}
	if err := os.WriteFile(conf.ClientCA, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Prepare(); err == nil || !strings.HasPrefix(err.Error(), "client_ca: ") {
		t.Errorf("%v", err)
	}
}
