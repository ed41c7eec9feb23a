package border

import (
	"errors"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Subscriptions of phones (RFC 6665): SUBSCRIBE goes in and NOTIFY comes out, each within a dialog of its own on either side.

// subscribing is a SUBSCRIBE on its way to the exchange.
type subscribing struct {
	b      *Border
	server *transaction.Server
	inner  *dialog.Dialog
	source netip.Addr
	known  *watcher // that it refreshes; nil: it is a new one
}

// subscribe passes a phone's SUBSCRIBE on, that is in no dialog yet. Who it is, and whether it may, the exchange finds out.
func (b *Border) subscribe(s *transaction.Server) verdict.Verdict {
	req := s.Request()
	if _, v := b.event(req); !v.OK() {
		return v
	}
	party, err := b.fromPhone(req)
	if err != nil {
		return verdict.Rejected(sip.StatusAddressIncomplete, verdict.BadURI)
	}
	if req.Contact() == nil || req.Contact().Address.Wildcard {
		return verdict.Rejected(sip.StatusBadRequest, verdict.MissingHeader)
	}
	source := network(s.Flow().Remote().Addr())
	if v := b.watchers.take(source); !v.OK() {
		return v
	}
	party.caller.Tag = sipmsg.NewTag()
	inner := dialog.NewClient(sipmsg.NewCallID(), party.caller, party.callee, party.called, nil, 1)
	u := &subscribing{b: b, server: s, inner: inner, source: source}
	if v := u.send(inner.First(sip.SUBSCRIBE)); !v.OK() {
		b.watchers.release(source)
		return v
	}
	return verdict.Passed
}

// resubscribe takes a SUBSCRIBE within the dialog of a subscription. It reports whether it is in one.
func (b *Border) resubscribe(s *transaction.Server) (verdict.Verdict, bool) {
	req := s.Request()
	one := b.watchers.find(true, sideIn(req))
	if one == nil {
		return verdict.Passed, false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if !one.flow.Same(s.Flow()) { // the phone may come back over another connection, but only as who it is
		if aor, ok := b.cache.Registered(s.Flow().ID(), b.now()); !ok || aor != one.aor {
			return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog), true
		}
	}
	if err := one.outer.Receive(req); err != nil {
		code := sip.StatusBadRequest
		if errors.Is(err, dialog.ErrOldCSeq) { // RFC 3261 §12.2.2
			code = sip.StatusInternalServerError
		}
		return verdict.Rejected(code, verdict.BadNumber), true
	}
	if ev, v := b.event(req); !v.OK() || ev != one.event {
		return verdict.Rejected(statusBadEvent, verdict.BadEvent), true
	}
	u := &subscribing{b: b, server: s, inner: one.inner, source: one.source, known: one}
	return u.send(one.inner.NewRequest(sip.SUBSCRIBE)), true
}

// sideIn names the dialog that a request from its other end is in.
func sideIn(req *sip.Request) side {
	ours, _ := sipmsg.Param(req.To().Params, "tag")
	theirs, _ := sipmsg.Param(req.From().Params, "tag")
	return side{req.CallID().Value(), ours, theirs}
}

// send gives the exchange the SUBSCRIBE.
func (u *subscribing) send(out *sip.Request) verdict.Verdict {
	b, in := u.b, u.server.Request()
	link := b.core.current()
	if link == nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	if h := in.MaxForwards(); h != nil && h.Val() > 0 && h.Val() <= dialog.MaxForwards {
		left := sip.MaxForwardsHeader(h.Val() - 1) // loops end although each message is new
		out.ReplaceHeader(&left)
	}
	out.AppendHeader(&sip.ContactHeader{Address: contactURI(link)})
	b.realms[access].rules.In(out, in)
	b.private(out, corelink.RealmAccess, "", u.server.Flow(), "")
	sipmsg.Remove(out, "Content-Type")
	out.SetBody(nil)
	if _, err := b.tx.Send(link, out, u.onEvent); err != nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	return verdict.Passed
}

// onEvent takes the exchange's answer.
func (u *subscribing) onEvent(ev transaction.Event) {
	b, res := u.b, ev.Response
	if res != nil && res.IsProvisional() {
		return
	}
	ok := res != nil && res.IsSuccess()
	if ok {
		ok = u.keep(res)
	}
	if !ok && u.known == nil {
		b.watchers.release(u.source)
	}
	if res == nil || res.IsSuccess() && !ok {
		b.refuseServer(u.server, verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable))
		return
	}
	b.learn(u.server.Flow(), res)
	if u.known != nil && gone(res.StatusCode) {
		b.watchers.remove(u.known)
	}
	out := sipmsg.Response(u.server.Request(), res.StatusCode, "", u.server.Tag())
	b.realms[access].rules.Out(out, res)
	b.allowEvents(out)
	if res.IsSuccess() {
		out.AppendHeader(&sip.ContactHeader{Address: contactURI(u.server.Flow())})
	}
	sipmsg.Remove(out, "Content-Type")
	out.SetBody(nil)
	if err := u.server.Respond(out); err != nil {
		b.log.Debug("answering a SUBSCRIBE", "code", res.StatusCode, "error", err)
	}
}

// gone reports whether a code says that there is no such subscription any more (RFC 6665 §4.1.2.2, RFC 5057 §5.1).
func gone(code int) bool {
	switch code {
	case 404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604:
		return true
	}
	return false
}

// keep makes a subscription of one that was granted, or makes it last longer. It reports false where the answer makes no dialog.
func (u *subscribing) keep(res *sip.Response) bool {
	b, flow := u.b, u.server.Flow()
	value, _ := sipmsg.Header(res, "Expires")
	now := b.now()
	expires := now.Add(time.Duration(seconds(value, 0)) * time.Second)
	if one := u.known; one != nil {
		one.mu.Lock()
		from := one.flow
		one.outer.Refresh(u.server.Request())
		one.inner.Refresh(res)
		one.flow = flow
		one.mu.Unlock()
		b.watchers.moved(one, from, flow, expires)
		b.watchers.heard(one, now)
		return true
	}
	outer, err := dialog.FromInvite(u.server.Request(), u.server.Tag())
	if err != nil || u.inner.Establish(res) != nil {
		return false
	}
	user, _ := topology.User(u.server.Request().From().Address)
	ev, _ := b.event(u.server.Request())
	one := &watcher{aor: user + "@" + b.cfg.Domain, event: ev, outer: outer, inner: u.inner, flow: flow, asked: now, expires: expires, source: u.source}
	b.watchers.add(one)
	select {
	case <-flow.Closed(): // while the exchange thought about it
		b.watchers.removeFlow(flow.ID())
	default:
	}
	return true
}
