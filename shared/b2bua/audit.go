package b2bua

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction"
)

// auditPause is the time between two calls that an Audit asks for: a link that is just up has other things to carry.
const auditPause = time.Millisecond

// Audit asks whoever has the legs of a policy, for each that is up, whether it still knows the call: with an OPTIONS within the dialog
// (RFC 3261 §11) that carries mark, so that it does not pass it on. What is not known there ends here (verdict.UnknownDialog). It returns
// when all are asked or ctx ends.
func (e *Engine) Audit(ctx context.Context, policy *LegPolicy, mark sip.Header) {
	e.mu.RLock()
	calls := make([]*Call, 0, len(e.calls))
	for _, c := range e.calls {
		calls = append(calls, c)
	}
	e.mu.RUnlock()
	t := time.NewTicker(auditPause)
	defer t.Stop()
	for _, c := range calls {
		c.post(func() { c.audit(policy, mark) })
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Call) audit(policy *LegPolicy, mark sip.Header) {
	for _, l := range []*leg{c.a, c.b} {
		if !l.up() || l.policy != policy {
			continue
		}
		req := l.dlg.NewRequest(sip.OPTIONS)
		req.AppendHeader(sip.HeaderClone(mark))
		setSDP(req, nil)
		c.request(l, l.dlg, req, func(ev transaction.Event) {
			if ev.Response != nil { // silence proves nothing: the link may have gone again
				c.checkPeer(l, ev.Response.StatusCode)
			}
		})
	}
}

// Knows reports whether a request is within a dialog of a call in hand.
func (e *Engine) Knows(req *sip.Request) bool { return e.find(req) != nil }
