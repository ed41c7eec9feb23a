package border

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// weigh has the guard remember these offences; it bans nobody below the threshold.
func weigh(threshold int, reasons ...verdict.Reason) func(*Config) {
	return func(c *Config) {
		rule := guard.Rule{Name: "all", Weights: map[verdict.Reason]int{}, Window: time.Minute, Threshold: threshold, Ban: time.Minute}
		for _, why := range reasons {
			rule.Weights[why] = 1
		}
		c.Guard.Rules, c.Guard.Evidence = []guard.Rule{rule}, 50
	}
}

// many is a threshold that no test reaches.
const many = 1000

// told waits until the guard knows these offences of a host, each as "reason detail", proved by their sender.
func (r *rig) told(host int, want ...string) {
	r.Helper()
	var got []string
	for end := time.Now().Add(transactiontest.Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		e, _ := r.b.Guard().Why(r.ip(host))
		got = got[:0]
		for _, ev := range e.Evidence {
			got = append(got, strings.TrimSpace(string(ev.Reason)+" "+ev.Detail))
		}
		if len(got) >= len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		r.Errorf("host %d: the guard knows %q, want %q", host, got, want)
	}
}

// dial opens a bare TCP connection from a host.
func (r *rig) dial(host int, to netip.AddrPort) net.Conn {
	r.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.ip(host), 0))}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = c.Close() })
	return c
}

// TestHandshakes: whoever speaks no TLS is told, whoever does not take our certificate as something else.
func TestHandshakes(t *testing.T) {
	r := newRig(t, weigh(many, verdict.HandshakeFailed, verdict.CertificateRefused))
	at := r.at(accessHost, accessTLS)
	if _, err := r.dial(50, at).Write([]byte("OPTIONS sip:100@1.1.1.1 SIP/2.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r.told(50, "handshake-failed handshake-failed")
	_ = r.dial(51, at).Close()
	r.told(51, "handshake-failed handshake-failed")
	p := transactiontest.New(t, "phone")
	distrustful := r.clientTLS()
	distrustful.RootCAs = nil
	distrustful.ServerName = "other.example"
	if _, err := p.Dial(transport.TLS, r.ip(52), at, distrustful); err == nil {
		t.Error("a certificate of another name is taken")
	}
	r.told(52, "certificate-refused certificate-refused")
	r.phone("1001", transport.TLS, 53).register()
	r.told(53)
}

// TestHandshakesBan: the offence leads to a ban like any other.
func TestHandshakesBan(t *testing.T) {
	r := newRig(t, weigh(2, verdict.HandshakeFailed))
	p := r.phone("1001", transport.TCP, 50)
	for range 2 {
		_ = r.dial(50, r.at(accessHost, accessTLS)).Close()
	}
	p.Ended(p.flow)
	if got, want := r.banned(), r.addr(50)+"/32"; got != want {
		t.Errorf("banned: %q, want %q", got, want)
	}
}

// TestCrowd: too many connections are told once for each that is one too many.
func TestCrowd(t *testing.T) {
	r := newRig(t, func(c *Config) {
		weigh(many, verdict.ConnectionLimit)(c)
		c.Limits.PerSource = 2
	})
	for range 4 {
		r.dial(50, r.at(accessHost, accessPort))
	}
	r.dial(51, r.at(accessHost, accessPort))
	r.told(50, "connection-limit", "connection-limit")
	r.told(51)
}

// TestSlowConnections: a stranger's connection that we had to end is told, a registered phone's is not, nor is one that just ended.
func TestSlowConnections(t *testing.T) {
	r := newRig(t, weigh(many, verdict.RequestTimeout, verdict.IdleTimeout, verdict.QueueFull, verdict.TransportFailure, verdict.BadFraming))
	stranger, p := r.phone("1001", transport.TCP, 50), r.phone("1002", transport.TLS, 51)
	stranger.Do(stranger.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:1001@"+domain, "sip:"+domain), 200)
	p.register()
	side := r.b.realms[access]
	flows := map[netip.Addr]*transport.Flow{}
	for _, i := range side.interfaces {
		for _, f := range i.Flows() {
			flows[f.Remote().Addr()] = f
		}
	}
	for _, why := range []verdict.Reason{
		verdict.RequestTimeout, verdict.IdleTimeout, verdict.QueueFull, verdict.TransportFailure, verdict.NormalClearing, verdict.BadFraming, verdict.ConnectionLimit,
	} {
		side.blameClosed(flows[r.ip(50)], why)
		side.blameClosed(flows[r.ip(51)], why)
	}
	r.told(50, "request-timeout", "idle-timeout", "queue-full")
	r.told(51)
	p.flow.Close(verdict.NormalClearing)
	stranger.flow.Close(verdict.NormalClearing)
	r.told(50, "request-timeout", "idle-timeout", "queue-full")
}

// TestAbnormalFlow: messages out of any call or domain are told if their sender is proved, and not what a phone sends again and
// again because we forgot a call.
func TestAbnormalFlow(t *testing.T) {
	r := newRig(t, weigh(many, verdict.UnknownDomain, verdict.UnknownDialog, verdict.StrayACK, verdict.StrayResponse, verdict.TooManyHops,
		verdict.MethodNotAllowed, verdict.ExtensionRequired, verdict.BadURI))
	own, here := "sip:1001@"+domain, "sip:x@"+r.addr(accessHost)
	send := func(network transport.Network, host int) {
		p := r.phone("1001", network, host)
		p.Ask(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:evil.example", own, own))
		for _, a := range []struct {
			ask  transactiontest.Ask
			code int
		}{
			{within(transactiontest.NewAsk(sip.BYE, here, own, own)), 481},
			{within(transactiontest.NewAsk(sip.INFO, here, own, own)), 481},
			{transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, own, own, "Max-Forwards: 0"), 483},
			{transactiontest.NewAsk(sip.NOTIFY, own, own, own), 405},
			{transactiontest.NewAsk(sip.INVITE, own, own, own, "Require: precondition"), 420},
		} {
			p.Do(p.flow, a.ask, a.code)
		}
		p.Ask(p.flow, within(transactiontest.NewAsk(sip.ACK, here, own, own)))
		for _, cseq := range []string{"1 INVITE", "1 BYE"} {
			res := "SIP/2.0 200 OK\r\nVia: SIP/2.0/" + network.Via() + " " + r.addr(accessHost) + ":5060;branch=z9hG4bKx\r\nFrom: <sip:a@b.c>;tag=1\r\n" +
				"To: <sip:c@d.e>;tag=2\r\nCall-ID: 1\r\nCSeq: " + cseq + "\r\nContent-Length: 0\r\n\r\n"
			if err := p.flow.Send([]byte(res)); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(transport.TCP, 50)
	r.told(50, "unknown-domain OPTIONS", "unknown-dialog BYE", "too-many-hops OPTIONS", "stray-ack ACK", "stray-response BYE")
	send(transport.UDP, 51)
	r.refused(verdict.StrayResponse, 4)
	r.told(51)
	if e, known := r.b.Guard().Why(r.ip(51)); known {
		t.Errorf("a datagram is held against its sender: %+v", e)
	}
}

// TestScannerSignature: a scanner is told by its name and gets the same answers as anybody.
func TestScannerSignature(t *testing.T) {
	r := newRig(t, weigh(many, verdict.ScannerSignature, verdict.BadCredentials))
	p := r.phone("1001", transport.TCP, 50)
	ping := func(lines ...string) transactiontest.Ask {
		return transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:100@"+domain, "sip:"+domain, lines...)
	}
	p.Do(p.flow, ping("User-Agent: Friendly-Scanner"), 200)
	p.Do(p.flow, ping("User-Agent: Linphone/5.2"), 200)
	odd := ping()
	odd.From = "\"x\" <sip:100@1.1.1.1>;tag=1"
	p.Do(p.flow, odd, 200)
	silent := ping("User-Agent: sipcli/v1.8")
	silent.URI = "sip:evil.example"
	p.Ask(p.flow, silent)
	r.told(50, "scanner-signature friendly-scanner", "scanner-signature address-1.1.1.1", "scanner-signature sipcli")
	r.exchange.Quiet()
}

// TestScannerAlone: a scanner's name alone bans nobody and holds nobody, over whatever transport and however often.
func TestScannerAlone(t *testing.T) {
	r := newRig(t, weigh(3, verdict.ScannerSignature, verdict.BadCredentials))
	for _, n := range []transport.Network{transport.UDP, transport.TCP} {
		p := r.phone("1001", n, 50)
		for range 5 {
			p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:100@"+domain, "sip:"+domain, "User-Agent: sipvicious"), 200)
		}
	}
	r.settle()
	if e, _ := r.b.Guard().Why(r.ip(50)); len(e.Bans)+len(e.Held) > 0 || len(e.Evidence) == 0 {
		t.Errorf("why: %+v", e)
	}
}

// TestBadDatagrams: what is no SIP is told as malformed, unproved, but not the STUN by which a phone keeps its NAT open.
func TestBadDatagrams(t *testing.T) {
	r := newRig(t, weigh(1, verdict.MalformedMessage))
	stun := "\x00\x01\x00\x00\x21\x12\xa4\x42transaction1"
	for host, b := range map[int]string{50: stun, 51: "\x00\x01\x02\x03\x04\x05", 52: stun[:19]} {
		p := r.phone("1001", transport.UDP, host)
		if err := p.flow.Send([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	r.refused(verdict.NotSIP, 3)
	for host, held := range map[int]int{50: 0, 51: 1, 52: 1} {
		r.eventually("the guard's word", func() bool { e, _ := r.b.Guard().Why(r.ip(host)); return len(e.Held) == held })
	}
	if got := r.banned(); got != "" {
		t.Errorf("banned: %q", got)
	}
}

// TestMediaStranger: a stranger's media are told with their source, which proves nothing.
func TestMediaStranger(t *testing.T) {
	r := newRig(t, weigh(1, verdict.MediaStranger))
	source := r.at(50, 4000)
	r.b.mediaStranger(anchor.Stranger{Call: "x", Realm: "access", Port: 20000, Source: source, At: time.Now()})
	e, _ := r.b.Guard().Why(r.ip(50))
	if len(e.Bans) != 0 || len(e.Held) != 1 || e.Held[0].Source != source || e.Held[0].Reason != verdict.MediaStranger {
		t.Errorf("why: %+v", e)
	}
}

// hold puts the address and port of a connection on hold, as forged datagrams in its name do.
func (r *rig) hold(f *transport.Flow) {
	r.Helper()
	r.b.Guard().Offence(guard.Offence{Source: f.Local(), Reason: verdict.MalformedMessage})
	if v := r.b.Guard().AdmitDatagram(f.Local()); v.Reason != verdict.SourceHeld {
		r.Fatalf("%v is not on hold: %v", f.Local(), v)
	}
}

// TestHeldConnection: behind an address with good registrations, the connection that offends ends, and nothing that it sent after that
// goes on. Others from its address stay and new ones are let in; a hold that was forged ends nothing.
func TestHeldConnection(t *testing.T) {
	r := newRig(t, weigh(1, verdict.MalformedMessage, verdict.UnknownDomain))
	p, other := r.phone("1001", transport.TLS, 50), r.phone("1002", transport.TCP, 50)
	other.register()
	p.register()
	r.hold(p.flow)
	p.register() // nobody silences a connection by forging its address

	var both []byte
	for _, uri := range []string{"sip:evil.example", "sip:1002@" + domain} {
		both = append(both, "INVITE "+uri+" SIP/2.0\r\nVia: SIP/2.0/TLS "+r.addr(50)+";branch=z9hG4bK"+uri[4:8]+"\r\nFrom: <sip:1001@example.com>;tag=1\r\n"+
			"To: <sip:1002@example.com>\r\nCall-ID: "+uri[4:8]+"\r\nCSeq: 1 INVITE\r\nContact: "+p.contact()+"\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"...)
	}
	if err := p.flow.Send(both); err != nil {
		t.Fatal(err)
	}
	p.Ended(p.flow)
	r.settle()
	r.exchange.Quiet()
	other.register()
	p.flow = p.connect(transport.TLS, 50)
	p.register()
	if got := r.banned(); got != "" {
		t.Errorf("banned: %q", got)
	}
}

// TestFreeConnection: without a hold the same offence ends no connection.
func TestFreeConnection(t *testing.T) {
	r := newRig(t, weigh(1, verdict.MalformedMessage))
	p := r.phone("1001", transport.TLS, 50)
	p.Ask(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:evil.example", "sip:1001@"+domain, "sip:1001@"+domain))
	p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:1001@"+domain, "sip:"+domain), 200)
}
