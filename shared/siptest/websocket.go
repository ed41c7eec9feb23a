package siptest

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// webSocket is a WebSocket as a connection: each Write is one message, and what is read is one message after the other.
type webSocket struct {
	net.Conn
	below net.Conn
}

// LocalAddr is that of the connection below.
func (w webSocket) LocalAddr() net.Addr { return w.below.LocalAddr() }

// RemoteAddr is that of the connection below.
func (w webSocket) RemoteAddr() net.Addr { return w.below.RemoteAddr() }

// openWebSocket makes a WebSocket of a connection (RFC 7118 §4.1), by a library that the programs under test don't use.
func openWebSocket(ctx context.Context, cfg Config, below net.Conn) (net.Conn, error) {
	header := http.Header{}
	if cfg.Origin != "" {
		header.Set("Origin", cfg.Origin)
	}
	c, _, err := websocket.Dial(ctx, "ws://"+cfg.Server+cfg.Path, &websocket.DialOptions{
		HTTPHeader: header, Subprotocols: []string{"sip"},
		HTTPClient: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return below, nil },
		}},
	})
	if err != nil {
		below.Close()
		return nil, fmt.Errorf("%w: WebSocket to %s: %w", ErrNoConnection, cfg.Server, err)
	}
	if got := c.Subprotocol(); got != "sip" {
		c.CloseNow()
		return nil, fmt.Errorf("%w: WebSocket to %s with subprotocol %q", ErrNoConnection, cfg.Server, got)
	}
	c.SetReadLimit(maxFrame)
	return webSocket{websocket.NetConn(context.Background(), c, websocket.MessageText), below}, nil
}
