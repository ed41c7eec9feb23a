package anchor

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"brickhouse/shared/sdp"
	"brickhouse/shared/tone"
)

const patience = 10 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

const (
	gcm = "AEAD_AES_256_GCM"
	cm  = "AES_CM_128_HMAC_SHA1_80"
)

// The endpoints that a border has.
func outside() Endpoint {
	return Endpoint{Realm: Realm{Name: "access", Secure: Require}, Local: loopback, SecureHop: true}
}

func inside() Endpoint {
	return Endpoint{Realm: Realm{Name: "core", Secure: Never, Trusted: true}, Local: loopback}
}

func newAnchor(t testing.TB, lo uint16, change func(*Config)) *Anchor {
	t.Helper()
	cfg := Config{MinPort: lo, MaxPort: lo + 199, Silence: time.Minute, Handshake: 10 * time.Second, Consent: 30 * time.Second}
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// phone is an independent party: it uses pion's SRTP directly, writes SDP as text, and hears and makes tones.
type phone struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
	suite     string // empty: plain RTP
	key       []byte // what it sends with; master and salt
	tag       int

	remote   netip.AddrPort
	tx, rx   *srtp.Context
	law      tone.Law
	sine     *tone.Sine
	seq      uint16
	ssrc     uint32
	mu       sync.Mutex
	heard    []int16
	wire     [][]byte // what came, as it came
	failures int      // what came and did not open
}

func newPhone(t testing.TB, host, suite string) *phone {
	t.Helper()
	p := &phone{t: t, suite: suite, tag: 1, ssrc: 0x1000}
	for _, c := range []**net.UDPConn{&p.rtp, &p.rtcp} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	p.newKey()
	return p
}

func (p *phone) newKey() {
	p.key = make([]byte, keySize(p.suite))
	if _, err := rand.Read(p.key); err != nil {
		p.t.Fatal(err)
	}
	p.tx = nil
}

func keySize(suite string) int {
	switch suite {
	case gcm:
		return 44
	case cm:
		return 30
	}
	return 0
}

func context(t testing.TB, suite string, key []byte, opts ...srtp.ContextOption) *srtp.Context {
	t.Helper()
	profile, n := srtp.ProtectionProfileAes128CmHmacSha1_80, 16
	if suite == gcm {
		profile, n = srtp.ProtectionProfileAeadAes256Gcm, 32
	}
	c, err := srtp.CreateContext(key[:n], key[n:], profile, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addr(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// sdp writes the phone's description; more are attribute lines without "a=".
func (p *phone) sdp(more ...string) []byte {
	at := addr(p.rtp)
	proto, family := "RTP/AVP", "IP4"
	if at.Addr().Is6() {
		family = "IP6"
	}
	lines := []string{"v=0", "o=alice 5 5 IN " + family + " " + at.Addr().String(), "s=mydesk", "c=IN " + family + " " + at.Addr().String(), "t=0 0"}
	if p.suite != "" {
		proto = "RTP/SAVP"
		more = append(more, fmt.Sprintf("crypto:%d %s inline:%s", p.tag, p.suite, base64.StdEncoding.EncodeToString(p.key)))
	}
	lines = append(lines, fmt.Sprintf("m=audio %d %s 0 8 101", at.Port(), proto),
		"a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", fmt.Sprintf("a=rtcp:%d", addr(p.rtcp).Port()))
	for _, m := range more {
		lines = append(lines, "a="+m)
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

// take reads the description that the border wrote for the phone.
func (p *phone) take(body []byte) *sdp.Session {
	p.t.Helper()
	d := parse(p.t, body)
	m := d.Media[0]
	p.remote, _ = m.RTP()
	if p.suite == "" {
		if len(m.Crypto) != 0 {
			p.t.Errorf("keys were told to a phone without SRTP")
		}
		return d
	}
	for _, c := range m.Crypto {
		if c.Suite != p.suite {
			continue
		}
		theirs, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.KeyParams, "inline:"))
		if err != nil {
			p.t.Fatal(err)
		}
		p.tag = int(c.Tag)
		p.mu.Lock()
		p.rx = context(p.t, p.suite, theirs, srtp.SRTPReplayProtection(1024))
		p.mu.Unlock()
		if p.tx == nil {
			p.tx = context(p.t, p.suite, p.key)
		}
		return d
	}
	p.t.Fatalf("no %s in\n%s", p.suite, body)
	return nil
}

func parse(t testing.TB, body []byte) *sdp.Session {
	t.Helper()
	d, err := sdp.Parse(body)
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	return d
}

// play sends n packets of 20 ms of a tone.
func (p *phone) play(hz float64, n int) {
	p.t.Helper()
	p.playFrom(p.rtp, hz, n)
}

func (p *phone) playFrom(c *net.UDPConn, hz float64, n int) {
	p.t.Helper()
	if p.sine == nil {
		p.sine = tone.NewSine(hz, -10)
	}
	pcm := make([]int16, 160)
	for range n {
		p.sine.Read(pcm)
		b := make([]byte, 12, 200)
		b[0], b[1] = 0x80, byte(p.law)
		binary.BigEndian.PutUint16(b[2:], p.seq)
		binary.BigEndian.PutUint32(b[4:], uint32(p.seq)*160)
		binary.BigEndian.PutUint32(b[8:], p.ssrc)
		p.seq++
		p.send(c, p.protect(p.law.Encode(b, pcm)))
		time.Sleep(500 * time.Microsecond) // not to overrun the sockets' buffers
	}
}

func (p *phone) protect(b []byte) []byte {
	if p.tx == nil {
		return b
	}
	out, err := p.tx.EncryptRTP(nil, b, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *phone) send(c *net.UDPConn, b []byte) {
	p.t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, p.remote); err != nil {
		p.t.Fatal(err)
	}
}

// listen reads until n packets were understood.
func (p *phone) listen(n int) {
	p.t.Helper()
	_ = p.rtp.SetReadDeadline(time.Now().Add(patience))
	for got := 0; got < n; {
		b := make([]byte, 2000)
		size, err := p.rtp.Read(b)
		if err != nil {
			p.t.Fatalf("after %d of %d packets, %d that did not open: %v", got, n, p.failures, err)
		}
		if p.understand(b[:size]) {
			got++
		}
	}
}

func (p *phone) understand(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wire = append(p.wire, append([]byte(nil), b...))
	if p.rx != nil {
		plain, err := p.rx.DecryptRTP(nil, b, nil)
		if err != nil {
			p.failures++
			return false
		}
		b = plain
	}
	p.heard = p.law.Decode(p.heard, b[12:])
	return true
}

// hears asserts that what was heard lately is a tone.
func (p *phone) hears(hz float64) {
	p.t.Helper()
	const window = 1600
	if len(p.heard) < window {
		p.t.Fatalf("only %d samples were heard", len(p.heard))
	}
	if r := tone.Measure(p.heard[len(p.heard)-window:]); !r.Is(hz) || r.Level < -11 || r.Level > -9 {
		p.t.Errorf("heard %+v, want %v Hz at -10 dBm0", r, hz)
	}
}

// silent asserts that nothing comes.
func (p *phone) silent() {
	p.t.Helper()
	for _, c := range []*net.UDPConn{p.rtp, p.rtcp} {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := c.Read(make([]byte, 2000)); err == nil {
			p.t.Errorf("%d bytes came to %v", n, addr(c))
		}
	}
}

// talk sends a tone each way and measures it.
func talk(t testing.TB, a, b *phone) {
	t.Helper()
	a.sine, b.sine = nil, nil
	const n = 15
	done := make(chan struct{})
	go func() { defer close(done); a.play(440, n) }()
	b.listen(n)
	<-done
	done = make(chan struct{})
	go func() { defer close(done); b.play(1004, n) }()
	a.listen(n)
	<-done
	b.hears(440)
	a.hears(1004)
}

// connect makes a call from a to b.
func connect(t testing.TB, s *Session, a, b *phone) (offer, answer []byte) {
	t.Helper()
	return exchangeSDP(t, s, A, a, b)
}

// exchangeSDP lets one side offer and the other answer.
func exchangeSDP(t testing.TB, s *Session, from Side, offerer, answerer *phone, more ...string) (offer, answer []byte) {
	t.Helper()
	offer, err := s.Offer(from, offerer.sdp(more...))
	if err != nil {
		t.Fatal(err)
	}
	answerer.take(offer)
	answer, err = s.Answer(from.Other(), answerer.sdp())
	if err != nil {
		t.Fatal(err)
	}
	offerer.take(answer)
	return offer, answer
}
