package transport_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// wsConfig is an interface for one page.
func wsConfig(l transport.Limits) transport.Config {
	return transport.Config{Network: transport.WS, Limits: l, WebSocket: transport.WebSocket{Path: "/sip", Origins: []string{"https://phone.example.com"}}}
}

// openWS opens a WebSocket with a library that is not ours.
func openWS(t testing.TB, i *transport.Interface, origin string) (*websocket.Conn, context.Context, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c, res, err := websocket.Dial(ctx, "ws://"+i.Local().String()+"/sip", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {origin}}, Subprotocols: []string{"sip"},
	})
	if err != nil {
		if res != nil {
			err = fmt.Errorf("%d: %w", res.StatusCode, err)
		}
		return nil, ctx, err
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c, ctx, nil
}

func mustOpenWS(t testing.TB, i *transport.Interface) (*websocket.Conn, context.Context) {
	t.Helper()
	c, ctx, err := openWS(t, i, "https://phone.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return c, ctx
}

// T15: whole and fragmented messages, text and binary, pings with a payload, and an end with a code, with a library of another make.
func TestWebSocketWithAnotherLibrary(t *testing.T) {
	rec := newRecorder()
	i := serve(t, wsConfig(transport.Limits{}), rec)
	c, ctx := mustOpenWS(t, i)
	for n, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		w, err := c.Writer(ctx, kind)
		if err != nil {
			t.Fatal(err)
		}
		whole := request("fragments", n+1)
		for len(whole) > 0 { // the library sends a frame as soon as its buffer of 4 KiB is full, and the last one at Close
			k := min(len(whole), 50)
			if _, err := w.Write(whole[:k]); err != nil {
				t.Fatal(err)
			}
			whole = whole[k:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, answer, err := c.Read(ctx)
		if err != nil || got != websocket.MessageText || !strings.HasPrefix(string(answer), "SIP/2.0 200 OK\r\n") {
			t.Errorf("answered %s %q, %v", got, answer, err)
		}
	}
	c.CloseRead(ctx) // takes the pong
	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if f := rec.Messages()[0].Flow; f.Network() != transport.WS || f.Network().Via() != "WS" || f.Network().Param() != "ws" {
		t.Errorf("flow %v", f)
	}
}

func TestWebSocketEnds(t *testing.T) {
	rec := newRecorder()
	i := serve(t, wsConfig(transport.Limits{}), rec)
	byPeer, _ := mustOpenWS(t, i)
	if err := byPeer.Close(websocket.StatusGoingAway, "page left"); err != nil { // waits for our close frame
		t.Errorf("closing: %v", err)
	}
	rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
	for _, tt := range []struct {
		send []byte
		kind websocket.MessageType
		want websocket.StatusCode
	}{
		{[]byte("{}"), websocket.MessageText, websocket.StatusUnsupportedData},
		{[]byte("OPTIONS \xff"), websocket.MessageText, websocket.StatusInvalidFramePayloadData},
	} {
		c, ctx := mustOpenWS(t, i)
		if err := c.Write(ctx, tt.kind, tt.send); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != tt.want {
			t.Errorf("%q: %v, want %d", tt.send, err, tt.want)
		}
	}
	c, ctx := mustOpenWS(t, i)
	if err := c.Write(ctx, websocket.MessageText, request("alive", 1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); err != nil {
		t.Fatal(err)
	}
	i.Close()
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("at shutdown: %v", err)
	}
}

func TestWebSocketOfAnotherPage(t *testing.T) {
	rec := newRecorder()
	i := serve(t, wsConfig(transport.Limits{}), rec)
	if _, _, err := openWS(t, i, "https://evil.example"); err == nil || !strings.HasPrefix(err.Error(), "403: ") {
		t.Errorf("%v", err)
	}
	rec.Wait(t, "the drop", func() bool { return len(rec.Drops()) == 1 })
	if why := rec.Drops()[0].Why; why != verdict.OriginRefused {
		t.Errorf("dropped for %q", why)
	}
}

// T3: those who never finish their request hold up nobody, and end.
func TestSilentUpgradesEnd(t *testing.T) {
	rec := newRecorder()
	limits := quickly()
	limits.MaxPerSource = 100
	i := serve(t, wsConfig(limits), rec)
	const silent = 30
	var drips sync.WaitGroup
	stop := make(chan struct{})
	for n := range silent {
		c := dialTCP(t, i.Local())
		write(t, c, []byte("GET /sip HTTP/1.1\r\n")[:n%15])
		if n%3 == 0 {
			drips.Go(func() { // gains no time
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
						_, _ = c.Write([]byte("x"))
					}
				}
			})
		}
	}
	c, ctx := mustOpenWS(t, i)
	if err := c.Write(ctx, websocket.MessageText, request("honest", 1)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := c.Read(ctx); err != nil || !strings.HasPrefix(string(answer), "SIP/2.0 200 OK\r\n") {
		t.Errorf("an honest one among %d: %q, %v", silent, answer, err)
	}
	rec.Wait(t, "the silent ones to end", func() bool { return len(rec.Drops()) == silent })
	close(stop)
	drips.Wait()
	for _, d := range rec.Drops() {
		if d.Why != verdict.HandshakeFailed {
			t.Fatalf("dropped for %q", d.Why)
		}
	}
}

// A trusted phone that answers our pings stays; one whose network is gone ends.
func TestWebSocketPings(t *testing.T) {
	rec := newRecorder()
	limits := quickly()
	limits.PingInterval = 100 * time.Millisecond
	i := serve(t, wsConfig(limits), rec)
	var pings sync.Map
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	count := make(chan struct{}, 1000)
	alive, _, err := websocket.Dial(ctx, "ws://"+i.Local().String()+"/sip", &websocket.DialOptions{
		Subprotocols: []string{"sip"}, OnPingReceived: func(context.Context, []byte) bool { count <- struct{}{}; return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer alive.CloseNow() //nolint:errcheck // the end of the test
	gone, _ := mustOpenWS(t, i)
	for n, c := range []*websocket.Conn{alive, gone} {
		if err := c.Write(ctx, websocket.MessageText, request("trusted", n+1)); err != nil {
			t.Fatal(err)
		}
		m := rec.WaitMessages(t, n+1)[n]
		m.Flow.MarkTrusted()
		pings.Store(m.Flow, n)
		if _, _, err := c.Read(ctx); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			alive.CloseRead(ctx) // reads, and so answers
		}
	}
	rec.Wait(t, "the end of the deaf one", func() bool { return len(rec.Ends()) == 1 })
	e := rec.Ends()[0]
	if n, _ := pings.Load(e.Flow); n != 1 || e.Why != verdict.IdleTimeout {
		t.Errorf("connection %v ended for %q", n, e.Why)
	}
	for range 3 {
		select {
		case <-count:
		case <-ctx.Done():
			t.Fatal("no more pings")
		}
	}
}

// WSS is a WebSocket on TLS.
func TestWebSocketOverTLS(t *testing.T) {
	rec := newRecorder()
	ca := newAuthority(t)
	certs, err := transport.LoadCertificates(ca.issue(t, "first"))
	if err != nil {
		t.Fatal(err)
	}
	server := transport.ServerTLS(&tls.Config{GetCertificate: certs.GetCertificate})
	cfg := wsConfig(transport.Limits{})
	cfg.Network, cfg.TLS = transport.WSS, func() *tls.Config { return server }
	i := serve(t, cfg, rec)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://"+i.Local().String()+"/sip", &websocket.DialOptions{
		Subprotocols: []string{"sip"}, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow() //nolint:errcheck // the end of the test
	if err := c.Write(ctx, websocket.MessageText, request("secure", 1)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := c.Read(ctx); err != nil || !strings.HasPrefix(string(answer), "SIP/2.0 200 OK\r\n") {
		t.Errorf("%q, %v", answer, err)
	}
	if f := rec.Messages()[0].Flow; !f.Secure() || f.Network().Via() != "WSS" {
		t.Errorf("flow %v", f)
	}
}
