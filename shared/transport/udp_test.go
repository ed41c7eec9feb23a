package transport_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sys/unix"

	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

func listenUDP(t testing.TB, at string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(ap(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// ask sends data to the address and returns the answer and from where it came.
func ask(t testing.TB, c *net.UDPConn, to netip.AddrPort, data []byte) ([]byte, netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(data, to); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatalf("waiting for an answer from %s: %v", to, err)
	}
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// T1: a peer that uses two of our sockets gets each answer from the one that it asked.
func TestReplyLeavesFromTheSocketThatWasAsked(t *testing.T) {
	rec := newRecorder()
	a := serve(t, transport.Config{Network: transport.UDP, Listen: ap("127.0.0.1:0")}, rec)
	b := serve(t, transport.Config{Network: transport.UDP, Listen: ap("127.0.0.2:0")}, rec)
	peer := listenUDP(t, "127.0.0.1:0")
	for n, i := range []*transport.Interface{a, b, a, b, b, a} {
		if _, from := ask(t, peer, i.Local(), request("t1", n+1)); from != i.Local() {
			t.Errorf("request %d to %s was answered from %s", n, i.Local(), from)
		}
	}
}

// A wildcard socket answers from the address that was asked, and a stored flow keeps it.
func TestWildcardAnswersFromTheAddressThatWasAsked(t *testing.T) {
	for _, tt := range []struct{ listen, peer, first, second string }{
		{"0.0.0.0:0", "127.0.0.1:0", "127.0.0.3", "127.0.0.4"},
		{"[::]:0", "[::1]:0", "::1", "::1"},
	} {
		rec := newRecorder()
		i := serve(t, transport.Config{Network: transport.UDP, Listen: ap(tt.listen)}, rec)
		peer := listenUDP(t, tt.peer)
		for n, host := range []string{tt.first, tt.second, tt.first} {
			to := netip.AddrPortFrom(netip.MustParseAddr(host), i.Local().Port())
			if _, from := ask(t, peer, to, request("wild", n+1)); from != to {
				t.Errorf("request to %s was answered from %s", to, from)
			}
		}
		got := rec.WaitMessages(t, 3)
		first := got[0].Flow
		if first.Local().Addr().String() != tt.first {
			t.Errorf("flow's local address is %s, want %s", first.Local(), tt.first)
		}
		if host, port := first.ViaHost(); host != tt.first || port != int(i.Local().Port()) {
			t.Errorf("ViaHost %s %d, want %s %d", host, port, tt.first, i.Local().Port())
		}
		again, ok := i.Flow(first.ID())
		if !ok || !again.Same(first) || again.ID() != first.ID() {
			t.Errorf("flow by ID %q: %v %v, want %v", first.ID(), again, ok, first)
		}
		if _, ok := i.Flow("u" + strings.Repeat("A", 40)); ok {
			t.Error("a made-up ID is a flow")
		}
		to := i.FlowTo(peer.LocalAddr().(*net.UDPAddr).AddrPort())
		if to.Local().Addr().IsUnspecified() || !to.Local().Addr().IsLoopback() {
			t.Errorf("flow to %s has local address %s", to.Remote(), to.Local())
		}
	}
}

// T4: datagrams from many sources leave nothing behind; verified ones are in a bounded table.
func TestUDPSourcesLeaveNoState(t *testing.T) {
	rec := &transporttest.Recorder{}
	i := serve(t, transport.Config{Network: transport.UDP, Limits: transport.Limits{Readers: 2}}, rec)
	for n := range 300 {
		c := listenUDP(t, fmt.Sprintf("127.0.1.%d:0", n%250+1))
		if _, err := c.WriteToUDPAddrPort(request("t4", n+1), i.Local()); err != nil {
			t.Fatal(err)
		}
		rec.WaitMessages(t, n+1)
		_ = c.Close()
	}
	if n := len(i.Flows()); n != 0 {
		t.Errorf("%d flows are kept", n)
	}
	f := rec.Messages()[0].Flow
	if f.Verified() {
		t.Error("a source is verified because it sent something")
	}
	f.MarkVerified()
	again, _ := i.Flow(f.ID())
	if !f.Verified() || !again.Verified() || rec.Messages()[1].Flow.Verified() {
		t.Error("the mark is not on this source, or on another one")
	}
	if f.Closed() != nil || !f.MarkTrusted() || f.Reliable() || f.Secure() || f.PeerCertificates() != nil {
		t.Errorf("UDP flow %v has properties of a connection", f)
	}
	f.Close(verdict.Shutdown) // does nothing
	if err := f.Send([]byte("x")); err != nil {
		t.Errorf("sending after Close of a UDP flow: %v", err)
	}
}

// T5: neither refused sources, nor garbage, nor errors of the socket end the listener.
func TestUDPListenerSurvives(t *testing.T) {
	rec := newRecorder()
	banned := ap("127.0.0.9:0").Addr()
	rec.OnAccept = func(_ *transport.Interface, remote netip.AddrPort) verdict.Verdict {
		if remote.Addr() == banned {
			return verdict.Dropped(verdict.HostBanned)
		}
		return verdict.Passed
	}
	rec.OnRaw = func(_ *transport.Flow, data []byte) verdict.Verdict {
		if bytes.Contains(data, []byte("refuse me")) {
			return verdict.Rejected(400, verdict.BadHeader)
		}
		return verdict.Passed
	}
	i := serve(t, transport.Config{Network: transport.UDP, Limits: transport.Limits{MaxDatagram: 2000, Readers: 1}}, rec)
	peer, bad := listenUDP(t, "127.0.0.1:0"), listenUDP(t, "127.0.0.9:0")
	send := func(c *net.UDPConn, data string) {
		t.Helper()
		if _, err := c.WriteToUDPAddrPort([]byte(data), i.Local()); err != nil {
			t.Fatal(err)
		}
	}
	gone := listenUDP(t, "127.0.0.1:0")
	_ = gone.Close()
	if err := i.FlowTo(gone.LocalAddr().(*net.UDPAddr).AddrPort()).Send(request("icmp", 1)); err != nil {
		t.Errorf("sending to a closed port: %v", err) // what comes back is an ICMP error on our socket
	}
	send(bad, string(request("banned", 1)))
	send(peer, "\x00\x01garbage")
	send(peer, strings.Repeat("A", 3000))
	for _, ka := range []string{"", "\r\n", "\r\n\r\n", "\x00\x00\x00\x00"} {
		send(peer, ka)
	}
	send(peer, string(request("raw", 1, "Subject: refuse me")))
	send(peer, "OPTIONS sip:a@b SIP/2.0\r\nCSeq: x\r\n\r\n")
	if _, from := ask(t, peer, i.Local(), request("t5", 1)); from != i.Local() {
		t.Errorf("answered from %s", from)
	}
	var why []verdict.Reason
	for _, d := range rec.Drops() {
		why = append(why, d.Why)
	}
	if fmt.Sprint(why) != fmt.Sprint([]verdict.Reason{verdict.HostBanned, verdict.NotSIP, verdict.Oversize}) {
		t.Errorf("dropped for %v", why)
	}
	un := rec.Unparseds()
	if len(un) != 2 || un[0].Verdict != verdict.Rejected(400, verdict.BadHeader) || un[1].Verdict.Action != verdict.Reject {
		t.Errorf("unparsed: %v", un)
	}
	if n := len(rec.Messages()); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// T14: the response goes to where the request came from, whatever its Via says, and says so.
func TestViaDoesNotSteer(t *testing.T) {
	rec := newRecorder()
	i := serve(t, transport.Config{Network: transport.UDP}, rec)
	peer, victim := listenUDP(t, "127.0.0.1:0"), listenUDP(t, "127.0.0.1:0")
	port := victim.LocalAddr().(*net.UDPAddr).Port
	evil := bytes.Replace(request("t14", 1), []byte("192.0.2.77:5060"), fmt.Appendf(nil, "127.0.0.1:%d", port), 1)
	evil = bytes.Replace(evil, []byte(";rport"), fmt.Appendf(nil, ";rport=%d;received=127.0.0.8", port), 1)
	res, _ := ask(t, peer, i.Local(), evil)
	want := fmt.Sprintf(";received=127.0.0.1;rport=%d", peer.LocalAddr().(*net.UDPAddr).Port)
	if !strings.Contains(string(res), want) || strings.Contains(string(res), "127.0.0.8") {
		t.Errorf("Via of the response lacks %q:\n%s", want, res)
	}
	if req := rec.WaitMessages(t, 1)[0].Msg.(*sip.Request); req.Source() != peer.LocalAddr().String() {
		t.Errorf("source is %s, want %s", req.Source(), peer.LocalAddr())
	}
}

// T17: the messages of one peer arrive in order, with several readers.
func TestUDPOrderPerRemote(t *testing.T) {
	rec := &transporttest.Recorder{}
	i := serve(t, transport.Config{Network: transport.UDP, Limits: transport.Limits{Readers: 4}}, rec)
	peers := []*net.UDPConn{listenUDP(t, "127.0.0.1:0"), listenUDP(t, "127.0.0.1:0"), listenUDP(t, "127.0.0.1:0")}
	const rounds, burst = 20, 10
	for r := range rounds {
		for n := range burst {
			for p, c := range peers {
				if _, err := c.WriteToUDPAddrPort(request(fmt.Sprint("p", p), r*burst+n+1), i.Local()); err != nil {
					t.Fatal(err)
				}
			}
		}
		rec.WaitMessages(t, (r+1)*burst*len(peers)) // a small receive buffer would lose more
	}
	last := make(map[string]int)
	for _, m := range rec.Messages() {
		id := m.Msg.CallID().Value()
		if seqOf(m.Msg) != last[id]+1 {
			t.Fatalf("peer %s: message %d after %d", id, seqOf(m.Msg), last[id])
		}
		last[id] = seqOf(m.Msg)
	}
}

// T16: a panic in the handler loses one message.
func TestPanicLosesOneMessage(t *testing.T) {
	rec := newRecorder()
	rec.OnMessage = func(f *transport.Flow, msg sip.Message) {
		if seqOf(msg) == 1 {
			panic("a fault of ours")
		}
		answer200(f, msg)
	}
	for _, n := range []transport.Network{transport.UDP, transport.TCP} {
		i := serve(t, transport.Config{Network: n}, rec)
		c, err := net.Dial(string(n), i.Local().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		write(t, c, request("panic", 1))
		write(t, c, request("panic", 2))
		buf := make([]byte, 4096)
		if k, err := c.Read(buf); err != nil || !hasLine(buf[:k], "CSeq: 2 OPTIONS") {
			t.Errorf("%s: after a panic: %v\n%s", n, err, buf[:k])
		}
	}
	drops := rec.Drops()
	if len(drops) != 2 || drops[0].Why != verdict.Internal || drops[1].Why != verdict.Internal {
		t.Errorf("dropped: %v, want two internal errors", drops)
	}
}

// The error for an address in use names it, and us.
func TestAddressInUseNamesTheHolder(t *testing.T) {
	for _, n := range []transport.Network{transport.UDP, transport.TCP} {
		i := serve(t, transport.Config{Network: n}, newRecorder())
		_, err := transport.Listen(transport.Config{Name: "second", Network: n, Listen: i.Local()}, newRecorder())
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Fatalf("%s: %v, want EADDRINUSE", n, err)
		}
		for _, want := range []string{"second", i.Local().String(), fmt.Sprintf("pid %d", os.Getpid())} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not name %q", n, err, want)
			}
		}
	}
	if _, err := transport.Listen(transport.Config{Name: "x", Network: "sctp", Listen: ap("127.0.0.1:0")}, newRecorder()); err == nil {
		t.Error("an unknown network is taken")
	}
	if _, err := transport.Listen(transport.Config{Name: "x", Network: transport.TLS, Listen: ap("127.0.0.1:0")}, nil); !errors.Is(err, transport.ErrNoTLS) {
		t.Errorf("TLS without configuration: %v", err)
	}
	if _, err := transport.Listen(transport.Config{Name: "x", Network: transport.UDP, Listen: ap("192.0.2.1:5060")}, nil); err == nil || !strings.Contains(err.Error(), "192.0.2.1:5060") {
		t.Errorf("an address that is not ours: %v", err)
	}
}

func TestUDPSendErrors(t *testing.T) {
	i := serve(t, transport.Config{Network: transport.UDP}, newRecorder())
	peer := listenUDP(t, "127.0.0.1:0")
	f := i.FlowTo(peer.LocalAddr().(*net.UDPAddr).AddrPort())
	if err := f.Send(make([]byte, 70000)); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("70,000 bytes: %v", err)
	}
	i.Close()
	if err := f.Send([]byte("x")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAdvertisedHost(t *testing.T) {
	for adv, want := range map[string]string{"sbc.example.com": "sbc.example.com 0", "sbc.example.com:5099": "sbc.example.com 5099"} {
		i := serve(t, transport.Config{Network: transport.UDP, Advertise: adv}, newRecorder())
		host, port := i.FlowTo(ap("127.0.0.1:9")).ViaHost()
		if got := fmt.Sprint(host, " ", port); got != want {
			t.Errorf("%s: %s, want %s", adv, got, want)
		}
	}
}
