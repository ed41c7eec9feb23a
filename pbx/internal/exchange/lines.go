package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

var (
	errNoBorder = errors.New("the border is not connected")
	errNoPhone  = errors.New("the phone's connection is gone, and it can't be called where it registered from")
)

// lines are the ways out of the exchange (callcontrol.Lines).
type lines struct{ x *Exchange }

// Border returns the core link.
func (l lines) Border(context.Context) (*transport.Flow, error) {
	if f := l.x.border.Load(); f != nil {
		return f, nil
	}
	return nil, errNoBorder
}

// Phone returns how to reach a phone on the inside: over UDP at its contact, over TCP and TLS by the connection that it
// registered over, or, if that is gone, by a new one to its contact. A contact at another address than the phone registered
// from is behind a NAT, or a trap, and not called.
func (l lines) Phone(b *store.Binding) func(context.Context) (*transport.Flow, error) {
	return func(ctx context.Context) (*transport.Flow, error) {
		i := l.x.phoneInterface(b)
		if i == nil {
			return nil, fmt.Errorf("the exchange no longer listens for %s", b.Network)
		}
		contact, ok := contactAddr(b)
		near := ok && contact.Addr() == b.Remote.Addr().Unmap()
		if i.Network() == transport.UDP {
			if near {
				return i.FlowTo(contact), nil
			}
			return i.FlowTo(b.Remote), nil
		}
		if f, ok := i.Flow(b.FlowID); ok {
			return f, nil
		}
		if !near {
			return nil, errNoPhone
		}
		return i.Dial(ctx, contact)
	}
}

// contactAddr is the address in a binding's contact, if it names one.
func contactAddr(b *store.Binding) (netip.AddrPort, bool) {
	uri, err := sipmsg.ParseURI(b.ContactURI)
	if err != nil {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(strings.Trim(uri.Host, "[]"))
	if err != nil {
		return netip.AddrPort{}, false
	}
	port := uri.Port
	if port == 0 { // RFC 3261 §19.1.2
		port = 5060
		if b.Network == string(transport.TLS) {
			port = 5061
		}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), true
}

// phoneInterface returns the socket that a binding was made over, or another one of its network.
func (x *Exchange) phoneInterface(b *store.Binding) *transport.Interface {
	var same *transport.Interface
	for _, i := range x.phones {
		if string(i.Network()) != b.Network {
			continue
		}
		if i.Name() == b.Interface {
			return i
		}
		same = i
	}
	return same
}

// phoneTLS is how we call a phone that listens for TLS itself. Phones have no certificates that anybody could check; what
// proves the phone is that it registered from there.
func phoneTLS(netip.AddrPort) *tls.Config {
	c := transport.ClientTLS(nil)
	c.InsecureSkipVerify = true //nolint:gosec // see above
	return c
}

// passed are the header fields that pass between two legs inside, beside those that the engine makes itself.
var passed = []string{"Subject", "Privacy", "Content-Type", "Content-Disposition", "Event", "Info-Package", "Reason", "Retry-After", "Alert-Info"}

// pass copies them. Everything else is built anew on each leg: extensions of one phone are not promised to another.
func pass(dst, src sip.Message) {
	for _, name := range passed {
		for _, v := range sipmsg.Headers(src, name) {
			if sipmsg.Add(dst, name, v) != nil {
				break
			}
		}
	}
}

// phonePolicy is how we look to phones on the inside.
func (x *Exchange) phonePolicy() *b2bua.LegPolicy {
	return &b2bua.LegPolicy{Contact: contact, Pass: pass, Allow: allow}
}

// borderPolicy is how we look to the border. The core link may have been opened anew since a call began.
func (x *Exchange) borderPolicy() *b2bua.LegPolicy {
	return &b2bua.LegPolicy{
		Contact: contact, Pass: pass, Allow: allow,
		Flow:  func(*dialog.Dialog, *transport.Flow) *transport.Flow { return x.border.Load() },
		Roams: func(_, now *transport.Flow) bool { return x.isCore(now) },
	}
}

// contact is our Contact on a flow.
func contact(f *transport.Flow) sip.Uri {
	host, port := f.ViaHost()
	u := sip.Uri{Scheme: "sip", Host: host, Port: port}
	if n := f.Network(); n != transport.UDP {
		u.UriParams = sip.HeaderParams{{K: "transport", V: string(n)}}
	}
	return u
}
