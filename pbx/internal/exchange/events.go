package exchange

import (
	"context"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/events"
	"brickhouse/shared/corelink"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// newEvents makes the notifier.
func (x *Exchange) newEvents() *events.Notifier {
	return events.New(events.Options{
		Config: x.cfg.Events, Domain: x.cfg.Domain, Store: x.store, Place: x.calls.CanWatch, Border: x.border.Load, Contact: contact, Log: x.log, Now: x.now,
		Send: func(f *transport.Flow, req *sip.Request, cb func(transaction.Event)) error {
			_, err := x.tx.Send(f, req, cb)
			return err
		},
	})
}

// event finds out who subscribes or publishes, and hands that to the notifier.
func (x *Exchange) event(s *transaction.Server) {
	who, refused := x.caller(s)
	if refused != nil {
		x.send(s, refused.Response, refused.Verdict)
		return
	}
	req := s.Request()
	number := callcontrol.Dialled(req.Recipient.User)
	v := verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed) // carriers watch nobody
	switch {
	case who.Trunk != "":
	case req.Method == sip.PUBLISH:
		v = x.events.Publish(s, who.Number, number)
	default:
		v = x.events.Subscribe(s, who.Number, number, x.isCore(s.Flow()))
	}
	if !v.OK() {
		x.metrics.refused.Inc(v.Reason)
		x.answer(s, v.Code, corelink.Verdict{})
	}
}

// errOwnMailbox is why nobody else may say what waits.
var errOwnMailbox = callcontrol.Unfit("the extension has a mailbox here, and its messages are counted; pbx extension voicemail takes it away")

// SetWaiting says how many messages wait for an extension in another system, and returns when that is on disk. It reports whether there
// is such an extension.
func (x *Exchange) SetWaiting(ctx context.Context, number string, fresh, old int) (bool, error) {
	if _, ok := x.store.Extension(number); !ok {
		return false, nil
	}
	if x.store.Services(number).Voicemail {
		return true, errOwnMailbox
	}
	return true, x.setWaiting(ctx, number, fresh, old)
}

func (x *Exchange) setWaiting(ctx context.Context, number string, fresh, old int) error {
	w := x.store.Waiting(number)
	w.New, w.Old = fresh, old
	durable, err := x.store.PutWaiting(ctx, &w)
	if err != nil {
		return err
	}
	return wait(ctx, durable)
}
