package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameServer runs a name server on loopback, UDP and TCP, until the test ends.
func nameServer(t *testing.T, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Skipf("the TCP port of %s is taken: %v", at, err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handle}, {Listener: l, Handler: handle}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() { defer close(done); s.ActivateAndServe() }() //nolint:errcheck // ends with Shutdown
		<-started
		t.Cleanup(func() { s.Shutdown(); <-done }) //nolint:errcheck // the test is over
	}
	return at
}

// serveZone answers from a zone's lines; an answer over UDP is cut to what fits.
func serveZone(z *zone) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		res := new(dns.Msg)
		res.SetReply(q)
		rrs, _, err := z.Query(context.Background(), dns.CanonicalName(q.Question[0].Name)[:len(q.Question[0].Name)-1], q.Question[0].Qtype) //nolint:staticcheck // not used
		if errors.Is(err, ErrNoRecord) {
			res.Rcode = dns.RcodeNameError
		}
		res.Answer = rrs
		if w.RemoteAddr().Network() == "udp" {
			res.Truncate(udpSize)
		}
		w.WriteMsg(res) //nolint:errcheck // the client will say
	}
}

// A whole look-up by RFC 3263 over the wire.
func TestServers(t *testing.T) {
	lines := []string{
		`carrier.test. 300 NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.`,
		`_sip._udp.carrier.test. 300 SRV 1 0 5070 gw.carrier.test.`,
		`gw.carrier.test. 300 A 192.0.2.7`, `gw.carrier.test. 300 AAAA 2001:db8::7`,
	}
	for i := range 60 { // too long for a datagram
		lines = append(lines, fmt.Sprintf("_sip._udp.long.test. 300 SRV %d 0 5060 a-rather-long-name-%d.carrier.test.", i, i))
	}
	at := nameServer(t, serveZone(newZone(t, lines...)))
	l := NewLocator(LocatorConfig{DNS: Servers{at}, Networks: []string{UDP}, Random: func(int) int { return 0 }, Clock: time.Now})
	hops, err := l.Locate(t.Context(), Gateway{Host: "carrier.test", Network: Auto})
	if err != nil || len(hops) != 2 || hops[0].String() != "udp 192.0.2.7:5070" || hops[1].String() != "udp [2001:db8::7]:5070" {
		t.Errorf("%v, %v", hops, err)
	}
	rrs, ttl, err := Servers{at}.Query(t.Context(), "_sip._udp.long.test", dns.TypeSRV)
	if err != nil || len(rrs) != 60 || ttl != 300*time.Second {
		t.Errorf("a long answer: %d records, %v, %v", len(rrs), ttl, err)
	}
	if _, _, err := (Servers{at}).Query(t.Context(), "nothing.test", dns.TypeA); !errors.Is(err, ErrNoRecord) {
		t.Errorf("no such name: %v", err)
	}
}

// The next name server is asked when one is broken, lies about the question, or is not there.
func TestServersInTurn(t *testing.T) {
	good := nameServer(t, serveZone(newZone(t, "gw.test. 60 A 192.0.2.1")))
	refusing := nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused)) //nolint:errcheck // the client will say
	})
	lying := nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		q.Question[0].Name = "other.test."
		res := new(dns.Msg)
		res.SetReply(q)
		rr, _ := dns.NewRR("other.test. 60 A 192.0.2.66")
		res.Answer = []dns.RR{rr}
		w.WriteMsg(res) //nolint:errcheck // the client will say
	})
	rrs, _, err := Servers{refusing, lying, good}.Query(t.Context(), "gw.test", dns.TypeA)
	if err != nil || len(rrs) != 1 || rrs[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Errorf("%v, %v", rrs, err)
	}
	if _, _, err := (Servers{refusing}).Query(t.Context(), "gw.test", dns.TypeA); err == nil || errors.Is(err, ErrNoRecord) {
		t.Errorf("refused: %v", err)
	}
	if _, _, err := (Servers{}).Query(t.Context(), "gw.test", dns.TypeA); err == nil || errors.Is(err, ErrNoRecord) {
		t.Errorf("nobody to ask: %v", err)
	}
}

// A CNAME that holds for a shorter time than what it leads to decides.
func TestAnswers(t *testing.T) {
	var m dns.Msg
	for _, l := range []string{"a.test. 30 CNAME b.test.", "b.test. 300 A 192.0.2.1"} {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	rrs, ttl, err := answers(&m, dns.TypeA)
	if err != nil || len(rrs) != 1 || ttl != 30*time.Second {
		t.Errorf("%v, %v, %v", rrs, ttl, err)
	}
}

func TestSystemServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("search test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver rubbish\nnameserver 192.0.2.54\nnameserver 192.0.2.55\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := SystemServers(path)
	if err != nil || len(s) != maxServers || s[0].String() != "192.0.2.53:53" || s[1].String() != "[2001:db8::53]:53" {
		t.Errorf("%v, %v", s, err)
	}
	if s, err := SystemServers(path + ".not"); err == nil {
		t.Errorf("no file: %v", s)
	}
	if _, err := NameFile().LookupNetIP(t.Context(), "ip", "no-such-name.invalid"); err == nil {
		t.Error("a name that stands in no file is known")
	}
}
