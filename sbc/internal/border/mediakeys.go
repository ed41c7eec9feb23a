package border

import "brickhouse/shared/transport"

// MediaKeys says how SRTP is keyed where the border makes the offer.
type MediaKeys struct {
	TLS       string `yaml:"tls" oneof:"sdes|dtls" doc:"Phones over TLS. sdes: keys stand in the description. dtls: DTLS-SRTP, with ICE for those that speak it; most phones know only one of them."`
	WebSocket string `yaml:"websocket" oneof:"sdes|dtls" doc:"Phones over ws and wss. Browsers know dtls only."`
}

// DefaultMediaKeys is what desk phones and browsers expect.
func DefaultMediaKeys() MediaKeys { return MediaKeys{TLS: "sdes", WebSocket: "dtls"} }

// of is the way for a transport. Over UDP and TCP nothing is offered that must be kept secret or whole.
func (k MediaKeys) of(n transport.Network) string {
	switch n {
	case transport.TLS:
		return k.TLS
	case transport.WS, transport.WSS:
		return k.WebSocket
	}
	return "sdes"
}
