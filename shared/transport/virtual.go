package transport

import (
	"crypto/x509"
	"net/netip"
	"sync"

	"brickhouse/shared/verdict"
)

// Carrier moves the messages of a flow that this package has no socket for: a WebSocket, a pipe in a test.
type Carrier interface {
	// Send takes one whole message; it must not block. b stays unchanged.
	Send(b []byte) error
	// Close ends the carrier; called at most once. Flow.Ended must follow, from whoever reads.
	Close(why verdict.Reason)
}

// Attachment describes a flow for Attach.
type Attachment struct {
	Network       Network
	Local, Remote netip.AddrPort
	Certificates  []*x509.Certificate // of the peer, leaf first; may be nil
}

// Attach makes a flow that c carries, and registers it. It returns ErrClosed if the interface is closing.
func (i *Interface) Attach(c Carrier, a Attachment) (*Flow, error) {
	v := &virtual{c: c, certs: a.Certificates, done: make(chan struct{})}
	f := &Flow{iface: i, network: a.Network, local: a.Local, remote: a.Remote, id: newConnID(), link: v}
	v.flow = f
	if !i.register(f) {
		return nil, ErrClosed
	}
	return f, nil
}

// Deliver takes one whole message that the carrier received through Handler.Raw and the parser to Handler.Message. Calls
// for one flow come one after the other.
func (f *Flow) Deliver(data []byte) { f.iface.deliver(f, data) }

// Ended tells that the carrier is gone: the flow is forgotten and Handler.Closed called, once.
func (f *Flow) Ended(why verdict.Reason) {
	v, ok := f.link.(*virtual)
	if !ok {
		return
	}
	why, _ = v.mark(why)
	v.end.Do(func() {
		f.iface.unregister(f)
		f.iface.closedFlow(f, why)
	})
}

// virtual is the carrier behind an attached flow.
type virtual struct {
	flow  *Flow
	c     Carrier
	certs []*x509.Certificate
	done  chan struct{} // closed by mark
	end   sync.Once

	mu     sync.Mutex // guards why, marked
	why    verdict.Reason
	marked bool
}

// mark records the first reason to end; it returns that reason, and whether it is this one.
func (v *virtual) mark(why verdict.Reason) (verdict.Reason, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.marked {
		return v.why, false
	}
	v.marked, v.why = true, why
	close(v.done)
	return why, true
}

func (v *virtual) send(b []byte) error {
	select {
	case <-v.done:
		return ErrClosed
	default:
		return v.c.Send(b)
	}
}

func (v *virtual) close(why verdict.Reason) {
	if _, first := v.mark(why); first {
		v.c.Close(why)
	}
}

func (v *virtual) closed() <-chan struct{}               { return v.done }
func (v *virtual) trust() bool                           { return true }
func (v *virtual) peerCertificates() []*x509.Certificate { return v.certs }
