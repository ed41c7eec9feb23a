package exchange

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/digest"
	"brickhouse/shared/listen"
	"brickhouse/shared/pki"
	"brickhouse/shared/secret"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

const (
	domain   = "example.com"
	password = "correct horse battery"
)

// Hosts of a rig's network, and ports.
const (
	exchangeHost = 110
	borderHost   = 103

	phonePort  = 5060 // UDP and TCP
	securePort = 5061
	corePort   = 5070
)

const plan = `rules:
  - {number: "*43", do: echo}
  - {number: "0.", do: trunk, trunk: carrier, strip: 1}
  - {from: carrier, number: "4930123", extension: "1001"}
  - {number: "1XXX", do: extension}
`

// rig is an exchange on a network of its own on loopback.
type rig struct {
	*testing.T
	x      *Exchange
	cfg    Config
	prefix string // "127.a.b."
	dir    string
	ca     *pki.Authority
}

// newRig starts an exchange with the extensions 1001 and 1002.
func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := prepare(t)
	if change != nil {
		change(&r.cfg)
	}
	r.start()
	for _, n := range []string{"1001", "1002"} {
		if err := r.x.AddExtension(t.Context(), store.Extension{Number: n, Name: "Phone " + n}, password); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// prepare makes a rig whose exchange does not run yet.
func prepare(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir()}
	r.claim()
	var err error
	if r.ca, err = pki.NewAuthority("test", time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := pki.WriteFile(r.path("ca.crt"), r.ca.CertPEM()); err != nil {
		t.Fatal(err)
	}
	r.issue("pbx", pki.Server, "pbx.test")
	if err := secret.CreateFile(r.path("secrets"), r.path("secrets.key")); err != nil {
		t.Fatal(err)
	}
	r.write("dialplan.yaml", plan)
	r.cfg = r.config()
	return r
}

// claim finds a network of 256 addresses that no other test uses.
func (r *rig) claim() {
	for range 1000 {
		r.prefix = fmt.Sprintf("127.%d.%d.", 70+rand.IntN(40), rand.IntN(256))
		c, err := net.ListenPacket("udp", r.addr(254)+":17000")
		if err != nil {
			continue
		}
		r.Cleanup(func() { c.Close() })
		return
	}
	r.Fatal("no network on loopback is free")
}

func (r *rig) addr(host int) string { return fmt.Sprintf("%s%d", r.prefix, host) }

func (r *rig) ip(host int) netip.Addr { return netip.MustParseAddr(r.addr(host)) }

func (r *rig) at(host, port int) netip.AddrPort { return netip.AddrPortFrom(r.ip(host), uint16(port)) }

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) {
	r.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}

// issue writes name.crt and name.key.
func (r *rig) issue(name string, use pki.Use, host string) {
	r.Helper()
	pair, err := r.ca.Issue(pki.Request{Name: host, DNS: []string{host}, Use: use, Life: time.Hour}, time.Now())
	if err != nil {
		r.Fatal(err)
	}
	if err := pair.Write(r.path(name+".crt"), r.path(name+".key")); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) config() Config {
	c := Default()
	on := func(network string, port int) listen.Interface {
		return listen.Interface{Transport: network, Listen: r.at(exchangeHost, port)}
	}
	c.Domain, c.Aliases, c.State, c.Dialplan = domain, []string{"alias.test"}, r.path("state"), r.path("dialplan.yaml")
	id := listen.Identity{Certificate: r.path("pbx.crt"), Key: r.path("pbx.key")}
	c.Core = Core{Listen: r.at(exchangeHost, corePort), Certificate: id.Certificate, Key: id.Key, CA: r.path("ca.crt"), Border: "sbc.test"}
	c.Phones = Phones{TLS: listen.TLS{Identity: id}, Interfaces: []listen.Interface{on("udp", phonePort), on("tcp", phonePort), on("tls", securePort)}}
	c.Secrets.File = secret.FileConfig{Path: r.path("secrets"), Key: r.path("secrets.key")}
	c.Trunks = []Trunk{{Name: "carrier", Domain: "carrier.test", Username: "account"}}
	c.Media.MinPort, c.Media.MaxPort = 30000, 30999
	c.Limits.MinExpires, c.Limits.Drain = time.Second, 0
	return c
}

func (r *rig) try() (*Exchange, error) {
	return New(r.Context(), r.cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), telemetry.NewMetrics("pbx", "test"))
}

// start makes the exchange and runs it until the test ends, or the returned function is called.
func (r *rig) start() (stop func()) {
	r.Helper()
	x, err := r.try()
	if err != nil {
		r.Fatal(err)
	}
	r.x = x
	done := make(chan struct{})
	go func() { defer close(done); x.Run(context.Background()) }()
	ended := false
	stop = func() {
		if !ended {
			ended = true
			x.Close()
			<-done
		}
	}
	r.Cleanup(stop)
	return stop
}

func (r *rig) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.ca.Cert)
	return pool
}

// phone is a phone inside.
type phone struct {
	*transactiontest.Party
	r        *rig
	user     string
	password string
	flow     *transport.Flow
	lines    []string // header lines of each request: what the border would add
	nc       uint32
}

func (r *rig) phone(user string, network transport.Network, host int) *phone {
	r.Helper()
	p := &phone{Party: transactiontest.New(r.T, "phone "+user), r: r, user: user, password: password}
	switch network {
	case transport.TLS:
		p.flow = p.Flow(network, r.ip(host), r.at(exchangeHost, securePort), transport.ClientTLS(&tls.Config{RootCAs: r.roots(), ServerName: "pbx.test"}))
	case transport.UDP: // at a port of its own, to be called at
		p.flow = p.Listen(network, r.at(host, 5060), nil).FlowTo(r.at(exchangeHost, phonePort))
	default:
		p.flow = p.Flow(network, r.ip(host), r.at(exchangeHost, phonePort), nil)
	}
	return p
}

// borderTLS is the border's side of the core link, with a certificate of that name.
func (r *rig) borderTLS(name string) *tls.Config {
	r.Helper()
	r.issue("sbc", pki.Client, name)
	cert, err := pki.Load(r.path("sbc.crt"), r.path("sbc.key"), pki.Check{Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	return transport.ClientTLS(&tls.Config{RootCAs: r.roots(), ServerName: "pbx.test", Certificates: []tls.Certificate{*cert}})
}

// border connects as the border, and makes itself known.
func (r *rig) border() *phone {
	r.Helper()
	p := &phone{Party: transactiontest.New(r.T, "border"), r: r, password: password}
	p.flow = p.Flow(transport.TLS, r.ip(borderHost), r.at(exchangeHost, corePort), r.borderTLS("sbc.test"))
	p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:"+domain, "sip:"+domain), 200)
	return p
}

// remote is a phone behind the border.
func (p *phone) remote(user, flow string) *phone {
	return &phone{Party: p.Party, r: p.r, user: user, password: password, flow: p.flow, lines: []string{"Brickhouse-Realm: access", "Brickhouse-Flow: " + flow, "Brickhouse-Trace: trace-" + user}}
}

func (p *phone) contact() string {
	local := p.flow.Local()
	if i := p.flow.Interface().Local(); i.IsValid() {
		local = i
	}
	return fmt.Sprintf("<sip:%s@%s;transport=%s>", p.user, local, p.flow.Network())
}

func (p *phone) registration(lines ...string) transactiontest.Ask {
	aor := "sip:" + p.user + "@" + domain
	return transactiontest.NewAsk(sip.REGISTER, "sip:"+domain, aor, aor, append(append([]string{"Contact: " + p.contact()}, p.lines...), lines...)...)
}

func (p *phone) call(number string, lines ...string) transactiontest.Ask {
	a := transactiontest.NewAsk(sip.INVITE, "sip:"+number+"@"+domain, "sip:"+p.user+"@"+domain, "sip:"+number+"@"+domain, append(append([]string(nil), p.lines...), lines...)...)
	a.Body = offer(p.flow.Local().Addr())
	return a
}

// answering is a request once more, with credentials for the challenge in res.
func (p *phone) answering(a transactiontest.Ask, res *sip.Response) transactiontest.Ask {
	p.r.Helper()
	name, answer := "WWW-Authenticate", "Authorization: "
	if res.StatusCode == 407 {
		name, answer = "Proxy-Authenticate", "Proxy-Authorization: "
	}
	p.nc++
	v, _, err := digest.Answer(sipmsg.Headers(res, name), digest.Password(p.user, p.password), digest.Asked{
		Username: p.user, Method: string(a.Method), URI: a.URI, Cnonce: "c", NC: p.nc,
	})
	if err != nil {
		p.r.Fatal(err)
	}
	return a.With(answer + v)
}

// with sends a request twice: for the challenge, and with credentials.
func (p *phone) with(a transactiontest.Ask, challenge int) (*transactiontest.Asked, transactiontest.Ask) {
	p.r.Helper()
	p.nc = 0
	a = p.answering(a, p.Do(p.flow, a, challenge))
	return p.Ask(p.flow, a), a
}

// register registers the phone.
func (p *phone) register(lines ...string) *sip.Response {
	p.r.Helper()
	asked, _ := p.with(p.registration(lines...), 401)
	return asked.Response(200)
}

// invite calls a number with credentials.
func (p *phone) invite(number string, lines ...string) (*transactiontest.Asked, transactiontest.Ask) {
	p.r.Helper()
	return p.with(p.call(number, lines...), 407)
}

func offer(addr netip.Addr) string {
	return "v=0\r\no=- 1 1 IN IP4 " + addr.String() + "\r\ns=-\r\nc=IN IP4 " + addr.String() + "\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
}

// eventually waits until cond holds.
func (r *rig) eventually(what string, cond func() bool) {
	r.Helper()
	for end := time.Now().Add(transactiontest.Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if cond() {
			return
		}
	}
	r.Fatalf("waiting for %s in vain", what)
}

// refused waits until so many messages were refused for a reason.
func (r *rig) refused(why verdict.Reason, n uint64) {
	r.Helper()
	r.eventually(fmt.Sprintf("%d refused: %s", n, why), func() bool { return r.x.metrics.refused.Counts()[why] >= n })
}

// has fails the test unless a header has that value.
func has(t testing.TB, msg sip.Message, name, want string) {
	t.Helper()
	if got := strings.Join(sipmsg.Headers(msg, name), ", "); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// lacks fails the test if a message holds one of these texts.
func lacks(t testing.TB, msg sip.Message, texts ...string) {
	t.Helper()
	whole := string(sipmsg.Bytes(msg))
	for _, text := range texts {
		if strings.Contains(strings.ToLower(whole), strings.ToLower(text)) {
			t.Errorf("%q stands in\n%s", text, whole)
		}
	}
}

// calledOff answers an INVITE that is cancelled; the channel is closed then.
func calledOff(p *transactiontest.Party, s *transaction.Server) <-chan struct{} {
	done := make(chan struct{})
	s.OnCancel(func() {
		defer close(done)
		p.Answer(s, 487, "")
	})
	return done
}
