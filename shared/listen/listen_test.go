package listen

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/conffile"
	"brickhouse/shared/pki"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
)

func TestIsHost(t *testing.T) {
	for _, s := range []string{"a", "example.com", "example.com.", "sip-1.example.com", "192.0.2.1", "2001:db8::1", "4.example", strings.Repeat("a", 63) + ".b"} {
		if !IsHost(s) {
			t.Errorf("%q is none", s)
		}
	}
	for _, s := range []string{
		"", ".", "..", "a..b", ".a", "-a", "a-", "a.-b", "a b", "a_b", "a:5060", "192.0.2.1:5060", "[2001:db8::1]", "fe80::1%eth0", "sip:a",
		"a@b", "a/b", "a\"b", "a\r\nb", "caf\u00e9.example", strings.Repeat("a", 64), strings.Repeat("a.", 130),
	} {
		if IsHost(s) {
			t.Errorf("%q is one", s)
		}
	}
}

func at(network, addr string) Interface {
	return Interface{Transport: network, Listen: netip.MustParseAddrPort(addr)}
}

func web(network, path string, origins ...string) Interface {
	i := at(network, "192.0.2.1:443")
	i.Path, i.Origins = path, origins
	return i
}

func TestNoWebSocket(t *testing.T) {
	fs := NoWebSocket("peer", []Interface{at("tls", "192.0.2.1:5061"), web("wss", "/"), web("ws", "/"), at("udp", "192.0.2.1:5060")})
	if len(fs) != 2 || fs[0].Key != "peer.interfaces[1].transport" || fs[1].Key != "peer.interfaces[2].transport" {
		t.Errorf("%v", fs)
	}
}

func TestCheck(t *testing.T) {
	named := Identity{Certificate: "c", Key: "k"}
	advertised := at("udp", "192.0.2.1:5060")
	advertised.Advertise = "a b"
	for name, c := range map[string]struct {
		list []Interface
		id   Identity
		want string // key: problem, of the one fault; empty: none
	}{
		"nothing":           {nil, Identity{}, ""},
		"udp and tcp":       {[]Interface{at("udp", "192.0.2.1:5060"), at("tcp", "192.0.2.1:5060")}, Identity{}, ""},
		"tls":               {[]Interface{at("tls", "192.0.2.1:5061")}, named, ""},
		"tls and tcp":       {[]Interface{at("tls", "192.0.2.1:5060"), at("tcp", "192.0.2.1:5060")}, named, "x.interfaces[1].listen: is also x.interfaces[0]"},
		"twice":             {[]Interface{at("udp", "192.0.2.1:5060"), at("udp", "192.0.2.1:5060")}, Identity{}, "x.interfaces[1].listen: is also x.interfaces[0]"},
		"taken elsewhere":   {[]Interface{at("udp", "192.0.2.9:5060")}, Identity{}, "x.interfaces[0].listen: is also y.interfaces[3]"},
		"no address":        {[]Interface{{Transport: "udp"}}, Identity{}, "x.interfaces[0].listen: is no address:port"},
		"no port":           {[]Interface{at("udp", "192.0.2.1:0")}, Identity{}, "x.interfaces[0].listen: is no address:port"},
		"no certificate":    {[]Interface{at("tls", "192.0.2.1:5061")}, Identity{Key: "k"}, "x.tls: certificate and key"},
		"no key":            {[]Interface{at("tls", "192.0.2.1:5061")}, Identity{Certificate: "c"}, "x.tls: certificate and key"},
		"no good name":      {[]Interface{advertised}, Identity{}, `x.interfaces[0].advertise: advertise "a b"`},
		"wss":               {[]Interface{web("wss", "/ws", "https://a.example", "*")}, named, ""},
		"ws":                {[]Interface{web("ws", "")}, Identity{}, ""},
		"wss, no identity":  {[]Interface{web("wss", "")}, Identity{}, "x.tls: certificate and key"},
		"wss and tcp":       {[]Interface{web("wss", ""), at("tcp", "192.0.2.1:443")}, named, "x.interfaces[1].listen: is also x.interfaces[0]"},
		"no path":           {[]Interface{web("wss", "ws")}, named, `x.interfaces[0].path: "ws" is no path`},
		"path with a query": {[]Interface{web("wss", "/ws?a=b")}, named, `x.interfaces[0].path: "/ws?a=b" is no path`},
		"no origin":         {[]Interface{web("wss", "/", "https://a.example", "a.example")}, named, `x.interfaces[0].origins[1]: origin "a.example"`},
		"origins":           {[]Interface{web("wss", "/", slices.Repeat([]string{"*"}, maxOrigins+1)...)}, named, "x.interfaces[0].origins: has more than 100"},
		"path of tls":       {[]Interface{web("tls", "/ws")}, named, "x.interfaces[0]: path and origins have no effect on tls"},
		"origins of udp":    {[]Interface{web("udp", "", "*")}, Identity{}, "x.interfaces[0]: path and origins have no effect on udp"},
		"needs no identity": {[]Interface{at("tcp", "192.0.2.1:5061")}, Identity{}, ""},
	} {
		taken := map[string]string{"192.0.2.9:5060/udp": "y.interfaces[3]"}
		fs := Check("x", c.list, TLS{Identity: c.id}, taken)
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

// TestFile holds how interfaces stand in a file.
func TestFile(t *testing.T) {
	var f struct {
		Interfaces []Interface `yaml:"interfaces"`
	}
	_, err := conffile.Parse("f", []byte("interfaces:\n  - {listen: \"192.0.2.1:5061\"}\n  - {transport: udp, listen: \"[::]:5060\", advertise: sip.example.com}\n"), &f)
	if err != nil {
		t.Fatal(err)
	}
	if f.Interfaces[0].Transport != "tls" || f.Interfaces[1].Transport != "udp" || f.Interfaces[1].Advertise != "sip.example.com" {
		t.Errorf("%+v", f.Interfaces)
	}
	if _, err := conffile.Parse("f", []byte("interfaces: [{transport: sctp, listen: \"192.0.2.1:5061\"}]"), &f); err == nil {
		t.Error("an unknown transport, and nothing is said")
	}
}

// identity writes a certificate for 127.0.0.1.
func identity(t *testing.T) (Identity, *x509.CertPool) {
	t.Helper()
	ca, err := pki.NewAuthority("test", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id := Identity{Certificate: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key")}
	issue(t, ca, id, pki.Server)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return id, pool
}

func issue(t *testing.T, ca *pki.Authority, id Identity, use pki.Use) {
	t.Helper()
	pair, err := ca.Issue(pki.Request{Name: "x", DNS: []string{"x.test"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Use: use, Life: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Write(id.Certificate, id.Key); err != nil {
		t.Fatal(err)
	}
}

func TestCertificates(t *testing.T) {
	id, _ := identity(t)
	if certs, err := Certificates("x", []Interface{at("udp", "127.0.0.1:1")}, TLS{Identity: Identity{Certificate: "not there"}}); certs != nil || err != nil {
		t.Errorf("nobody needs one: %v, %v", certs, err)
	}
	if certs, err := Certificates("x", []Interface{at("udp", "127.0.0.1:1"), at("tls", "127.0.0.1:1")}, TLS{Identity: id}); certs == nil || err != nil {
		t.Errorf("%v, %v", certs, err)
	}
	_, err := Certificates("x", []Interface{at("tls", "127.0.0.1:1")}, TLS{Identity: Identity{Certificate: "/not/there", Key: "/not/there"}})
	if err == nil || !strings.HasPrefix(err.Error(), "x.tls: /not/there: ") {
		t.Errorf("%v", err)
	}
	if _, err := id.Load(pki.Client); err == nil {
		t.Error("a server's certificate is taken for a client's")
	}
}

// TestOpen binds, serves and closes one socket of each kind.
func TestOpen(t *testing.T) {
	id, pool := identity(t)
	list := []Interface{at("udp", "127.0.0.1:0"), at("tcp", "127.0.0.1:0"), at("tls", "127.0.0.1:0"),
		{Transport: "wss", Listen: netip.MustParseAddrPort("127.0.0.1:0"), Path: "/ws", Origins: []string{"*"}}, at("ws", "127.0.0.1:0")}
	certs, err := Certificates("x", list, TLS{Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	open, err := Open("x", list, certs, transport.Config{}, &transporttest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(open)
	Serve(open)
	for n, want := range []string{"x-0 udp", "x-1 tcp", "x-2 tls", "x-3 wss", "x-4 ws"} {
		if got := open[n].Name() + " " + string(open[n].Network()); got != want {
			t.Errorf("interface %d is %s, want %s", n, got, want)
		}
	}
	if w := open[3].Config().WebSocket; w.Path != "/ws" || len(w.Origins) != 1 || open[4].Config().WebSocket.Path != "/" {
		t.Errorf("WebSocket %+v", w)
	}
	conn, err := tls.Dial("tcp", open[2].Local().String(), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestOpenFails leaves nothing bound, and names the key and the address.
func TestOpenFails(t *testing.T) {
	first, err := Open("x", []Interface{at("tcp", "127.0.0.1:0")}, nil, transport.Config{}, &transporttest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(first)
	probe, err := Open("x", []Interface{at("tcp", "127.0.0.1:0")}, nil, transport.Config{}, &transporttest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	free := probe[0].Local()
	Close(probe)
	list := []Interface{at("tcp", free.String()), at("tcp", first[0].Local().String())}
	if _, err := Open("y", list, nil, transport.Config{}, &transporttest.Recorder{}); err == nil ||
		!strings.HasPrefix(err.Error(), "y.interfaces[1].listen: ") || !strings.Contains(err.Error(), first[0].Local().String()) {
		t.Errorf("%v", err)
	}
	again, err := Open("x", list[:1], nil, transport.Config{}, &transporttest.Recorder{})
	if err != nil {
		t.Fatalf("a socket stays bound after a failed Open: %v", err)
	}
	Close(again)
}
