package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

const patience = 20 * time.Second

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// serve starts an interface on cfg and stops it at the end of the test.
func serve(t testing.TB, cfg transport.Config, h transport.Handler) *transport.Interface {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "test"
	}
	if !cfg.Listen.IsValid() {
		cfg.Listen = ap("127.0.0.1:0")
	}
	i, err := transport.Listen(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- i.Serve(context.Background()) }()
	t.Cleanup(func() {
		i.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("serve does not end after Close")
		}
	})
	return i
}

// request is a complete OPTIONS with that Call-ID and CSeq.
func request(id string, seq int, extra ...string) []byte {
	var b strings.Builder
	b.WriteString("OPTIONS sip:a@example.com SIP/2.0\r\n")
	fmt.Fprintf(&b, "Via: SIP/2.0/UDP 192.0.2.77:5060;branch=z9hG4bK%s%d;rport\r\n", id, seq)
	b.WriteString("From: <sip:b@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\n")
	fmt.Fprintf(&b, "Call-ID: %s\r\nCSeq: %d OPTIONS\r\nMax-Forwards: 70\r\n", id, seq)
	for _, h := range extra {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return []byte(b.String())
}

// answer200 answers every request on its flow.
func answer200(f *transport.Flow, msg sip.Message) {
	if req, ok := msg.(*sip.Request); ok {
		_ = f.Send(sipmsg.Bytes(sipmsg.Response(req, 200, "", "t")))
	}
}

// newRecorder returns a recorder that answers every request.
func newRecorder() *transporttest.Recorder { return &transporttest.Recorder{OnMessage: answer200} }

// dialTCP opens a client connection that is closed at the end of the test.
func dialTCP(t testing.TB, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// write sends all of b or fails the test.
func write(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatalf("writing %d bytes: %v", len(b), err)
	}
}

// readStatus reads one response without a body and returns its status line.
func readStatus(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	first := ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("reading a response after %q: %v", first, err)
		}
		line = strings.TrimRight(line, "\r\n")
		if first == "" {
			first = line
		}
		if line == "" {
			return first
		}
	}
}

// ends fails the test unless the connection ends before the test's patience does. It returns what was read before.
func ends(t testing.TB, c net.Conn) []byte {
	t.Helper()
	b, err := io.ReadAll(c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("connection does not end")
	}
	return b
}

// quickly returns limits whose deadlines are short enough to test.
func quickly() transport.Limits {
	return transport.Limits{
		HandshakeTimeout: 150 * time.Millisecond, RequestTimeout: 200 * time.Millisecond, IdleTimeout: 300 * time.Millisecond,
	}
}

func seqOf(msg sip.Message) int { return int(msg.CSeq().SeqNo) }

func hasLine(data []byte, want string) bool {
	return bytes.Contains(data, []byte("\r\n"+want+"\r\n"))
}
