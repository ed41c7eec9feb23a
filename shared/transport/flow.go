package transport

import (
	"crypto/x509"
	"errors"
	"net/netip"

	"brickhouse/shared/verdict"
)

// Errors of sending and dialling. Test with errors.Is.
var (
	ErrClosed    = errors.New("flow is closed")
	ErrQueueFull = errors.New("peer does not read what we send")
	ErrTooLarge  = errors.New("message is larger than the network carries")
	ErrNoTLS     = errors.New("no TLS configuration for this direction")
)

// Flow is a connection, or a UDP socket with a remote address (RFC 5626 §3). Messages sent on it reach the peer that the
// flow came from, by the socket and from the address that the peer knows. All methods may be called from any goroutine.
//
// For a connection there is one Flow value; for UDP there may be several that mean the same flow: compare with Same.
type Flow struct {
	iface   *Interface
	network Network
	remote  netip.AddrPort
	local   netip.AddrPort
	id      string  // of a connection; of UDP: made from the addresses when asked for
	link    carrier // nil: UDP
	meter   meter
}

// carrier is what a flow needs of its connection.
type carrier interface {
	send(b []byte) error
	close(why verdict.Reason)
	closed() <-chan struct{}
	trust() bool
	peerCertificates() []*x509.Certificate
}

// ID names the flow: opaque, unique on its interface, made of letters, digits, "-" and "_" so that it can stand in a URI
// or a token. A connection's is random; a UDP flow's holds both addresses, encrypted and authenticated under
// Config.FlowKey, so that it needs no table and can't be made up.
func (f *Flow) ID() string {
	if f.link == nil {
		return f.iface.ids.seal(f.local.Addr(), f.remote)
	}
	return f.id
}

// Same reports whether both are the same flow.
func (f *Flow) Same(o *Flow) bool {
	if f == o {
		return true
	}
	return o != nil && f.link == nil && o.link == nil && f.iface == o.iface && f.remote == o.remote && f.local == o.local
}

// Interface returns the interface that the flow belongs to; never nil. A flow of the function Dial has one of its own.
func (f *Flow) Interface() *Interface { return f.iface }

// Network returns the flow's network.
func (f *Flow) Network() Network { return f.network }

// Reliable reports whether the network retransmits for us.
func (f *Flow) Reliable() bool { return f.network.Reliable() }

// Secure reports whether the hop is encrypted.
func (f *Flow) Secure() bool { return f.network.Secure() }

// Remote returns the peer's address as we see it.
func (f *Flow) Remote() netip.AddrPort { return f.remote }

// Local returns our concrete address, also when the socket listens on all addresses.
func (f *Flow) Local() netip.AddrPort { return f.local }

// ViaHost returns what to write into Via and Contact for this flow (RFC 3261 §18.1.1): the advertised host, or our
// address, without brackets; and the port where we listen, zero if the advertised host has none.
func (f *Flow) ViaHost() (host string, port int) {
	if f.iface.advertise.host != "" {
		return f.iface.advertise.host, f.iface.advertise.port
	}
	addr := f.local.Addr()
	port = int(f.local.Port())
	if l := f.iface.Local(); l.Port() != 0 {
		port = int(l.Port())
	}
	return addr.WithZone("").String(), port
}

// Verified reports whether the peer has proven that it receives what is sent to its address: by a handshake, or, for
// UDP, because MarkVerified was called within Limits.VerifiedLife.
func (f *Flow) Verified() bool {
	if f.link != nil {
		return true
	}
	return f.iface.verified.has(f.remote)
}

// MarkVerified remembers that the peer echoed something only we could have sent it. No effect on connections.
func (f *Flow) MarkVerified() {
	if f.link == nil {
		f.iface.verified.add(f.remote)
		f.meter.proven.Store(true)
	}
}

// MarkTrusted tells that the peer is a registered or authenticated one: its connection is no longer evicted for others,
// and Limits.TrustedIdle replaces IdleTimeout. It reports whether there was room
// (Limits.MaxConnections, MaxTrustedPerSource). No effect on UDP.
func (f *Flow) MarkTrusted() bool {
	if f.link == nil {
		return true
	}
	return f.link.trust()
}

// Send hands one message to the network. It does not block: UDP is written at once, a connection has a bounded queue. b
// must not be changed afterwards. A connection whose peer does not read is closed with verdict.QueueFull. A stranger's datagram is
// answered once and with no more bytes than it had, else the error is ErrAmplifies.
func (f *Flow) Send(b []byte) error {
	if f.link == nil {
		if err := f.afford(len(b)); err != nil {
			return err
		}
		return f.iface.sendUDP(f.local.Addr(), f.remote, b)
	}
	return f.link.send(b)
}

// Closed is closed when the connection ends or is about to; nil for UDP.
func (f *Flow) Closed() <-chan struct{} {
	if f.link == nil {
		return nil
	}
	return f.link.closed()
}

// Close ends the connection after what was sent is written. Handler.Closed follows, with why. No effect on UDP.
func (f *Flow) Close(why verdict.Reason) {
	if f.link != nil {
		f.link.close(why)
	}
}

// PeerCertificates returns the peer's verified TLS certificate chain, leaf first; nil if it gave none.
func (f *Flow) PeerCertificates() []*x509.Certificate {
	if f.link == nil {
		return nil
	}
	return f.link.peerCertificates()
}

// PeerNames returns the names that the peer's verified certificate proves for SIP (RFC 5922 §7.1), lower case: the domains of
// its SIP URIs, or else its DNS names, which may begin with "*.". Nil if it gave no certificate, or if nothing verified it.
func (f *Flow) PeerNames() []string {
	if chain := f.PeerCertificates(); len(chain) > 0 {
		return peerNames(chain[0])
	}
	return nil
}

// String is for logs: network, local and remote address.
func (f *Flow) String() string {
	return string(f.network) + " " + f.local.String() + " <- " + f.remote.String()
}
