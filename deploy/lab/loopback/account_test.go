package loopback

import (
	"errors"
	"net"
	"strings"
	"testing"

	"brickhouse/shared/digest"
	"brickhouse/shared/siptest"
)

// account is a carrier's registrar: one account, over UDP.
type account struct {
	t       testing.TB
	conn    *net.UDPConn
	contact chan string // what was registered with the right password
}

func (s *site) account(host int) *account {
	s.t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(s.addr(host)), Port: trunkPort})
	if err != nil {
		s.t.Fatal(err)
	}
	a := &account{t: s.t, conn: conn, contact: make(chan string, 16)}
	done := make(chan struct{})
	go func() { defer close(done); a.serve() }()
	s.t.Cleanup(func() { conn.Close(); <-done })
	return a
}

func (a *account) serve() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		m, bad := siptest.ParseMessage(buf[:n])
		if err != nil || bad != nil || !m.IsRequest() || m.Method != "REGISTER" {
			a.t.Errorf("the registrar received %q, %v, %v", buf[:n], err, bad)
			continue
		}
		if _, err := a.conn.WriteToUDPAddrPort([]byte(a.answer(m, string(buf[:n]))), from); err != nil {
			return
		}
	}
}

// answer challenges, or registers.
func (a *account) answer(m *siptest.Message, text string) string {
	if strings.Contains(strings.ToLower(text), "brickhouse-") || strings.Contains(text, trunkSecret) {
		a.t.Errorf("the registrar learns of the inside:\n%s", text)
	}
	head, more := "SIP/2.0 401 Unauthorized\r\n", `WWW-Authenticate: Digest realm="carrier", nonce="n1", qop="auth", algorithm=SHA-256`
	c, err := digest.ParseCredentials(m.Header("Authorization"))
	if err == nil && c.Username == trunkUser && c.Nonce == "n1" && c.Verify(digest.HA1(digest.SHA256, trunkUser, "carrier", trunkSecret), "REGISTER") {
		head, more = "SIP/2.0 200 OK\r\n", "Contact: "+m.Header("Contact")+";expires=60"
		select {
		case a.contact <- strings.Trim(m.Header("Contact"), "<>"):
		default:
		}
	}
	for _, v := range m.Headers("Via") {
		head += "Via: " + v + "\r\n"
	}
	for _, name := range []string{"From", "Call-ID", "CSeq"} {
		head += name + ": " + m.Header(name) + "\r\n"
	}
	return head + "To: " + m.Header("To") + ";tag=r\r\n" + more + "\r\nContent-Length: 0\r\n\r\n"
}

// TestAccountAtCarrier: the exchange registers at the carrier through the border. What calls the contact is the carrier, from an address
// that nobody has configured, and the account is found again after a restart of either program.
func TestAccountAtCarrier(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	s.opt.Trunk = strings.Replace(s.opt.Trunk, "    - name: carrier", "    - name: carrier\n      register: true", 1)
	s.opt.Trunk = strings.Split(s.opt.Trunk, "\n      sources:")[0]
	s.opt.Register = "10m"
	s.configure()
	registrar := s.account(60)
	if failed := s.border.hup(); failed != "0" {
		t.Fatal(s.border.faulty())
	}
	s.pbx.kill() // other trunks take a restart of the exchange
	s.startExchange()
	s.awaitLink()
	contact := registrar.next()
	s.awaitTrunk()

	away := s.gateway(70, siptest.UDP, nil) // where none of the carrier's gateways is
	phone := s.register(s.config(insideUDP, "1801"))
	for i, restart := range []string{"", "sbc", "pbx"} {
		switch restart {
		case "sbc":
			s.border.kill()
			s.startBorder()
		case "pbx":
			s.pbx.kill()
			s.startExchange()
			s.awaitLink()
			if again := registrar.next(); again != contact {
				t.Errorf("registered as %s, then as %s", contact, again)
			}
			s.awaitTrunk()
		}
		p := connect(t, away.Phone, phone, contact, siptest.WithTo("sip:4930123401@"+s.addr(60)))
		p.talk(t)
		p.hangup(t, i == 0)
	}
	if r := s.recorded("4989555", 3); r.Trunk != "carrier" || r.Dialled != "4930123401" || r.Callee != "1801" {
		t.Errorf("call record %+v", r)
	}
	before := s.metric("sbc", "refused_total", "unknown-peer")
	stranger := s.gateway(71, siptest.UDP, nil)
	call := invite(t, stranger.Phone, "4930123401") // without the contact it is nobody
	eventually(t, "the stranger to be dropped", func() string {
		if s.metric("sbc", "refused_total", "unknown-peer") > before {
			return ""
		}
		return "it is not counted"
	})
	if r := call.Result(); r.Code != 0 {
		t.Errorf("a stranger gets %s", r)
	}
}

func (a *account) next() string {
	a.t.Helper()
	select {
	case c := <-a.contact:
		return c
	case <-within(a.t, patience).Done():
		a.t.Fatal("nobody registers")
		return ""
	}
}

// awaitTrunk waits until the exchange knows that it is registered.
func (s *site) awaitTrunk() {
	s.t.Helper()
	eventually(s.t, "the exchange to be registered", func() string {
		if strings.Contains(s.metrics("pbx"), `brickhouse_pbx_trunk_registered{trunk="carrier"} 1`) {
			return ""
		}
		return "it is not"
	})
}
