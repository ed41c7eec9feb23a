package border

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/dialog"
	"brickhouse/shared/pki"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

const proxyCredentials = `Proxy-Authorization: Digest username="1001", realm="example.com", nonce="abc", uri="sip:1002@example.com", response="00000000000000000000000000000000", algorithm=MD5`

// TestCallIn takes a remote phone's call through the challenge to its end.
func TestCallIn(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	ask := p.call("1002", "User-Agent: secret", "X-A: secret", "Brickhouse-Trunk: secret", "Privacy: id", "P-Asserted-Identity: <sip:secret@x.y>")
	ask.From = `"Alice" <sip:1001@` + r.addr(50) + `>;tag=phone-tag`
	asked := p.Ask(p.flow, ask)
	s := r.exchange.Next(sip.INVITE)
	first := s.Request()
	if len(first.Body()) != 0 {
		t.Errorf("a stranger's offer goes inside: %q", first.Body())
	}
	r.exchange.Answer(s, 407, "", `Proxy-Authenticate: Digest realm="example.com", nonce="abc"`, `Brickhouse-Verdict: challenge;nonce=foreign;aor="1001@example.com"`, "Server: pbx")
	res := asked.Response(407)
	has(t, res, "Proxy-Authenticate", `Digest realm="example.com", nonce="abc"`)
	lacks(t, res, "brickhouse", "pbx")

	asked = p.Ask(p.flow, ask.With(proxyCredentials))
	s = r.exchange.Next(sip.INVITE)
	req := s.Request()
	lacks(t, req, r.addr(50), r.addr(accessHost), "secret", "phone-tag", "User-Agent")
	if got := req.Recipient.String(); got != "sip:1002@example.com" {
		t.Errorf("start line names %s", got)
	}
	if got := req.From().Address.String(); got != "sip:1001@example.com" || !strings.Contains(req.From().Value(), "Alice") {
		t.Errorf("From: %s", req.From().Value())
	}
	has(t, req, "Brickhouse-Realm", "access")
	has(t, req, "Brickhouse-Trunk", "")
	has(t, req, "Privacy", "id")
	has(t, req, "Proxy-Authorization", strings.TrimPrefix(proxyCredentials, "Proxy-Authorization: "))
	if id, _ := sipmsg.Header(req, "Brickhouse-Flow"); !mustFlow(t, r, id).Same(mustFlow(t, r, id)) {
		t.Error("no flow")
	}
	if req.CallID().Value() != first.CallID().Value() {
		t.Error("the call that comes again with credentials has another Call-ID")
	}
	inner := r.link.Remote().Addr().String()
	if sdp := string(req.Body()); !strings.Contains(sdp, "c=IN IP4 "+inner) || !strings.Contains(sdp, "RTP/AVP 8") {
		t.Errorf("offer inside: %q", sdp)
	}
	r.exchange.Answer(s, 180, "", "Alert-Info: <http://pbx.internal/ring>")
	lacks(t, asked.Response(180), "pbx", r.addr(exchangeHost))
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	res = asked.Response(200)
	lacks(t, res, r.addr(exchangeHost), "brickhouse", inner+"\r\n")
	if sdp := string(res.Body()); !strings.Contains(sdp, "c=IN IP4 "+r.addr(accessHost)) {
		t.Errorf("answer outside: %q", sdp)
	}
	if c := res.Contact().Address; c.Host != r.addr(accessHost) || c.Port != accessTLS || c.User != "" {
		t.Errorf("Contact: %s", c.String())
	}
	p.Ask(p.flow, ask.Within(res, sip.ACK))
	r.exchange.NextAck()
	if c := r.b.Calls(); len(c) != 1 || c[0].From != "access" || c[0].To != "core" || c[0].Caller != "1001" || c[0].Callee != "1002" || c[0].State != b2bua.StateAnswered {
		t.Errorf("calls: %+v", c)
	}
	bye := p.Ask(p.flow, transactiontest.Ask{Method: sip.BYE, URI: res.Contact().Address.String(), From: ask.From, To: res.To().Value(), CallID: ask.CallID, Seq: 9})
	r.exchange.Answer(r.exchange.Next(sip.BYE), 200, "")
	bye.Response(200)
	r.eventually("the call to end", func() bool { return len(r.b.Calls()) == 0 })
	if r.b.metrics.ended.Counts()[verdict.NormalClearing] != 1 {
		t.Errorf("ended: %v", r.b.metrics.ended.Counts())
	}
}

// TestWithheldMedia: whoever did not say who it is takes no media port, and gets none even if the exchange is careless.
func TestWithheldMedia(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	ask := p.call("1002")
	asked := p.Ask(p.flow, ask)
	s := r.exchange.Next(sip.INVITE)
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	lacks(t, asked.Response(488), "m=audio", "brickhouse")
	r.exchange.NextAck()
	r.exchange.Answer(r.exchange.Next(sip.BYE), 200, "")
	r.eventually("the call to end", func() bool { return len(r.b.Calls()) == 0 })
	if _, err := (withheld{}).Answer(b2bua.B, nil); err == nil {
		t.Error("an answer passes")
	}
	if out, err := (withheld{}).Offer(b2bua.A, []byte(offer(r.ip(50)))); out != nil || err != nil {
		t.Errorf("an offer passes: %q, %v", out, err)
	}
}

// TestSecureMedia: where SRTP is required, plain RTP is refused before the exchange hears of it.
func TestSecureMedia(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Access.SRTP = "require" })
	p := r.phone("1001", transport.TLS, 50)
	p.Do(p.flow, p.call("1002", proxyCredentials), 488)
	r.settle()
	r.exchange.Quiet()
	ask := p.call("1002", proxyCredentials)
	ask.Body = strings.Replace(ask.Body, "RTP/AVP", "RTP/SAVP", 1) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("A", 40) + "\r\n"
	asked := p.Ask(p.flow, ask)
	s := r.exchange.Next(sip.INVITE)
	lacks(t, s.Request(), "crypto", "SAVP", "inline")
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	res := asked.Response(200)
	if sdp := string(res.Body()); !strings.Contains(sdp, "RTP/SAVP 8") || !strings.Contains(sdp, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") {
		t.Errorf("answer: %q", sdp)
	}
	p.Ask(p.flow, ask.Within(res, sip.ACK))
	r.exchange.NextAck()
	r.hang(s, p.Party)
}

// hang ends a call from the exchange's side.
func (r *rig) hang(s *transaction.Server, far *transactiontest.Party) {
	r.Helper()
	bye := r.exchange.Ask(r.link, transactiontest.Back(s.Request(), s.Tag(), sip.BYE))
	far.Answer(far.Next(sip.BYE), 200, "")
	bye.Response(200)
	r.eventually("the call to end", func() bool { return len(r.b.Calls()) == 0 })
}

// callOut is an INVITE of the exchange.
func (r *rig) callOut(uri, to string, lines ...string) transactiontest.Ask {
	a := transactiontest.NewAsk(sip.INVITE, uri, "sip:1002@pbx.internal", to, append([]string{"Brickhouse-Trace: t1", "X-Inside: secret", "Server: pbx"}, lines...)...)
	a.Body = offer(r.ip(exchangeHost))
	return a
}

// TestCallOut takes a call of the exchange to a registered phone.
func TestCallOut(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	token := p.register()
	ask := r.callOut("sip:"+token+"@"+r.link.Remote().String(), "sip:1001@example.com", "Route: <sip:flow@"+r.link.Remote().String()+";lr;ob>")
	asked := r.exchange.Ask(r.link, ask)
	s := p.Next(sip.INVITE)
	req := s.Request()
	lacks(t, req, "brickhouse", "secret", "pbx", r.addr(exchangeHost), token, "Route:")
	if got := "<" + req.Recipient.String() + ">"; got != p.contact() {
		t.Errorf("start line names %s", got)
	}
	if got := req.From().Address.String(); got != "sip:1002@example.com" {
		t.Errorf("From: %s", got)
	}
	if sdp := string(req.Body()); !strings.Contains(sdp, "c=IN IP4 "+r.addr(accessHost)) {
		t.Errorf("offer outside: %q", sdp)
	}
	p.Answer(s, 200, offer(r.ip(50)), "Server: secret-phone", "Brickhouse-Verdict: ok;nonce=known;aor=\"x\"")
	res := asked.Response(200)
	lacks(t, res, "secret", r.addr(50), "verdict", r.addr(accessHost))
	r.exchange.Ask(r.link, ask.Within(res, sip.ACK))
	p.NextAck()
	if c := r.b.Calls(); len(c) != 1 || c[0].Trace != "t1" || c[0].From != "core" || c[0].To != "access" {
		t.Errorf("calls: %+v", c)
	}
	bye := p.Ask(p.flow, transactiontest.Back(req, s.Tag(), sip.BYE))
	r.exchange.Answer(r.exchange.Next(sip.BYE), 200, "")
	bye.Response(200)
}

// TestNobodyThere: a token without a binding is answered with 430, one whose phone is gone too.
func TestNobodyThere(t *testing.T) {
	r := newRig(t, nil)
	r.exchange.Do(r.link, r.callOut("sip:nobody@"+r.link.Remote().String(), "sip:1001@example.com"), 430)
	p := r.phone("1001", transport.TLS, 50)
	token := p.register()
	p.flow.Close(verdict.NormalClearing)
	r.eventually("the binding to go", func() bool { _, ok := r.b.cache.Get(token, r.b.now()); return !ok })
	r.exchange.Do(r.link, r.callOut("sip:"+token+"@"+r.link.Remote().String(), "sip:1001@example.com"), 430)
	r.refused(verdict.NotRegistered, 2)
}

func trunkLine(name string) string { return "Brickhouse-Trunk: " + name }

// TestTrunkOut tries the gateways in their order, and shows the carrier nothing of the inside.
func TestTrunkOut(t *testing.T) {
	r := newRig(t, nil)
	first, _ := r.carrier(carrierHost)
	second, _ := r.carrier(carrierHost + 1)
	ask := r.callOut("sip:49301@carrier.test", "sip:49301@pbx.internal", trunkLine("carrier"), "Proxy-Authorization: Digest username=\"u\", realm=\"c\", nonce=\"n\", uri=\"x\", response=\"00000000000000000000000000000000\"")
	ask.From = "<sip:4930555@from.carrier.test>;tag=inside"
	asked := r.exchange.Ask(r.link, ask)
	s := first.Next(sip.INVITE)
	req := s.Request()
	lacks(t, req, "brickhouse", "secret", "pbx", r.addr(exchangeHost), "inside")
	if got := req.Recipient.String() + " " + req.To().Address.String() + " " + req.From().Address.String(); got != "sip:49301@carrier.test sip:49301@carrier.test sip:4930555@from.carrier.test" {
		t.Errorf("addresses %s", got)
	}
	if v, _ := sipmsg.Header(req, "Proxy-Authorization"); !strings.HasPrefix(v, `Digest username="u"`) {
		t.Errorf("credentials: %q", v)
	}
	if sdp := string(req.Body()); !strings.Contains(sdp, "c=IN IP4 "+r.addr(peerHost)) {
		t.Errorf("offer outside: %q", sdp)
	}
	first.Answer(s, 503, "")
	s = second.Next(sip.INVITE)
	second.Answer(s, 200, offer(r.ip(carrierHost+1)))
	res := asked.Response(200)
	lacks(t, res, r.addr(carrierHost), r.addr(carrierHost+1), r.addr(peerHost))
	r.exchange.Ask(r.link, ask.Within(res, sip.ACK))
	second.NextAck()
	bye := r.exchange.Ask(r.link, ask.Within(res, sip.BYE))
	second.Answer(second.Next(sip.BYE), 200, "")
	bye.Response(200)
	first.Quiet()
}

// TestTrunkRefuses passes on the word of a carrier that was reached.
func TestTrunkRefuses(t *testing.T) {
	r := newRig(t, nil)
	first, _ := r.carrier(carrierHost)
	second, _ := r.carrier(carrierHost + 1)
	for code, header := range map[int]string{404: "", 486: "", 407: `Proxy-Authenticate: Digest realm="c", nonce="n"`} {
		asked := r.exchange.Ask(r.link, r.callOut("sip:49301@x", "sip:49301@x", trunkLine("carrier")))
		var lines []string
		if header != "" {
			lines = []string{header, "Server: carrier-switch"}
		}
		first.Answer(first.Next(sip.INVITE), code, "", lines...)
		res := asked.Response(code)
		lacks(t, res, "carrier-switch")
		if header != "" && !strings.Contains(string(sipmsg.Bytes(res)), header) {
			t.Errorf("no challenge in\n%s", sipmsg.Bytes(res))
		}
	}
	second.Quiet()
}

func TestNoSuchTrunk(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Peer.Trunks = append(c.Peer.Trunks, Trunk{Name: "named", Gateways: []Gateway{{Address: "gw.invalid", Transport: "udp"}}, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
		c.Limits.Calls = 1
	})
	r.exchange.Do(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("nobody")), 404)
	res := r.exchange.Do(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("named")), 503)
	has(t, res, "Retry-After", "5")
	r.refused(verdict.TrunkFailed, 1)
	r.refused(verdict.TrunkDown, 1)
	r.exchange.Do(r.link, r.callOut("sip:x", "sip:1@x", trunkLine("carrier")), 484)
	r.carrier(carrierHost)
	r.exchange.Ask(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("carrier"))) // who says nothing, so it stays
	has(t, r.exchange.Do(r.link, r.callOut("sip:2@x", "sip:2@x", trunkLine("carrier")), 503), "Retry-After", "5")
	r.refused(verdict.Overload, 1)
}

// names is a resolver that knows these names.
type names map[string]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := n[host]; ok {
		return []netip.Addr{a}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return nil, errors.New("no such host")
}

// TestTrunkOverStreams calls gateways by name over TCP and TLS; each is held to its own certificate.
func TestTrunkOverStreams(t *testing.T) {
	r := prepare(t)
	sources := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} // what they call from, not what they are called at
	r.cfg.Peer.Trunks = []Trunk{
		{Name: "tcp", Gateways: []Gateway{{Address: "tcp.test:5060", Transport: "tcp"}}, Sources: sources},
		{Name: "one", Gateways: []Gateway{{Address: "one.test", Transport: "tls"}}, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.101.0/24")}},
		{Name: "two", Gateways: []Gateway{{Address: "two.test", Transport: "tls"}}, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.102.0/24")}},
	}
	r.resolver = names{"tcp.test": r.ip(60), "one.test": r.ip(61), "two.test": r.ip(61)}
	r.exchange = r.newExchange(exchangeHost, "pbx.test")
	r.start()
	r.link = r.exchange.Opened()
	r.eventually("the core link", func() bool { return r.b.core.current() != nil })
	plain := transactiontest.New(t, "tcp carrier")
	plain.Listen(transport.TCP, r.at(60, 5060), nil)
	asked := r.exchange.Ask(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("tcp")))
	plain.Answer(plain.Next(sip.INVITE), 486, "")
	asked.Response(486)

	r.issue("one", pki.Server, "one.test")
	secure := transactiontest.New(t, "tls carrier")
	secure.Listen(transport.TLS, r.at(61, 5061), r.serverTLS("one"))
	asked = r.exchange.Ask(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("one")))
	secure.Answer(secure.Next(sip.INVITE), 486, "")
	asked.Response(486)
	r.exchange.Do(r.link, r.callOut("sip:1@x", "sip:1@x", trunkLine("two")), 503) // same address, another name
	secure.Quiet()
}

// TestCallFromTrunk takes a carrier's call to the exchange.
func TestCallFromTrunk(t *testing.T) {
	r := newRig(t, nil)
	carrier, f := r.carrier(carrierHost)
	ask := transactiontest.NewAsk(sip.INVITE, "sip:4930123@"+r.addr(peerHost), "sip:0170555@carrier.test", "sip:4930123@carrier.test", "Brickhouse-Trunk: other", "Brickhouse-Realm: access")
	ask.Body = offer(r.ip(carrierHost))
	asked := carrier.Ask(f, ask)
	s := r.exchange.Next(sip.INVITE)
	req := s.Request()
	lacks(t, req, r.addr(carrierHost), "other", "carrier.test")
	has(t, req, "Brickhouse-Realm", "peer")
	has(t, req, "Brickhouse-Trunk", "carrier")
	if got := req.Recipient.String() + " " + req.From().Address.String(); got != "sip:4930123@example.com sip:0170555@example.com" {
		t.Errorf("addresses %s", got)
	}
	if len(req.Body()) == 0 {
		t.Error("a trunk's offer is withheld")
	}
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	res := asked.Response(200)
	lacks(t, res, r.addr(exchangeHost))
	carrier.Ask(f, ask.Within(res, sip.ACK))
	r.exchange.NextAck()
	r.hang(s, carrier)
}

// TestPeerFlow holds where requests within a carrier's call go.
func TestPeerFlow(t *testing.T) {
	r := newRig(t, nil)
	udp, tcp := r.b.realms[peer].interfaces[0], r.b.realms[peer].interfaces[1]
	last := udp.FlowTo(r.at(carrierHost, 5060))
	uri := func(s string) sip.Uri {
		u, err := sipmsg.ParseURI(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	gateway := r.addr(carrierHost + 1)
	for name, c := range map[string]struct {
		target string
		routes []string
		want   string
	}{
		"contact of a gateway": {"sip:" + gateway + ":5090", nil, gateway + ":5090"},
		"contact without port": {"sip:" + gateway, nil, gateway + ":5060"},
		"contact of nobody":    {"sip:203.0.113.9:5060", nil, last.Remote().String()},
		"contact by name":      {"sip:gw.carrier.test", nil, last.Remote().String()},
		"the inside":           {"sip:" + r.addr(exchangeHost), nil, last.Remote().String()},
		"route":                {"sip:203.0.113.9", []string{"sip:" + gateway + ":5070;lr", "sip:203.0.113.9;lr"}, gateway + ":5070"},
		"route of nobody":      {"sip:" + gateway, []string{"sip:203.0.113.9;lr"}, last.Remote().String()},
	} {
		d := &dialog.Dialog{Target: uri(c.target), Remote: dialog.Party{Tag: "far"}}
		for _, s := range c.routes {
			d.Routes = append(d.Routes, uri(s))
		}
		if got := r.b.peerFlow(d, last).Remote().String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		d.Remote.Tag = "" // the first INVITE
		if got := r.b.peerFlow(d, last); got != last {
			t.Errorf("%s: the first INVITE goes to %s", name, got.Remote())
		}
	}
	carrier := transactiontest.New(t, "carrier")
	carrier.Listen(transport.TCP, r.at(carrierHost, 5060), nil)
	stream, err := tcp.Dial(t.Context(), r.at(carrierHost, 5060))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.b.peerFlow(&dialog.Dialog{Target: uri("sip:" + gateway), Remote: dialog.Party{Tag: "far"}}, stream); got != stream {
		t.Error("a call leaves its connection")
	}
}

func TestCompileTrunks(t *testing.T) {
	b := &Border{}
	table, err := b.compileTrunks([]Trunk{{Name: "a", Gateways: []Gateway{{Address: "gw.test", Transport: "tls"}, {Address: "192.0.2.7:5090", Transport: "udp", Priority: 3}}, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"198.51.100.9": "a", "192.0.2.7": "a", "192.0.2.8": ""} {
		if got, _ := table.who.Trunk(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s belongs to %q, want %q", addr, got, want)
		}
	}
	for name, bad := range map[string][]Trunk{
		"gateway":    {{Name: "a", Gateways: []Gateway{{Address: "a b", Transport: "udp"}}}},
		"two owners": {{Name: "a", Gateways: []Gateway{{Address: "192.0.2.7"}}}, {Name: "b", Gateways: []Gateway{{Address: "192.0.2.7"}}}},
	} {
		if _, err := b.compileTrunks(bad); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
}

func TestRefusalOfTheEngine(t *testing.T) {
	for err, want := range map[error]verdict.Verdict{
		b2bua.ErrTooMany: verdict.Rejected(503, verdict.Overload), b2bua.ErrClosed: verdict.Rejected(503, verdict.Shutdown),
		b2bua.ErrMerged: verdict.Rejected(482, verdict.LoopDetected), errors.New("x"): verdict.Rejected(400, verdict.MissingHeader),
	} {
		if got := refusal(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
