package events

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/eventdoc"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
)

// notice is a NOTIFY that is ready to go.
type notice struct {
	sub  *subscription
	flow *transport.Flow
	req  *sip.Request
}

// noticeLocked makes the next NOTIFY of a subscription: with the newest document, or, with a reason, the last one (RFC 6665
// §4.2.2).
func (n *Notifier) noticeLocked(s *subscription, why string) notice {
	r := s.resource
	state := "active;expires=" + seconds(max(s.expires.Sub(n.opt.Now()), time.Second))
	if why != "" {
		state = "terminated;reason=" + why
	}
	flow := s.flow
	if s.outside { // the link may have been opened anew
		flow = n.opt.Border()
	}
	req := s.dlg.NewRequest(sip.NOTIFY)
	if flow != nil {
		req.AppendHeader(&sip.ContactHeader{Address: n.opt.Contact(flow)})
	}
	req.AppendHeader(sip.NewHeader("Event", s.event.String()))
	req.AppendHeader(sip.NewHeader("Subscription-State", state))
	if why != "noresource" {
		typ := sip.ContentTypeHeader(eventdoc.Type(s.on.pkg))
		req.AppendHeader(&typ)
		req.SetBody(r.doc.write(s.on.pkg, s.version))
		s.version++
	} else {
		req.SetBody(nil)
	}
	s.seen, s.inFlight = r.rev, true
	return notice{s, flow, req}
}

// tell sends a subscription its state, whether it has changed or not.
func (n *Notifier) tell(s *subscription) {
	n.mu.Lock()
	if s.over {
		n.mu.Unlock()
		return
	}
	if s.inFlight { // it will get it when it has answered
		s.seen = 0
		n.mu.Unlock()
		return
	}
	n.buildLocked(s.resource)
	out := n.noticeLocked(s, "")
	n.mu.Unlock()
	n.launch([]notice{out})
}

// end ends subscriptions, and tells their watchers why.
func (n *Notifier) end(subs []*subscription, why string) {
	var out []notice
	n.mu.Lock()
	for _, s := range subs {
		if !s.over {
			n.buildLocked(s.resource)
			out = append(out, n.noticeLocked(s, why))
			n.dropLocked(s)
		}
	}
	n.mu.Unlock()
	for _, o := range out {
		n.forget(o.sub)
	}
	n.launch(out)
}

// forget takes a subscription that is over from the store.
func (n *Notifier) forget(s *subscription) {
	n.opt.Store.DeleteSubscriptionSoon(s.key.callID+" "+s.key.tag, n.unshown)
}

// launch sends NOTIFYs.
func (n *Notifier) launch(out []notice) {
	for _, o := range out {
		var err error
		if o.flow == nil {
			err = transaction.ErrTransport
		} else {
			err = n.opt.Send(o.flow, o.req, func(ev transaction.Event) { n.answered(o.sub, ev) })
		}
		if err != nil {
			n.answered(o.sub, transaction.Event{Err: err})
		}
	}
}

// answered takes the outcome of a NOTIFY. Whoever refuses one, or can't be reached, watches no more (RFC 6665 §4.2.2).
func (n *Notifier) answered(s *subscription, ev transaction.Event) {
	if ev.Response != nil && ev.Response.IsProvisional() {
		return
	}
	n.mu.Lock()
	s.inFlight = false
	lost := !s.over && (ev.Response == nil || !ev.Response.IsSuccess())
	switch {
	case lost:
		n.dropLocked(s)
	case !s.over && s.seen != s.resource.rev:
		n.scheduleLocked(s.resource)
	}
	n.mu.Unlock()
	if lost {
		code := 0
		if ev.Response != nil {
			code = ev.Response.StatusCode
		}
		n.opt.Log.Info("subscription ends: its NOTIFY was not taken", "watcher", s.watcher, "event", s.event.Package, "watched", s.on.number, "code", code, "error", ev.Err)
		n.forget(s)
	}
}
