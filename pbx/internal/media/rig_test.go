package media

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"brickhouse/shared/sdp"
	"brickhouse/shared/tone"
)

const patience = 10 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

func newEngine(t testing.TB, lo uint16, change func(*Config)) *Engine {
	t.Helper()
	cfg := Config{MinPort: lo, MaxPort: lo + 99, Silence: time.Minute}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// phone is the far side of a test call.
type phone struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
	remote    netip.AddrPort
	seq       uint16
	ssrc      uint32
	sine      *tone.Sine
}

func newPhone(t testing.TB, host string) *phone {
	t.Helper()
	p := &phone{t: t, ssrc: 0x77, sine: tone.NewSine(440, -10)}
	for _, c := range []**net.UDPConn{&p.rtp, &p.rtcp} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	return p
}

func at(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (p *phone) offer(more ...string) []byte {
	host, family := at(p.rtp).Addr(), "IP4"
	if host.Is6() {
		family = "IP6"
	}
	lines := append([]string{"v=0", "o=- 1 1 IN " + family + " " + host.String(), "s=-", "c=IN " + family + " " + host.String(), "t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP 9 0 8 101", at(p.rtp).Port()), "a=rtpmap:101 telephone-event/8000",
		fmt.Sprintf("a=rtcp:%d", at(p.rtcp).Port())}, more...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

func (p *phone) take(answer []byte) sdp.Media {
	p.t.Helper()
	d, err := sdp.Parse(answer)
	if err != nil {
		p.t.Fatalf("%v in\n%s", err, answer)
	}
	p.remote, _ = d.Media[0].RTP()
	return d.Media[0]
}

func (p *phone) send(c *net.UDPConn, pt uint8, payload []byte) {
	p.t.Helper()
	pkt := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: p.seq, Timestamp: 5000 + uint32(p.seq)*160, SSRC: p.ssrc}, Payload: payload}
	p.seq++
	b, err := pkt.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(b, p.remote); err != nil {
		p.t.Fatal(err)
	}
}

func (p *phone) receive(c *net.UDPConn) []byte {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 2000)
	n, err := c.Read(b)
	if err != nil {
		p.t.Fatalf("nothing came to %v: %v", at(c), err)
	}
	return b[:n]
}

func (p *phone) packet() rtp.Packet {
	p.t.Helper()
	var pkt rtp.Packet
	if err := pkt.Unmarshal(p.receive(p.rtp)); err != nil {
		p.t.Fatal(err)
	}
	return pkt
}

func (p *phone) silent() {
	p.t.Helper()
	_ = p.rtp.SetReadDeadline(time.Now().Add(60 * time.Millisecond))
	if n, err := p.rtp.Read(make([]byte, 2000)); err == nil {
		p.t.Errorf("%d bytes came", n)
	}
}

// frame is the next 20 ms of the phone's own tone.
func (p *phone) frame(law tone.Law) []byte {
	pcm := make([]int16, 160)
	p.sine.Read(pcm)
	return law.Encode(nil, pcm)
}

func call(t testing.TB, e *Engine, kind Kind, p *phone, more ...string) (*Session, sdp.Media) {
	t.Helper()
	answer, s, err := e.Answer(kind, p.offer(more...), loopback, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, p.take(answer)
}

func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
