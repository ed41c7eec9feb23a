package border

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

const credentials = `Authorization: Digest username="1001", realm="example.com", nonce="abc", uri="sip:example.com", response="00000000000000000000000000000000", algorithm=MD5`

// TestRegister takes a phone through challenge, registration and refresh, and holds what either side sees of the other.
func TestRegister(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	ask := p.registration("User-Agent: secret-phone", "X-Phone: secret", "P-Asserted-Identity: <sip:boss@example.com>", "Supported: outbound, path, gruu",
		"Brickhouse-Realm: peer", "Brickhouse-Trunk: carrier", "brickhouse-flow: mine", "Path: <sip:evil.example;lr>", "Expires: 600", "Route: <sip:evil.example;lr>")
	ask.Seq = 17
	asked := p.Ask(p.flow, ask)
	s := r.exchange.Next(sip.REGISTER)
	first := s.Request()
	seenInside(t, r, p, first)
	has(t, first, "CSeq", "17 REGISTER")
	has(t, first, "Max-Forwards", "69")
	has(t, first, "Supported", "outbound, path")
	has(t, first, "Expires", "600")
	r.exchange.Answer(s, 401, "", `WWW-Authenticate: Digest realm="example.com", nonce="abc", algorithm=MD5, qop="auth"`,
		`Brickhouse-Verdict: challenge;nonce=foreign;aor="1001@example.com"`, "Server: pbx", "X-Inside: secret", "Warning: 399 pbx.internal \"x\"")
	res := asked.Response(401)
	lacks(t, res, "brickhouse", "pbx", "secret", "Warning")
	has(t, res, "WWW-Authenticate", `Digest realm="example.com", nonce="abc", algorithm=MD5, qop="auth"`)
	if tag, _ := sipmsg.Param(res.To().Params, "tag"); tag == "" {
		t.Error("no tag in To")
	}

	asked = p.Ask(p.flow, ask.With(credentials))
	s = r.exchange.Next(sip.REGISTER)
	second := s.Request()
	seenInside(t, r, p, second)
	has(t, second, "CSeq", "18 REGISTER")
	has(t, second, "Authorization", strings.TrimPrefix(credentials, "Authorization: "))
	for _, name := range []string{"Call-ID", "From", "Contact", "Path", "Brickhouse-Flow"} {
		v, _ := sipmsg.Header(first, name)
		has(t, second, name, v)
	}
	token := second.Contact().Address.User
	r.exchange.Answer(s, 200, "", "Contact: <sip:"+token+"@192.0.2.1>;expires=120", "Contact: <sip:other@10.1.1.1>;expires=60",
		"Path: <sip:x@192.0.2.1;lr>", "Service-Route: <sip:pbx.internal;lr>", "Date: Sat, 21 Nov 2026 12:00:00 GMT", "Require: outbound",
		`Brickhouse-Verdict: ok;nonce=known;aor="1001@example.com"`, "P-Associated-URI: <sip:1001@pbx.internal>")
	res = asked.Response(200)
	lacks(t, res, "brickhouse", "pbx", "10.1.1.1", token, "192.0.2.1", "Path", "Date")
	has(t, res, "Contact", p.contact()+";expires=120")
	has(t, res, "Require", "outbound")
	if b, ok := r.b.cache.Get(token, r.b.now()); !ok || b.AOR != "1001@example.com" || !b.Flow.Same(mustFlow(t, r, b.Flow.ID())) {
		t.Errorf("binding %+v", b)
	}
}

// mustFlow finds a flow of the TLS interface by the name that the exchange knows.
func mustFlow(t *testing.T, r *rig, id string) *transport.Flow {
	t.Helper()
	f, ok := r.b.realms[access].interfaces[0].Flow(id)
	if !ok {
		t.Fatalf("no flow %q", id)
	}
	return f
}

var tokenForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// seenInside holds what the exchange may see of a phone.
func seenInside(t *testing.T, r *rig, p *phone, req *sip.Request) {
	t.Helper()
	lacks(t, req, r.addr(50), r.addr(accessHost), "secret", "evil", "boss", "mine", "carrier", "gruu", "Route:")
	if got := req.Recipient.String(); got != "sip:example.com" {
		t.Errorf("start line names %s", got)
	}
	for _, h := range []string{req.From().Address.String(), req.To().Address.String()} {
		if h != "sip:1001@example.com" {
			t.Errorf("account %s", h)
		}
	}
	c := req.Contact().Address
	if !tokenForm.MatchString(c.User) || c.Host != r.link.Remote().Addr().String() {
		t.Errorf("Contact: %s", c.String())
	}
	flow, _ := sipmsg.Header(req, "Brickhouse-Flow")
	mustFlow(t, r, flow)
	path, _ := sipmsg.Header(req, "Path")
	if !strings.HasPrefix(path, "<sip:"+flow+"@"+c.Host) || !strings.HasSuffix(path, ";lr;ob>") {
		t.Errorf("Path: %s", path)
	}
	has(t, req, "Brickhouse-Realm", "access")
	if vias := sipmsg.Headers(req, "Via"); len(vias) != 1 {
		t.Errorf("Via: %q", vias)
	}
	if req.CallID().Value() == "" || strings.Contains(req.CallID().Value(), "@") {
		t.Errorf("Call-ID: %s", req.CallID().Value())
	}
}

// TestNamesInside: a phone that comes again over another connection is the same one inside; one from elsewhere is not.
func TestNamesInside(t *testing.T) {
	r := newRig(t, nil)
	p, other := r.phone("1001", transport.TCP, 50), r.phone("1001", transport.TCP, 51)
	ask := p.registration("Contact: <sip:1001@10.0.0.9>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;q=0.5;expires=90;methods=\"INVITE\"")
	ask.Lines = ask.Lines[1:]
	names := func(f *transport.Flow, from *phone) (string, string) {
		from.Ask(f, ask)
		s := r.exchange.Next(sip.REGISTER)
		req := s.Request()
		r.exchange.Answer(s, 403, "")
		tag, _ := sipmsg.Param(req.From().Params, "tag")
		if c := req.Contact(); !strings.HasSuffix(c.Value(), `;expires=3600;q=0.5;+sip.instance="<urn:uuid:1>";reg-id=1`) {
			t.Errorf("Contact: %s", c.Value())
		}
		return req.CallID().Value() + " " + tag, req.Contact().Address.User
	}
	a, tokenA := names(p.flow, p)
	ask.Seq++
	b, tokenB := names(p.connect(transport.TCP, 50), p)
	if a != b || tokenA != tokenB {
		t.Errorf("%s %s became %s %s", a, tokenA, b, tokenB)
	}
	c, tokenC := names(other.flow, other)
	if c == a {
		t.Error("two addresses have one name")
	}
	if tokenC != tokenA {
		t.Error("an instance that moved has another token")
	}
}

// TestUnregister takes a contact away: by expires=0, by leaving it out of the answer, and all of an account by "*".
func TestUnregister(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	second := &phone{Party: p.Party, r: r, user: "1002", flow: p.flow} // another account of the same device
	keep := second.register()
	gone := func(token string) {
		t.Helper()
		if _, ok := r.b.cache.Get(token, r.b.now()); ok {
			t.Error("the binding stays")
		}
		if _, ok := r.b.cache.Get(keep, r.b.now()); !ok {
			t.Error("the other account lost its binding")
		}
	}
	answer := func(lines ...string) *sip.Request {
		s := r.exchange.Next(sip.REGISTER)
		r.exchange.Answer(s, 200, "", lines...)
		return s.Request()
	}
	token := p.register()
	ask := p.registration()
	ask.Lines = []string{"Contact: " + p.contact() + ";expires=0"}
	asked := p.Ask(p.flow, ask)
	if c := answer().Contact(); c.Address.User != token || !strings.HasSuffix(c.Value(), ";expires=0") {
		t.Errorf("Contact: %s", c.Value())
	}
	has(t, asked.Response(200), "Contact", "")
	gone(token)

	token = p.register()
	asked = p.Ask(p.flow, p.registration())
	answer("Contact: <sip:" + token + "@192.0.2.1>;expires=0")
	has(t, asked.Response(200), "Contact", "")
	gone(token)

	token = p.register()
	ask = p.registration("Expires: 0")
	ask.Lines[0] = "Contact: *"
	asked = p.Ask(p.flow, ask)
	req := answer()
	has(t, req, "Contact", "*")
	has(t, req, "Expires", "0")
	asked.Response(200)
	gone(token)
}

// TestExpiryOfTheAnswer takes the expiry from where the exchange says it.
func TestExpiryOfTheAnswer(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Access.Registration.Datagram = 2 * time.Hour })
	p := r.phone("1001", transport.UDP, 50)
	for lines, want := range map[string]string{";expires=90": "90", "|Expires: 77": "77", "": "3600"} {
		asked := p.Ask(p.flow, p.registration())
		s := r.exchange.Next(sip.REGISTER)
		param, header, _ := strings.Cut(lines, "|")
		answer := []string{"Contact: <sip:" + s.Request().Contact().Address.User + "@192.0.2.1>" + param}
		if header != "" {
			answer = append(answer, header)
		}
		r.exchange.Answer(s, 200, "", answer...)
		has(t, asked.Response(200), "Contact", p.contact()+";expires="+want)
	}
}

// TestFlowEnds forgets what hung on a connection, also when it ended before the exchange had answered.
func TestFlowEnds(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	token := p.register()
	p.flow.Close(verdict.NormalClearing)
	r.eventually("the binding to go", func() bool { _, ok := r.b.cache.Get(token, r.b.now()); return !ok })

	p.flow = p.connect(transport.TLS, 50)
	token = p.register()
	p.Ask(p.flow, p.registration())
	s := r.exchange.Next(sip.REGISTER)
	p.flow.Close(verdict.NormalClearing)
	r.eventually("the border to know that the connection ended", func() bool { _, ok := r.b.cache.Get(token, r.b.now()); return !ok })
	r.exchange.Answer(s, 200, "", granted(s))
	r.settle()
	if _, ok := r.b.cache.Get(token, r.b.now()); ok {
		t.Error("a binding hangs on a connection that is gone")
	}
}

// settle waits until what the exchange sent before is dealt with: messages of a flow are taken in order.
func (r *rig) settle() {
	r.Helper()
	a := transactionOptions(r)
	r.exchange.Do(r.link, a, 200)
}

// TestCoreDown tells phones to come back later, at once and when the link breaks meanwhile.
func TestCoreDown(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	asked := p.Ask(p.flow, p.registration())
	r.exchange.Next(sip.REGISTER)
	r.link.Close(verdict.Shutdown)
	has(t, asked.Response(503), "Retry-After", "5")

	down := prepare(t)
	down.start()
	q := down.phone("1001", transport.TLS, 50)
	res := q.Do(q.flow, q.registration(), 503)
	has(t, res, "Retry-After", "5")
	lacks(t, res, "exchange", "brickhouse")
	has(t, q.Do(q.flow, q.call("1002"), 503), "Retry-After", "5")
	down.refused(verdict.ExchangeUnreachable, 2)
}

func TestBadRegister(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	many := p.registration()
	for range maxContacts {
		many.Lines = append(many.Lines, "Contact: <sip:x@10.0.0.1>")
	}
	p.Do(p.flow, many, 400)
	nobody := p.registration()
	nobody.To = "<sip:example.com>"
	p.Do(p.flow, nobody, 400)
	unnamed := p.registration()
	unnamed.From = "<sip:example.com>;tag=1"
	p.Do(p.flow, unnamed, 400)
	p.Do(p.flow, p.registration("Require: gruu"), 420)
	r.settle()
	r.exchange.Quiet()
}

func TestNoMoreBindings(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Bindings = 1 })
	r.phone("1001", transport.TLS, 50).register()
	p := r.phone("1002", transport.TLS, 51)
	asked := p.Ask(p.flow, p.registration())
	s := r.exchange.Next(sip.REGISTER)
	r.exchange.Answer(s, 200, "", granted(s))
	has(t, asked.Response(200), "Contact", "") // a phone that looks for its contact sees that it has none
}

func TestSeconds(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "60": 60, "": 7, "-1": 7, "x": 7, "2147483648": 7, "2147483647": 2147483647, "1.5": 7} {
		if got := seconds(in, 7); got != want {
			t.Errorf("seconds(%q) = %d, want %d", in, got, want)
		}
	}
}
