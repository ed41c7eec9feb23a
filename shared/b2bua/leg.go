package b2bua

import (
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// leg is a dialog as a call holds it. Everything but key and call belongs to the call's goroutine, except what find
// needs, which is set before the leg is registered.
type leg struct {
	call   *Call
	side   Side
	key    legKey
	policy *LegPolicy
	target Target // of a B-leg

	dlg  *dialog.Dialog
	flow *transport.Flow

	remoteTag atomic.Pointer[string] // the far side's tag, read by find

	// An INVITE that came in on this leg and is not answered yet, or whose 2xx is not acknowledged yet.
	server  *transaction.Server
	resend  *time.Timer   // repeats our 2xx until the ACK comes (RFC 3261 §13.3.1.4)
	waiting time.Duration // the resend timer's next interval
	unacked bool

	// An INVITE of ours on this leg.
	client    *transaction.Client
	invite    *sip.Request // the last INVITE that we sent, to be sent again with credentials
	inviteSeq uint32       // its CSeq: that of the ACK
	tries     int          // how often we answered a challenge
	acked     bool         // we acknowledged its 2xx
	ackBody   []byte       // the answer that our ACK carries (delayed offer)

	established bool // a 2xx made the dialog a confirmed one
	over        bool // BYE was sent or received, or the dialog never came to be
	pending     bool // a re-INVITE of ours is open
	byePending  bool // BYE waits for the ACK (RFC 3261 §15)
	byeReason   verdict.Reason
}

// knows reports whether tag is the far side's. Before the far side has one, any will do.
func (l *leg) knows(tag string) bool {
	t := l.remoteTag.Load()
	return t == nil || *t == tag
}

// roams reports whether a message within the dialog may come over f.
func (l *leg) roams(f *transport.Flow) bool {
	last := l.flow
	if last == nil || last.Same(f) {
		return true
	}
	if l.policy.Roams != nil {
		return l.policy.Roams(last, f)
	}
	return f.Network() == last.Network() && f.Remote().Addr() == last.Remote().Addr()
}

// via returns the flow for the next request on this leg.
func (l *leg) via() *transport.Flow {
	if l.policy.Flow != nil {
		if f := l.policy.Flow(l.dlg, l.flow); f != nil {
			return f
		}
	}
	return l.flow
}

// contact adds our Contact.
func (l *leg) contact(msg sip.Message, f *transport.Flow) {
	msg.AppendHeader(&sip.ContactHeader{Address: l.policy.Contact(f)})
}

// pass copies what may leave on this leg from a message of the other leg, and its body where the type passed.
func (l *leg) pass(dst, src sip.Message) {
	if l.policy.Pass == nil || src == nil {
		return
	}
	l.policy.Pass(dst, src)
	if _, ok := sipmsg.Header(dst, "Content-Type"); ok && len(src.Body()) > 0 {
		dst.SetBody(src.Body())
	}
}

// setSDP makes sdp the body of msg, or leaves it without one.
func setSDP(msg sip.Message, sdp []byte) {
	sipmsg.Remove(msg, "Content-Type")
	sipmsg.Remove(msg, "Content-Disposition")
	if len(sdp) == 0 {
		msg.SetBody(nil)
		return
	}
	typ := sip.ContentTypeHeader("application/sdp")
	msg.AppendHeader(&typ)
	msg.SetBody(sdp)
}

// isSDP reports whether a message carries a session description.
func isSDP(msg sip.Message) bool {
	if len(msg.Body()) == 0 {
		return false
	}
	value, _ := sipmsg.Header(msg, "Content-Type")
	typ, _, err := sipmsg.ParseMediaType(value)
	return err == nil && typ == "application/sdp"
}

// sdpOf returns the session description that a message carries, or nil.
func sdpOf(msg sip.Message) []byte {
	if isSDP(msg) {
		return msg.Body()
	}
	return nil
}
