package exchange

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

func TestContactAddr(t *testing.T) {
	for contact, want := range map[string]string{
		"sip:a@10.0.0.5:5070": "10.0.0.5:5070", "sip:10.0.0.5": "10.0.0.5:5060", "sip:a@[2001:db8::1]:5070": "[2001:db8::1]:5070",
		"sip:a@[::ffff:10.0.0.5]": "10.0.0.5:5060", "sip:a@phone.local": "", "nonsense": "", "": "",
	} {
		got, ok := contactAddr(&store.Binding{ContactURI: contact, Network: "udp"})
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v %v, want %s", contact, got, ok, want)
		}
	}
	if got, _ := contactAddr(&store.Binding{ContactURI: "sip:a@10.0.0.5", Network: "tls"}); got.Port() != 5061 {
		t.Errorf("TLS without a port: %v", got)
	}
}

// TestPhone holds where a phone inside is called.
func TestPhone(t *testing.T) {
	r := newRig(t, nil)
	remote := r.at(50, 40000)
	binding := func(network, contact, flow string) *store.Binding {
		return &store.Binding{Network: network, ContactURI: contact, Remote: remote, FlowID: flow, Interface: "phones-9"}
	}
	call := func(b *store.Binding) (*transport.Flow, error) { return lines{r.x}.Phone(b)(t.Context()) }

	for name, c := range map[string]struct{ contact, want string }{
		"its contact":        {"sip:a@" + r.addr(50) + ":5070", r.addr(50) + ":5070"},
		"no port":            {"sip:a@" + r.addr(50), r.addr(50) + ":5060"},
		"behind a NAT":       {"sip:a@192.168.1.9:5060", remote.String()},
		"a name":             {"sip:a@phone.local", remote.String()},
		"somebody else":      {"sip:a@" + r.addr(51) + ":5060", remote.String()},
		"what can't be read": {"nonsense", remote.String()},
	} {
		f, err := call(binding("udp", c.contact, ""))
		if err != nil || f.Remote().String() != c.want || f.Interface().Name() != "phones-0" {
			t.Errorf("%s: %v, %v, want %s", name, f, err, c.want)
		}
	}
	if _, err := call(binding("sctp", "sip:a@"+r.addr(50), "")); err == nil {
		t.Error("a network that we don't listen on")
	}

	p := r.phone("1001", transport.TCP, 50)
	p.register()
	row := r.x.Store().Bindings("1001", r.x.now())[0]
	f, err := call(row)
	if err != nil || f.Remote() != p.flow.Local() {
		t.Fatalf("by the connection that it came by: %v, %v", f, err)
	}
	p.flow.Close(verdict.NormalClearing)
	r.eventually("the connection to end", func() bool { _, live := f.Interface().Flow(f.ID()); return !live })
	for name, contact := range map[string]string{"a name": "sip:a@phone.local", "somebody else": "sip:a@" + r.addr(51) + ":5060"} {
		if f, err := call(binding("tcp", contact, "gone")); err == nil {
			t.Errorf("%s is called at %s", name, f.Remote())
		}
	}
	listener := transactiontest.New(t, "phone that listens")
	at := listener.Listen(transport.TCP, r.at(50, 5060), nil).Local()
	if f, err = call(binding("tcp", "sip:a@"+at.String(), "gone")); err != nil || f.Remote() != at {
		t.Errorf("at its contact: %v, %v", f, err)
	}
	secure := listener.Listen(transport.TLS, r.at(50, 5061), r.serverTLS("pbx"))
	if f, err = call(binding("tls", "sip:a@"+r.addr(50), "gone")); err != nil || f.Remote() != secure.Local() {
		t.Errorf("over TLS, with a certificate that nobody knows: %v, %v", f, err)
	}
}

func TestPhoneInterface(t *testing.T) {
	r := newRig(t, nil)
	for b, want := range map[*store.Binding]string{
		{Network: "tcp", Interface: "phones-1"}: "phones-1", {Network: "tcp", Interface: "phones-0"}: "phones-1",
		{Network: "udp"}: "phones-0", {Network: "tls", Interface: "gone"}: "phones-2",
	} {
		if i := r.x.phoneInterface(b); i == nil || i.Name() != want {
			t.Errorf("%s %s: %v", b.Network, b.Interface, i)
		}
	}
}

func TestPass(t *testing.T) {
	src := request(t, "INVITE", "Subject: hello\r\nX-Own: 1\r\nContent-Type: application/sdp\r\nAlert-Info: <urn:alert:x>\r\nAuthorization: Digest x\r\nUser-Agent: y\r\nAllow: INVITE\r\n")
	dst := sip.NewRequest(sip.INVITE, sip.Uri{Host: "x"})
	pass(dst, src)
	has(t, dst, "Subject", "hello")
	has(t, dst, "Content-Type", "application/sdp")
	has(t, dst, "Alert-Info", "<urn:alert:x>")
	lacks(t, dst, "X-Own", "Authorization", "User-Agent", "Allow")
}

func request(t *testing.T, method, lines string) *sip.Request {
	t.Helper()
	msg, err := sipmsg.Parse([]byte(method + " sip:x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 " + method + "\r\n" + lines + "Content-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*sip.Request)
}

// TestTrunkAuth answers a carrier's challenge, in its realm only.
func TestTrunkAuth(t *testing.T) {
	r := newRig(t, nil)
	req := request(t, "INVITE", "")
	challenge := func(code int, realm string) *sip.Response {
		res := sipmsg.Response(req, code, "", "")
		name := "WWW-Authenticate"
		if code == 407 {
			name = "Proxy-Authenticate"
		}
		res.AppendHeader(sip.NewHeader(name, `Digest realm="`+realm+`", nonce="n", qop="auth", algorithm=SHA-256`))
		return res
	}
	trunk := Trunk{Name: "carrier", Username: "account"}
	if _, err := r.x.trunkAuth(trunk)(req, challenge(401, "a")); err == nil || !strings.Contains(err.Error(), "carrier") {
		t.Errorf("no password, and: %v", err)
	}
	if err := r.x.SetTrunkPassword(t.Context(), "carrier", "pass word"); err != nil {
		t.Fatal(err)
	}
	for code, name := range map[int]string{401: "Authorization", 407: "Proxy-Authorization"} {
		h, err := r.x.trunkAuth(trunk)(req, challenge(code, "any"))
		if err != nil || h.Name() != name {
			t.Fatalf("%d: %v, %v", code, h, err)
		}
		c, err := digest.ParseCredentials(h.Value())
		if err != nil || c.Username != "account" || c.URI != "sip:x" || !c.Verify(digest.HA1(digest.SHA256, "account", "any", "pass word"), "INVITE") {
			t.Errorf("%d: %s, %v", code, h.Value(), err)
		}
	}
	trunk.AuthRealm = "right"
	if h, err := r.x.trunkAuth(trunk)(req, challenge(407, "wrong")); err == nil {
		t.Errorf("another realm gets %s", h.Value())
	}
	if _, err := r.x.trunkAuth(trunk)(req, challenge(407, "right")); err != nil {
		t.Error(err)
	}
	if err := r.x.secrets.Put(t.Context(), trunkSecrets+"carrier", map[string]string{"other": "x"}); err != nil {
		t.Fatal(err)
	}
	if h, err := r.x.trunkAuth(trunk)(req, challenge(407, "right")); err == nil {
		t.Errorf("without a password: %s", h.Value())
	}
	if rows := r.x.Store().Trunks(); len(rows) != 1 || rows[0].Name != "carrier" || rows[0].Username != "account" {
		t.Errorf("trunks: %+v", rows)
	}
}

// TestTrunkChallenge takes a call to a carrier through its challenge.
func TestTrunkChallenge(t *testing.T) {
	r := newRig(t, nil)
	if err := SetTrunkPassword(t.Context(), r.x.secrets, "carrier", "secret"); err != nil {
		t.Fatal(err)
	}
	b, p := r.border(), r.phone("1001", transport.UDP, 50)
	asked, _ := p.invite("030555")
	s := b.Next(sip.INVITE)
	if got := s.Request().Recipient.String() + " " + s.Request().From().Address.String(); got != "sip:30555@carrier.test sip:1001@carrier.test" {
		t.Errorf("addresses %s", got)
	}
	has(t, s.Request(), "Brickhouse-Trunk", "carrier")
	has(t, s.Request(), "Proxy-Authorization", "")
	b.Answer(s, 407, "", `Proxy-Authenticate: Digest realm="c", nonce="n", algorithm=MD5`)
	s = b.Next(sip.INVITE)
	v, _ := sipmsg.Header(s.Request(), "Proxy-Authorization")
	if c, err := digest.ParseCredentials(v); err != nil || !c.Verify(digest.HA1(digest.MD5, "account", "c", "secret"), "INVITE") {
		t.Errorf("%q: %v", v, err)
	}
	b.Answer(s, 404, "")
	asked.Response(404)
}
