package border

import (
	"fmt"
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/sbc/internal/sanitize"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// What the guard is told of, and as what. Verified is what nobody can do in another's name: over TCP and TLS everything, over
// UDP only a message that itself echoed a nonce.
//
//	wrong credentials, unknown users         learn            verdicts.go
//	bytes and messages of bad form           refuse, Unparsed, Dropped; all as malformed-message
//	handshakes, slow and silent connections  Dropped, Closed
//	too many connections                     crowded
//	messages out of any call or domain       abnormal         only if verified
//	names of scanners                        signature        a hint
//	media that are no call's                 mediaStranger    never verified
//
// How much each counts, and whether at all, is the guard's configuration.

// offence tells the guard what the sender of a message did. verified says that this very message proves where it comes from.
func (r *realm) offence(f *transport.Flow, verified bool, why verdict.Reason, aor, detail string) {
	if r.name == core {
		return
	}
	r.tell(f.Interface(), f.Remote(), verified, why, aor, detail)
	if !verified || !f.Reliable() {
		return
	}
	// The guard may hold this one connection instead of banning an address that others live behind. Others are still let in
	// from there; so would this peer be with a new connection. It is asked only here: a hold may also have been earned by
	// datagrams, which anybody can send in the name of a phone's connection.
	if v := r.b.guard.AdmitFlow(f.Remote()); v.Reason == verdict.SourceHeld {
		f.Close(v.Reason)
	}
}

// tell hands an offence to the guard; if it leads to a ban, all connections of the source end.
func (r *realm) tell(i *transport.Interface, remote netip.AddrPort, verified bool, why verdict.Reason, aor, detail string) {
	if r.name == core || !remote.IsValid() {
		return
	}
	r.b.guard.Offence(guard.Offence{
		Source: remote, Verified: verified, Reason: why, AOR: aor, Detail: detail, Interface: i.Name(), At: r.b.now(),
	})
	if v := r.b.guard.Admit(remote.Addr()); !v.OK() {
		r.disconnect(v.Reason)
	}
}

// disconnect closes every connection whose source is banned by now.
func (r *realm) disconnect(why verdict.Reason) {
	for _, i := range r.interfaces {
		for _, f := range i.Flows() {
			if !r.b.guard.Admit(f.Remote().Addr()).OK() {
				f.Close(why)
			}
		}
	}
}

// crowded takes the news that a source opens more connections than it may have (transport.Config.Crowded).
func (r *realm) crowded(i *transport.Interface, remote netip.AddrPort) {
	r.tell(i, remote, true, verdict.ConnectionLimit, "", "")
}

// blameDropped is what the sender of something that never became a message or a connection is told of for, if anything: not
// for what the guard or our own limits decided, nor for requests that any page can have its visitors' browsers send
// (verdict.OriginRefused, verdict.UpgradeFailed).
func blameDropped(why verdict.Reason, data []byte) (verdict.Reason, bool) {
	switch why {
	case verdict.HandshakeFailed, verdict.CertificateRefused:
		return why, true
	case verdict.NotSIP:
		return verdict.MalformedMessage, !transport.IsSTUN(data) // RFC 5626 §4.4.2: a phone may keep its NAT open so
	case verdict.Oversize:
		return verdict.MalformedMessage, true
	}
	return "", false
}

// blameClosed tells the guard about a connection that was ended for what its peer did not do: send a whole message, or read.
// A registered phone may have lost its network meanwhile.
func (r *realm) blameClosed(f *transport.Flow, why verdict.Reason) {
	if !transport.Expelled(why) {
		return
	}
	if !r.registered(f) {
		r.tell(f.Interface(), f.Remote(), true, why, "", "")
	}
}

// abnormal tells the guard about a message that belongs to no call and no domain of ours. Phones send few of them: a BYE and an
// ACK for a call that our restart has ended. So each should weigh little. Datagrams are not told at all: these messages
// echo nothing, and a hold would be the phone's whose address was forged.
func (r *realm) abnormal(f *transport.Flow, why verdict.Reason, method sip.RequestMethod) {
	if r.name != access || !f.Reliable() {
		return
	}
	switch why {
	case verdict.UnknownDomain, verdict.TooManyHops, verdict.LoopDetected, verdict.StrayACK, verdict.StrayResponse:
	case verdict.UnknownDialog:
		if method == sip.SUBSCRIBE {
			return // a console renews hundreds that only our restart has ended
		}
		if method == sip.INFO {
			return // each digit that somebody presses in a call that is over only here
		}
	default:
		return
	}
	r.offence(f, true, why, "", string(method))
}

// strayResponse is abnormal for a response. A phone that answers a call which our restart has ended repeats its 2xx until an ACK
// comes (RFC 3261 §13.3.1.4): it is not told.
func (r *realm) strayResponse(f *transport.Flow, res *sip.Response) {
	method := sip.RequestMethod("")
	if c := res.CSeq(); c != nil {
		method = c.MethodName
	}
	if method == sip.INVITE && res.IsSuccess() {
		return
	}
	r.abnormal(f, verdict.StrayResponse, method)
}

// signature tells the guard if a request looks like a scanner's. The request goes on: it is only a hint.
func (r *realm) signature(f *transport.Flow, msg sip.Message) {
	req := isRequest(msg)
	if req == nil || r.name == core {
		return
	}
	if name, ok := sanitize.Scanner(req); ok {
		r.offence(f, f.Reliable(), verdict.ScannerSignature, "", name)
	}
}

// mediaStranger tells the guard about a source that sends media to a call that is not its own.
func (b *Border) mediaStranger(s anchor.Stranger) {
	b.guard.Offence(guard.Offence{
		Source: s.Source, Reason: verdict.MediaStranger, At: s.At, Interface: s.Realm,
		Detail: fmt.Sprintf("media port %d, call %s", s.Port, s.Call),
	})
}
