package exchange

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/registrar"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// The road of a message through the exchange:
//
//	Accept    a phone from a network that is not ours goes no further        here
//	Raw       size, form and counts of the bytes                             here
//	Message   form of the parsed message; private headers only from the border   here
//	Request   within a call → call; REGISTER → registrar;
//	          INVITE → who is it → dialplan → call control                   here
//	          SUBSCRIBE, PUBLISH → who is it → events                        events.go
//
// Phones inside and the border go the same road: the inside is not trusted to be well-behaved either.

// allow lists the methods that the exchange takes.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, MESSAGE, SUBSCRIBE, PUBLISH"

// served tells whether we take a method, within a call or outside.
func served(m sip.RequestMethod) bool {
	switch m {
	case sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.REFER, sip.MESSAGE, sip.REGISTER,
		sip.SUBSCRIBE, sip.PUBLISH:
		return true
	}
	return false
}

// side is where a message came from: the border or the inside. It is the transport.Handler of its sockets.
type side struct {
	x    *Exchange
	core bool
}

// Accept lets in only the networks that the configuration names; the border proves itself by its certificate.
func (sd *side) Accept(_ *transport.Interface, remote netip.AddrPort) verdict.Verdict {
	networks := sd.x.cfg.Phones.Networks
	if sd.core || len(networks) == 0 {
		return verdict.Passed
	}
	for _, n := range networks {
		if n.Contains(remote.Addr().Unmap()) {
			return verdict.Passed
		}
	}
	return verdict.Dropped(verdict.UnknownPeer)
}

// Raw screens the bytes of one message before the parser sees them.
func (sd *side) Raw(f *transport.Flow, data []byte) verdict.Verdict {
	return sipmsg.ScreenRaw(data, !f.Reliable(), sd.x.limits)
}

// Message screens a parsed message and hands what may go on to its transaction.
func (sd *side) Message(f *transport.Flow, msg sip.Message) {
	if v := sipmsg.Screen(msg, sd.x.limits); !v.OK() {
		sd.refuse(f, msg, v)
		return
	}
	if sd.core {
		if sd.x.border.Load() != f && sd.x.border.Swap(f) != f {
			sd.x.linked()
		}
	} else {
		sipmsg.RemoveFunc(msg, corelink.IsPrivate) // nobody but the border may speak for the border
	}
	sd.x.tx.Message(f, msg)
}

// linked has a border that has just come ask itself which of our calls it has: it may have ended some while the link was down, or be a new
// process that never had them.
func (x *Exchange) linked() {
	x.workers.Go(func() { x.engine.Audit(x.closing, x.borderLegs, sip.NewHeader(corelink.HeaderAudit, "1")) }, func() {})
}

func (sd *side) refuse(f *transport.Flow, msg sip.Message, v verdict.Verdict) {
	sd.x.metrics.refused.Inc(v.Reason)
	req, ok := msg.(*sip.Request)
	if !ok || req.IsAck() || v.Action != verdict.Reject {
		return
	}
	res := sipmsg.Response(req, v.Code, "", sipmsg.NewTag())
	if err := f.Send(sipmsg.Bytes(res)); err != nil {
		sd.x.log.Debug("refusing a message", "error", err)
	}
}

// Unparsed takes what was refused before it was a message. Nobody inside sends such things on purpose: it is logged.
func (sd *side) Unparsed(f *transport.Flow, _ []byte, v verdict.Verdict) {
	sd.x.metrics.refused.Inc(v.Reason)
	sd.x.log.Warn("unreadable message", "from", f.String(), "reason", v.Reason)
}

// Dropped counts what never became a message or a connection.
func (sd *side) Dropped(_ *transport.Interface, remote netip.AddrPort, why verdict.Reason, _ []byte) {
	sd.x.metrics.refused.Inc(why)
	level := slog.LevelDebug
	if sd.core { // nobody but the border belongs there: more often than not it has the wrong certificate
		level = slog.LevelWarn
	}
	sd.x.log.Log(context.Background(), level, "dropped", "remote", remote.String(), "reason", why)
}

// Closed takes the news that a connection ended.
func (sd *side) Closed(f *transport.Flow, why verdict.Reason) {
	if transport.Expelled(why) {
		sd.x.metrics.refused.Inc(why)
	}
	sd.x.tx.FlowClosed(f, why)
	if sd.core && sd.x.border.CompareAndSwap(f, nil) {
		sd.x.log.Warn("core link is down", "reason", why)
	}
}

// Request takes a new request (transaction.User).
func (x *Exchange) Request(s *transaction.Server) {
	if v := x.road(s); !v.OK() {
		x.metrics.refused.Inc(v.Reason)
		x.answer(s, v.Code, corelink.Verdict{})
	}
}

// road is where a request turns off.
func (x *Exchange) road(s *transaction.Server) verdict.Verdict {
	req := s.Request()
	tag, _ := req.To().Params.Get("tag")
	switch {
	case !served(req.Method): // RFC 3261 §8.2.1
		return verdict.Rejected(sip.StatusMethodNotAllowed, verdict.MethodNotAllowed)
	case len(unsupported(req)) > 0:
		return verdict.Rejected(sip.StatusBadExtension, verdict.ExtensionRequired)
	case tag != "":
		if req.Method == sip.SUBSCRIBE && x.events.Refresh(s, x.isCore(s.Flow())) || x.engine.Request(s) {
			return verdict.Passed
		}
		return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog)
	case req.Method == sip.OPTIONS:
		x.options(s)
		return verdict.Passed
	case !x.serves(req.Recipient.Host, s.Flow()):
		return verdict.Rejected(sip.StatusNotFound, verdict.UnknownDomain)
	case req.Method == sip.REGISTER:
		x.aside(s, func() { x.register(s) })
		return verdict.Passed
	case req.Method == sip.INVITE:
		x.aside(s, func() { x.invite(s) })
		return verdict.Passed
	case req.Method == sip.MESSAGE:
		x.aside(s, func() { x.message(s) })
		return verdict.Passed
	case req.Method == sip.SUBSCRIBE, req.Method == sip.PUBLISH:
		x.aside(s, func() { x.event(s) })
		return verdict.Passed
	case req.Method == sip.REFER: // to transfer no call
		return verdict.Rejected(sip.StatusForbidden, verdict.TransferRefused)
	}
	return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog) // CANCEL, BYE, INFO, PRACK, UPDATE
}

// unsupported returns the extensions that a request demands and that we have not (RFC 3261 §8.2.2.3). CANCEL must not be
// refused for that.
func unsupported(req *sip.Request) []string {
	if req.IsCancel() {
		return nil
	}
	return slices.DeleteFunc(sipmsg.Headers(req, "Require"), func(tag string) bool {
		if req.Method == sip.REGISTER {
			return strings.EqualFold(tag, "path") || strings.EqualFold(tag, "outbound")
		}
		return b2bua.Served(req.Method, tag)
	})
}

// Ack takes the ACK for a 2xx (transaction.User).
func (x *Exchange) Ack(f *transport.Flow, req *sip.Request) {
	if !x.engine.Ack(f, req) {
		x.metrics.refused.Inc(verdict.StrayACK)
	}
}

// Stray takes a response that belongs to no transaction (transaction.User).
func (x *Exchange) Stray(f *transport.Flow, res *sip.Response) {
	if !x.engine.Stray(res) {
		x.metrics.refused.Inc(verdict.StrayResponse)
	}
}

// aside runs what may have to wait, for the disk or for a Vault server, on a goroutine of its own; their number is
// bounded, and above it the answer is 503.
func (x *Exchange) aside(s *transaction.Server, work func()) {
	started := x.workers.Go(work, func() {
		x.metrics.refused.Inc(verdict.Internal)
		x.answer(s, sip.StatusInternalServerError, corelink.Verdict{})
	})
	if !started {
		x.metrics.refused.Inc(verdict.Overload)
		x.answer(s, sip.StatusServiceUnavailable, corelink.Verdict{})
	}
}

// register hands a REGISTER to the registrar.
func (x *Exchange) register(s *transaction.Server) {
	res, v := x.registrar.Register(context.Background(), s.Request(), x.origin(s), x.now())
	x.send(s, res, v)
}

// invite finds out who calls, and hands the call to call control.
func (x *Exchange) invite(s *transaction.Server) {
	who, refused := x.caller(s)
	if refused != nil {
		x.send(s, refused.Response, refused.Verdict)
		return
	}
	if v := x.place(s, who); !v.OK() {
		x.answer(s, v.Code, corelink.Verdict{})
	}
}

// message finds out who sends a text, and passes it on.
func (x *Exchange) message(s *transaction.Server) {
	who, refused := x.caller(s)
	if refused != nil {
		x.send(s, refused.Response, refused.Verdict)
		return
	}
	if v := x.calls.Message(s, who, callcontrol.Dialled(s.Request().Recipient.User)); !v.OK() {
		x.metrics.refused.Inc(v.Reason)
		x.answer(s, v.Code, corelink.Verdict{})
	}
}

// place starts a call, or puts its caller into one that there is.
func (x *Exchange) place(s *transaction.Server, who callcontrol.Caller) verdict.Verdict {
	value, ok := sipmsg.Header(s.Request(), "Replaces")
	if !ok {
		return x.calls.Start(s, who, callcontrol.Dialled(s.Request().Recipient.User))
	}
	r, err := dialog.ParseReplaces(value)
	if err != nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadHeader)
	}
	return x.calls.Replace(s, who, r)
}

// caller finds out who sent an INVITE: a trunk by what the border says, a phone by its credentials.
func (x *Exchange) caller(s *transaction.Server) (callcontrol.Caller, *registrar.Result) {
	req, o := s.Request(), x.origin(s)
	who := callcontrol.Caller{Realm: callcontrol.Inside}
	who.Trace, _ = sipmsg.Header(req, corelink.HeaderTrace)
	if who.Trace == "" {
		who.Trace = x.engine.TraceOf(req) // a call of ours that comes back
	}
	if o.Outside {
		who.Realm, _ = sipmsg.Header(req, corelink.HeaderRealm)
	}
	if trunk, ok := sipmsg.Header(req, corelink.HeaderTrunk); ok && who.Realm == corelink.RealmPeer {
		who.Trunk, who.Number, who.Name = trunk, req.From().Address.User, sipmsg.DisplayText(req.From().DisplayName)
		return who, nil
	}
	found := x.auth.Check(context.Background(), req, o, x.now())
	if !found.OK() {
		return who, &found
	}
	if !o.Outside {
		s.Flow().MarkTrusted()
	}
	who.Number = found.Number
	if e, ok := x.store.Extension(found.Number); ok {
		who.Name = e.Name
	}
	return who, nil
}

// origin says where a request came from, as the registrar sees it.
func (x *Exchange) origin(s *transaction.Server) registrar.Origin {
	f := s.Flow()
	o := registrar.Origin{
		Binding: f.ID(), Interface: f.Interface().Name(), Network: string(f.Network()), Remote: f.Remote(), FlowID: f.ID(),
	}
	if x.isCore(f) {
		o.Outside = true
		o.Binding, _ = sipmsg.Header(s.Request(), corelink.HeaderFlow)
	}
	return o
}

// options answers a ping (RFC 3261 §11.2): with what an INVITE would get, but for the border, whose link is up.
func (x *Exchange) options(s *transaction.Server) {
	if x.engine.Draining() && !x.isCore(s.Flow()) {
		x.answer(s, sip.StatusServiceUnavailable, corelink.Verdict{})
		return
	}
	res := sipmsg.Response(s.Request(), sip.StatusOK, "", sipmsg.NewTag())
	res.AppendHeader(sip.NewHeader("Allow", allow+", REGISTER"))
	res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	x.send(s, res, corelink.Verdict{})
}

// answer sends a response without more to say.
func (x *Exchange) answer(s *transaction.Server, code int, v corelink.Verdict) {
	res := sipmsg.Response(s.Request(), code, "", sipmsg.NewTag())
	if code == sip.StatusMethodNotAllowed {
		res.AppendHeader(sip.NewHeader("Allow", allow+", REGISTER"))
	}
	x.events.Explain(res)
	if tags := unsupported(s.Request()); code == sip.StatusBadExtension && len(tags) > 0 {
		res.AppendHeader(sip.NewHeader("Unsupported", strings.Join(tags[:min(len(tags), maxUnsupported)], ", ")))
	}
	if code == sip.StatusServiceUnavailable {
		res.AppendHeader(sip.NewHeader("Retry-After", "5"))
	}
	x.send(s, res, v)
}

// maxUnsupported bounds how many extensions a 420 names.
const maxUnsupported = 8

// send sends a response; the border is told what we think of the sender.
func (x *Exchange) send(s *transaction.Server, res *sip.Response, v corelink.Verdict) {
	if v.Outcome != corelink.OutcomeNone && x.isCore(s.Flow()) {
		res.AppendHeader(sip.NewHeader(corelink.HeaderVerdict, v.String()))
	}
	if v.Outcome == corelink.OutcomeOK && !x.isCore(s.Flow()) {
		s.Flow().MarkTrusted()
	}
	if v.Outcome == corelink.OutcomeBadCredentials || v.Outcome == corelink.OutcomeUnknownUser {
		x.log.Warn("login failed", "outcome", v.Outcome, "aor", v.AOR, "from", x.sideOf(s.Flow()))
	}
	if err := s.Respond(res); err != nil {
		x.log.Debug("answering", "code", res.StatusCode, "error", err)
	}
}

// serves reports whether host is a domain of ours, or the address that the request came to.
func (x *Exchange) serves(host string, f *transport.Flow) bool {
	host = strings.Trim(strings.ToLower(host), "[]")
	if x.domains[host] {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap() == f.Local().Addr().Unmap()
}

func (x *Exchange) isCore(f *transport.Flow) bool {
	return strings.HasPrefix(f.Interface().Name(), "core")
}

func (x *Exchange) sideOf(f *transport.Flow) string {
	if x.isCore(f) {
		return "core"
	}
	return "phones"
}
