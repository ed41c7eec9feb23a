package border

import (
	"errors"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// notify passes a NOTIFY of the exchange to the phone that subscribed, over the flow that it did so. It reports whether there is
// such a subscription.
func (b *Border) notify(s *transaction.Server) (verdict.Verdict, bool) {
	req := s.Request()
	one := b.watchers.find(false, sideIn(req))
	if one == nil {
		return verdict.Passed, false
	}
	one.mu.Lock()
	err := one.inner.Receive(req)
	if err != nil {
		one.mu.Unlock()
		code := sip.StatusBadRequest
		if errors.Is(err, dialog.ErrOldCSeq) { // RFC 3261 §12.2.2
			code = sip.StatusInternalServerError
		}
		return verdict.Rejected(code, verdict.BadNumber), true
	}
	out, flow := one.outer.NewRequest(sip.NOTIFY), one.flow
	one.mu.Unlock()
	out.AppendHeader(&sip.ContactHeader{Address: contactURI(flow)})
	b.realms[access].rules.Out(out, req)
	b.document(out, req)
	last := ends(req)
	_, err = b.tx.Send(flow, out, func(ev transaction.Event) { b.notified(one, s, last, ev) })
	if err != nil {
		b.watchers.remove(one)
		return verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.TransportFailure), true
	}
	return verdict.Passed, true
}

// ends reports whether a NOTIFY is the last of its subscription (RFC 6665 §4.1.3).
func ends(req *sip.Request) bool {
	value, _ := sipmsg.Header(req, "Subscription-State")
	state, _, _ := strings.Cut(value, ";")
	return strings.EqualFold(strings.TrimSpace(state), "terminated")
}

// notified carries the phone's answer back. A phone that refuses, or is not there, watches no more.
func (b *Border) notified(one *watcher, s *transaction.Server, last bool, ev transaction.Event) {
	res := ev.Response
	if res != nil && res.IsProvisional() {
		return
	}
	if last || res == nil || !res.IsSuccess() {
		b.watchers.remove(one)
	}
	code := sip.StatusCallTransactionDoesNotExists
	switch {
	case res != nil && res.StatusCode/100 != 3 && res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired:
		code = res.StatusCode
	case res == nil && errors.Is(ev.Err, transaction.ErrTimeout): // RFC 4320 §4.2: too late for the exchange as well
		return
	}
	out := sipmsg.Response(s.Request(), code, "", s.Tag())
	out.SetBody(nil)
	if err := s.Respond(out); err != nil {
		b.log.Debug("answering a NOTIFY", "code", code, "error", err)
	}
}

// heard notes that the exchange knows of a subscription.
func (w *watchers) heard(one *watcher, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.asked = at
}

// orphanPace is the time between two phones that are told that their subscriptions are gone, so that they don't all come back at
// once.
const orphanPace = 2 * time.Millisecond

// orphaned ends the subscriptions of before the core link went down, now that it is up again: the exchange may have been started
// anew, and knows them no more. The phones subscribe again at once (RFC 6665 §4.1.3: deactivated).
func (b *Border) orphaned(up time.Time) {
	for _, one := range b.watchers.before(up) {
		if b.closing.Err() != nil || !b.watchers.remove(one) {
			continue
		}
		one.mu.Lock()
		out, flow := one.outer.NewRequest(sip.NOTIFY), one.flow
		one.mu.Unlock()
		out.AppendHeader(&sip.ContactHeader{Address: contactURI(flow)})
		out.AppendHeader(sip.NewHeader("Event", one.event.String()))
		out.AppendHeader(sip.NewHeader("Subscription-State", "terminated;reason=deactivated"))
		out.SetBody(nil)
		if _, err := b.tx.Send(flow, out, nil); err != nil {
			b.log.Debug("ending a subscription", "flow", flow.String(), "error", err)
		}
		time.Sleep(orphanPace)
	}
}

// publish passes a phone's PUBLISH (RFC 3903) on: what it says only once the phone says who it is.
func (b *Border) publish(s *transaction.Server) verdict.Verdict {
	req := s.Request()
	if _, v := b.event(req); !v.OK() {
		return v
	}
	party, err := b.fromPhone(req)
	if err != nil {
		return verdict.Rejected(sip.StatusAddressIncomplete, verdict.BadURI)
	}
	exchange := b.core.current()
	if exchange == nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	source := network(s.Flow().Remote().Addr())
	if v := b.watchers.take(source); !v.OK() {
		return v
	}
	out := b.newText(sip.PUBLISH, party, req)
	b.realms[access].rules.In(out, req)
	b.private(out, corelink.RealmAccess, "", s.Flow(), "")
	if _, begun := sipmsg.Header(req, "Proxy-Authorization"); !begun {
		sipmsg.Remove(out, "Content-Type")
	}
	b.document(out, req)
	t := &text{b, s, access, func() { b.watchers.release(source) }}
	return b.sendText(t, exchange, out)
}
