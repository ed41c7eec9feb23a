package border

import (
	"crypto/tls"
	"os"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/pki"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// TestCarrierByName: a carrier is known by the name in its certificate from whatever address; another name, or none, is nobody's.
func TestCarrierByName(t *testing.T) {
	carriers, err := pki.NewAuthority("carriers", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var file string
	r := newRig(t, func(c *Config) {
		file = c.Peer.TLS.Certificate + "-carriers"
		if err := os.WriteFile(file, carriers.CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Peer.TLS.Client, c.Peer.TLS.ClientCA = "request", file
		c.Peer.Trunks[0].TLSNames = []string{"GW.carrier.test"}
	})
	connect := func(host int, names ...string) (*transactiontest.Party, *transport.Flow) {
		conf := r.clientTLS()
		if len(names) > 0 {
			pair, err := carriers.Issue(pki.Request{Name: names[0], DNS: names, Use: pki.Client, Life: time.Hour}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			cert, err := pair.TLS()
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{cert}
		}
		p := transactiontest.New(t, "carrier")
		return p, p.Flow(transport.TLS, r.ip(host), r.at(peerHost, peerTLS), conf)
	}
	call := func() transactiontest.Ask {
		return transactiontest.NewAsk(sip.INVITE, "sip:4930123@"+r.addr(peerHost), "sip:0170555@carrier.test", "sip:4930123@carrier.test")
	}
	p, f := connect(70, "other.test", "gw.carrier.test")
	asked := p.Ask(f, call())
	s := r.exchange.Next(sip.INVITE)
	has(t, s.Request(), "Brickhouse-Trunk", "carrier")
	r.exchange.Answer(s, 486, "")
	asked.Response(486)
	for n, names := range [][]string{{"carrier.test"}, {"*.carrier.test"}, nil} {
		p, f := connect(71+n, names...)
		p.Ask(f, call())
		r.refused(verdict.UnknownPeer, uint64(n+1))
	}
	r.settle()
	r.exchange.Quiet()
}
