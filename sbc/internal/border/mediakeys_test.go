package border

import (
	"testing"

	"brickhouse/shared/transport"
)

func TestMediaKeys(t *testing.T) {
	for _, c := range []struct {
		keys MediaKeys
		want map[transport.Network]string
	}{
		{DefaultMediaKeys(), map[transport.Network]string{
			transport.UDP: "sdes", transport.TCP: "sdes", transport.TLS: "sdes", transport.WS: "dtls", transport.WSS: "dtls"}},
		{MediaKeys{TLS: "dtls", WebSocket: "sdes"}, map[transport.Network]string{
			transport.UDP: "sdes", transport.TCP: "sdes", transport.TLS: "dtls", transport.WS: "sdes", transport.WSS: "sdes"}},
	} {
		for network, want := range c.want {
			if got := c.keys.of(network); got != want {
				t.Errorf("%+v over %s: %s, want %s", c.keys, network, got, want)
			}
		}
	}
}
