package border

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// fail has the exchange refuse a REGISTER with a verdict.
func (p *phone) fail(outcome string) {
	p.r.Helper()
	p.Ask(p.flow, p.registration())
	p.r.exchange.Answer(p.r.exchange.Next(sip.REGISTER), 401, "", `WWW-Authenticate: Digest realm="example.com", nonce="abc"`,
		"Brickhouse-Verdict: "+outcome+`;aor="1001@example.com"`)
}

// TestBan: who fails often enough is banned and loses all its connections; nobody else does.
func TestBan(t *testing.T) {
	r := newRig(t, nil)
	guesser, second, other := r.phone("1001", transport.TLS, 50), r.phone("1002", transport.TCP, 50), r.phone("1003", transport.TLS, 51)
	guesser.fail("bad-credentials;nonce=foreign")
	guesser.fail("unknown-user;nonce=known")
	guesser.Ended(guesser.flow)
	second.Ended(second.flow)
	if got, want := r.banned(), r.addr(50)+"/32"; got != want {
		t.Errorf("banned: %q, want %q", got, want)
	}
	e, _ := r.b.Guard().Why(r.ip(50))
	if len(e.Bans) != 1 || e.Bans[0].Reason != verdict.UnknownUser || e.Bans[0].Rule != "logins" || len(e.Evidence) != 2 ||
		e.Evidence[0].AOR != "1001@example.com" || e.Evidence[0].Interface != "access-0" {
		t.Errorf("why: %+v", e)
	}
	r.refused(verdict.HostBanned, 0)
	if f, err := guesser.Dial(transport.TCP, r.ip(50), r.at(accessHost, accessPort), nil); err == nil {
		guesser.Ended(f)
	}
	r.refused(verdict.HostBanned, 1)
	other.register()
}

// TestNoFailure: what is no failed login bans nobody.
func TestNoFailure(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	for _, outcome := range []string{"challenge;nonce=foreign", "stale;nonce=known", "refused;nonce=known", "ok;nonce=known", "nonsense;nonce=known", "bad-credentials"} {
		for range 3 {
			p.fail(outcome)
		}
	}
	r.settle()
	if e, _ := r.b.Guard().Why(r.ip(50)); len(e.Bans)+len(e.Evidence) > 0 {
		t.Errorf("why: %+v", e)
	}
}

// TestForgedSource: over UDP, only a nonce that came back proves who sent a message.
func TestForgedSource(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	for range 2 {
		p.fail("bad-credentials;nonce=foreign")
	}
	r.settle()
	e, _ := r.b.Guard().Why(r.ip(50))
	if len(e.Bans) != 0 || len(e.Held) != 1 || e.Held[0].Source != p.flow.Interface().Local() {
		t.Errorf("why: %+v", e)
	}
	asked := p.Ask(p.flow, p.registration()) // on hold: silence
	r.refused(verdict.SourceHeld, 1)
	asked.Nothing()
	r.phone("1003", transport.UDP, 50).register() // another phone behind the same address

	q := r.phone("1002", transport.UDP, 51)
	for range 2 {
		q.fail("bad-credentials;nonce=known")
	}
	r.settle()
	if got, want := r.banned(), r.addr(51)+"/32"; got != want {
		t.Errorf("banned: %q, want %q", got, want)
	}
}

// TestHoldSparesTheRegistered: nobody gets a registered phone put on hold by forging its address.
func TestHoldSparesTheRegistered(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	p.register()
	for range 2 {
		p.fail("bad-credentials;nonce=foreign")
	}
	r.settle()
	if e, _ := r.b.Guard().Why(r.ip(50)); len(e.Held) != 1 {
		t.Errorf("why: %+v", e)
	}
	p.register()
}

// TestLearnFromCalls: a failed login in an INVITE counts like one in a REGISTER.
func TestLearnFromCalls(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	for range 2 {
		asked := p.Ask(p.flow, p.call("1002"))
		r.exchange.Answer(r.exchange.Next(sip.INVITE), 407, "", `Proxy-Authenticate: Digest realm="example.com", nonce="abc"`,
			`Brickhouse-Verdict: bad-credentials;nonce=known;aor="1001@example.com"`)
		_ = asked
	}
	p.Ended(p.flow)
	if got, want := r.banned(), r.addr(50)+"/32"; got != want {
		t.Errorf("banned: %q, want %q", got, want)
	}
}

// TestRubbish: who sends what is no SIP is banned too, and a forged source is not.
func TestRubbish(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TCP, 50)
	for range 3 {
		if err := p.flow.Send([]byte("OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nFrom: <sip:a@b>;tag=2\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	p.Ended(p.flow)
	if got, want := r.banned(), r.addr(50)+"/32"; got != want {
		t.Errorf("banned: %q, want %q", got, want)
	}
}
