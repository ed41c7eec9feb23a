package border

import (
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/sanitize"
	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// The road of a message, in the order in which it is looked at: cheap before costly, stranger before friend. The kernel
// filter stands before all of it (package guard).
//
//	Accept    a source that is banned or on hold goes no further                         realm.go
//	Raw       size, form and counts of the bytes                                         here
//	Message   form of the parsed message, who sent it, may it be here                    here
//	Request   a request within a call goes to its call; the others by their method       here
//	            register.go │ invite.go │ message.go │ subscribe.go
//
// Up to and including Message nothing is kept of a stranger: no transaction, no dialog.

// Raw screens the bytes of one message before the parser sees them.
func (r *realm) Raw(f *transport.Flow, data []byte) verdict.Verdict {
	return r.rules.Raw(data, !f.Reliable())
}

// Message screens a parsed message and hands what may go on to its transaction.
func (r *realm) Message(f *transport.Flow, msg sip.Message) {
	r.signature(f, msg)
	if v := r.screen(f, msg); !v.OK() {
		r.refuse(f, msg, v)
		return
	}
	r.b.tx.Message(f, msg)
}

// screen decides whether a message goes on.
func (r *realm) screen(f *transport.Flow, msg sip.Message) verdict.Verdict {
	if v := r.admitted(f); !v.OK() {
		return v // banned since the connection was made
	}
	req := isRequest(msg)
	if req != nil && r.name == peer {
		if _, known := r.b.carrier(f, req); !known {
			return verdict.Dropped(verdict.UnknownPeer)
		}
	}
	if req != nil && req.Method == sip.REFER && !r.b.refers(r.name) {
		return verdict.Rejected(sip.StatusForbidden, verdict.TransferRefused)
	}
	if v := r.rules.Message(msg); !v.OK() {
		return v
	}
	if req == nil {
		return verdict.Passed // a response that answers nothing of ours ends in Stray
	}
	if r.name == access && !inDialog(req) && !r.b.serves(req.Recipient.Host) {
		return verdict.Dropped(verdict.UnknownDomain) // silence is the only answer that tells a scanner nothing
	}
	return verdict.Passed
}

// refuse ends a message that may not go on: with an answer where the verdict has one, and without keeping anything.
func (r *realm) refuse(f *transport.Flow, msg sip.Message, v verdict.Verdict) {
	r.b.metrics.refused.Inc(v.Reason)
	r.b.log.Debug("message refused", "realm", r.name, "flow", f.String(), "verdict", v.String())
	req := isRequest(msg)
	if sanitize.Malformed(v.Reason) {
		r.offence(f, f.Reliable(), verdict.MalformedMessage, "", string(v.Reason))
	} else if req != nil {
		r.abnormal(f, v.Reason, req.Method)
	}
	if v.Action != verdict.Reject || req == nil || req.IsAck() {
		return
	}
	res := r.rules.Refusal(req, v)
	if err := f.Send(sipmsg.Fit(res, f.Room())); err != nil {
		r.b.log.Debug("refusing a message", "error", err)
		return
	}
	r.b.metrics.answers.count(r.name, req.Method, res.StatusCode)
}

// Unparsed takes what was refused before it was a message.
func (r *realm) Unparsed(f *transport.Flow, data []byte, v verdict.Verdict) {
	r.b.metrics.refused.Inc(v.Reason)
	r.b.log.Debug("bytes refused", "realm", r.name, "flow", f.String(), "verdict", v.String())
	r.offence(f, f.Reliable(), verdict.MalformedMessage, "", string(v.Reason))
	if v.Action != verdict.Reject || r.stranger(f.Remote()) {
		return
	}
	if reply, ok := sanitize.StatelessReply(data, v); ok {
		if err := f.Send(reply); err != nil {
			r.b.log.Debug("refusing bytes", "error", err)
		}
	}
}

// Request takes a new request that came through the screen (transaction.User).
func (b *Border) Request(s *transaction.Server) {
	if v := b.road(s); !v.OK() {
		b.refuseServer(s, v)
	}
}

// road is where a request turns off.
func (b *Border) road(s *transaction.Server) verdict.Verdict {
	req, from := s.Request(), b.realmOf(s.Flow())
	switch {
	case from == core && isAudit(req):
		return b.audit(s)
	case inDialog(req):
		if v, ok := b.subscribed(from, s); ok {
			return v
		}
		if b.engine.Request(s) {
			return verdict.Passed
		}
		return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog)
	case req.Method == sip.REGISTER && from == access:
		return b.register(s)
	case req.Method == sip.REGISTER && from == core:
		return b.registerTrunk(s)
	case req.Method == sip.INVITE:
		return b.invite(from, s)
	case req.Method == sip.OPTIONS:
		return b.options(from, s)
	case req.Method == sip.MESSAGE:
		return b.message(from, s)
	case req.Method == sip.SUBSCRIBE && from == access:
		return b.subscribe(s)
	case req.Method == sip.PUBLISH && from == access:
		return b.publish(s)
	case req.Method == sip.REFER: // to transfer no call
		return verdict.Rejected(sip.StatusForbidden, verdict.TransferRefused)
	case req.Method == sip.NOTIFY, req.Method == sip.CANCEL, req.Method == sip.BYE, req.Method == sip.PRACK, req.Method == sip.UPDATE:
		return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog)
	}
	return verdict.Rejected(sip.StatusMethodNotAllowed, verdict.MethodNotAllowed)
}

// subscribed takes what is in the dialog of a subscription. It reports whether it is.
func (b *Border) subscribed(from realmName, s *transaction.Server) (verdict.Verdict, bool) {
	switch method := s.Request().Method; {
	case method == sip.SUBSCRIBE && from == access:
		return b.resubscribe(s)
	case method == sip.NOTIFY && from == core:
		return b.notify(s)
	}
	return verdict.Passed, false
}

// Ack takes the ACK for a 2xx (transaction.User).
func (b *Border) Ack(f *transport.Flow, req *sip.Request) {
	if !b.engine.Ack(f, req) && !sanitize.AcksRefusal(req) {
		b.metrics.refused.Inc(verdict.StrayACK)
		b.realms[b.realmOf(f)].abnormal(f, verdict.StrayACK, req.Method)
	}
}

// Stray takes a response that belongs to no transaction (transaction.User).
func (b *Border) Stray(f *transport.Flow, res *sip.Response) {
	if !b.engine.Stray(res) {
		b.metrics.refused.Inc(verdict.StrayResponse)
		b.realms[b.realmOf(f)].strayResponse(f, res)
	}
}

// options answers a ping (RFC 3261 §11.2) with what an INVITE would get: so carriers and balancers send their calls elsewhere while
// we take none.
func (b *Border) options(from realmName, s *transaction.Server) verdict.Verdict {
	switch {
	case b.engine.Draining():
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Shutdown)
	case b.core.current() == nil:
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	res := sipmsg.Response(s.Request(), sip.StatusOK, "", sipmsg.NewTag())
	res.AppendHeader(sip.NewHeader("Allow", b.realms[from].rules.Allow()))
	res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	res.SetBody(nil)
	if err := s.Respond(res); err != nil {
		b.log.Debug("answering an OPTIONS", "error", err)
	}
	return verdict.Passed
}

// isAudit reports whether the exchange asks if we have a call.
func isAudit(req *sip.Request) bool {
	_, ok := sipmsg.Header(req, corelink.HeaderAudit)
	return ok && req.Method == sip.OPTIONS
}

// audit tells the exchange whether we have a call. Where a link broke we may have ended it and could not say so.
func (b *Border) audit(s *transaction.Server) verdict.Verdict {
	if !b.engine.Knows(s.Request()) {
		return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog)
	}
	res := sipmsg.Response(s.Request(), sip.StatusOK, "", s.Tag())
	res.SetBody(nil)
	if err := s.Respond(res); err != nil {
		b.log.Debug("answering an audit", "error", err)
	}
	return verdict.Passed
}

// refuseServer answers a request that has a transaction.
func (b *Border) refuseServer(s *transaction.Server, v verdict.Verdict) {
	from := b.realmOf(s.Flow())
	b.metrics.refused.Inc(v.Reason)
	if v.Action != verdict.Reject {
		v = verdict.Rejected(sip.StatusForbidden, v.Reason)
	}
	res := b.realms[from].rules.Refusal(s.Request(), v)
	b.allowEvents(res)
	switch v.Code {
	case sip.StatusServiceUnavailable:
		res.AppendHeader(sip.NewHeader("Retry-After", retryAfterCore))
	case sip.StatusIntervalToBrief: // RFC 3261 §21.4.17
		res.AppendHeader(sip.NewHeader("Min-Expires", strconv.Itoa(int(b.cfg.Access.Registration.Least/time.Second))))
	}
	res.SetBody(nil)
	if err := s.Respond(res); err != nil {
		b.log.Debug("refusing a request", "error", err)
	}
	b.realms[from].abnormal(s.Flow(), v.Reason, s.Request().Method) // after the answer: it may end the connection
}

// inDialog reports whether a request belongs to a dialog: only then To has a tag (RFC 3261 §12.2.1.1).
func inDialog(req *sip.Request) bool {
	to := req.To()
	if to == nil {
		return false
	}
	tag, _ := to.Params.Get("tag")
	return tag != ""
}

// serves reports whether host is a domain of ours.
func (b *Border) serves(host string) bool {
	host = strings.Trim(strings.ToLower(host), "[]")
	return b.domains[host]
}
