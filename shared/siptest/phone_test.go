package siptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest/ladder"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// within is a context that ends with the test or after a time that no test needs.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open makes a phone that must end without faults.
func open(t *testing.T, cfg Config) *Phone {
	t.Helper()
	if !cfg.Bind.IsValid() {
		cfg.Bind = loopback
	}
	p, err := NewPhone(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if t.Failed() {
			for _, m := range p.Ladder() {
				t.Logf("%s sent=%v %s %s\n%s", p.Name(), m.Sent, m.Network, m.Remote, m.Text)
			}
		}
	})
	return p
}

func faultless(t *testing.T, phones ...*Phone) {
	t.Helper()
	for _, p := range phones {
		if f := p.Faults(); len(f) > 0 {
			t.Errorf("%s found faults: %q", p.Name(), f)
		}
	}
}

// must stops the test at an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func incoming(t *testing.T, p *Phone) *Call {
	t.Helper()
	select {
	case c := <-p.Incoming():
		return c
	case <-time.After(20 * time.Second):
		t.Fatalf("no call at %s", p.Name())
		return nil
	}
}

func over(t *testing.T, c *Call, want End) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("call at %s is not over", c.p.Name())
	}
	if c.Ended() != want {
		t.Errorf("call at %s ended by %q, want %q", c.p.Name(), c.Ended(), want)
	}
}

// tlsPair is a configuration that works for both ends.
func tlsPair(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestCallBetweenPhones(t *testing.T) {
	secure := tlsPair(t)
	tests := []struct {
		name      string
		transport Transport
		a, b      []Suite
		want      Suite
		codec     Codec
	}{
		{"udp plain μ-law", UDP, nil, nil, "", PCMU},
		{"tcp plain A-law", TCP, nil, nil, "", PCMA},
		{"udp AES-CM", UDP, []Suite{AESCM}, []Suite{AESCM}, AESCM, PCMU},
		{"tls AES-GCM", TLS, []Suite{AESGCM}, []Suite{AESGCM}, AESGCM, PCMA},
		{"tls first of two", TLS, []Suite{AESGCM, AESCM}, []Suite{AESCM, AESGCM}, AESGCM, PCMU},
		{"tls only common one", TLS, []Suite{AESGCM, AESCM}, []Suite{AESCM}, AESCM, PCMU},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Transport: tt.transport, TLS: secure, Codecs: []Codec{tt.codec}, RTCPEvery: 100 * time.Millisecond}
			ca, cb := cfg, cfg
			ca.User, ca.Tone, ca.SRTP = "alice", 440, tt.a
			cb.User, cb.Tone, cb.SRTP, cb.Level = "bob", 1000, tt.b, -20
			alice, bob := open(t, ca), open(t, cb)
			ctx := within(t)
			call, err := alice.Call(ctx, bob.URI())
			must(t, err)
			other := incoming(t, bob)
			heard, err := call.AwaitTone(ctx, 1000)
			must(t, err)
			if math.Abs(heard.Level+20) > 1 {
				t.Errorf("level %.1f dBm0, want -20", heard.Level)
			}
			heard, err = other.AwaitTone(ctx, 440)
			must(t, err)
			if math.Abs(heard.Level+10) > 1 {
				t.Errorf("level %.1f dBm0, want -10", heard.Level)
			}
			for _, c := range []*Call{call, other} {
				waitFor(t, ctx, "RTCP", func() bool { return c.Stats().RTCPReceived > 1 && c.Stats().RTCPSent > 1 })
				s := c.Stats()
				if s.Suite != tt.want || s.Codec != tt.codec {
					t.Errorf("agreed on %q %v, want %q %v", s.Suite, s.Codec, tt.want, tt.codec)
				}
				if s.AuthFailures+s.RTCPFailures+s.Foreign+s.Malformed+s.WrongPayload+s.SSRCChanges > 0 {
					t.Errorf("something wrong with the media: %+v", s)
				}
			}
			must(t, call.Hangup(ctx))
			over(t, call, EndHangup)
			over(t, other, EndBye)
			if call.Stats().Received == 0 || len(alice.Ladder()) < 6 {
				t.Error("counters or ladder are gone after the call")
			}
			faultless(t, alice, bob)
		})
	}
}

func waitFor(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAnswerPolicies(t *testing.T) {
	tests := []struct {
		name   string
		answer Answer
		code   int
		rings  bool
		end    End
	}{
		{"busy", RefuseWith(486), 486, false, EndRefused},
		{"decline after ringing", RefuseAfter(50*time.Millisecond, 603), 603, true, EndRefused},
		{"accept after ringing", AcceptAfter(100 * time.Millisecond), 200, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob", Answer: tt.answer})
			ctx := within(t)
			call, err := alice.Call(ctx, bob.URI())
			var no *RefusedError
			if tt.code == 200 {
				must(t, err)
			} else if !errors.As(err, &no) || no.Code != tt.code {
				t.Fatalf("error %v, want a refusal with %d", err, tt.code)
			}
			if call.Result().Code != tt.code || call.Ended() != tt.end {
				t.Errorf("result %v, ended %q", call.Result(), call.Ended())
			}
			if rang := len(call.Provisional()) > 0; rang != tt.rings {
				t.Errorf("provisional responses %v", call.Provisional())
			}
			faultless(t, alice, bob)
		})
	}
}

func TestManualAnswer(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob", Answer: Manual()})
	ctx := within(t)
	call, err := alice.Invite(ctx, bob.URI(), WithHeader("X-Invented", "yes"))
	must(t, err)
	other := incoming(t, bob)
	if other.Request().Header("x-invented") != "yes" || !other.Incoming() || call.Incoming() {
		t.Error("the INVITE is not as it was sent")
	}
	must(t, other.Ring())
	must(t, other.Accept())
	r, err := call.Wait(ctx)
	must(t, err)
	if !r.OK() || r.String() != "200 OK" {
		t.Errorf("result %v", r)
	}
	if err := other.Refuse(486); err == nil {
		t.Error("an answered call was refused")
	}
	must(t, other.Hangup(ctx)) // waits for the ACK
	over(t, call, EndBye)
	faultless(t, alice, bob)
}

func TestCancel(t *testing.T) {
	for _, transport := range []Transport{UDP, TCP} {
		t.Run(string(transport), func(t *testing.T) {
			alice := open(t, Config{User: "alice", Transport: transport})
			bob := open(t, Config{User: "bob", Transport: transport, Answer: RingForever()})
			ctx := within(t)
			call, err := alice.Invite(ctx, bob.URI())
			must(t, err)
			other := incoming(t, bob)
			must(t, call.Cancel(ctx))
			over(t, call, EndCancelled)
			over(t, other, EndCancelled)
			if call.Result().Code != 487 || other.Result().Code != 487 {
				t.Errorf("results %v and %v", call.Result(), other.Result())
			}
			faultless(t, alice, bob)
		})
	}
}

func TestSilentPhone(t *testing.T) {
	alice := open(t, Config{User: "alice", T1: 5 * time.Millisecond})
	bob := open(t, Config{User: "bob", Answer: Silent()})
	call, err := alice.Call(within(t), bob.URI())
	if !errors.Is(err, ErrTimeout) {
		t.Fatalf("error %v, want no answer", err)
	}
	over(t, call, EndFailed)
	if n := len(ladder.Sent(alice.Ladder())); n < 4 {
		t.Errorf("INVITE was sent %d times, want it repeated", n)
	}
	if n := len(bob.Ladder()); n != len(ladder.Received(bob.Ladder())) {
		t.Error("a silent phone spoke")
	}
}

func TestHoldAndResume(t *testing.T) {
	for _, suites := range [][]Suite{nil, {AESCM}, {AESGCM}} {
		alice := open(t, Config{User: "alice", Tone: 500, SRTP: suites})
		bob := open(t, Config{User: "bob", Tone: 800, SRTP: suites})
		ctx := within(t)
		call, err := alice.Call(ctx, bob.URI())
		must(t, err)
		other := incoming(t, bob)
		_, err = call.AwaitTone(ctx, 800)
		must(t, err)
		must(t, call.Hold(ctx))
		if !other.OnHold() && other.Direction() != RecvOnly {
			t.Errorf("hold %v, direction %s", other.OnHold(), other.Direction())
		}
		_, err = call.AwaitSilence(ctx)
		must(t, err)
		_, err = other.AwaitSilence(ctx)
		must(t, err)
		must(t, call.Resume(ctx))
		_, err = call.AwaitTone(ctx, 800)
		must(t, err)
		_, err = other.AwaitTone(ctx, 500)
		must(t, err)
		r, err := other.ReInvite(ctx, Change{Rekey: true})
		must(t, err)
		if !r.OK() || len(call.Reinvites()) != 1 || len(other.Reinvites()) != 2 {
			t.Errorf("re-INVITE: %v, %d and %d seen", r, len(call.Reinvites()), len(other.Reinvites()))
		}
		before := call.Stats().Received
		waitFor(t, ctx, "sound after new keys", func() bool { return call.Stats().Received > before+20 })
		_, err = call.AwaitTone(ctx, 800)
		must(t, err)
		must(t, other.Hangup(ctx))
		over(t, call, EndBye)
		faultless(t, alice, bob)
	}
}

func TestInfoAndOptionsInCall(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob"})
	ctx := within(t)
	call, err := alice.Call(ctx, bob.URI(), WithoutOffer())
	must(t, err)
	other := incoming(t, bob)
	r, err := call.Info(ctx, "application/dtmf-relay", []byte("Signal=5\r\n"))
	must(t, err)
	if !r.OK() || len(other.Infos()) != 1 || string(other.Infos()[0].Body) != "Signal=5\r\n" {
		t.Errorf("INFO: %v, %d seen", r, len(other.Infos()))
	}
	r, err = other.Options(ctx)
	must(t, err)
	if !r.OK() {
		t.Errorf("OPTIONS: %v", r)
	}
	if call.RemoteSDP() == nil || other.RemoteSDP() == nil {
		t.Error("nothing was agreed without an offer in the INVITE")
	}
	must(t, call.Hangup(ctx))
	if _, err := call.Info(ctx, "text/plain", nil); !errors.Is(err, ErrOver) {
		t.Errorf("INFO after the call: %v", err)
	}
	faultless(t, alice, bob)
}

func TestSecurePhoneTakesNoPlainCall(t *testing.T) {
	tests := []struct {
		name   string
		caller []Suite
		callee []Suite
	}{
		{"plain to secure", nil, []Suite{AESCM}},
		{"secure to plain", []Suite{AESCM}, nil},
		{"no common suite", []Suite{AESCM}, []Suite{AESGCM}},
	}
	for _, tt := range tests {
		alice, bob := open(t, Config{User: "alice", SRTP: tt.caller}), open(t, Config{User: "bob", SRTP: tt.callee})
		_, err := alice.Call(within(t), bob.URI())
		var no *RefusedError
		if !errors.As(err, &no) || no.Code != 488 {
			t.Errorf("%s: %v, want 488", tt.name, err)
		}
	}
}

func TestAwaitSaysWhatWasHeard(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob", Tone: 800})
	call, err := alice.Call(within(t), bob.URI())
	must(t, err)
	short, cancel := context.WithTimeout(within(t), time.Second)
	defer cancel()
	if _, err = call.AwaitTone(short, 440); err == nil || !strings.Contains(err.Error(), "heard 800 Hz") {
		t.Errorf("another tone: %v", err)
	}
	if _, err = call.AwaitSilence(short); err == nil {
		t.Error("a tone was taken for silence")
	}
	if r := call.Heard(500 * time.Millisecond); !r.Is(800) {
		t.Errorf("heard %+v", r)
	}
}

func TestCallOverIPv6(t *testing.T) {
	v6 := netip.IPv6Loopback()
	for _, transport := range []Transport{UDP, TCP} {
		alice := open(t, Config{User: "alice", Bind: v6, Transport: transport})
		bob := open(t, Config{User: "bob", Bind: v6, Transport: transport, Tone: 800})
		ctx := within(t)
		call, err := alice.Call(ctx, bob.URI())
		must(t, err)
		_, err = call.AwaitTone(ctx, 800)
		must(t, err)
		must(t, call.Hangup(ctx))
		faultless(t, alice, bob)
	}
}

func TestCallThatIsGivenUp(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob", Answer: RingForever()})
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-bob.Incoming()
		cancel()
	}()
	call, err := alice.Call(ctx, bob.URI())
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	over(t, call, EndCancelled)
}

func TestLadderOfACall(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob"})
	ctx := within(t)
	call, err := alice.Call(ctx, bob.URI())
	must(t, err)
	must(t, call.Hangup(ctx))
	var out strings.Builder
	must(t, ladder.Print(&out, []ladder.Column{alice.Column(), bob.Column()}, ladder.Options{}))
	t.Logf("\n%s", out.String())
	for _, want := range []string{"INVITE (SDP)", "180 Ringing", "200 OK (SDP)", "ACK", "BYE", "200 OK (BYE)"} {
		if n := strings.Count(out.String(), " "+want+" "); n != 1 {
			t.Errorf("%q is drawn %d times:\n%s", want, n, out.String())
		}
	}
}
