package border

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/stun/v3"

	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
)

// again ends the border and starts another one on the same state.
func (r *rig) again() {
	r.Helper()
	r.b.Close()
	r.exchange.Ended(r.link)
	r.start()
	r.link = r.exchange.Opened()
	r.eventually("the core link", func() bool { return r.b.core.current() != nil })
}

// TestRegistrationsComeBack: a phone over UDP is reachable after a restart without a word of its own, and where phones over
// connections were registered is still known.
func TestRegistrationsComeBack(t *testing.T) {
	r := newRig(t, nil)
	p, far, left := r.phone("1001", transport.UDP, 50), r.phone("1002", transport.TLS, 51), r.phone("1003", transport.UDP, 52)
	ask := p.registration()
	p.bound(ask, "3600")
	far.bound(far.registration(), "3600")
	left.bound(left.registration(), "3600")
	bye := left.registration()
	bye.Lines = []string{"Contact: " + left.contact() + ";expires=0"}
	asked := left.Ask(left.flow, bye)
	r.exchange.Answer(r.exchange.Next(sip.REGISTER), 200, "")
	asked.Response(200)

	r.again()
	held := r.b.cache.All()
	if len(held) != 1 || held[0].AOR != "1001@example.com" || held[0].Flow.Remote() != p.flow.Local() || !held[0].Proven {
		t.Fatalf("bindings %+v", held)
	}
	if got := held[0].Contact.String(); "<"+got+">" != p.contact() {
		t.Errorf("contact %s", got)
	}
	for host, want := range map[int]string{50: "known", 51: "known", 52: "stranger"} {
		if got := r.b.guard.Test(r.ip(host), accessPort, false).Source; got != want {
			t.Errorf("host %d: source is %q, want %q", host, got, want)
		}
	}
	ask.Seq++
	p.bound(ask, "3600") // the first refresh asks the exchange, which may be another one as well
	ask.Seq++
	p.Do(p.flow, ask, 200)
}

// TestKeepAlive keeps the NAT of a phone over UDP open, once for all its accounts; connections need none.
func TestKeepAlive(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Access.Registration.KeepAlive = 50 * time.Millisecond })
	p := r.phone("1001", transport.UDP, 50)
	p.bound(p.registration(), "3600")
	same := &phone{Party: p.Party, r: r, user: "1002", flow: p.flow}
	same.bound(same.registration(), "3600")
	far := r.phone("1003", transport.TLS, 51)
	far.bound(far.registration(), "3600")
	if flows := r.b.datagramFlows(); len(flows) != 1 || flows[0].Remote() != p.flow.Local() {
		t.Errorf("flows %v", flows)
	}

	conn := r.rawUDP(52)
	r.registerRaw(conn)
	buf := make([]byte, 2048)
	_ = conn.SetReadDeadline(time.Now().Add(transactiontest.Patience))
	for n := 0; ; {
		var err error
		if n, err = conn.Read(buf); err != nil {
			t.Fatal("no keep-alive:", err)
		}
		if string(buf[:n]) == "\r\n\r\n" {
			return
		}
	}
}

// TestStun answers the STUN keep-alive of a registered phone with where it is seen, and nobody else's: RFC 5626 §4.4.2.
func TestStun(t *testing.T) {
	r := newRig(t, nil)
	ping, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		t.Fatal(err)
	}
	stranger, phone := r.rawUDP(53), r.rawUDP(52)
	r.registerRaw(phone)
	for _, c := range []*net.UDPConn{stranger, phone} {
		if _, err := c.Write(ping.Raw); err != nil {
			t.Fatal(err)
		}
	}
	_ = phone.SetReadDeadline(time.Now().Add(transactiontest.Patience))
	buf := make([]byte, 2048)
	var res stun.Message
	for res.Type != stun.BindingSuccess {
		n, err := phone.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if transport.IsSTUN(buf[:n]) {
			if err := stun.Decode(buf[:n], &res); err != nil {
				t.Fatal(err)
			}
		}
	}
	var at stun.XORMappedAddress
	if err := at.GetFrom(&res); err != nil || at.String() != phone.LocalAddr().String() || res.TransactionID != ping.TransactionID {
		t.Errorf("%v: %s, of %s", err, at, phone.LocalAddr())
	}
	_ = stranger.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // both were sent before, over one socket of the border's
	if n, err := stranger.Read(buf); err == nil {
		t.Errorf("a stranger got %x", buf[:n])
	}
}

// rawUDP is a socket of a phone's that knows no SIP.
func (r *rig) rawUDP(host int) *net.UDPConn {
	r.Helper()
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(r.at(host, 0)), net.UDPAddrFromAddrPort(r.at(accessHost, accessPort)))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.Close() })
	return conn
}

// registerRaw registers a phone there.
func (r *rig) registerRaw(conn *net.UDPConn) {
	r.Helper()
	at := conn.LocalAddr().String()
	fmt.Fprintf(conn, "REGISTER sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\nFrom: <sip:1004@%[1]s>;tag=1\r\n"+
		"To: <sip:1004@%[1]s>\r\nCall-ID: raw\r\nCSeq: 1 REGISTER\r\nContact: <sip:1004@%[2]s>\r\nContent-Length: 0\r\n\r\n", domain, at)
	s := r.exchange.Next(sip.REGISTER)
	r.exchange.Answer(s, 200, "", "Contact: <"+s.Request().Contact().Address.String()+">;expires=3600")
	buf := make([]byte, 2048)
	_ = conn.SetReadDeadline(time.Now().Add(transactiontest.Patience))
	for {
		n, err := conn.Read(buf)
		if err != nil {
			r.Fatal(err)
		}
		if bytes.HasPrefix(buf[:n], []byte("SIP/2.0 200 ")) {
			return
		}
	}
}
