package siptest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest/ladder"
)

// peer is the far end of a call, written out by hand: it says just what a test wants.
type peer struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, conn: conn}
}

func (p *peer) uri() string { return "sip:peer@" + p.conn.LocalAddr().String() }

// next is the next message of that method, repeated ones of other methods passed over.
func (p *peer) next(method string) *Message {
	p.t.Helper()
	buf := make([]byte, 65535)
	p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(buf)
		must(p.t, err)
		p.to = from
		m, err := ParseMessage(append([]byte(nil), buf[:n]...))
		must(p.t, err)
		if m.Method == method {
			return m
		}
	}
}

func (p *peer) answer(m *Message, code int, tag, body string, fields ...field) {
	p.t.Helper()
	d := &draft{start: fmt.Sprintf("SIP/2.0 %d %s", code, phrase(code)), body: []byte(body)}
	d.add("Via", m.Header("Via")).add("From", m.Header("From"))
	to := m.Header("To")
	if tag != "" {
		to = withoutTag(to) + ";tag=" + tag
	}
	d.add("To", to).add("Call-ID", m.CallID()).add("CSeq", m.Header("CSeq"))
	if body != "" {
		d.add("Contact", "<"+p.uri()+">").add("Content-Type", "application/sdp")
	}
	d.fields = append(d.fields, fields...)
	_, err := p.conn.WriteToUDPAddrPort(d.bytes(), p.to)
	must(p.t, err)
}

// begin is a call from a phone to a peer, and its INVITE.
func begin(t *testing.T, cfg Config) (*Phone, *peer, *Call, *Message) {
	t.Helper()
	alice, p := open(t, cfg), newPeer(t)
	call, err := alice.Invite(within(t), p.uri())
	must(t, err)
	return alice, p, call, p.next("INVITE")
}

func TestRepeated200IsAcknowledgedAgain(t *testing.T) {
	alice, p, call, invite := begin(t, Config{User: "alice"})
	sdp := string(offerOf("RTP/AVP", ""))
	p.answer(invite, 200, "one", sdp, field{"Record-Route", "<sip:127.0.0.9;lr>, <sip:" + p.conn.LocalAddr().String() + ";lr;n=1>"})
	ack := p.next("ACK")
	routes := ack.list("Route")
	if len(routes) != 2 || address(routes[0]) != "sip:"+p.conn.LocalAddr().String()+";lr;n=1" { // reversed
		t.Errorf("routes %q", routes)
	}
	p.answer(invite, 200, "one", sdp)
	if again := p.next("ACK"); string(again.Raw) != string(ack.Raw) {
		t.Errorf("another ACK:\n%s", again.Raw)
	}
	if call.Result().Code != 200 {
		t.Errorf("result %v", call.Result())
	}
	faultless(t, alice)
}

func TestSecond200OfAForkIsHungUp(t *testing.T) {
	alice, p, call, invite := begin(t, Config{User: "alice"})
	sdp := string(offerOf("RTP/AVP", ""))
	p.answer(invite, 180, "one", "")
	p.answer(invite, 200, "one", sdp)
	if ack := p.next("ACK"); ack.ToTag() != "one" {
		t.Errorf("ACK for %q", ack.ToTag())
	}
	p.answer(invite, 200, "two", sdp)
	if ack := p.next("ACK"); ack.ToTag() != "two" {
		t.Errorf("ACK for %q", ack.ToTag())
	}
	bye := p.next("BYE")
	if bye.ToTag() != "two" {
		t.Errorf("BYE for %q", bye.ToTag())
	}
	p.answer(bye, 200, "", "")
	if call.Ended() != "" {
		t.Errorf("the first call ended: %s", call.Ended())
	}
	faultless(t, alice)
}

func TestRefusalIsAcknowledged(t *testing.T) {
	_, p, call, invite := begin(t, Config{User: "alice"})
	for range 2 { // also the repeated one
		p.answer(invite, 486, "one", "")
		ack := p.next("ACK")
		if ack.branch() != invite.branch() || ack.ToTag() != "one" || ack.CSeq() != invite.CSeq() {
			t.Errorf("%s", ack.Raw)
		}
	}
	over(t, call, EndRefused)
}

func TestCancelLosesTheRace(t *testing.T) {
	_, p, call, invite := begin(t, Config{User: "alice"})
	done := make(chan error)
	go func() { done <- call.Cancel(within(t)) }()
	time.Sleep(50 * time.Millisecond) // CANCEL must wait for a provisional response
	p.answer(invite, 180, "one", "")
	cancel := p.next("CANCEL")
	if cancel.branch() != invite.branch() || cancel.CSeq() != invite.CSeq() || cancel.URI != invite.URI {
		t.Errorf("%s", cancel.Raw)
	}
	p.answer(cancel, 200, "", "")
	p.answer(invite, 200, "one", string(offerOf("RTP/AVP", ""))) // answered all the same
	p.next("ACK")
	p.answer(p.next("BYE"), 200, "", "")
	must(t, <-done)
	over(t, call, EndHangup)
}

func TestAnswerThatDoesNotFit(t *testing.T) {
	alice, p, call, invite := begin(t, Config{User: "alice", SRTP: []Suite{AESCM}})
	p.answer(invite, 200, "one", string(offerOf("RTP/AVP", "")))
	p.next("ACK")
	p.answer(p.next("BYE"), 200, "", "")
	over(t, call, EndHangup)
	if _, err := call.Wait(within(t)); err == nil || len(alice.Faults()) == 0 {
		t.Errorf("a plain answer to a secure offer: %v", err)
	}
}

func TestEarlyMedia(t *testing.T) {
	_, p, call, invite := begin(t, Config{User: "alice", Tone: 440})
	p.answer(invite, 183, "one", string(offerOf("RTP/AVP", "")))
	waitFor(t, within(t), "early media", func() bool { return call.Stats().Sent > 0 })
	if len(call.Provisional()) != 1 || call.Ended() != "" {
		t.Errorf("%v", call.Provisional())
	}
}

// invite sends an INVITE of the peer to a phone and returns it as sent.
func (p *peer) invite(to *Phone, number int, fields ...field) *draft {
	p.t.Helper()
	p.to = to.Addr()
	d := &draft{start: "INVITE " + to.URI() + " SIP/2.0", body: offerOf("RTP/AVP", "")}
	d.add("Via", fmt.Sprintf("SIP/2.0/UDP %s;branch=z9hG4bKp%d;rport", p.conn.LocalAddr(), number)).add("From", "<"+p.uri()+">;tag=p").
		add("To", "<"+to.URI()+">").add("Call-ID", "by-hand").add("CSeq", fmt.Sprintf("%d INVITE", number)).add("Max-Forwards", "70").
		add("Contact", "<"+p.uri()+">").add("Content-Type", "application/sdp")
	d.fields = append(d.fields, fields...)
	p.send(d)
	return d
}

func (p *peer) send(d *draft) {
	_, err := p.conn.WriteToUDPAddrPort(d.bytes(), p.to)
	must(p.t, err)
}

func TestCalleeRepeats200UntilAck(t *testing.T) {
	bob, p := open(t, Config{User: "bob", T1: 20 * time.Millisecond}), newPeer(t)
	d := p.invite(bob, 1, field{"Record-Route", "<sip:192.0.2.1;lr>"}, field{"v", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKx"})
	var m *Message
	for n := 0; n < 3; {
		if m = p.next("INVITE"); m.Code == 200 {
			n++
		}
	}
	if m.Header("Record-Route") != "<sip:192.0.2.1;lr>" || len(m.Headers("Via")) != 2 || !strings.Contains(m.Header("Via"), "received=127.0.0.1;") &&
		!strings.HasSuffix(m.Header("Via"), "received=127.0.0.1") {
		t.Errorf("%s", m.Raw)
	}
	call := incoming(t, bob)
	ack := d.follower("ACK", m.Header("To"))
	ack.set("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKack")
	p.send(&draft{start: "ACK " + bob.URI() + " SIP/2.0", fields: ack.fields})
	waitFor(t, within(t), "ACK", func() bool {
		return strings.HasPrefix(bob.Ladder()[len(bob.Ladder())-1].FirstLine, "ACK")
	})
	time.Sleep(10 * time.Millisecond)
	before := len(bob.Ladder())
	time.Sleep(300 * time.Millisecond)
	if n := len(bob.Ladder()) - before; n > 0 {
		t.Errorf("%d more messages after the ACK", n)
	}
	if call.Ended() != "" {
		t.Errorf("ended: %s", call.Ended())
	}
	faultless(t, bob)
}

func TestCalleeHangsUpWithoutAck(t *testing.T) {
	bob, p := open(t, Config{User: "bob", T1: 2 * time.Millisecond}), newPeer(t)
	p.invite(bob, 1)
	p.answer(p.next("BYE"), 200, "", "")
	over(t, incoming(t, bob), EndHangup)
	if len(bob.Faults()) != 1 {
		t.Errorf("faults %q", bob.Faults())
	}
}

func TestRequestsOutsideOfCalls(t *testing.T) {
	bob, p := open(t, Config{User: "bob"}), newPeer(t)
	for i, tt := range []struct {
		method string
		toTag  string
		want   int
	}{
		{"OPTIONS", "", 200}, {"BYE", ";tag=x", 481}, {"INFO", ";tag=x", 481}, {"INVITE", ";tag=x", 481}, {"CANCEL", "", 481},
		{"PUBLISH", "", 405}, {"NOTIFY", "", 200},
	} {
		p.to = bob.Addr()
		d := &draft{start: tt.method + " " + bob.URI() + " SIP/2.0"}
		d.add("Via", fmt.Sprintf("SIP/2.0/UDP %s;branch=z9hG4bKo%d", p.conn.LocalAddr(), i)).add("From", "<"+p.uri()+">;tag=p").
			add("To", "<"+bob.URI()+">"+tt.toTag).add("Call-ID", "none").add("CSeq", "1 "+tt.method)
		p.send(d)
		if m := p.next(tt.method); m.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.method, m.Code, tt.want)
		}
	}
}

func TestRetransmittedInviteMakesOneCall(t *testing.T) {
	bob, p := open(t, Config{User: "bob", Answer: RingForever()}), newPeer(t)
	d := p.invite(bob, 1)
	p.next("INVITE") // 180
	p.send(d)
	if m := p.next("INVITE"); m.Code != 180 {
		t.Errorf("%d", m.Code)
	}
	incoming(t, bob)
	select {
	case <-bob.Incoming():
		t.Error("a repeated INVITE made a second call")
	default:
	}
	if n := len(ladder.Sent(bob.Ladder())); n != 2 {
		t.Errorf("%d messages sent", n)
	}
}

func TestReplyGoesToViaWithoutRport(t *testing.T) {
	f := &flow{network: UDP, remote: netip.MustParseAddrPort("192.0.2.5:40000")}
	for via, want := range map[string]string{
		"SIP/2.0/UDP 10.0.0.1:5070;branch=x":       "192.0.2.5:5070",
		"SIP/2.0/UDP 10.0.0.1;branch=x":            "192.0.2.5:5060",
		"SIP/2.0/UDP [2001:db8::1];branch=x":       "192.0.2.5:5060",
		"SIP/2.0/UDP 10.0.0.1:5070;branch=x;rport": "192.0.2.5:40000",
	} {
		if got := replyFlow(f, &Message{fields: []field{{"Via", via}}}).remote.String(); got != want {
			t.Errorf("%s: %s, want %s", via, got, want)
		}
	}
}

func TestGlareAndOldReinvite(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob"})
	ctx := within(t)
	call, err := alice.Call(ctx, bob.URI())
	must(t, err)
	other := incoming(t, bob)
	other.mu.Lock()
	other.mine = true // as if a re-INVITE of bob's were under way
	other.mu.Unlock()
	r, err := call.ReInvite(ctx, Change{Direction: SendOnly})
	must(t, err)
	if r.Code != 491 || call.media.setWant(SendRecv) != SendRecv {
		t.Errorf("glare: %v", r)
	}
	if _, err := other.ReInvite(ctx, Change{}); err == nil {
		t.Error("two re-INVITEs at once")
	}
	other.mu.Lock()
	other.mine, other.lastCSeq = false, 1000
	other.mu.Unlock()
	if err := call.Hold(ctx); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("old CSeq: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	alice, bob := open(t, Config{User: "alice"}), open(t, Config{User: "bob"})
	call, err := alice.Call(within(t), bob.URI())
	must(t, err)
	alice.Close()
	over(t, call, EndClosed)
	if _, err := alice.Call(context.Background(), bob.URI()); err == nil {
		t.Error("a closed phone called")
	}
}

func TestConnectionThatEnds(t *testing.T) {
	bob := open(t, Config{User: "bob", Transport: TCP, Answer: RingForever()})
	alice := open(t, Config{User: "alice", Transport: TCP, Server: bob.Addr().String()})
	call, err := alice.Invite(within(t), bob.URI())
	must(t, err)
	incoming(t, bob)
	bob.Close()
	if _, err := call.Wait(within(t)); err == nil {
		t.Error("the call outlived its connection")
	}
	over(t, call, EndFailed)
}
