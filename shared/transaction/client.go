package transaction

import (
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// Client is a client transaction (RFC 3261 §17.1), as its user holds it. All methods may be called from any goroutine.
type Client struct{ tx *clientTx }

// Cancel asks for the end of a pending INVITE (RFC 3261 §9.1), with extra headers such as Reason. The CANCEL waits for a
// provisional response, if none came yet; after a final response it does nothing. The INVITE's final response follows as
// an event: 487, or a 2xx that overtook the CANCEL, or ErrTimeout after 64·T1. Calls after the first do nothing.
func (c *Client) Cancel(extra ...sip.Header) { c.tx.cancel(extra) }

// Flow returns the flow that the request was sent on.
func (c *Client) Flow() *transport.Flow { return c.tx.flow }

// clientState is the state of RFC 3261 Figures 5 and 6 with RFC 6026:
//
//	INVITE:      calling ──1xx──► proceeding ──2xx──► accepted ──timer M──► terminated
//	                 └── 2xx, 300-699 ──┤──300-699──► completed ──timer D──► terminated
//	non-INVITE:  calling ──1xx──► proceeding ──200-699──► completed ──timer K──► terminated
//
// Trying of Figure 6 is calling.
type clientState uint8

const (
	clientCalling clientState = iota
	clientProceeding
	clientAccepted
	clientCompleted
	clientTerminated
)

// clientTx is the transaction as the layer holds it. It lets go of the request with the final response.
type clientTx struct {
	layer    *Layer
	flow     *transport.Flow
	key      clientKey
	host     string // our sent-by
	port     int
	invite   bool
	reliable bool

	mu       sync.Mutex // guards all below
	state    clientState
	req      *sip.Request // until the final response: for CANCEL and ACK
	out      []byte       // what is retransmitted: the request, or the ACK of a 3xx-6xx
	clock    clock
	cancels  bool // Cancel was called
	canceled bool // CANCEL was sent
	extra    []sip.Header

	cb         func(Event)
	events     []Event // not yet delivered
	delivering bool    // a goroutine is in cb
}

func newClientTx(l *Layer, f *transport.Flow, req *sip.Request, via *sip.ViaHeader, cb func(Event)) *clientTx {
	branch, _ := sipmsg.Param(via.Params, "branch")
	if cb == nil {
		cb = noEvent
	}
	return &clientTx{
		layer: l, flow: f, key: clientKey{branch: branch, method: req.Method}, host: plainHost(via.Host), port: via.Port,
		invite: req.Method == sip.INVITE, reliable: f.Reliable(), req: req, out: sipmsg.Bytes(req), cb: cb,
	}
}

// begin enters the tables and sends the request.
func (t *clientTx) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, added := t.layer.clients.add(t.key, t); !added {
		return fmt.Errorf("sending %s: branch is in use: %w", t.key.method, ErrBadMessage)
	}
	t.layer.flows.add(t.flow, t)
	if err := t.flow.Send(t.out); err != nil {
		t.terminateLocked()
		return fmt.Errorf("sending %s: %w: %w", t.key.method, ErrTransport, err)
	}
	t.clock.endAfter(t.layer.timers.timeout()) // timers B and F
	if t.reliable {
		t.out = nil
	} else {
		t.clock.retransmitEvery(t.layer.timers.T1) // timers A and E
	}
	t.armLocked()
	return nil
}

func (t *clientTx) armLocked() { t.clock.arm(t.fire) }

// received takes a response with our branch. It reports whether the transaction had a use for it.
func (t *clientTx) received(res *sip.Response) bool {
	t.mu.Lock()
	used := t.receivedLocked(res)
	t.deliverLocked()
	return used
}

func (t *clientTx) receivedLocked(res *sip.Response) bool {
	switch t.state {
	case clientCalling, clientProceeding:
		if res.StatusCode < 200 {
			t.provisionalLocked(res)
		} else {
			t.finalLocked(res)
		}
		return true
	case clientAccepted:
		if !res.IsSuccess() {
			return true
		}
		t.events = append(t.events, Event{Response: res}) // RFC 6026 §7.2: another dialog, or the same 2xx again
		return true
	case clientCompleted:
		if t.invite && res.IsSuccess() {
			return false
		}
		if t.invite && res.StatusCode >= 300 && t.out != nil {
			t.sendLocked(t.out) // our ACK was lost (RFC 3261 §17.1.1.2)
		}
		return true
	}
	return false
}

// provisionalLocked takes a 1xx.
func (t *clientTx) provisionalLocked(res *sip.Response) {
	t.events = append(t.events, Event{Response: res})
	first := t.state == clientCalling
	t.state = clientProceeding
	switch {
	case !t.invite:
		if first && !t.reliable {
			t.clock.gap = t.layer.timers.T2 // RFC 3261 §17.1.2.2
			t.clock.resend = time.Now().Add(t.clock.gap)
			t.armLocked()
		}
	case t.cancels:
		if !t.canceled {
			t.sendCancelLocked()
		}
	case first || res.StatusCode > 100:
		t.clock.stop()
		t.clock.endAfter(t.layer.timers.C)
		t.armLocked()
	}
	if t.invite {
		t.out = nil // no retransmission after a provisional response
	}
}

// finalLocked takes the first final response.
func (t *clientTx) finalLocked(res *sip.Response) {
	t.events = append(t.events, Event{Response: res})
	timers := t.layer.timers
	t.clock.stop()
	switch {
	case t.invite && res.IsSuccess():
		t.state = clientAccepted
		t.out = nil
		t.clock.endAfter(timers.timeout()) // timer M (RFC 6026 §8.4)
	case t.invite:
		t.state = clientCompleted
		t.out = sipmsg.Bytes(ackFor(t.req, res))
		t.sendLocked(t.out)
		if t.reliable { // timer D is 0
			t.terminateLocked()
			return
		}
		t.clock.endAfter(timers.D)
	default:
		if t.reliable { // timer K is 0
			t.terminateLocked()
			return
		}
		t.state = clientCompleted
		t.out = nil
		t.clock.endAfter(timers.T4) // timer K
	}
	t.req, t.extra = nil, nil
	t.armLocked()
}

// sendLocked sends what nobody waits for; a failure shows by a retransmission, or the end of the flow.
func (t *clientTx) sendLocked(b []byte) {
	if err := t.flow.Send(b); err != nil {
		t.layer.log.Debug("sending on a transaction", "remote", t.flow.Remote().String(), "error", err)
	}
}

// cancel wants the end of a pending INVITE.
func (t *clientTx) cancel(extra []sip.Header) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.invite || t.cancels || t.state > clientProceeding {
		return
	}
	t.cancels, t.extra = true, extra
	if t.state == clientCalling { // nobody wants an answer any more: don't make the far end ring who has not heard of it
		t.clock.resend = time.Time{}
	}
	if t.state == clientProceeding { // RFC 3261 §9.1: never before a provisional response
		t.sendCancelLocked()
	}
}

// sendCancelLocked sends the CANCEL on a transaction of its own and waits 64·T1 for the INVITE's final response.
func (t *clientTx) sendCancelLocked() {
	t.canceled = true
	req := cancelFor(t.req, t.extra)
	t.clock.stop()
	t.clock.endAfter(t.layer.timers.timeout())
	t.armLocked()
	// It takes its own lock only, and a table's: the order holds, since nobody locks an INVITE's from a CANCEL's.
	if _, err := t.layer.launch(t.flow, req, req.Via(), nil); err != nil {
		t.layer.log.Debug("sending CANCEL", "remote", t.flow.Remote().String(), "error", err)
	}
}

// fire does what is due.
func (t *clientTx) fire() {
	t.mu.Lock()
	now := time.Now()
	switch {
	case t.state == clientTerminated:
	case t.clock.ended(now):
		t.endDueLocked()
	case t.clock.resendDue(now) && t.out != nil:
		limit := t.layer.timers.T2
		if t.invite {
			limit = 0 // timer A doubles each time (RFC 3261 §17.1.1.2)
		}
		t.clock.backOff(limit)
		if err := t.flow.Send(t.out); err != nil {
			t.endLocked(fmt.Errorf("repeating %s: %w: %w", t.key.method, ErrTransport, err))
			break
		}
		t.armLocked()
	default:
		t.armLocked()
	}
	t.deliverLocked()
}

// endDueLocked leaves the state whose time is over.
func (t *clientTx) endDueLocked() {
	switch {
	case t.state == clientProceeding && t.invite && !t.canceled:
		// Timer C (RFC 3261 §16.8): the far end rings for ever and says nothing.
		t.cancels = true
		t.sendCancelLocked()
	case t.state == clientCalling, t.state == clientProceeding:
		t.endLocked(ErrTimeout) // timers B and F
	default: // timers D, K, M
		t.terminateLocked()
	}
}

// flowClosed is the end of the connection.
func (t *clientTx) flowClosed() { t.fail(ErrTransport) }

// fail ends the transaction; the user is told if it still waits for a final response.
func (t *clientTx) fail(err error) {
	t.mu.Lock()
	t.endLocked(err)
	t.deliverLocked()
}

// endLocked is fail with the lock held; the event is not delivered yet.
func (t *clientTx) endLocked(err error) {
	if t.state == clientCalling || t.state == clientProceeding {
		t.events = append(t.events, Event{Err: err})
	}
	if t.state != clientTerminated {
		t.terminateLocked()
	}
}

// terminateLocked takes the transaction out of the tables and lets go of all it held, but not of undelivered events.
func (t *clientTx) terminateLocked() {
	t.state = clientTerminated
	t.clock.stop()
	t.req, t.out, t.extra = nil, nil, nil
	t.layer.clients.remove(t.key, t)
	t.layer.flows.remove(t.flow, t)
}

// deliverLocked hands the events to the user, one at a time and in order, whichever goroutines they came from. It unlocks.
func (t *clientTx) deliverLocked() {
	if t.delivering {
		t.mu.Unlock()
		return
	}
	t.delivering = true
	for len(t.events) > 0 {
		ev := t.events[0]
		t.events = t.events[1:]
		t.mu.Unlock()
		t.layer.guard("Event", func() { t.cb(ev) })
		t.mu.Lock()
	}
	t.events = nil
	t.delivering = false
	if t.state == clientTerminated || t.state == clientCompleted {
		t.cb = noEvent // nothing follows: what the user hung on it need not live as long as retransmissions may come
	}
	t.mu.Unlock()
}

func noEvent(Event) {}

// ackFor makes the ACK of a final response other than 2xx (RFC 3261 §17.1.1.3).
func ackFor(req *sip.Request, res *sip.Response) *sip.Request {
	ack := follow(req, sip.ACK)
	if to := res.To(); to != nil {
		ack.AppendHeader(sip.HeaderClone(to))
	}
	return ack
}

// cancelFor makes the CANCEL of a pending request (RFC 3261 §9.1).
func cancelFor(req *sip.Request, extra []sip.Header) *sip.Request {
	cancel := follow(req, sip.CANCEL)
	cancel.AppendHeader(sip.HeaderClone(req.To()))
	for _, h := range extra {
		cancel.AppendHeader(h)
	}
	return cancel
}

// follow makes a request of that method with what ACK and CANCEL copy from req, all but To.
func follow(req *sip.Request, method sip.RequestMethod) *sip.Request {
	out := sip.NewRequest(method, req.Recipient)
	out.AppendHeader(req.Via().Clone()) // the top Via alone, with its branch
	for _, h := range req.GetHeaders("Route") {
		out.AppendHeader(sip.HeaderClone(h))
	}
	hops := sip.MaxForwardsHeader(70)
	out.AppendHeader(&hops)
	out.AppendHeader(sip.HeaderClone(req.From()))
	id := *req.CallID()
	out.AppendHeader(&id)
	out.AppendHeader(&sip.CSeqHeader{SeqNo: req.CSeq().SeqNo, MethodName: method})
	return out
}
