package exchange

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

func TestAccept(t *testing.T) {
	prefixes := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, c := range []struct {
		core     bool
		networks []netip.Prefix
		from     string
		want     verdict.Verdict
	}{
		{false, nil, "203.0.113.1:1", verdict.Passed},
		{false, prefixes("10.0.0.0/8", "fc00::/7"), "10.1.2.3:1", verdict.Passed},
		{false, prefixes("10.0.0.0/8", "fc00::/7"), "[::ffff:10.1.2.3]:1", verdict.Passed},
		{false, prefixes("10.0.0.0/8", "fc00::/7"), "[fd00::1]:1", verdict.Passed},
		{false, prefixes("10.0.0.0/8", "fc00::/7"), "11.0.0.1:1", verdict.Dropped(verdict.UnknownPeer)},
		{false, prefixes("10.0.0.0/8"), "[2001:db8::1]:1", verdict.Dropped(verdict.UnknownPeer)},
		{true, prefixes("10.0.0.0/8"), "203.0.113.1:1", verdict.Passed},
	} {
		sd := &side{x: &Exchange{cfg: Config{Phones: Phones{Networks: c.networks}}}, core: c.core}
		if got := sd.Accept(nil, netip.MustParseAddrPort(c.from)); got != c.want {
			t.Errorf("%s from %v (core %v): %s", c.from, c.networks, c.core, got)
		}
	}
}

// TestOtherNetworks: who is not in the phones' networks gets no answer.
func TestOtherNetworks(t *testing.T) {
	r := prepare(t)
	r.cfg.Phones.Networks = []netip.Prefix{netip.PrefixFrom(r.ip(50), 32)}
	r.start()
	stranger := r.phone("1001", transport.UDP, 51)
	asked := stranger.Ask(stranger.flow, stranger.registration())
	r.refused(verdict.UnknownPeer, 1)
	asked.Nothing()
	p := r.phone("1001", transport.UDP, 50)
	p.Do(p.flow, p.registration(), 401)
	r.border()
}

// TestRefused holds what ends on the road, and how.
func TestRefused(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	own, number := "sip:1001@"+domain, "sip:1002@"+domain
	unknown := transactiontest.NewAsk(sip.BYE, number, own, number)
	unknown.To += ";tag=nobody"
	untagged := transactiontest.NewAsk(sip.OPTIONS, number, own, number)
	untagged.From = "<" + own + ">"
	for name, c := range map[string]struct {
		ask    transactiontest.Ask
		code   int
		header string
	}{
		"method":          {transactiontest.NewAsk(sip.NOTIFY, number, own, number), 405, "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, MESSAGE, SUBSCRIBE, PUBLISH, REGISTER"},
		"BYE, no dialog":  {transactiontest.NewAsk(sip.BYE, number, own, number), 481, ""},
		"unknown dialog":  {unknown, 481, ""},
		"other domain":    {transactiontest.NewAsk(sip.INVITE, "sip:1@evil.example", own, "sip:1@evil.example"), 404, ""},
		"other domain, R": {transactiontest.NewAsk(sip.REGISTER, "sip:evil.example", own, own), 404, ""},
		"no tag":          {untagged, 400, ""},
		"extension":       {transactiontest.NewAsk(sip.INVITE, number, own, number, "Require: precondition"), 420, "Unsupported: precondition"},
	} {
		res := p.Do(p.flow, c.ask, c.code)
		if c.header != "" && !strings.Contains(string(sipmsg.Bytes(res)), "\r\n"+c.header) {
			t.Errorf("%s: no %q in\n%s", name, c.header, sipmsg.Bytes(res))
		}
		lacks(t, res, "brickhouse")
	}
	for _, host := range []string{domain, "EXAMPLE.com", "alias.test", r.addr(exchangeHost), r.addr(exchangeHost) + ":5060"} {
		ask := p.call("1002")
		ask.URI = "sip:1002@" + host
		p.Do(p.flow, ask, 407)
	}
	res := p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:anything.example", own, own), 200)
	has(t, res, "Accept", "application/sdp")
	p.Ask(p.flow, func() transactiontest.Ask { a := unknown; a.Method = sip.ACK; return a }())
	r.refused(verdict.StrayACK, 1)
}

// TestOnlyTheBorderSpeaksForTheBorder: a phone inside that invents private headers is taken for what it is.
func TestOnlyTheBorderSpeaksForTheBorder(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	forged := []string{"Brickhouse-Realm: peer", "brickhouse-trunk: carrier", "BRICKHOUSE-FLOW: x", "Brickhouse-Trace: mine"}
	asked, ask := p.invite("*43", forged...)
	answer := asked.Response(200)
	if c := r.x.Calls(); len(c) != 1 || c[0].Caller != "1001" || c[0].From != "inside" || c[0].Trace == "mine" {
		t.Errorf("calls: %+v", c)
	}
	p.Do(p.flow, ask.Within(answer, sip.BYE), 200)
	lacks(t, p.Do(p.flow, p.registration(forged...), 401), "brickhouse")
}

// TestVerdicts tells the border, and nobody else, what is thought of a sender.
func TestVerdicts(t *testing.T) {
	r := newRig(t, nil)
	b := r.border()
	p := b.remote("1001", "flow-1")
	first := p.Do(p.flow, p.registration(), 401)
	has(t, first, "Brickhouse-Verdict", `challenge;nonce=foreign;aor="1001@example.com"`)
	wrong := b.remote("1001", "flow-1")
	wrong.password = "wrong"
	has(t, p.Do(p.flow, wrong.answering(p.registration(), first), 401), "Brickhouse-Verdict", `bad-credentials;nonce=known;aor="1001@example.com"`)
	moved := b.remote("1001", "flow-2")
	has(t, p.Do(p.flow, moved.answering(moved.registration(), first), 401), "Brickhouse-Verdict", `stale;nonce=foreign;aor="1001@example.com"`)
	nobody := b.remote("1999", "flow-1")
	has(t, p.Do(p.flow, nobody.answering(nobody.registration(), first), 401), "Brickhouse-Verdict", `unknown-user;nonce=known;aor="1999@example.com"`)
	res := p.Do(p.flow, p.answering(p.registration("Path: <sip:flow-1@192.0.2.1;lr;ob>"), first), 200)
	has(t, res, "Brickhouse-Verdict", `ok;nonce=known;aor="1001@example.com"`)
	if rows := r.x.Store().Bindings("1001", r.x.now()); len(rows) != 1 || !rows[0].Outside || len(rows[0].Path) != 1 {
		t.Errorf("bindings: %+v", rows)
	}
	call := p.Do(p.flow, p.call("1002"), 407)
	has(t, call, "Brickhouse-Verdict", `challenge;nonce=foreign;aor="1001@example.com"`)
	inside := r.phone("1002", transport.TCP, 50)
	lacks(t, inside.register(), "brickhouse")
}

// TestCallFromTrunk: what the border says is a trunk's call needs no credentials, and reaches the extension of the number.
func TestCallFromTrunk(t *testing.T) {
	r := newRig(t, nil)
	alice := r.phone("1001", transport.UDP, 50)
	alice.register()
	b := r.border()
	ask := transactiontest.NewAsk(sip.INVITE, "sip:4930123@"+domain, "sip:0170555@"+domain, "sip:4930123@"+domain, "Brickhouse-Realm: peer", "Brickhouse-Trunk: carrier", "Brickhouse-Trace: t-7", "Brickhouse-Flow: f")
	ask.From = `"Nina" ` + ask.From
	ask.Body = offer(r.ip(borderHost))
	asked := b.Ask(b.flow, ask)
	s := alice.Next(sip.INVITE)
	if got := s.Request().From().Address.String(); got != "sip:0170555@example.com" || !strings.Contains(s.Request().From().Value(), "Nina") {
		t.Errorf("From: %s", s.Request().From().Value())
	}
	lacks(t, s.Request(), "brickhouse")
	if c := r.x.Calls(); len(c) != 1 || c[0].From != "trunk carrier" || c[0].Trace != "t-7" {
		t.Errorf("calls: %+v", c)
	}
	alice.Answer(s, 486, "")
	asked.Response(486)

	ask.Lines = []string{"Brickhouse-Realm: access", "Brickhouse-Trunk: carrier", "Brickhouse-Flow: f"} // no trunk's realm
	ask.CallID, ask.Seq = "other", 1
	b.Do(b.flow, ask, 407)
}

// TestRemoteCall takes a call of a remote phone to one inside, and one back out by its Path.
func TestRemoteCall(t *testing.T) {
	r := newRig(t, nil)
	b := r.border()
	remote, inside := b.remote("1001", "flow-1"), r.phone("1002", transport.UDP, 50)
	asked, _ := remote.with(func() transactiontest.Ask {
		a := remote.registration("Path: <sip:flow-1@192.0.2.1:5070;lr;ob>")
		a.Lines[0] = "Contact: <sip:token@192.0.2.1:5070>"
		return a
	}(), 401)
	asked.Response(200)
	inside.register()

	asked, _ = remote.invite("1002")
	s := inside.Next(sip.INVITE)
	if got := s.Request().From(); got.Address.String() != "sip:1001@example.com" || !strings.Contains(got.Value(), "Phone 1001") {
		t.Errorf("From: %s", got.Value())
	}
	inside.Answer(s, 486, "")
	asked.Response(486)

	asked, _ = inside.invite("1001")
	s = b.Next(sip.INVITE)
	if got := s.Request().Recipient.String(); got != "sip:token@192.0.2.1:5070" {
		t.Errorf("start line names %s", got)
	}
	has(t, s.Request(), "Route", "<sip:flow-1@192.0.2.1:5070;lr;ob>")
	called := calledOff(b.Party, s)
	b.Answer(s, 180, "")
	asked.Response(180)
	asked.Client.Cancel()
	asked.Response(487)
	<-called
}

// TestBorderGone: a remote phone can't be called while the border is away.
func TestBorderGone(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1002", transport.UDP, 50)
	asked, _ := p.invite("030")
	asked.Response(503)
	b := r.border()
	if f, err := (lines{r.x}).Border(t.Context()); err != nil || f == nil {
		t.Errorf("%v", err)
	}
	b.flow.Close(verdict.NormalClearing)
	r.eventually("the end of the link", func() bool { _, err := (lines{r.x}).Border(t.Context()); return err != nil })
}

// TestWrongBorder: only a certificate of the authority with the border's name is let in.
func TestWrongBorder(t *testing.T) {
	r := newRig(t, nil)
	p := transactiontest.New(t, "impostor")
	bare := r.borderTLS("sbc.test")
	bare.Certificates = nil
	for _, conf := range []*tls.Config{r.borderTLS("other.test"), bare} {
		if f, err := p.Dial(transport.TLS, r.ip(borderHost), r.at(exchangeHost, corePort), conf); err == nil {
			p.Ended(f) // TLS 1.3 tells the client later
		}
	}
	r.refused(verdict.HandshakeFailed, 2)
}

// TestOverload: more REGISTERs and INVITEs than may wait are answered with 503.
func TestOverload(t *testing.T) {
	r := newRig(t, nil)
	hold := make(chan struct{})
	var held sync.WaitGroup // not Workers.Wait: a REGISTER that is sent again may still come
	held.Add(maxAside)
	for range maxAside {
		if !r.x.workers.Go(func() { <-hold; held.Done() }, func() {}) {
			t.Fatal("no room")
		}
	}
	p := r.phone("1001", transport.UDP, 50)
	has(t, p.Do(p.flow, p.registration(), 503), "Retry-After", "5")
	has(t, p.Do(p.flow, p.call("1002"), 503), "Retry-After", "5")
	p.Do(p.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:1001@"+domain, "sip:"+domain), 200)
	close(hold)
	r.refused(verdict.Overload, 2)
	held.Wait()
	p.register()
}

// TestPanicAside: a fault of ours while a request is served ends that request only.
func TestPanicAside(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	x := &Exchange{log: log, metrics: NewMetrics(telemetry.NewMetrics("pbx", "test")), workers: transaction.NewWorkers(1, log)}
	us, far := transactiontest.New(t, "us"), transactiontest.New(t, "far")
	at := us.Listen(transport.UDP, netip.MustParseAddrPort("127.0.0.1:0"), nil).Local()
	asked := far.Ask(far.Flow(transport.UDP, at.Addr(), at, nil), transactiontest.NewAsk(sip.INFO, "sip:a@b.c", "sip:a@b.c", "sip:a@b.c"))
	x.aside(us.Next(sip.INFO), func() { panic("a fault of ours") })
	asked.Response(500)
	x.workers.Wait()
	if n := x.metrics.refused.Counts()[verdict.Internal]; n != 1 {
		t.Errorf("%d faults", n)
	}
}

// TestAnotherAccount: who authenticates as one account can't call as another.
func TestAnotherAccount(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	ask := p.call("1002")
	ask.From = strings.Replace(ask.From, "1001", "1002", 1)
	res := p.Do(p.flow, ask, 407)
	p.Do(p.flow, p.answering(ask, res), 403)
	wrong := p.call("1002")
	p.password = "wrong"
	asked, _ := p.with(wrong, 407)
	asked.Response(407)
	if algs := sipmsg.Headers(res, "Proxy-Authenticate"); len(algs) != 2 || !strings.Contains(algs[0], string(digest.SHA256)) {
		t.Errorf("challenges: %q", algs)
	}
}

// TestUnreadable counts what is no message of ours, and answers nothing.
func TestUnreadable(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	for _, text := range []string{
		"OPTIONS sip:example.com SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nFrom: <sip:a@b>;tag=2\r\n\r\n",
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKx\r\nFrom: <sip:a@b.c>;tag=1\r\nTo: <sip:c@d.e>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
		"OPTIONS  sip:example.com SIP/2.0\r\n\r\n",
	} {
		if err := p.flow.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	r.refused(verdict.StrayResponse, 1)
	r.eventually("three refusals", func() bool {
		n := uint64(0)
		for _, c := range r.x.metrics.refused.Counts() {
			n += c
		}
		return n == 3
	})
	p.register()
}
