package events

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/dialog"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// StatusBadEvent is 489 (RFC 6665 §8.3.2).
const StatusBadEvent = 489

// subKey finds a subscription by what its watcher's requests carry: Call-ID and our tag.
type subKey struct{ callID, tag string }

// subscription is one watcher's. All but its names is guarded by Notifier.mu.
//
//	Subscribe ──► active ──Expires: 0, time, extension gone, NOTIFY refused──► over
type subscription struct {
	key     subKey
	watcher string
	outside bool
	on      topic
	event   eventdoc.Event
	since   time.Time

	dlg      *dialog.Dialog
	flow     *transport.Flow
	resource *resource
	expires  time.Time
	version  uint32 // of the next document
	seen     uint64 // rev of the resource that it has, or is being sent
	inFlight bool
	over     bool
}

// Subscribe takes a SUBSCRIBE outside a dialog from watcher, who has proved to be that. The verdict is for the caller to answer
// where it is not Pass.
func (n *Notifier) Subscribe(s *transaction.Server, watcher, number string, outside bool) verdict.Verdict {
	req := s.Request()
	ev, v := eventOf(req)
	if !v.OK() {
		return v
	}
	if !accepts(req, eventdoc.Type(ev.Package)) {
		return verdict.Rejected(sip.StatusNotAcceptable, verdict.UnsupportedBody)
	}
	if v := n.mayWatch(watcher, topic{ev.Package, number}); !v.OK() {
		return v
	}
	life, v := n.life(req)
	if !v.OK() {
		return v
	}
	dlg, err := dialog.FromInvite(req, s.Tag())
	if err != nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.MissingHeader)
	}
	now := n.opt.Now()
	sub := &subscription{
		key: subKey{dlg.CallID, dlg.Local.Tag}, watcher: watcher, outside: outside, on: topic{ev.Package, number}, event: ev,
		since: now, dlg: dlg, flow: s.Flow(), expires: now.Add(life),
	}
	if v := n.add(sub); !v.OK() {
		return v
	}
	n.answer(s, life)
	if life == 0 { // RFC 6665 §4.4.3: to be told once
		n.end([]*subscription{sub}, "timeout")
		return verdict.Passed
	}
	n.row(sub)
	n.tell(sub)
	return verdict.Passed
}

// mayWatch decides whether an extension may see what it asks for.
func (n *Notifier) mayWatch(watcher string, on topic) verdict.Verdict {
	_, known := n.opt.Store.Extension(on.number)
	allowed := n.opt.may(watcher, on.number) && (on.pkg != eventdoc.MessageSummary || watcher == on.number)
	if !known && on.pkg == eventdoc.Dialog && n.opt.Place != nil && n.opt.Place(on.number) {
		known, allowed = true, n.opt.Watch != watchNone
	}
	switch {
	case !known:
		return verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	case !allowed:
		return verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	return verdict.Passed
}

// add finds room for a subscription.
func (n *Notifier) add(sub *subscription) verdict.Verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(n.subs) >= n.opt.Total:
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.SubscriptionLimit)
	case n.accounts[sub.watcher] >= n.opt.PerAccount:
		return verdict.Rejected(sip.StatusForbidden, verdict.SubscriptionLimit)
	}
	n.subs[sub.key] = sub
	n.accounts[sub.watcher]++
	sub.resource = n.watchLocked(sub.on)
	sub.resource.subs[sub] = true
	return verdict.Passed
}

// dropLocked forgets a subscription.
func (n *Notifier) dropLocked(sub *subscription) {
	sub.over = true
	delete(n.subs, sub.key)
	if n.accounts[sub.watcher]--; n.accounts[sub.watcher] <= 0 {
		delete(n.accounts, sub.watcher)
	}
	r := sub.resource
	if delete(r.subs, sub); len(r.subs) == 0 {
		delete(n.resources, r.topic)
	}
}

// Refresh takes a SUBSCRIBE within a dialog. It reports whether it belongs to a subscription of ours.
func (n *Notifier) Refresh(s *transaction.Server, outside bool) bool {
	req := s.Request()
	tag, _ := sipmsg.Param(req.To().Params, "tag")
	theirs, _ := sipmsg.Param(req.From().Params, "tag")
	n.mu.Lock()
	sub := n.subs[subKey{req.CallID().Value(), tag}]
	if sub == nil || sub.dlg.Remote.Tag != theirs || sub.outside != outside || !outside && !near(sub.flow, s.Flow()) {
		n.mu.Unlock()
		return false
	}
	err := sub.dlg.Receive(req)
	n.mu.Unlock()
	if err != nil {
		code := sip.StatusBadRequest
		if errors.Is(err, dialog.ErrOldCSeq) { // RFC 3261 §12.2.2
			code = sip.StatusInternalServerError
		}
		n.refuse(s, code)
		return true
	}
	life, v := n.life(req)
	if ev, bad := eventOf(req); !bad.OK() || ev != sub.event {
		v = verdict.Rejected(StatusBadEvent, verdict.BadEvent)
	}
	if !v.OK() {
		n.refuse(s, v.Code)
		return true
	}
	n.renew(s, sub, life)
	return true
}

// renew makes a subscription last longer, or ends it.
func (n *Notifier) renew(s *transaction.Server, sub *subscription, life time.Duration) {
	n.mu.Lock()
	sub.dlg.Refresh(s.Request())
	sub.flow, sub.expires = s.Flow(), n.opt.Now().Add(life)
	over := sub.over
	n.mu.Unlock()
	if over {
		n.refuse(s, sip.StatusCallTransactionDoesNotExists)
		return
	}
	n.answer(s, life)
	if life == 0 {
		n.end([]*subscription{sub}, "timeout")
		return
	}
	n.row(sub)
	n.tell(sub)
}

// near reports whether two flows come from the same host.
func near(a, b *transport.Flow) bool {
	return a.Remote().Addr() == b.Remote().Addr()
}

// life reads for how long one asks (RFC 6665 §4.2.1.1): 0 is no longer at all.
func (n *Notifier) life(req *sip.Request) (time.Duration, verdict.Verdict) {
	value, ok := sipmsg.Header(req, "Expires")
	if !ok {
		return n.opt.MaxExpires, verdict.Passed
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
	if err != nil {
		return 0, verdict.Rejected(sip.StatusBadRequest, verdict.BadNumber)
	}
	life := time.Duration(seconds) * time.Second
	if life > 0 && life < n.opt.MinExpires {
		return 0, verdict.Rejected(sip.StatusIntervalToBrief, verdict.BriefInterval)
	}
	return min(life, n.opt.MaxExpires), verdict.Passed
}

// eventOf is the package that a request names, if it is served.
func eventOf(req *sip.Request) (eventdoc.Event, verdict.Verdict) {
	value, _ := sipmsg.Header(req, "Event")
	ev, err := eventdoc.ParseEvent(value)
	if err != nil || eventdoc.Type(ev.Package) == "" {
		return ev, verdict.Rejected(StatusBadEvent, verdict.BadEvent)
	}
	return ev, verdict.Passed
}

// accepts reports whether the sender of a request reads documents of a type. Without Accept it reads the package's own.
func accepts(req *sip.Request, typ string) bool {
	values := sipmsg.Headers(req, "Accept")
	for _, v := range values {
		switch got, _, _ := sipmsg.ParseMediaType(v); got {
		case typ, "application/*", "*/*":
			return true
		}
	}
	return len(values) == 0
}

// answer accepts a SUBSCRIBE.
func (n *Notifier) answer(s *transaction.Server, life time.Duration) {
	res := sipmsg.Response(s.Request(), sip.StatusOK, "", s.Tag())
	res.AppendHeader(&sip.ContactHeader{Address: n.opt.Contact(s.Flow())})
	res.AppendHeader(sip.NewHeader("Expires", seconds(life)))
	res.AppendHeader(sip.NewHeader("Allow-Events", AllowEvents()))
	n.respond(s, res)
}

func (n *Notifier) refuse(s *transaction.Server, code int) {
	res := sipmsg.Response(s.Request(), code, "", s.Tag())
	n.Explain(res)
	n.respond(s, res)
}

// Explain adds to a refusal what its code demands (RFC 6665 §4.2.1.1, §8.2.2).
func (n *Notifier) Explain(res *sip.Response) {
	switch res.StatusCode {
	case StatusBadEvent:
		res.AppendHeader(sip.NewHeader("Allow-Events", AllowEvents()))
	case sip.StatusIntervalToBrief:
		res.AppendHeader(sip.NewHeader("Min-Expires", seconds(n.opt.MinExpires)))
	case sip.StatusUnsupportedMediaType:
		if c := res.CSeq(); c == nil || c.MethodName != sip.PUBLISH {
			return
		}
		res.AppendHeader(sip.NewHeader("Accept", eventdoc.TypePIDF))
	}
}

func (n *Notifier) respond(s *transaction.Server, res *sip.Response) {
	if err := s.Respond(res); err != nil {
		n.opt.Log.Debug("answering an event request", "code", res.StatusCode, "error", err)
	}
}

// row shows a subscription in the store.
func (n *Notifier) row(sub *subscription) {
	n.mu.Lock()
	row := &store.Subscription{
		ID: sub.key.callID + " " + sub.key.tag, Watcher: sub.watcher, Resource: sub.on.number, Event: sub.event.Package,
		Outside: sub.outside, Since: sub.since, Expires: sub.expires,
	}
	if !sub.outside {
		row.Remote = string(sub.flow.Network()) + " " + sub.flow.Remote().String()
	}
	over := sub.over
	n.mu.Unlock()
	if !over {
		n.opt.Store.PutSubscriptionSoon(row, n.unshown)
	}
}

func (n *Notifier) unshown(err error) { n.opt.Log.Debug("showing a subscription", "error", err) }

// seconds is a time as headers tell it, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
