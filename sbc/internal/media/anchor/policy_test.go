package anchor

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// Keys for descriptions that no packet follows.
const (
	keyCM  = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
	keyCM2 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
	keyGCM = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKis="
)

const (
	lineCM  = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + keyCM
	lineGCM = "a=crypto:2 AEAD_AES_256_GCM inline:" + keyGCM
)

func body(lines ...string) []byte {
	all := append([]string{"v=0", "o=bob 9 9 IN IP4 10.9.8.7", "s=secret plans", "c=IN IP4 10.9.8.7", "t=0 0", "a=tool:leaky 1.0"}, lines...)
	return []byte(strings.Join(all, "\r\n") + "\r\n")
}

func avp(more ...string) []byte { return body(append([]string{"m=audio 4000 RTP/AVP 0"}, more...)...) }
func savp(more ...string) []byte {
	return body(append([]string{"m=audio 4000 RTP/SAVP 0"}, more...)...)
}

func end(p Policy, secureHop bool) Endpoint {
	return Endpoint{Realm: Realm{Name: "r", Secure: p}, Local: loopback, SecureHop: secureHop}
}

// policyAnchor is shared: nothing but descriptions pass through it.
func policyAnchor(t testing.TB) *Anchor {
	t.Helper()
	a, err := New(Config{MinPort: 18400, MaxPort: 18599, Handshake: 10 * time.Second, Consent: 30 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// TestOfferTimesPolicy is the matrix of threats T7: what is offered, times what the realm wants, times whether the hop hides keys.
func TestOfferTimesPolicy(t *testing.T) {
	offers := []struct {
		name string
		sdp  []byte
		// what each policy says on a secure hop; "" passes plain, "srtp" passes encrypted
		require, allow, never string
		insecure              string // what Require and Allow say on a hop that is not secure, if it differs
	}{
		{"AVP", avp(), "secure-media-required", "", "", ""},
		{"AVPF", body("m=audio 4000 RTP/AVPF 0"), "secure-media-required", "", "", ""},
		{"AVP with keys", avp(lineCM), "secure-media-required", "", "", ""},
		{"SAVP CM", savp(lineCM), "srtp", "srtp", "no-common-media", "secure-media-required"},
		{"SAVP GCM", savp(lineGCM), "srtp", "srtp", "no-common-media", "secure-media-required"},
		{"SAVP both", savp(lineCM, lineGCM), "srtp", "srtp", "no-common-media", "secure-media-required"},
		{"SAVPF", body("m=audio 4000 RTP/SAVPF 0", lineCM), "srtp", "srtp", "no-common-media", "secure-media-required"},
		{"SAVP without keys", savp(), "no-common-crypto", "no-common-crypto", "no-common-media", "secure-media-required"},
		{"SAVP with a 32-bit tag", savp("a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:" + keyCM), "no-common-crypto", "no-common-crypto", "no-common-media", "secure-media-required"},
		{"SAVP unencrypted", savp(lineCM + " UNENCRYPTED_SRTP"), "no-common-crypto", "no-common-crypto", "no-common-media", "secure-media-required"},
		{"SAVP unauthenticated", savp(lineCM + " UNAUTHENTICATED_SRTP"), "no-common-crypto", "no-common-crypto", "no-common-media", "secure-media-required"},
		{"SAVP unencrypted RTCP", savp(lineCM + " UNENCRYPTED_SRTCP"), "no-common-crypto", "no-common-crypto", "no-common-media", "secure-media-required"},
		{"one good line of three", savp("a=crypto:1 F8 inline:x", "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:"+keyCM2+" UNENCRYPTED_SRTP", lineGCM), "srtp", "srtp", "no-common-media", "secure-media-required"},
		{"SAVP and AVP", body("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0", lineCM), "srtp", "srtp", "", "secure-media-required"},
		{"DTLS", body("m=audio 4000 UDP/TLS/RTP/SAVPF 0", "a=fingerprint:sha-256 00"), "no-common-media", "no-common-media", "no-common-media", ""},
		{"video only", body("m=video 4000 RTP/SAVP 96", "a=rtpmap:96 VP8/90000", lineCM), "no-common-media", "no-common-media", "no-common-media", ""},
		{"refused audio", body("m=audio 0 RTP/SAVP 0"), "no-common-media", "no-common-media", "no-common-media", ""},
		{"no media", body(), "no-common-media", "no-common-media", "no-common-media", ""},
		{"no codec", body("m=audio 4000 RTP/SAVP 101", "a=rtpmap:101 telephone-event/8000", lineCM), "no-common-media", "no-common-media", "no-common-media", ""},
	}
	a := policyAnchor(t)
	for _, o := range offers {
		for p, want := range map[Policy]string{Require: o.require, Allow: o.allow, Never: o.never} {
			for _, hop := range []bool{true, false} {
				want := want
				if !hop && p != Never && o.insecure != "" {
					want = o.insecure
					if o.name == "SAVP and AVP" && p == Allow {
						want = "" // falls back to the plain line that is offered as well
					}
				}
				s := a.Open("x", end(p, hop), end(Never, false), Events{})
				out, err := s.Offer(A, o.sdp)
				got := ""
				if e, ok := err.(*Error); ok {
					got = string(e.Reason)
					if e.Code != 488 {
						t.Errorf("%s: code %d", o.name, e.Code)
					}
				} else if s.last.crypto.key != nil {
					got = "srtp"
				}
				if got != want {
					t.Errorf("%s, policy %d, secure hop %v: got %q (%v), want %q", o.name, p, hop, got, err, want)
				}
				if err == nil && (strings.Contains(string(out), "crypto") || !strings.Contains(string(out), "RTP/AVP ")) {
					t.Errorf("%s: the plain side is offered\n%s", o.name, out)
				}
				s.Close()
			}
		}
	}
}

// What we offer to a side, and what it may answer.
func TestAnswerTimesPolicy(t *testing.T) {
	a := policyAnchor(t)
	ours1 := "a=crypto:1 AEAD_AES_256_GCM inline:" + keyGCM
	ours2 := "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:" + keyCM
	for name, c := range map[string]struct {
		policy Policy
		answer []byte
		code   int
		why    verdict.Reason
	}{
		"plain":                   {Never, avp(), 0, ""},
		"plain, allowed":          {Allow, avp(), 0, ""},
		"SRTP to a plain offer":   {Allow, savp(lineCM), 488, verdict.NoCommonMedia},
		"first suite":             {Require, savp(ours1), 0, ""},
		"second suite":            {Require, savp(ours2), 0, ""},
		"with MKI and lifetime":   {Require, savp(ours2 + "|2^31|1:4"), 0, ""},
		"AVP answer":              {Require, avp(), 488, verdict.SecureMediaRequired},
		"SAVPF answer":            {Require, body("m=audio 4000 RTP/SAVPF 0", ours1), 488, verdict.SecureMediaRequired},
		"no key":                  {Require, savp(), 488, verdict.NoCommonSuite},
		"two keys":                {Require, savp(ours1, ours2), 488, verdict.NoCommonSuite},
		"tag of the other suite":  {Require, savp("a=crypto:2 AEAD_AES_256_GCM inline:" + keyGCM), 488, verdict.NoCommonSuite},
		"unknown tag":             {Require, savp("a=crypto:3 AEAD_AES_256_GCM inline:" + keyGCM), 488, verdict.NoCommonSuite},
		"32-bit tag":              {Require, savp("a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:" + keyCM), 488, verdict.NoCommonSuite},
		"unencrypted":             {Require, savp(ours2 + " UNENCRYPTED_SRTP"), 488, verdict.NoCommonSuite},
		"more media":              {Require, body("m=audio 4000 RTP/SAVP 0", ours1, "m=video 0 RTP/SAVP 96"), 400, verdict.BadBody},
		"no media":                {Require, body(), 400, verdict.BadBody},
		"video":                   {Require, body("m=video 4000 RTP/SAVP 0", ours1), 488, verdict.SecureMediaRequired},
		"no usable payload types": {Never, body("m=audio 4000 RTP/AVP 77"), 488, verdict.NoCommonMedia},
		"malformed":               {Never, []byte("v=0\r\n"), 400, verdict.BadBody},
		"own port":                {Never, avp("c=IN IP4 127.0.0.1"), 0, ""},
	} {
		s := a.Open("x", end(Never, false), end(c.policy, true), Events{})
		offer, err := s.Offer(A, avp())
		if err != nil {
			t.Fatal(err)
		}
		if c.policy == Require {
			m := parse(t, offer).Media[0]
			if m.Proto != "RTP/SAVP" || len(m.Crypto) != 2 || m.Crypto[0].Suite != gcm || m.Crypto[1].Suite != cm || m.RTCPMux {
				t.Errorf("offer to a phone:\n%s", offer)
			}
		}
		_, err = s.Answer(B, c.answer)
		if c.code == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.code != 0 {
			wantError(t, err, c.code, c.why)
		}
		s.Close()
	}
}

func TestKeysNeverLeaveOverAnInsecureHop(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Never, false), end(Require, false), Events{})
	_, err := s.Offer(A, avp())
	wantError(t, err, 488, verdict.SecureMediaRequired)
	s.Close()
}

// A re-INVITE may never lower what is in force, whatever the realm allows.
func TestReofferNeverLowers(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Allow, true), end(Never, false), Events{})
	mustOffer(t, s, A, savp(lineGCM))
	mustAnswer(t, s, B, avp())
	for name, c := range map[string]struct {
		offer []byte
		why   verdict.Reason
	}{
		"RTP":          {avp(), verdict.SecureMediaRequired},
		"weaker suite": {savp("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:" + keyCM), verdict.NoCommonSuite},
	} {
		_, err := s.Offer(A, c.offer)
		wantError(t, err, 488, c.why)
		if st := s.Stats().Sides[A]; st.Suite != gcm {
			t.Errorf("%s: then the suite is %q", name, st.Suite)
		}
	}
	offer := mustOffer(t, s, B, avp()) // the other way we offer the one suite that is in force
	if m := parse(t, offer).Media[0]; m.Proto != "RTP/SAVP" || len(m.Crypto) != 1 || m.Crypto[0].Suite != gcm || m.Crypto[0].Tag != 2 {
		t.Errorf("%s", offer)
	}
	_, err := s.Answer(A, avp())
	wantError(t, err, 488, verdict.SecureMediaRequired)
	s.Close()
}

func TestSuiteByOurOrder(t *testing.T) {
	a := policyAnchor(t)
	for _, c := range []struct {
		suites []string
		want   string
	}{{nil, gcm}, {[]string{cm, gcm}, cm}, {[]string{cm}, cm}} {
		e := end(Require, true)
		e.Realm.Suites = c.suites
		s := a.Open("x", e, end(Never, false), Events{})
		mustOffer(t, s, A, savp(lineCM, lineGCM))
		m := parse(t, mustAnswer(t, s, B, avp())).Media[0]
		if len(m.Crypto) != 1 || m.Crypto[0].Suite != c.want {
			t.Errorf("%v: %v", c.suites, m.Crypto)
		}
		s.Close()
	}
	e := end(Require, true)
	e.Realm.Suites = []string{gcm}
	s := a.Open("x", e, end(Never, false), Events{})
	_, err := s.Offer(A, savp(lineCM))
	wantError(t, err, 488, verdict.NoCommonSuite)
	s.Close()
	e.Realm.Suites = []string{"ROT13"}
	if e.Realm.Validate() == nil || end(Require, true).Realm.Validate() != nil {
		t.Error("suites are not validated")
	}
	s = a.Open("x", e, end(Never, false), Events{})
	_, err = s.Offer(A, savp(lineCM))
	wantError(t, err, 500, verdict.Internal)
	s.Close()
}

// The line in use is kept when it is offered again beside better ones, so that its context goes on.
func TestLineInUseIsKept(t *testing.T) {
	a := policyAnchor(t)
	e := end(Require, true)
	e.Realm.Suites = []string{cm, gcm}
	s := a.Open("x", e, end(Never, false), Events{})
	mustOffer(t, s, A, savp(lineGCM))
	first := parse(t, mustAnswer(t, s, B, avp())).Media[0].Crypto[0]
	mustOffer(t, s, A, savp("a=crypto:7 AEAD_AES_256_GCM inline:"+keyGCM))
	second := parse(t, mustAnswer(t, s, B, avp("a=ptime:20"))).Media[0].Crypto[0]
	if second.Suite != gcm || second.Tag != 7 || second.KeyParams != first.KeyParams {
		t.Error("the key in use was not kept")
	}
	s.Close()
}

func TestRemoteAddresses(t *testing.T) {
	// "Another call" below has 18500: held here, it is allotted to none of ours. Somebody else's hold is as good.
	if held, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:18500"))); err == nil {
		defer held.Close()
	}
	a := policyAnchor(t)
	s := a.Open("x", end(Never, false), end(Never, false), Events{})
	mustOffer(t, s, A, avp())
	own := parse(t, mustAnswer(t, s, B, avp())).Media[0]
	for name, c := range map[string][]byte{
		"IPv6":              avp("c=IN IP6 2001:db8::1"),
		"IPv6 RTCP":         avp("a=rtcp:5 IN IP6 2001:db8::1"),
		"own port":          body(fmt.Sprintf("m=audio %d RTP/AVP 0", own.Port), "c=IN IP4 127.0.0.1"),
		"own RTCP port":     avp(fmt.Sprintf("a=rtcp:%d IN IP4 127.0.0.1", own.Port+1)),
		"another call's":    body("m=audio 18500 RTP/AVP 0", "c=IN IP4 127.0.0.1"),
		"own port, mapped":  body(fmt.Sprintf("m=audio %d RTP/AVP 0", own.Port), "c=IN IP6 ::ffff:127.0.0.1"),
		"host name":         avp("c=IN IP4 phone.example"),
		"multicast address": avp("c=IN IP4 239.1.1.1"),
	} {
		if _, err := s.Offer(A, c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	s.Close()
	trusted := end(Never, false)
	trusted.Realm.Trusted = true
	s = a.Open("x", trusted, end(Never, false), Events{})
	mustOffer(t, s, A, body("m=audio 18500 RTP/AVP 0", "c=IN IP4 127.0.0.1"))
	mine := parse(t, mustAnswer(t, s, B, avp())).Media[0]
	_, err := s.Offer(A, body(fmt.Sprintf("m=audio %d RTP/AVP 0", mine.Port), "c=IN IP4 127.0.0.1"))
	wantError(t, err, 488, verdict.NoCommonMedia)
	s.Close()
	// Another call's port may have the number that our other side has, on another address.
	elsewhere := end(Never, false)
	elsewhere.Realm.Bind = netip.MustParseAddr("127.203.11.2")
	for same := true; same; s.Close() {
		s = a.Open("x", trusted, elsewhere, Events{})
		other := parse(t, mustOffer(t, s, A, avp())).Media[0].Port
		same = parse(t, mustAnswer(t, s, B, avp())).Media[0].Port == other
		if !same {
			mustOffer(t, s, A, body(fmt.Sprintf("m=audio %d RTP/AVP 0", other), "c=IN IP4 127.0.0.1"))
		}
	}
}

func TestAddressesToldAndBound(t *testing.T) {
	a := policyAnchor(t)
	e := end(Never, false)
	e.Realm.Bind, e.Realm.Advertise = netip.MustParseAddr("127.203.11.2"), netip.MustParseAddr("203.0.113.5")
	wild := end(Never, false)
	wild.Realm.Bind = netip.IPv4Unspecified()
	s := a.Open("x", e, wild, Events{})
	out := mustOffer(t, s, A, avp())
	if c := parse(t, out).Media[0].Conn; c != loopback {
		t.Errorf("a wildcard is told as %v", c)
	}
	if c := parse(t, mustAnswer(t, s, B, avp())).Media[0].Conn; c != e.Realm.Advertise {
		t.Errorf("told %v", c)
	}
	s.Close()
	s = a.Open("x", Endpoint{}, e, Events{})
	_, err := s.Offer(A, savp(lineCM))
	wantError(t, err, 500, verdict.Internal)
	s.Close()
}

func mustOffer(t testing.TB, s *Session, from Side, b []byte) []byte {
	t.Helper()
	out, err := s.Offer(from, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustAnswer(t testing.TB, s *Session, from Side, b []byte) []byte {
	t.Helper()
	out, err := s.Answer(from, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{}, {MinPort: 80, MaxPort: 9000}, {MinPort: 5000, MaxPort: 4000}, {MinPort: 5000, MaxPort: 5002},
		{MinPort: 5000, MaxPort: 6000, Silence: -1}, {MinPort: 5001, MaxPort: 5004, Drain: -1}} {
		if _, err := New(c, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzOffer: whatever a phone offers, and the other one answers, nothing panics, and what goes on is sound and says nothing of either.
func FuzzOffer(f *testing.F) {
	f.Add(savp(lineCM), avp())
	f.Add(body("m=video 1 RTP/AVP 96", "m=audio 4000 RTP/SAVPF 0 96", "a=rtpmap:96 opus/48000/2", "a=rtcp-mux", lineGCM), avp("a=sendonly"))
	a := policyAnchor(f)
	f.Fuzz(func(t *testing.T, offer, answer []byte) {
		s := a.Open("x", end(Require, true), end(Never, false), Events{})
		defer func() { s.Close(); a.release() }()
		out, err := s.Offer(A, offer)
		if err != nil {
			return
		}
		check := func(out []byte, secure bool) {
			d, err := sdp.Parse(out)
			if err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			for _, m := range d.Media {
				if m.Port != 0 && (m.Conn != loopback || strings.Contains(m.Proto, "SAVP") != secure) {
					t.Fatalf("%s", out)
				}
			}
		}
		check(out, false)
		if out, err := s.Answer(B, answer); err == nil {
			check(out, true)
		}
	})
}

// release gives resting ports back: the fuzzer makes more calls than there are ports.
func (a *Anchor) release() {
	for _, r := range a.draining() {
		r.Close(0)
		r.Wait()
	}
}
