// Package transport moves SIP messages between the network and the rooms above it: UDP, TCP, TLS and WebSocket sockets, the flows of
// RFC 5626, framing (RFC 3261 §18.3), keep-alive, and the limits that keep a stranger from using up what there is.
//
// One Interface is one listening socket. What comes in becomes a Flow (a connection, or a UDP socket with a remote
// address) and a parsed message, and is handed to a Handler on the goroutine that read it, so messages of one flow arrive
// in the order in which they were sent. A reply leaves through the flow that the request came by: from the same socket and
// from the same local address, even if the socket listens on all of them.
//
// The order of what is looked at, cheap before costly:
//
//	source (Handler.Accept) → caps → handshake → size and framing → Handler.Raw → parser → Handler.Message
//
// Each message ends in exactly one of Handler.Message, Handler.Unparsed and Handler.Dropped, each connection in exactly
// one of Handler.Dropped (it never became a flow) and Handler.Closed.
//
// # What a stranger can't do
//
// UDP keeps no state for a source until the owner calls Flow.MarkVerified, and that table is bounded and expires. A
// connection is a stranger until Flow.MarkTrusted: strangers are few per source and in all, the oldest of those that have
// never sent a message, or else the oldest, is evicted for a newcomer, and each of them has a deadline for the handshake, for the first message, for each incomplete message and for
// silence. Errors of accept never end the loop; a panic while a message is handled loses that message only.
package transport

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// Network is the transport of an interface or a flow, lower case.
type Network string

// The networks that Listen knows. Dial knows TCP and TLS: a WebSocket is opened by the phone alone (RFC 7118 §5).
const (
	UDP Network = "udp"
	TCP Network = "tcp"
	TLS Network = "tls"
	WS  Network = "ws"
	WSS Network = "wss"
)

// Reliable reports whether messages arrive or the connection ends (RFC 3261 §17: no retransmission needed).
func (n Network) Reliable() bool { return n != UDP }

// Secure reports whether the hop is encrypted.
func (n Network) Secure() bool { return n.overTLS() }

// Framed reports whether the network itself keeps messages apart, so that they need no Content-Length (RFC 3261 §18.3).
func (n Network) Framed() bool { return n == UDP || n.webSocket() }

// Param is the transport as it stands in a SIP URI, lower case: "ws" for both kinds of WebSocket (RFC 7118 §5.2.2).
func (n Network) Param() string {
	if n.webSocket() {
		return string(WS)
	}
	return string(n)
}

func (n Network) overTLS() bool   { return n == TLS || n == WSS }
func (n Network) webSocket() bool { return n == WS || n == WSS }

// Via is the transport as it stands in a Via header field (RFC 3261 §20.42), upper case.
func (n Network) Via() string {
	switch n {
	case UDP:
		return "UDP"
	case TCP:
		return "TCP"
	case TLS:
		return "TLS"
	}
	return strings.ToUpper(string(n))
}

// Limits bound what peers may use. A zero field takes the value of DefaultLimits, except where it says otherwise.
type Limits struct {
	MaxDatagram int // largest UDP message, bytes
	MaxMessage  int // largest message on a stream, head and body, bytes

	MaxConnections      int // connections of one interface, trusted and strangers
	MaxStrangers        int // connections that are not trusted; zero: a fifth of MaxConnections
	MaxPerSource        int // connections of one source that are not trusted; a source is an IPv4 address or an IPv6 /64
	MaxTrustedPerSource int // trusted connections of one source
	MaxVerified         int // UDP sources remembered as verified

	HandshakeTimeout time.Duration // TLS handshake, and with it the upgrade to a WebSocket
	RequestTimeout   time.Duration // first complete message of a connection, and each message that has begun to arrive
	IdleTimeout      time.Duration // connection of a stranger without a complete message
	TrustedIdle      time.Duration // trusted connection without traffic; zero: no limit
	WriteTimeout     time.Duration // one write to a connection
	PingInterval     time.Duration // between two pings on a trusted WebSocket; who answers none before the next is gone
	VerifiedLife     time.Duration // how long a UDP source stays verified

	SendQueue     int // bytes that wait for one connection
	Readers       int // UDP sockets and readers of one interface; the kernel keeps each remote on one of them
	ReceiveBuffer int // kernel receive buffer of a UDP socket, bytes
}

// DefaultLimits returns limits that serve some thousand phones on a small machine.
func DefaultLimits() Limits {
	return Limits{
		MaxDatagram: 65535,
		MaxMessage:  256 << 10,

		MaxConnections:      10_000,
		MaxPerSource:        16,
		MaxTrustedPerSource: 1024,
		MaxVerified:         65_536,

		HandshakeTimeout: 5 * time.Second,
		RequestTimeout:   10 * time.Second,
		IdleTimeout:      30 * time.Second,
		WriteTimeout:     5 * time.Second,
		PingInterval:     25 * time.Second, // NATs forget a TCP connection after a minute at the least
		VerifiedLife:     10 * time.Minute,

		SendQueue:     256 << 10,
		Readers:       2,
		ReceiveBuffer: 4 << 20,
	}
}

// Expelled reports whether a connection that ended for this reason was ended by us for what its peer did or did not do, and
// nobody was told of it in another way than by Handler.Closed.
func Expelled(why verdict.Reason) bool {
	return why == verdict.RequestTimeout || why == verdict.IdleTimeout || why == verdict.QueueFull
}

// Config describes one Interface.
type Config struct {
	Name    string         // what logs and counters call it
	Network Network        // UDP, TCP, TLS, WS or WSS
	Listen  netip.AddrPort // address and port to listen on; 0.0.0.0 and [::] listen on all addresses of that family

	// Advertise is what stands in Via and Contact instead of the local address: a host, or host:port. May be empty.
	Advertise string

	// TLS returns the server's configuration. It is called at each handshake, so certificates are swapped without
	// dropping a connection; return the same pointer until something changed, or session tickets are useless. Build it
	// with ServerTLS. Only for TLS and WSS.
	TLS func() *tls.Config

	// ClientTLS returns the configuration for a connection that Interface.Dial opens to remote. Build it with ClientTLS.
	// Only for TLS, and only if Dial is used.
	ClientTLS func(remote netip.AddrPort) *tls.Config

	// WebSocket is for WS and WSS.
	WebSocket WebSocket

	// TrustHandshake makes each accepted connection trusted once its handshake is done: for the core link and other
	// interfaces whose TLS configuration demands a client certificate.
	TrustHandshake bool

	// FlowKey keys the identifiers of UDP flows (Flow.ID). With the same key they stay valid over a restart. Empty: a
	// random key.
	FlowKey []byte

	// Crowded tells that a source had Limits.MaxPerSource connections that are not trusted and opened one more, for which its
	// oldest makes room. It is the source's doing, while verdict.ConnectionLimit also meets whoever makes room for others.
	// Called on the goroutine that accepts; it must not block. May be nil.
	Crowded func(i *Interface, remote netip.AddrPort)

	// Undelivered tells that the network could not deliver a datagram of ours to remote (ICMP), with what it quotes of its beginning:
	// perhaps nothing, and made up by anybody who can send packets in the name of others. Called on a goroutine of the interface; it must
	// not block. May be nil: then nobody is told. Only for UDP.
	Undelivered func(i *Interface, remote netip.AddrPort, quote []byte)

	// Registered tells whether a phone is registered over a flow: then its STUN keep-alives are answered (RFC 5626 §4.4.2). Who is not,
	// and not verified, is sent one answer to each datagram, of as many bytes at most. Called on any goroutine; it must not block. May be
	// nil: then STUN is not answered, and nobody is metered. Only for UDP.
	Registered func(f *Flow) bool

	Limits Limits
	Log    *slog.Logger // may be nil
}

// Handler is the owner of interfaces and flows. Its methods are called on reader goroutines, several at a time for
// different flows, and must not block.
type Handler interface {
	// Accept decides about a source before anything of it is read or handshaken: once per connection, once per datagram.
	Accept(i *Interface, remote netip.AddrPort) verdict.Verdict

	// Raw sees the bytes of one message before the parser. data is valid only during the call. Anything but Pass leads
	// to Unparsed.
	Raw(f *Flow, data []byte) verdict.Verdict

	// Message gets what was parsed, in order per flow. In a request's top Via received and rport say where it came from
	// (RFC 3261 §18.2.1, RFC 3581 §4), whatever the sender wrote there.
	Message(f *Flow, msg sip.Message)

	// Unparsed gets what Raw, the framing or the parser refused, and why: with Reject the owner may answer statelessly by
	// f.Send. data is valid only during the call. After a framing fault the connection is closed, once what was sent
	// is written.
	Unparsed(f *Flow, data []byte, v verdict.Verdict)

	// Dropped names what never became a message or a connection: refused by Accept, over a limit, handshake failed, a
	// datagram that is too large or no SIP at all, a panic (verdict.Internal). The remote is the zero value if accept
	// itself failed. data may be nil, and is valid only during the call. Where the network is reliable, the remote has
	// completed the handshake of TCP: it is who it says.
	Dropped(i *Interface, remote netip.AddrPort, why verdict.Reason, data []byte)

	// Closed tells that a flow's connection ended, after its last message. Never called for UDP.
	Closed(f *Flow, why verdict.Reason)
}
