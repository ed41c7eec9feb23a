package border

import (
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/sanitize"
	"brickhouse/shared/listen"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// realmName is one side of the border.
type realmName string

const (
	access realmName = "access" // remote phones
	peer   realmName = "peer"   // trunks
	core   realmName = "core"   // the exchange
)

// realm is one side of the border with its sockets. It is the transport.Handler of all of them.
type realm struct {
	b          *Border
	name       realmName
	certs      *listen.Credentials // nil where nothing listens for TLS
	interfaces []*transport.Interface
	rules      *sanitize.Realm // what its messages may be like
}

func (b *Border) newRealms() map[realmName]*realm {
	out := map[realmName]*realm{}
	for name, m := range map[realmName]sanitize.Messages{
		access: watching(access, referring(access, b.cfg.Access.Messages, b.cfg.Access.Refer), b.cfg.Access.Events), peer: referring(peer, b.cfg.Peer.Messages, b.cfg.Peer.Refer),
		core: {Limits: b.cfg.Core.Limits},
	} {
		out[name] = &realm{b: b, name: name, rules: sanitize.NewRealm(string(name), m)}
	}
	return out
}

// limits is what the realm's sockets take on.
func (r *realm) limits() transport.Limits {
	l := transport.DefaultLimits()
	l.MaxConnections, l.MaxPerSource = r.b.cfg.Limits.Connections, r.b.cfg.Limits.PerSource
	l.MaxDatagram, l.MaxMessage = r.rules.Sizes()
	return l
}

// Accept decides about a source before anything of it is read. Nobody but a carrier connects to the carriers' side.
func (r *realm) Accept(i *transport.Interface, remote netip.AddrPort) verdict.Verdict {
	if i.Network().Reliable() && r.stranger(remote) && !r.mayProve(i) {
		return verdict.Dropped(verdict.UnknownPeer)
	}
	switch {
	case r.name == core:
		return verdict.Passed
	case i.Network().Reliable():
		return r.b.guard.AdmitConnection(remote.Addr())
	}
	return r.admitDatagram(i, remote)
}

// admitDatagram asks the guard about a datagram. A registered phone's are not held up by a hold on its address and port that anybody
// can earn in its name.
func (r *realm) admitDatagram(i *transport.Interface, remote netip.AddrPort) verdict.Verdict {
	v := r.b.guard.AdmitDatagram(remote)
	if v.Reason == verdict.SourceHeld {
		if r.registered(i.FlowTo(remote)) {
			return r.b.guard.AdmitFlow(remote)
		}
	}
	return v
}

// registered reports whether a phone is registered over a flow.
func (r *realm) registered(f *transport.Flow) bool {
	_, ok := r.b.cache.Registered(f.ID(), r.b.now())
	return ok
}

// admitted reports whether a source may still be here.
func (r *realm) admitted(f *transport.Flow) verdict.Verdict {
	switch {
	case r.name == core:
		return verdict.Passed
	case f.Reliable():
		return r.b.guard.AdmitFlow(f.Remote())
	}
	return r.b.guard.Admit(f.Remote().Addr())
}

// stranger reports whether a source is none of the carriers on the carriers' side: it gets no answer at all. Gateways whose
// names are looked up are none either, unless their networks are configured; they may still answer our calls.
func (r *realm) stranger(remote netip.AddrPort) bool {
	if r.name != peer {
		return false
	}
	_, known := r.b.carrierAt(remote.Addr())
	return !known
}

// mayProve reports whether whoever connects may still show a certificate that makes it a carrier.
func (r *realm) mayProve(i *transport.Interface) bool {
	return i.Network().Secure() && r.b.trunks.Load().who.HasNames()
}

// Closed forgets what hung on a connection.
func (r *realm) Closed(f *transport.Flow, why verdict.Reason) {
	r.b.log.Debug("connection ended", "realm", r.name, "flow", f.String(), "reason", why)
	if transport.Expelled(why) {
		r.b.metrics.refused.Inc(why)
	}
	r.blameClosed(f, why)
	r.b.tx.FlowClosed(f, why)
	switch r.name {
	case core:
		r.b.core.closed(f)
	case access:
		r.b.cache.RemoveFlow(f.ID())
		r.b.watchers.removeFlow(f.ID())
	}
}

// Dropped counts what never became a message or a connection, and tells the guard what its sender is to blame for. Where the
// network is reliable, TCP's handshake has proved who that is.
func (r *realm) Dropped(i *transport.Interface, remote netip.AddrPort, why verdict.Reason, data []byte) {
	r.b.metrics.refused.Inc(why)
	r.b.log.Debug("dropped", "realm", r.name, "remote", remote.String(), "reason", why)
	if offence, ok := blameDropped(why, data); ok {
		r.tell(i, remote, i.Network().Reliable(), offence, "", string(why))
	}
}

// isRequest returns msg as a request, or nil.
func isRequest(msg sip.Message) *sip.Request {
	req, _ := msg.(*sip.Request)
	return req
}
