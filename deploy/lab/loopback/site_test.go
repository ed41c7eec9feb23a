package loopback

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"

	"brickhouse/shared/control"
)

const domain = "brickhouse.test"

// The ports of every site; they lie below those that systems give out themselves.
const (
	tlsPort   = 17061 // access
	udpPort   = 17060 // access, where a site has it, and the phones' port of the exchange
	trunkPort = 17080 // peer
	corePort  = 17070
	apiPort   = 17075
)

// options are what tests change in a site's configuration.
type options struct {
	Ring       string // of the exchange
	MinExpires string // of both
	AccessUDP  bool
	AccessWS   bool // WebSockets, for the page of websocket_test.go
	Second     bool // a second certificate, and those of phones demanded: clientcert_test.go
	AccessSRTP string
	Refer      string // of the border's access; empty: as it is
	PeerRefer  string // of its peer
	Threshold  int
	Window     string
	Ban        string
	Hold       string
	Weights    string // of the rule
	Allow      string // list
	Trunk      string // lines of the trunk in sbc.yaml
	Username   string // of the trunk
	AuthRealm  string
	Register   string // of the trunk, as the exchange has it
	NonceLife  string
	Dialplan   string // more rules
	LogLevel   string
	Drain      string // of both
	API        bool   // of the exchange
}

// site is one installation of both programs.
type site struct {
	t      testing.TB
	opt    options
	prefix string // "127.a.b."
	dir    string
	roots  *x509.CertPool
	border *program
	pbx    *program
	next   *atomic.Int32 // how many phones have an address
}

// in is the site as a subtest uses it.
func (s *site) in(t testing.TB) *site {
	c := *s
	c.t = t
	return &c
}

// newSite writes the configuration of a site with quickstart, changes it, and starts nothing.
func newSite(t testing.TB, change func(*options)) *site {
	t.Helper()
	s := &site{t: t, next: new(atomic.Int32), opt: options{Ring: "3m", MinExpires: "1s", AccessSRTP: "require", Threshold: 5, Window: "1m", Ban: "5m",
		Hold: "30s", Weights: "{bad-credentials: 1, unknown-user: 1}", Allow: "[]", NonceLife: "5m", LogLevel: "info", Drain: "0s"}}
	if change != nil {
		change(&s.opt)
	}
	s.claim()
	var err error
	if s.dir, err = os.MkdirTemp("", "bh-"); err != nil { // short: it holds Unix sockets
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	must(t, "pbx", "quickstart", s.dir, "--address", s.addr(10))
	must(t, "sbc", "quickstart", s.dir, "--address", s.addr(1))
	s.configure()
	pem, err := os.ReadFile(s.path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in ca.crt")
	}
	return s
}

// open makes a site and starts both programs.
func open(t testing.TB, change func(*options)) *site {
	t.Helper()
	s := newSite(t, change)
	s.startExchange()
	s.startBorder()
	return s
}

// claim finds a network of 256 addresses that no other test uses.
func (s *site) claim() {
	for range 1000 {
		s.prefix = fmt.Sprintf("127.%d.%d.", 130+rand.IntN(100), rand.IntN(256))
		c, err := net.ListenPacket("udp", s.addr(254)+":17000")
		if err != nil {
			continue
		}
		s.t.Cleanup(func() { c.Close() })
		return
	}
	s.t.Fatal("no network on loopback is free")
}

func (s *site) addr(host int) string { return fmt.Sprintf("%s%d", s.prefix, host) }

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// Path is path, for the templates.
func (s *site) Path(name string) string { return s.path(name) }

// Addr is addr, for the templates.
func (s *site) Addr(host int) string { return s.addr(host) }

// Opt are the options, for the templates.
func (s *site) Opt() options { return s.opt }

// configure writes the three files that a site is made of.
func (s *site) configure() {
	s.t.Helper()
	s.write("sbc.yaml", s.render(borderYAML))
	s.write("pbx.yaml", s.render(exchangeYAML))
	s.write("dialplan.yaml", s.render(dialplanYAML))
}

func (s *site) render(text string) string {
	s.t.Helper()
	var b strings.Builder
	if err := template.Must(template.New("").Parse(text)).Execute(&b, s); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const borderYAML = `
domain: brickhouse.test
aliases: [{{.Addr 1}}]
state: {{.Path "sbc-state"}}
control: {{.Path "sbc.sock"}}
log: {format: json, level: {{.Opt.LogLevel}}, burst: 0}
access:
  interfaces:
    - {transport: tls, listen: "{{.Addr 1}}:17061"}
{{- if .Opt.AccessUDP}}
    - {transport: udp, listen: "{{.Addr 1}}:17060"}
    - {transport: tcp, listen: "{{.Addr 1}}:17060"}
{{- end}}
{{- if .Opt.AccessWS}}
    - {transport: wss, listen: "{{.Addr 1}}:17443", path: /sip, origins: ["https://phone.brickhouse.test"]}
    - {transport: ws, listen: "{{.Addr 1}}:17480"}
{{- end}}
  tls: {certificate: {{.Path "sbc.crt"}}, key: {{.Path "sbc.key"}}
{{- if .Opt.Second}}, client: require, client_ca: {{.Path "phones-ca.crt"}},
    certificates: [{certificate: {{.Path "second.crt"}}, key: {{.Path "second.key"}}}]{{end}}}
  srtp: {{.Opt.AccessSRTP}}
{{- if .Opt.AccessWS}}
  keys: {websocket: sdes} # siptest's phones are softphones; a browser is in deploy/lab/product
{{- end}}
{{- with .Opt.Refer}}
  refer: {{.}}
{{- end}}
  registration: {least: {{.Opt.MinExpires}}}
peer:
  interfaces:
    - {transport: udp, listen: "{{.Addr 2}}:17080"}
    - {transport: tcp, listen: "{{.Addr 2}}:17080"}
{{- with .Opt.PeerRefer}}
  refer: {{.}}
{{- end}}
{{- with .Opt.Trunk}}
  trunks:
{{.}}
{{- end}}
core:
  exchange: "{{.Addr 10}}:17070"
  certificate: {{.Path "sbc-core.crt"}}
  key: {{.Path "sbc-core.key"}}
  ca: {{.Path "ca.crt"}}
  media: {bind: {{.Addr 3}}}
media: {min_port: 20000, max_port: 20999}
limits: {drain: {{.Opt.Drain}}}
guard:
  xdp: {mode: "off"}
  hold: {{.Opt.Hold}}
  allow: {{.Opt.Allow}}
  rules:
    - {name: logins, weights: {{.Opt.Weights}}, window: {{.Opt.Window}}, threshold: {{.Opt.Threshold}}, ban: {{.Opt.Ban}}}
`

const exchangeYAML = `
domain: brickhouse.test
aliases: [{{.Addr 10}}]
state: {{.Path "pbx-state"}}
control: {{.Path "pbx.sock"}}
log: {format: json, level: {{.Opt.LogLevel}}, burst: 0}
{{- if .Opt.API}}
api: {listen: "{{.Addr 10}}:17075", certificate: {{.Path "pbx.crt"}}, key: {{.Path "pbx.key"}}}
{{- end}}
core:
  listen: "{{.Addr 10}}:17070"
  certificate: {{.Path "pbx.crt"}}
  key: {{.Path "pbx.key"}}
  ca: {{.Path "ca.crt"}}
phones:
  interfaces:
    - {transport: udp, listen: "{{.Addr 10}}:17060"}
    - {transport: tcp, listen: "{{.Addr 10}}:17060"}
  networks: [127.0.0.0/8]
media: {min_port: 30000, max_port: 30999}
music: {on_hold: false} # holds go across as they come
secrets:
  store: file
  file: {path: {{.Path "secrets"}}, key: {{.Path "secrets.key"}}}
{{- if .Opt.Trunk}}
trunks:
  - {name: carrier, domain: {{.Addr 60}}, username: "{{.Opt.Username}}", auth_realm: "{{.Opt.AuthRealm}}"{{with .Opt.Register}}, register: {{.}}{{end}}}
{{- end}}
dialplan: {{.Path "dialplan.yaml"}}
digest: {nonce_life: {{.Opt.NonceLife}}}
limits: {ring: {{.Opt.Ring}}, min_expires: {{.Opt.MinExpires}}, drain: {{.Opt.Drain}}}
`

const dialplanYAML = `
rules:
  - {number: "*43", do: echo}
  - {number: "*44", do: milliwatt}
  - {number: "0900.", do: refuse}
{{.Opt.Dialplan}}
  - {number: "1XXX", do: extension}
`

func (s *site) startBorder() {
	s.t.Helper()
	s.border = s.begin(s.border, "sbc")
}

func (s *site) startExchange() {
	s.t.Helper()
	s.pbx = s.begin(s.pbx, "pbx")
}

// begin starts a program, or starts it again, and waits until it serves. The border also has to reach the exchange, if
// that runs.
func (s *site) begin(p *program, name string) *program {
	s.t.Helper()
	if p == nil {
		p = launch(s.t, name, "serve", "-c", s.path(name+".yaml"))
	} else {
		p.start()
	}
	eventually(s.t, name+" to serve", func() string {
		if !p.running() {
			s.t.Fatalf("%s did not start:\n%s", name, p.out)
		}
		if err := s.ask(name, "GET", "/calls", nil, nil); err != nil {
			return err.Error()
		}
		return ""
	})
	if s.pbx != nil && name == "sbc" && s.pbx.running() {
		s.awaitLink()
	}
	return p
}

// awaitLink waits until the border has reached the exchange.
func (s *site) awaitLink() {
	s.t.Helper()
	s.awaitMetric("sbc", "core_link_up", "", 1)
}

// ask sends a request to a program's admin socket.
func (s *site) ask(name, method, path string, in, out any) error {
	c := control.NewClient(s.path(name + ".sock"))
	defer c.Close()
	return c.Do(within(s.t, patience), method, path, in, out)
}

// get reads JSON from a program's admin socket.
func (s *site) get(name, path string, out any) {
	s.t.Helper()
	if err := s.ask(name, "GET", path, nil, out); err != nil {
		s.t.Fatalf("%s %s: %v", name, path, err)
	}
}

// extension adds extensions. Their password is password(number).
func (s *site) extension(numbers ...string) {
	s.t.Helper()
	for _, n := range numbers {
		in := map[string]string{"number": n, "name": "Phone " + n, "password": password(n)}
		if err := s.ask("pbx", "POST", "/extensions", in, nil); err != nil {
			s.t.Fatalf("adding extension %s: %v", n, err)
		}
	}
}

func password(number string) string { return "correct horse " + number }

// tls is what phones outside trust.
func (s *site) tls() *tls.Config { return &tls.Config{RootCAs: s.roots, ServerName: domain} }

// record is a line of the call records.
type record struct {
	ID, Trace, Caller, Callee, Dialled, Direction, Trunk, Realm, Disposition, Reason string

	Transferor, Transferee string
	Causer                 string
	Mailbox                string
	Forwarder, Forward     string
	Group                  string
	TransferOf             string `json:"transfer_of"`

	Code       int
	Start, End string
	Answer     string
	Duration   float64
	Billable   int
}

// records reads all call records of a caller.
func (s *site) records(caller string) []record {
	s.t.Helper()
	files, err := filepath.Glob(s.path("pbx-state/cdr/cdr-*.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	var out []record
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var r record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				if !strings.HasSuffix(line, "\n") {
					continue // being written
				}
				s.t.Fatalf("%s: %v: %q", f, err, line)
			}
			if r.Caller == caller {
				out = append(out, r)
			}
		}
	}
	return out
}

// recorded waits until a caller has n records, and returns the last.
func (s *site) recorded(caller string, n int) record {
	s.t.Helper()
	var all []record
	eventually(s.t, fmt.Sprintf("%d call records of %s", n, caller), func() string {
		if all = s.records(caller); len(all) < n {
			return fmt.Sprintf("there are %d", len(all))
		}
		return ""
	})
	if len(all) != n {
		s.t.Fatalf("%d records of %s instead of %d: %+v", len(all), caller, n, all)
	}
	return all[n-1]
}

// ip is an address of the site.
func (s *site) ip(host int) netip.Addr { return netip.MustParseAddr(s.addr(host)) }
