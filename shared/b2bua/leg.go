package b2bua

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// leg is a dialog as a call holds it. Everything but key, call and account belongs to the call's goroutine, except what find
// needs, which is set before the leg is registered.
type leg struct {
	call    atomic.Pointer[Call] // whose it is (adopt.go)
	side    Side
	placed  bool // we called
	key     legKey
	policy  *LegPolicy
	target  Target // of a B-leg
	index   string // of a B-leg, among those of its group
	account string // of the far side; never changes

	dlg     *dialog.Dialog
	flow    *transport.Flow
	silence *time.Timer        // gives up a B-leg that says nothing
	spoke   bool               // something was heard of it
	dialing context.CancelFunc // stops the making of a connection; nil where none was made

	remoteTag atomic.Pointer[string] // the far side's tag, read by find

	// An INVITE that came in on this leg and is not answered yet, or whose 2xx is not acknowledged yet.
	server  *transaction.Server
	resend  *time.Timer // repeats our 2xx until the ACK comes (RFC 3261 §13.3.1.4)
	unacked bool
	asked   bool // that 2xx makes an offer: the ACK brings the answer

	sent     *invitation         // the last INVITE of ours on this leg
	forks    []*early            // early dialogs of the first one, until it is answered
	rel      *reliable           // provisional responses that A confirms; nil before the first
	updating *transaction.Server // an UPDATE or PRACK whose offer is on its way across
	offering bool                // an offer of ours waits for its answer, in an UPDATE or what takes its place

	can          features // what the far side is able to
	mine, theirs []byte   // the descriptions in force: as we gave it, and as the far side did
	session      session  // its timer (RFC 4028)

	established bool // a 2xx made the dialog a confirmed one
	leaving     bool // our BYE was sent, or waits for the far side's ACK (RFC 3261 §15)
	over        bool // BYE was received or answered, or the dialog never came to be
	byeReason   verdict.Reason
	byeCause    *sip.Request // a BYE of the other leg, whose Reason may pass; nil if we end it

	inner    bool // there is nobody on this leg: it keeps a place in a call that a transfer made
	former   bool // it lost its place in the call, and has only its end before it
	referred bool // its far side sent a REFER
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

// via returns the flow for the next request of a dialog on this leg.
func (l *leg) via(d *dialog.Dialog) *transport.Flow {
	if l.policy.Flow != nil {
		if f := l.policy.Flow(d, l.flow); f != nil {
			return f
		}
	}
	return l.flow
}

// inviting reports whether an INVITE of ours is open on this leg.
func (l *leg) inviting() bool { return l.sent != nil && l.sent.state == inviteOpen }

// owesAck reports whether the far side waits for an ACK of ours.
func (l *leg) owesAck() bool { return l.sent != nil && l.sent.state == inviteAnswered }

// contact adds our Contact.
func (l *leg) contact(msg sip.Message, f *transport.Flow) {
	msg.AppendHeader(&sip.ContactHeader{Address: l.policy.Contact(f)})
}

// allow adds our Allow.
func (l *leg) allow(msg sip.Message) {
	if l.policy.Allow != "" {
		msg.AppendHeader(sip.NewHeader("Allow", l.policy.Allow))
	}
}

// pass copies what may leave on this leg from a message of the other leg, and its body where the type passed. A session
// description never passes this way, alone or in a multipart body: it goes through the call's media (setSDP).
func (l *leg) pass(dst, src sip.Message) {
	if l.policy.Pass == nil || src == nil {
		return
	}
	l.policy.Pass(dst, src)
	value, ok := sipmsg.Header(dst, "Content-Type")
	if !ok {
		return
	}
	typ, _, err := sipmsg.ParseMediaType(value)
	if err != nil || len(src.Body()) == 0 || typ == typeSDP || strings.HasPrefix(typ, "multipart/") {
		setSDP(dst, nil)
		return
	}
	dst.SetBody(src.Body())
}

const typeSDP = "application/sdp"

// setSDP makes sdp the body of msg, or leaves it without one.
func setSDP(msg sip.Message, sdp []byte) {
	sipmsg.Remove(msg, "Content-Type")
	sipmsg.Remove(msg, "Content-Disposition")
	if len(sdp) == 0 {
		msg.SetBody(nil)
		return
	}
	typ := sip.ContentTypeHeader(typeSDP)
	msg.AppendHeader(&typ)
	msg.SetBody(sdp)
}

// sdpOf returns the session description that a message carries, or nil.
func sdpOf(msg sip.Message) []byte {
	if len(msg.Body()) == 0 {
		return nil
	}
	value, _ := sipmsg.Header(msg, "Content-Type")
	typ, _, err := sipmsg.ParseMediaType(value)
	if err != nil || typ != typeSDP {
		return nil
	}
	return msg.Body()
}

// offerOf returns the offer in an INVITE, nil where it makes none. A body that is no session description is refused.
func offerOf(req *sip.Request) ([]byte, *Refusal) {
	sdp := sdpOf(req)
	if sdp == nil && len(req.Body()) > 0 {
		return nil, &Refusal{Code: sip.StatusUnsupportedMediaType, Reason: verdict.UnsupportedBody} // RFC 3261 §8.2.3
	}
	return sdp, nil
}
