package border

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
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/listen"
	"brickhouse/shared/pki"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

const domain = "example.com"

// Hosts of a rig's network, and ports.
const (
	accessHost   = 101
	peerHost     = 102
	exchangeHost = 110
	carrierHost  = 60

	accessTLS  = 5061
	accessPort = 5060 // UDP and TCP
	peerPort   = 5080 // UDP and TCP
	peerTLS    = 5081
)

// rig is a border on a network of its own on loopback, and a scripted exchange behind it.
type rig struct {
	testing.TB
	b        *Border
	cfg      Config
	prefix   string // "127.a.b."
	dir      string
	ca       *pki.Authority
	resolver names
	exchange *transactiontest.Party
	link     *transport.Flow // core link, as the exchange sees it
}

// newRig starts a border and waits for its core link.
func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := prepare(t)
	if change != nil {
		change(&r.cfg)
	}
	r.exchange = r.newExchange(exchangeHost, "pbx.test")
	r.start()
	r.link = r.exchange.Opened()
	r.eventually("the core link", func() bool { return r.b.core.current() != nil })
	return r
}

// prepare makes a rig whose border does not run yet.
func prepare(t testing.TB) *rig {
	t.Helper()
	r := &rig{TB: t, dir: t.TempDir(), ca: authority, resolver: names{}}
	r.claim()
	if err := pki.WriteFile(r.path("ca.crt"), r.ca.CertPEM()); err != nil {
		t.Fatal(err)
	}
	r.issue("edge", pki.Server, domain)
	r.issue("core", pki.Client, "sbc.test")
	r.cfg = r.config()
	return r
}

// claim finds a network of 256 addresses that no other test uses.
func (r *rig) claim() {
	for range 1000 {
		r.prefix = fmt.Sprintf("127.%d.%d.", 10+rand.IntN(60), rand.IntN(256))
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

// config is a border with every kind of socket, and a trunk with two gateways.
func (r *rig) config() Config {
	c := Default()
	on := func(network string, host, port int) listen.Interface {
		return listen.Interface{Transport: network, Listen: r.at(host, port)}
	}
	edge := listen.Identity{Certificate: r.path("edge.crt"), Key: r.path("edge.key")}
	c.Domain, c.Aliases, c.State = domain, []string{r.addr(accessHost)}, r.path("state")
	c.Access = Access{TLS: listen.TLS{Identity: edge}, SRTP: "allow", Refer: "pass", Events: eventdoc.Packages(), Registration: DefaultRegistration(), Interfaces: []listen.Interface{
		on("tls", accessHost, accessTLS), on("udp", accessHost, accessPort), on("tcp", accessHost, accessPort),
	}}
	c.Peer = Peer{TLS: listen.TLS{Identity: edge}, SRTP: "allow", Interfaces: []listen.Interface{
		on("udp", peerHost, peerPort), on("tcp", peerHost, peerPort), on("tls", peerHost, peerTLS),
	}, DNS: []netip.AddrPort{r.at(253, 53)} /* nobody */, Trunks: []Trunk{{Name: "carrier", Gateways: []Gateway{
		{Address: r.at(carrierHost+1, 5060).String(), Transport: "udp", Priority: 2},
		{Address: r.at(carrierHost, 5060).String(), Transport: "udp", Priority: 1},
	}}}}
	for i := range c.Peer.Trunks {
		c.Peer.Trunks[i] = asLoaded(c.Peer.Trunks[i])
	}
	c.Core = Core{
		Exchange: r.at(exchangeHost, 5070).String(), ServerName: "pbx.test",
		Certificate: r.path("core.crt"), Key: r.path("core.key"), CA: r.path("ca.crt"),
	}
	c.Media.MinPort, c.Media.MaxPort = 20000, 20999
	c.Guard.XDP.Mode, c.Limits.Drain = guard.XDPOff, 0
	c.Guard.Rules = []guard.Rule{
		{Name: "logins", Weights: map[verdict.Reason]int{verdict.BadCredentials: 1, verdict.UnknownUser: 1}, Window: time.Minute, Threshold: 2, Ban: time.Minute},
		{Name: "rubbish", Weights: map[verdict.Reason]int{verdict.MalformedMessage: 1}, Window: time.Minute, Threshold: 3, Ban: time.Minute},
	}
	return c
}

// asLoaded gives a trunk what the file would have given it where it says nothing.
func asLoaded(t Trunk) Trunk {
	var d Trunk
	d.SetDefaults()
	t.Failover, t.Health = d.Failover, d.Health // the rules stay empty: nothing is changed
	return t
}

// start makes the border and runs it until the test ends.
func (r *rig) start() {
	r.Helper()
	r.startWith(telemetry.NewMetrics("sbc", "test"))
}

// startWith does so with metrics that the test looks at.
func (r *rig) startWith(m *telemetry.Metrics) {
	r.Helper()
	b, err := New(r.cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), m)
	if err != nil {
		r.Fatal(err)
	}
	r.b, b.resolver = b, r.resolver
	done := make(chan struct{})
	go func() { defer close(done); b.Run(context.Background()) }()
	r.Cleanup(func() { b.Close(); <-done })
}

// newExchange starts the other end of the core link.
func (r *rig) newExchange(host int, name string) *transactiontest.Party {
	r.Helper()
	r.issue("pbx", pki.Server, name)
	cert, err := pki.Load(r.path("pbx.crt"), r.path("pbx.key"), pki.Check{Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	p := transactiontest.New(r.TB, "exchange")
	p.Pong = true
	p.Listen(transport.TLS, r.at(host, 5070), transport.ServerTLS(&tls.Config{
		Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: r.roots(),
	}))
	return p
}

func (r *rig) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.ca.Cert)
	return pool
}

// phone is a remote phone.
type phone struct {
	*transactiontest.Party
	r    *rig
	user string
	flow *transport.Flow
}

// phone connects a phone from a host of its own.
func (r *rig) phone(user string, network transport.Network, host int) *phone {
	r.Helper()
	p := &phone{Party: transactiontest.New(r.TB, "phone "+user), r: r, user: user}
	p.flow = p.connect(network, host)
	return p
}

func (p *phone) connect(network transport.Network, host int) *transport.Flow {
	p.r.Helper()
	if network == transport.TLS {
		return p.Flow(network, p.r.ip(host), p.r.at(accessHost, accessTLS), p.r.clientTLS())
	}
	return p.Flow(network, p.r.ip(host), p.r.at(accessHost, accessPort), nil)
}

func (r *rig) clientTLS() *tls.Config {
	return transport.ClientTLS(&tls.Config{RootCAs: r.roots(), ServerName: domain})
}

// contact is the phone's own Contact.
func (p *phone) contact() string {
	return "<sip:" + p.user + "@" + p.flow.Local().String() + ";transport=" + string(p.flow.Network()) + ">"
}

// registration is a REGISTER of the phone.
func (p *phone) registration(lines ...string) transactiontest.Ask {
	aor := "sip:" + p.user + "@" + domain
	return transactiontest.NewAsk(sip.REGISTER, "sip:"+domain, aor, aor, append([]string{"Contact: " + p.contact()}, lines...)...)
}

// call is an INVITE of the phone.
func (p *phone) call(number string, lines ...string) transactiontest.Ask {
	a := transactiontest.NewAsk(sip.INVITE, "sip:"+number+"@"+domain, "sip:"+p.user+"@"+domain, "sip:"+number+"@"+domain, lines...)
	a.Body = offer(p.flow.Local().Addr())
	return a
}

// register registers the phone, and returns the token that the exchange knows it by.
func (p *phone) register() string {
	p.r.Helper()
	asked := p.Ask(p.flow, p.registration())
	s := p.r.exchange.Next(sip.REGISTER)
	token := s.Request().Contact().Address.User
	p.r.exchange.Answer(s, 200, "", granted(s))
	asked.Response(200)
	return token
}

// granted is the Contact of the exchange's answer to a REGISTER: registered for a minute.
func granted(s *transaction.Server) string {
	return "Contact: <" + s.Request().Contact().Address.String() + ">;expires=60"
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
	r.eventually(fmt.Sprintf("%d refused: %s", n, why), func() bool { return r.b.metrics.refused.Counts()[why] >= n })
	if got := r.b.metrics.refused.Counts()[why]; got != n {
		r.Errorf("%d refused: %s, want %d", got, why, n)
	}
}

// banned reports who is banned.
func (r *rig) banned() string {
	var out []string
	for _, b := range r.b.guard.List() {
		out = append(out, b.Prefix.String())
	}
	return strings.Join(out, " ")
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

// has fails the test unless a header has that value.
func has(t testing.TB, msg sip.Message, name, want string) {
	t.Helper()
	if got := strings.Join(sipmsg.Headers(msg, name), ", "); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}
