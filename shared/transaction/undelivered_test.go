package transaction

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
)

// watching starts a UDP interface that tells the layer what could not be delivered.
func watching(t *testing.T, listen string, layer *Layer) *transport.Interface {
	t.Helper()
	h := &transporttest.Recorder{OnMessage: layer.Message}
	i, err := transport.Listen(transport.Config{
		Name: "test", Network: transport.UDP, Listen: netip.MustParseAddrPort(listen), Undelivered: layer.Undelivered,
	}, h)
	if err != nil {
		t.Skipf("no %s here: %v", listen, err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = i.Serve(context.Background()) }()
	t.Cleanup(func() { i.Close(); <-done; layer.Close() })
	return i
}

// deadPort is a port that nobody has.
func deadPort(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// A dead port ends transactions long before their timers, which here are the RFC's: 32 seconds. Other peers notice nothing.
func TestDeadPort(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0"} {
		layer := New(DefaultTimers(), &user{}, nil)
		i := watching(t, listen, layer)
		host := "127.0.0.1"
		if strings.HasPrefix(listen, "[") {
			host = "::1"
		}
		dead := i.FlowTo(deadPort(t, host))
		ended := make(chan error, 20)
		for range 10 {
			for _, method := range []sip.RequestMethod{sip.INVITE, sip.OPTIONS} {
				if _, err := layer.Send(dead, request(method), func(ev Event) { ended <- ev.Err }); err != nil {
					t.Fatalf("%s: %v", listen, err)
				}
			}
		}
		for range 20 {
			select {
			case err := <-ended:
				if !errors.Is(err, ErrTransport) {
					t.Fatalf("%s: %v", listen, err)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: a transaction waits for its timer", listen)
			}
		}
		if _, clients := layer.Counts(); clients != 0 {
			t.Errorf("%s: %d transactions are left", listen, clients)
		}
	}
}

// Who has not seen the request can't end its transaction, nor does a report after a response.
func TestForgedReports(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	layer := New(DefaultTimers(), &user{}, nil)
	i := watching(t, "127.0.0.1:0", layer)
	other := watching(t, "127.0.0.1:0", New(DefaultTimers(), &user{}, nil))
	f := i.FlowTo(silent.LocalAddr().(*net.UDPAddr).AddrPort())
	events := make(chan Event, 10)
	if _, err := layer.Send(f, request(sip.INVITE), func(ev Event) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _, err := silent.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	sent := buf[:n]
	branch := bytes.Index(sent, []byte("branch="))
	guessed := bytes.Clone(sent)
	guessed[branch+len("branch=z9hG4bK")] ^= 1
	for what, forge := range map[string]func(){
		"no quote":       func() { layer.Undelivered(i, f.Remote(), nil) },
		"8 bytes":        func() { layer.Undelivered(i, f.Remote(), sent[:8]) },
		"half a branch":  func() { layer.Undelivered(i, f.Remote(), sent[:branch+20]) },
		"another branch": func() { layer.Undelivered(i, f.Remote(), guessed) },
		"another remote": func() { layer.Undelivered(i, netip.AddrPortFrom(f.Remote().Addr(), 9), sent) },
		"another socket": func() { layer.Undelivered(other, f.Remote(), sent) },
		"something else": func() { layer.Undelivered(i, f.Remote(), append(bytes.Clone(sent), 'x')) },
	} {
		forge()
		if len(events) != 0 {
			t.Fatalf("%s: the transaction ended: %+v", what, <-events)
		}
	}
	trying := replyTo(t, sent, 100, "")
	if _, err := silent.WriteTo(trying, net.UDPAddrFromAddrPort(i.Local())); err != nil {
		t.Fatal(err)
	}
	if ev := <-events; ev.Response == nil {
		t.Fatalf("%+v", ev)
	}
	layer.Undelivered(i, f.Remote(), sent)
	if len(events) != 0 {
		t.Errorf("a report ended a transaction that has its response: %+v", <-events)
	}
}

// FuzzQuotedKey: nothing panics, and what is found stands in the quote.
func FuzzQuotedKey(f *testing.F) {
	f.Add([]byte("INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK0123;rport\r\n"))
	f.Add([]byte("INVITE s"))
	f.Fuzz(func(t *testing.T, quote []byte) {
		k, ok := quotedKey(quote)
		if ok && (!bytes.HasPrefix(quote, []byte(k.method)) || !bytes.Contains(quote, []byte(k.branch)) || len(k.branch) <= len(sipmsg.BranchCookie)) {
			t.Errorf("%q: %+v", quote, k)
		}
	})
}
