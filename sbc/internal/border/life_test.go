package border

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/pki"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// serverTLS is a server with the certificate name.crt.
func (r *rig) serverTLS(name string) *tls.Config {
	r.Helper()
	cert, err := pki.Load(r.path(name+".crt"), r.path(name+".key"), pki.Check{Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	return transport.ServerTLS(&tls.Config{Certificates: []tls.Certificate{*cert}})
}

// authority issues all certificates of the tests, and is the only one that the system knows: gateways are held to that.
var authority *pki.Authority

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bh-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if authority, err = pki.NewAuthority("test", time.Hour, time.Now()); err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "roots.pem")
	if err := errors.Join(pki.WriteFile(file, authority.CertPEM()), os.Setenv("SSL_CERT_FILE", file), os.Setenv("SSL_CERT_DIR", dir)); err != nil {
		panic(err)
	}
	return m.Run()
}

func (r *rig) try() (*Border, error) {
	return New(r.cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), telemetry.NewMetrics("sbc", "test"))
}

// TestStartFails holds that each fault is named, and that nothing stays open.
func TestStartFails(t *testing.T) {
	r := prepare(t)
	good := r.cfg
	stranger, err := pki.NewAuthority("stranger", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := stranger.Pair()
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Write(r.path("other.crt"), r.path("other.key")); err != nil {
		t.Fatal(err)
	}
	taken, err := transport.Listen(transport.Config{Name: "other", Network: transport.UDP, Listen: r.at(peerHost, peerPort)}, r.realm())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
		check  bool // Check finds it, too
	}{
		"state":          {func(c *Config) { c.State = r.path("ca.crt") }, "making the state directory", false},
		"core key":       {func(c *Config) { c.Core.Key = r.path("other.key") }, "core: ", true},
		"core cert":      {func(c *Config) { c.Core.Certificate, c.Core.Key = r.path("edge.crt"), r.path("edge.key") }, "core: ", true},
		"core authority": {func(c *Config) { c.Core.CA = r.path("edge.key") }, "core.ca: ", true},
		"access cert":    {func(c *Config) { c.Access.TLS.Certificate = r.path("nothing") }, "access.tls: ", true},
		"peer cert":      {func(c *Config) { c.Peer.TLS.Key = r.path("other.key") }, "peer.tls: ", true},
		"trunks": {func(c *Config) {
			c.Peer.Trunks = append(c.Peer.Trunks, Trunk{Name: "b", Gateways: c.Peer.Trunks[0].Gateways})
		}, "peer.trunks: ", true},
		"media": {func(c *Config) { c.Media.MinPort = 1 }, "media: ", false},
		"port":  {func(*Config) {}, "peer.interfaces[0].listen: ", false},
	} {
		r.cfg = good
		r.cfg.Peer.Trunks = append([]Trunk(nil), good.Peer.Trunks...)
		c.change(&r.cfg)
		b, err := r.try()
		if err == nil {
			b.Close()
			t.Fatalf("%s: it starts", name)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if err := Check(&r.cfg); (err != nil) != c.check {
			t.Errorf("%s: check says %v", name, err)
		}
	}
	taken.Close()
	r.cfg = good
	if err := Check(&r.cfg); err != nil {
		t.Errorf("check: %v", err)
	}
	b, err := r.try()
	if err != nil {
		t.Fatalf("something stayed open: %v", err)
	}
	b.Close()
	b.Run(t.Context()) // returns, since it is closed
}

// realm is a handler for a socket of somebody else's.
func (r *rig) realm() transport.Handler { return &realm{b: &Border{}, name: core} }

// TestCoreLink: the link comes back, and only an exchange with the right name is taken for one.
func TestCoreLink(t *testing.T) {
	r := newRig(t, nil)
	first := r.b.core.current()
	r.link.Close(verdict.Shutdown)
	r.eventually("another link", func() bool { f := r.b.core.current(); return f != nil && f != first })
	p := r.phone("1001", transport.TLS, 50)
	p.register()

	wrong := prepare(t)
	wrong.exchange = wrong.newExchange(exchangeHost, "other.test")
	wrong.start()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if f, err := wrong.b.core.get(ctx); !errors.Is(err, errCoreDown) {
		t.Errorf("an exchange of another name: %v, %v", f, err)
	}
	if f, err := r.b.core.get(ctx); err != nil || f == nil {
		t.Errorf("%v, %v", f, err)
	}
}

// TestGetWaits: a call that begins while the link is down goes on when it is up.
func TestGetWaits(t *testing.T) {
	r := prepare(t)
	r.start()
	got := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err := r.b.core.get(ctx)
		got <- err
	}()
	r.newExchange(exchangeHost, "pbx.test")
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// TestNeverBanned: the trunks, the exchange and we ourselves can't be banned.
func TestNeverBanned(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Peer.Trunks[0].Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
	for _, addr := range []string{r.addr(carrierHost), "198.51.100.7", r.addr(exchangeHost), "127.0.0.1"} {
		if err := r.b.Guard().Ban(single(netip.MustParseAddr(addr)), time.Minute, "me", ""); err == nil {
			t.Errorf("%s is banned", addr)
		}
	}
}

// TestExchangeByName: an exchange whose address is looked up can't be banned either.
func TestExchangeByName(t *testing.T) {
	r := prepare(t)
	r.cfg.Core.Exchange = "pbx.test:5070"
	r.resolver = names{"pbx.test": r.ip(exchangeHost)}
	r.exchange = r.newExchange(exchangeHost, "pbx.test")
	r.start()
	r.eventually("the core link", func() bool { return r.b.core.current() != nil })
	if err := r.b.Guard().Ban(single(r.ip(exchangeHost)), time.Minute, "me", ""); err == nil {
		t.Error("the exchange is banned")
	}
}

// TestReload takes certificates, trunks and rules, and keeps connections and bindings.
func TestReload(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	token := p.register()
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", r.at(accessHost, accessTLS).String(), r.clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := serial()
	r.issue("edge", pki.Server, domain)
	next := r.cfg
	next.Peer.Trunks = []Trunk{{Name: "new", Gateways: []Gateway{{Address: r.at(carrierHost+5, 5060).String(), Transport: "udp"}}}}
	next.Guard.Rules = next.Guard.Rules[:1]
	next.Guard.Allow = []netip.Prefix{single(r.ip(77))}
	if err := r.b.Reload(next); err != nil {
		t.Fatal(err)
	}
	if serial() == old {
		t.Error("the old certificate is shown")
	}
	if _, ok := r.b.cache.Get(token, r.b.now()); !ok {
		t.Error("the binding is gone")
	}
	p.register()
	r.exchange.Do(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("carrier")), 404)
	carrier, _ := r.carrier(carrierHost + 5)
	asked := r.exchange.Ask(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("new")))
	carrier.Answer(carrier.Next(sip.INVITE), 486, "")
	asked.Response(486)
	for host, allowed := range map[int]bool{carrierHost: false, carrierHost + 5: true, 77: true, 78: false} {
		if e, _ := r.b.Guard().Why(r.ip(host)); (e.Allowed != "") != allowed {
			t.Errorf("host %d is allowed by %q", host, e.Allowed)
		}
	}
}

// TestReloadFails leaves all as it was.
func TestReloadFails(t *testing.T) {
	r := newRig(t, nil)
	leaf := r.b.realms[access].certs.Leaf()
	for name, change := range map[string]func(*Config){
		"trunk": func(c *Config) {
			c.Peer.Trunks = []Trunk{{Name: "a", Gateways: []Gateway{{Address: "a b", Transport: "udp"}}}}
		},
		"guard": func(c *Config) { c.Guard.MaxBans = -1 },
		"certificate": func(*Config) {
			if err := os.WriteFile(r.path("core.crt"), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		r.issue("edge", pki.Server, domain)
		r.issue("core", pki.Client, "sbc.test")
		next := r.cfg
		change(&next)
		if err := r.b.Reload(next); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
		if r.b.realms[access].certs.Leaf() != leaf {
			t.Errorf("%s: half a reload", name)
		}
		if _, ok := r.b.carriers.Trunk("carrier"); !ok {
			t.Errorf("%s: the trunks are gone", name)
		}
	}
}

// TestHangup ends a call by command, and Close ends those that are left.
func TestHangup(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	call := func() {
		ask := p.call("1002", proxyCredentials)
		asked := p.Ask(p.flow, ask)
		r.exchange.Answer(r.exchange.Next(sip.INVITE), 200, offer(r.ip(exchangeHost)))
		p.Ask(p.flow, ask.Within(asked.Response(200), sip.ACK))
		r.exchange.NextAck()
	}
	call()
	if r.b.Hangup("nobody") || !r.b.Hangup(r.b.Calls()[0].ID) {
		t.Error("hang-up by ID")
	}
	p.Answer(p.Next(sip.BYE), 200, "")
	r.exchange.Answer(r.exchange.Next(sip.BYE), 200, "")
	call()
	go r.b.Close()
	p.Answer(p.Next(sip.BYE), 200, "")
	r.exchange.Answer(r.exchange.Next(sip.BYE), 200, "")
	p.Ended(p.flow)
}
