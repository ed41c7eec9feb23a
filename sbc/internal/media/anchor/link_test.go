package anchor

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

func web() Endpoint {
	e := outside()
	e.DTLS = true
	return e
}

// converse lets both sides hear each other.
func converse(t testing.TB, p *webPhone, in *phone) {
	t.Helper()
	in.heard = nil
	for n := byte(1); n < 4; n++ {
		p.say(n)
		in.listen(1)
	}
	in.play(440, 3)
	for range 3 {
		p.hear()
	}
	if in.failures > 0 {
		t.Errorf("%d packets did not open", in.failures)
	}
}

// TestDTLSMatrix: a phone that is keyed by DTLS, with and without ICE, calls and is called by one inside that has RTP or SDES.
func TestDTLSMatrix(t *testing.T) {
	a := newAnchor(t, 14000, nil)
	for _, ufrag := range []string{"", "webphone"} {
		for _, suite := range []string{"", gcm} {
			for _, from := range []Side{A, B} {
				core := inside()
				if suite != "" {
					core.Realm.Secure, core.SecureHop = Require, true
				}
				p, in := newWebPhone(t, ufrag), newPhone(t, "127.0.0.1", suite)
				s := a.Open("x", web(), core, Events{OnFault: func(why verdict.Reason) { t.Errorf("fault %s", why) }})
				if from == A {
					p.callIn(t, s, in)
				} else {
					p.isCalled(t, s, in)
				}
				p.connect(s)
				s.Established()
				converse(t, p, in)
				if got := s.Stats().Sides[A].Suite; got != "AEAD_AES_128_GCM" {
					t.Errorf("suite %q", got)
				}
				s.Close()
			}
		}
	}
}

func (p *webPhone) callIn(t testing.TB, s *Session, in *phone) {
	t.Helper()
	offer, err := s.Offer(A, p.sdp())
	if err != nil {
		t.Fatal(err)
	}
	for _, not := range []string{"ice", "fingerprint", "setup", "extmap", "mid", "BUNDLE", "candidate"} {
		if strings.Contains(string(offer), not) {
			t.Errorf("%s inside:\n%s", not, offer)
		}
	}
	in.take(offer)
	answer, err := s.Answer(B, in.sdp())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), "a=group:BUNDLE a\r\n") || !strings.Contains(string(answer), "a=setup:passive\r\n") {
		t.Errorf("answer:\n%s", answer)
	}
	p.take(answer)
}

func (p *webPhone) isCalled(t testing.TB, s *Session, in *phone) {
	t.Helper()
	offer, err := s.Offer(B, in.sdp())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(offer), " UDP/TLS/RTP/SAVPF ") || !strings.Contains(string(offer), "a=setup:actpass\r\n") {
		t.Errorf("offer:\n%s", offer)
	}
	lite := p.ufrag
	p.ufrag = "offered" // our offers always have ICE
	p.take(offer)
	p.ufrag, p.setup = lite, "active"
	answer, err := s.Answer(A, p.sdp())
	if err != nil {
		t.Fatal(err)
	}
	in.take(answer)
}

// TestFingerprintMismatchEndsTheCall: the phone shows another certificate than its description promised.
func TestFingerprintMismatchEndsTheCall(t *testing.T) {
	a := newAnchor(t, 14200, nil)
	for _, ufrag := range []string{"", "webphone"} {
		p, in := newWebPhone(t, ufrag), newPhone(t, "127.0.0.1", "")
		p.claims = newWebPhone(t, "").id
		faults := make(chan verdict.Reason, 4)
		s := a.Open("x", web(), inside(), Events{OnFault: func(why verdict.Reason) { faults <- why }})
		p.callIn(t, s, in)
		if ufrag != "" {
			p.nominate()
		}
		p.assoc.Connect(p.at())
		select {
		case why := <-faults:
			if why != verdict.FingerprintMismatch {
				t.Errorf("%s", why)
			}
		case <-time.After(patience):
			t.Fatal("the call goes on")
		}
		in.play(440, 3)
		if len(p.plain) != 0 || s.Stats().Sides[A].PacketsOut != 0 {
			t.Error("media went to a phone that did not prove itself")
		}
		s.Close()
	}
}

// TestStrangersHandshake: a ClientHello from elsewhere is counted and not answered, and the phone's own still works.
func TestStrangersHandshake(t *testing.T) {
	a := newAnchor(t, 14400, nil)
	for _, ufrag := range []string{"", "webphone"} {
		p, in := newWebPhone(t, ufrag), newPhone(t, "127.0.0.1", "")
		s := a.Open("x", web(), inside(), Events{})
		p.callIn(t, s, in)
		thief := stranger(t)
		hello := clientHello(t, p)
		for range 3 {
			if _, err := thief.WriteToUDPAddrPort(hello, p.at()); err != nil {
				t.Fatal(err)
			}
		}
		awaitDropped(t, s, verdict.MediaDTLS, 3)
		unanswered(t, thief)
		p.connect(s)
		converse(t, p, in)
		s.Close()
	}
}

func stranger(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.203.11.66:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// clientHello is the first packet of a handshake: enough of one to be taken for it.
func clientHello(t testing.TB, _ *webPhone) []byte {
	t.Helper()
	b := make([]byte, 120)
	b[0], b[1], b[2], b[12], b[13] = 22, 0xfe, 0xfd, 107, 1
	return b
}

func unanswered(t testing.TB, c *net.UDPConn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 2000)); err == nil {
		t.Errorf("a stranger got %d bytes", n)
	}
}

func awaitDropped(t testing.TB, s *Session, why verdict.Reason, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); s.Stats().Sides[A].Dropped[why] < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets dropped as %s, want %d", s.Stats().Sides[A].Dropped[why], why, want)
		}
	}
}

// TestICEPathCantBeStolen: neither checks with a wrong password nor the phone's own packets, sent again from elsewhere, nor
// somebody's RTP move the media away from the path that the phone has chosen.
func TestICEPathCantBeStolen(t *testing.T) {
	a := newAnchor(t, 14600, nil)
	p, in := newWebPhone(t, "webphone"), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", web(), inside(), Events{})
	defer s.Close()
	p.callIn(t, s, in)
	thief := stranger(t)
	steal := func(b []byte) {
		t.Helper()
		if _, err := thief.WriteToUDPAddrPort(b, p.at()); err != nil {
			t.Fatal(err)
		}
	}
	steal(p.check("a-password-that-is-wrong"))
	awaitDropped(t, s, verdict.MediaSTUN, 1)
	if s.Stats().Sides[A].Latched {
		t.Fatal("a forged check moved the latch")
	}
	p.connect(s)
	converse(t, p, in)
	phoneAt := s.Stats().Sides[A].Remote
	if phoneAt != addr(p.conn) {
		t.Fatalf("media go to %s", phoneAt)
	}
	steal(p.check("a-password-that-is-wrong"))
	b := make([]byte, 172, 200) // authentic, but it comes to us by way of the thief alone
	b[0], b[3], b[11] = 0x80, 200, 7
	sealed, err := p.tx.SealRTP(b)
	if err != nil {
		t.Fatal(err)
	}
	steal(sealed)
	steal(make([]byte, 172))
	awaitDropped(t, s, verdict.MediaSTUN, 2)
	in.listen(1)
	in.play(440, 3)
	for range 3 {
		p.hear()
	}
	if got := s.Stats().Sides[A]; got.Remote != phoneAt || got.LatchMoves != 0 {
		t.Errorf("media go to %s after %d moves", got.Remote, got.LatchMoves)
	}
	unanswered(t, thief)
}

// TestReofferKeepsKeys: hold and resume and a restart of ICE keep the keys; a new certificate makes new ones, and until then the call goes on.
func TestReofferKeepsKeys(t *testing.T) {
	a := newAnchor(t, 14800, nil)
	p, in := newWebPhone(t, "webphone"), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", web(), inside(), Events{})
	defer s.Close()
	p.callIn(t, s, in)
	p.connect(s)
	converse(t, p, in)
	first := p.border.ICE
	reoffer := func(more ...string) {
		t.Helper()
		offer, err := s.Offer(A, p.sdp(more...))
		if err != nil {
			t.Fatal(err)
		}
		in.take(offer)
		answer, err := s.Answer(B, in.sdp())
		if err != nil {
			t.Fatal(err)
		}
		m := parse(t, answer).Media[0]
		p.border = &m
	}
	reoffer("sendonly")
	reoffer()
	if p.border.ICE.Ufrag != first.Ufrag || p.border.ICE.Pwd != first.Pwd {
		t.Error("ICE began anew without being asked")
	}
	converse(t, p, in)
	p.ufrag = "webphone2"
	reoffer()
	if p.border.ICE.Ufrag == first.Ufrag || p.border.ICE.Pwd == first.Pwd {
		t.Error("a restart of ICE is answered with old credentials")
	}
	converse(t, p, in)
	p.nominate()
	converse(t, p, in)
	p.claims = newWebPhone(t, "").id
	reoffer()
	converse(t, p, in) // with the keys from before
	if _, err := s.Offer(A, newPhone(t, "127.0.0.1", gcm).sdp()); err == nil {
		t.Error("DTLS goes back to SDES")
	}
}

// TestLinkFaults holds on a clock of its own what ends a call: no check, no handshake, no consent.
func TestLinkFaults(t *testing.T) {
	a := newAnchor(t, 15000, nil)
	cfg := Config{Handshake: 10 * time.Second, Consent: 30 * time.Second}
	in := newPhone(t, "127.0.0.1", "")
	begin := func(ufrag string) (*webPhone, *Session) {
		p := newWebPhone(t, ufrag)
		s := a.Open("x", web(), inside(), Events{})
		t.Cleanup(s.Close)
		p.callIn(t, s, in)
		return p, s
	}
	want := func(s *Session, after time.Duration, why verdict.Reason) {
		t.Helper()
		if got := s.fault(time.Now().Add(after), &cfg); got != why {
			t.Errorf("after %s: %q, want %q", after, got, why)
		}
	}
	_, s := begin("webphone")
	want(s, time.Hour, verdict.None) // it rings
	s.Established()
	want(s, 9*time.Second, verdict.None)
	want(s, 11*time.Second, verdict.ICEFailed)
	want(s, 12*time.Second, verdict.None) // once
	p, s := begin("webphone")
	s.Established()
	p.nominate()
	want(s, 11*time.Second, verdict.HandshakeTimeout)
	_, s = begin("")
	s.Established()
	want(s, 11*time.Second, verdict.HandshakeTimeout)
	p, s = begin("webphone")
	p.connect(s)
	s.Established()
	want(s, 29*time.Second, verdict.None)
	want(s, 31*time.Second, verdict.ConsentLost)
}

// TestPromises: what is wrong with an offer of DTLS has a name.
func TestPromises(t *testing.T) {
	a := newAnchor(t, 15200, nil)
	good := string(newWebPhone(t, "webphone").sdp())
	never, open := web(), web()
	never.Realm.Secure, open.SecureHop = Never, false
	for name, c := range map[string]struct {
		side Endpoint
		sdp  string
		want verdict.Reason
	}{
		"good":         {web(), good, verdict.None},
		"never":        {never, good, verdict.NoCommonMedia},
		"no TLS":       {open, good, verdict.SecureMediaRequired},
		"no mux":       {web(), strings.Replace(good, "a=rtcp-mux\r\n", "", 1), verdict.NoCommonMedia},
		"SHA-1":        {web(), strings.Replace(good, "SHA-256", "sha-1", 1), verdict.NoCommonSuite},
		"no print":     {web(), strings.Replace(good, "a=fingerprint", "a=nothing", 1), verdict.NoCommonSuite},
		"holdconn":     {web(), strings.Replace(good, "actpass", "holdconn", 1), verdict.NoCommonMedia},
		"role unheard": {web(), strings.Replace(good, "actpass", "both", 1), verdict.BadBody},
		"older name":   {web(), strings.Replace(good, "UDP/TLS/RTP", "RTP", 1), verdict.None},
	} {
		s := a.Open("x", c.side, inside(), Events{})
		_, err := s.Offer(A, []byte(c.sdp))
		got := verdict.None
		if e, ok := err.(*Error); ok {
			got = e.Reason
		}
		if got != c.want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, c.want)
		}
		s.Close()
	}
}
