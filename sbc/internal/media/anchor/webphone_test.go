package anchor

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"brickhouse/sbc/internal/media/dtls"
	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/sdp"
)

// webPhone is a phone that is keyed by DTLS, with or without ICE, on one socket.
type webPhone struct {
	t      testing.TB
	conn   *net.UDPConn
	id     *dtls.Identity
	ufrag  string // empty: it speaks no ICE
	claims *dtls.Identity
	setup  string
	border *sdp.Media // as last described by the border
	assoc  *dtls.Association
	keys   chan dtls.Keys
	plain  chan []byte // RTP that came
	stuns  chan []byte
	tx     *keying.Sender
	rx     *keying.Receiver
	seq    uint16
}

func newWebPhone(t testing.TB, ufrag string) *webPhone {
	t.Helper()
	id, err := dtls.NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	p := &webPhone{t: t, conn: conn, id: id, claims: id, ufrag: ufrag, setup: "actpass",
		keys: make(chan dtls.Keys, 2), plain: make(chan []byte, 100), stuns: make(chan []byte, 100)}
	t.Cleanup(func() { conn.Close() })
	return p
}

const webPwd = "passwordOfAWebPhone012345"

// sdp writes the phone's description, as a browser that hides its address does if it speaks ICE.
func (p *webPhone) sdp(more ...string) []byte {
	f := p.claims.Fingerprint()
	pairs := strings.ToLower(strings.ReplaceAll(fmt.Sprintf("% x", f.Digest), " ", ":"))
	lines := []string{"v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE a v", "a=extmap-allow-mixed"}
	at := fmt.Sprintf("m=audio %d UDP/TLS/RTP/SAVPF 0 101", addr(p.conn).Port())
	host := "c=IN IP4 127.0.0.1"
	if p.ufrag != "" {
		at, host = "m=audio 9 UDP/TLS/RTP/SAVPF 0 101", "c=IN IP4 0.0.0.0"
		more = append(more, "ice-ufrag:"+p.ufrag, "ice-pwd:"+webPwd, "ice-options:trickle", "candidate:1 1 udp 1 x.local 9 typ host")
	}
	lines = append(lines, at, host, "a=mid:a", "a=rtcp-mux", "a=rtpmap:101 telephone-event/8000", "a=setup:"+p.setup,
		"a=fingerprint:"+strings.ToUpper(f.Hash)+" "+pairs, "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level")
	for _, m := range more {
		lines = append(lines, "a="+m)
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

// take reads what the border wrote, and makes ready to be the active side.
func (p *webPhone) take(body []byte) {
	p.t.Helper()
	m := parse(p.t, body).Media[0]
	p.border = &m
	if !m.RTCPMux || len(m.Fingerprints) != 1 || len(m.Crypto) != 0 || (p.ufrag != "") != m.ICE.Lite {
		p.t.Errorf("the border's description is\n%s", body)
	}
	p.assoc = dtls.New(dtls.Config{
		Identity: p.id, Slots: dtls.NewSlots(4), Suites: []keying.Suite{keying.AEADAES128GCM}, Role: dtls.Active, Peer: m.Fingerprints,
		Send: func(pkt []byte, to netip.AddrPort) { _, _ = p.conn.WriteToUDPAddrPort(pkt, to) },
		Done: func(k dtls.Keys, err error) {
			if err == nil {
				p.keys <- k
			}
		},
	})
	assoc := p.assoc
	p.t.Cleanup(assoc.Close)
	go p.read(assoc)
}

func (p *webPhone) read(assoc *dtls.Association) {
	for {
		b := make([]byte, 2000)
		n, src, err := p.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		switch b = b[:n]; {
		case b[0] < 4:
			p.stuns <- b
		case b[0] < 64:
			assoc.Packet(b, netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), true)
		default:
			select {
			case p.plain <- b:
			default:
			}
		}
	}
}

func (p *webPhone) at() netip.AddrPort { return netip.AddrPortFrom(loopback, p.border.Port) }

// check is a connectivity check with a password.
func (p *webPhone) check(pwd string) []byte {
	p.t.Helper()
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(p.border.ICE.Ufrag+":"+p.ufrag),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{1, 2, 3, 4}}, stun.RawAttribute{Type: stun.AttrUseCandidate},
		stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	if err != nil {
		p.t.Fatal(err)
	}
	return m.Raw
}

func (p *webPhone) send(b []byte) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(b, p.at()); err != nil {
		p.t.Fatal(err)
	}
}

// connect does ICE's check and the handshake, and waits until the border has its keys, too.
func (p *webPhone) connect(s *Session) {
	p.t.Helper()
	if p.ufrag != "" {
		p.nominate()
	}
	p.assoc.Connect(p.at())
	select {
	case k := <-p.keys:
		var err error
		if p.tx, err = keying.NewSender(k.Ours); err != nil {
			p.t.Fatal(err)
		}
		if p.rx, err = keying.NewReceiver(k.Theirs); err != nil {
			p.t.Fatal(err)
		}
	case <-time.After(patience):
		p.t.Fatalf("no keys: %v", p.assoc.Failure())
	}
	for deadline := time.Now().Add(patience); s.Stats().Sides[A].Suite == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("the border has no keys")
		}
	}
}

func (p *webPhone) nominate() {
	p.t.Helper()
	p.send(p.check(p.border.ICE.Pwd))
	select {
	case <-p.stuns:
	case <-time.After(patience):
		p.t.Fatal("the check has no answer")
	}
}

// say sends a packet that begins with what, and hear waits for one.
func (p *webPhone) say(what byte) {
	p.t.Helper()
	b := make([]byte, 172, 200)
	b[0], b[3], b[11], b[12] = 0x80, byte(p.seq), 7, what
	p.seq++
	sealed, err := p.tx.SealRTP(b)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(sealed)
}

func (p *webPhone) hear() byte {
	p.t.Helper()
	select {
	case b := <-p.plain:
		b, err := p.rx.OpenRTP(b)
		if err != nil {
			p.t.Fatalf("%v in %s", err, hex.EncodeToString(b))
		}
		return b[12]
	case <-time.After(patience):
		p.t.Fatal("nothing came")
		return 0
	}
}
