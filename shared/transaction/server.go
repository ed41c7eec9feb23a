package transaction

import (
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// Server is a server transaction (RFC 3261 §17.2), as its user holds it. All methods may be called from any goroutine.
type Server struct {
	tx    *serverTx
	req   *sip.Request
	inner *inner // instead of tx, where nothing came over a wire
}

// Request returns the request that began the transaction.
func (s *Server) Request() *sip.Request { return s.req }

// Flow returns the flow that the request came by and the responses leave by.
func (s *Server) Flow() *transport.Flow {
	if s.inner != nil {
		return s.inner.flow
	}
	return s.tx.flow
}

// Tag returns the To tag for the responses to this request: one per transaction (RFC 3261 §8.2.6.2). It is also in the
// layer's own answer to a CANCEL. A user that answers with another tag may do so from its first response on.
func (s *Server) Tag() string {
	if s.inner != nil {
		return s.inner.tag
	}
	return s.tx.localTag()
}

// Respond sends a response, provisional or final. After a 2xx to an INVITE further 2xx may follow (RFC 6026 §7.1), and
// Resend repeats the last; after any other final response ErrFinal is returned. An error that Respond returns is not told
// to OnEnd.
func (s *Server) Respond(res *sip.Response) error {
	if s.inner != nil {
		return s.inner.respond(res)
	}
	return s.tx.respond(res, false)
}

// RespondStateless sends a final response other than 2xx and forgets the transaction at once (RFC 3261 §8.2.7): a
// retransmitted request is a new one, and the ACK is absorbed. It is for challenges and refusals to strangers, who may
// be many and whose address may be forged. The response's To tag is replaced.
func (s *Server) RespondStateless(res *sip.Response) error {
	if s.inner != nil {
		return s.inner.respond(res)
	}
	if to := res.To(); to != nil && res.StatusCode >= 300 {
		to.Params.Remove("tag")
		to.Params.Add("tag", s.tx.layer.statelessTag)
	}
	return s.tx.respond(res, res.StatusCode >= 300)
}

// Resend sends the last response again: for a 2xx to an INVITE, which the user has to repeat until the ACK comes
// (RFC 3261 §13.3.1.4), and for a 1xx.
func (s *Server) Resend() error {
	if s.inner != nil {
		return nil
	}
	return s.tx.resend()
}

// OnCancel sets what runs when a CANCEL comes before the final response; at once, if it came already. It runs at most
// once; the layer has answered the CANCEL, the user answers the INVITE with 487.
func (s *Server) OnCancel(fn func()) {
	if s.inner == nil {
		s.tx.setCancel(fn)
	}
}

// OnEnd sets what runs if the transaction fails before its end: ErrTransport (the flow is gone), ErrTimeout (no ACK for a
// 3xx-6xx, or no final response of ours in time), ErrClosed. At once, if it failed already; at most once. It is not
// called for a transaction that ends as it should.
func (s *Server) OnEnd(fn func(error)) {
	if s.inner == nil {
		s.tx.setEnd(fn)
	}
}

// serverState is the state of RFC 3261 Figures 7 and 8 with RFC 6026:
//
//	INVITE:      proceeding ──2xx──► accepted ──timer L──► terminated
//	                 └──300-699──► completed ──ACK──► confirmed ──timer I──► terminated
//	                                   └──timer H───────────────────────────────┘
//	non-INVITE:  proceeding ──200-699──► completed ──timer J──► terminated
//
// Trying of Figure 8 is proceeding without a response yet.
type serverState uint8

const (
	serverProceeding serverState = iota
	serverAccepted
	serverCompleted
	serverConfirmed
	serverTerminated
)

// serverTx is the transaction as the layer holds it. It lets go of the request with the first response: what stays for
// the time of retransmissions is bytes.
type serverTx struct {
	layer    *Layer
	flow     *transport.Flow
	key      serverKey
	invite   bool
	reliable bool

	mu       sync.Mutex // guards all below
	state    serverState
	req      *sip.Request // until the first response
	last     []byte       // the last response
	tag      string
	clock    clock
	merge    mergeKey
	merges   bool
	canceled bool
	onCancel func()
	onEnd    func(error)
	failed   error
}

func newServer(l *Layer, f *transport.Flow, req *sip.Request, key serverKey) *Server {
	tx := &serverTx{
		layer: l, flow: f, key: key, invite: req.Method == sip.INVITE, reliable: f.Reliable(), req: req,
	}
	return &Server{tx: tx, req: req}
}

func (t *serverTx) setMerge(k mergeKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.merge, t.merges = k, true
}

// start arms the first timer.
func (t *serverTx) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != serverProceeding {
		return
	}
	if t.invite {
		if t.flow.Proven() {
			t.clock.retransmitEvery(t.layer.timers.Trying)
		}
		t.clock.endAfter(t.layer.timers.Pending)
	} else {
		t.clock.endAfter(t.layer.timers.timeout()) // the client has given up by then (timer F)
	}
	t.armLocked()
}

func (t *serverTx) armLocked() { t.clock.arm(t.fire) }

// localTag returns the To tag, making one if there is none.
func (t *serverTx) localTag() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tag == "" {
		t.tag = sipmsg.NewTag()
	}
	return t.tag
}

// respond sends res, and takes the step that it means. A stranger over UDP has one answer, the final one (threats T25).
func (t *serverTx) respond(res *sip.Response, forget bool) error {
	b := sipmsg.Fit(res, t.flow.Room())
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.failed != nil:
		return fmt.Errorf("responding %d: %w", res.StatusCode, t.failed)
	case t.state == serverProceeding:
	case t.state == serverAccepted && res.IsSuccess():
	case t.state == serverTerminated:
		return fmt.Errorf("responding %d: %w", res.StatusCode, ErrTerminated)
	default:
		return fmt.Errorf("responding %d: %w", res.StatusCode, ErrFinal)
	}
	if to := res.To(); to != nil {
		if tag, ok := sipmsg.Param(to.Params, "tag"); ok && tag != "" {
			t.tag = tag
		}
	}
	provisionalBefore := t.last != nil
	t.last, t.req = b, nil
	if err := t.sendLocked(res); err != nil {
		t.failed = ErrTransport
		t.onEnd = nil
		t.terminateLocked()
		return fmt.Errorf("responding %d: %w: %w", res.StatusCode, ErrTransport, err)
	}
	if res.StatusCode >= 200 && t.state == serverProceeding {
		t.layer.tellAnswered(t.flow, t.key.method, res.StatusCode)
	}
	switch {
	case forget:
		t.terminateLocked()
	case res.StatusCode >= 200:
		t.finalLocked(res.StatusCode, provisionalBefore)
	case t.invite:
		t.clock.stop()
		t.clock.endAfter(t.layer.timers.Pending)
		t.armLocked()
	}
	return nil
}

// sendLocked sends what respond has remembered.
func (t *serverTx) sendLocked(res *sip.Response) error {
	if res.IsProvisional() && !t.flow.Proven() {
		return nil
	}
	return t.flow.Send(t.last)
}

// finalLocked enters the state after a final response.
func (t *serverTx) finalLocked(code int, provisional bool) {
	timers := t.layer.timers
	if t.state == serverAccepted {
		return // a further 2xx
	}
	t.clock.stop()
	t.onCancel = nil
	if code >= 300 {
		t.leaveMergesLocked()
	}
	switch {
	case t.invite && code < 300:
		t.state = serverAccepted
		t.onEnd = nil                      // from here on the ACK, or its absence, tells the user
		t.clock.endAfter(timers.timeout()) // timer L (RFC 6026 §8.7)
	case t.invite:
		t.state = serverCompleted
		t.clock.endAfter(timers.timeout()) // timer H
		if !t.reliable && t.flow.Proven() && (t.flow.Verified() || provisional) {
			// Timer G. Not to a source that may be forged: each of its retransmissions is answered, and that is all.
			t.clock.retransmitEvery(timers.T1)
		}
	default:
		t.onEnd = nil
		if t.reliable { // timer J is 0
			t.terminateLocked()
			return
		}
		t.state = serverCompleted
		t.clock.endAfter(timers.timeout()) // timer J
	}
	t.armLocked()
}

// resend repeats the last response.
func (t *serverTx) resend() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == serverTerminated || t.last == nil {
		return fmt.Errorf("repeating a response: %w", ErrTerminated)
	}
	if err := t.flow.Send(t.last); err != nil {
		return fmt.Errorf("repeating a response: %w: %w", ErrTransport, err)
	}
	return nil
}

// retransmitted takes a retransmission of the request, which came over f.
func (t *serverTx) retransmitted(f *transport.Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// RFC 6026 §7.1: in Accepted retransmissions are absorbed; the user repeats the 2xx.
	if t.last == nil || (t.state != serverProceeding && t.state != serverCompleted) {
		return
	}
	if !t.flow.Same(f) {
		f = t.flow
	}
	if err := f.Send(t.last); err != nil {
		t.layer.log.Debug("answering a retransmission", "remote", t.flow.Remote().String(), "error", err)
	}
}

// acked takes an ACK with the INVITE's branch. It reports whether the layer keeps it.
func (t *serverTx) acked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.state {
	case serverAccepted, serverTerminated:
		return false // RFC 6026 §7.1: to the user
	case serverCompleted:
		t.state = serverConfirmed
		t.onEnd = nil
		t.last = nil
		t.clock.stop()
		if t.reliable { // timer I is 0
			t.terminateLocked()
			return true
		}
		t.clock.endAfter(t.layer.timers.T4) // timer I
		t.armLocked()
	}
	return true
}

// cancel runs the user's OnCancel, if there is no final response yet.
func (t *serverTx) cancel() {
	t.mu.Lock()
	var run func()
	if t.state == serverProceeding && !t.canceled {
		t.canceled = true
		run, t.onCancel = t.onCancel, nil
	}
	t.mu.Unlock()
	if run != nil {
		t.layer.guard("OnCancel", run)
	}
}

func (t *serverTx) setCancel(fn func()) {
	t.mu.Lock()
	now := t.canceled && t.state == serverProceeding
	if !now && t.state == serverProceeding {
		t.onCancel = fn
	}
	t.mu.Unlock()
	if now {
		fn()
	}
}

func (t *serverTx) setEnd(fn func(error)) {
	t.mu.Lock()
	failed := t.failed
	if failed == nil && t.state != serverTerminated {
		t.onEnd = fn
	}
	t.mu.Unlock()
	if failed != nil {
		fn(failed)
	}
}

// fire does what is due.
func (t *serverTx) fire() {
	t.mu.Lock()
	now := time.Now()
	switch {
	case t.state == serverTerminated:
	case t.clock.ended(now):
		t.endDueLocked()
		return
	case t.clock.resendDue(now):
		if err := t.resendDueLocked(); err != nil {
			t.mu.Unlock()
			t.fail(ErrTransport)
			return
		}
		t.armLocked()
	default:
		t.armLocked()
	}
	t.mu.Unlock()
}

// endDueLocked leaves the state whose time is over. It unlocks.
func (t *serverTx) endDueLocked() {
	switch {
	case t.state == serverProceeding, t.state == serverCompleted && t.invite:
		t.mu.Unlock()
		t.fail(ErrTimeout) // no response of ours, or timer H
	default: // timers I, J, L
		t.terminateLocked()
		t.mu.Unlock()
	}
}

// resendDueLocked sends the 100 that is due, or the response again (timer G). Both are for proven sources only.
func (t *serverTx) resendDueLocked() error {
	if t.state == serverProceeding {
		t.clock.stop()
		t.clock.endAfter(t.layer.timers.Pending)
		if t.req == nil {
			return nil
		}
		t.last = sipmsg.Bytes(sipmsg.Response(t.req, sip.StatusTrying, "", "")) // RFC 3261 §17.2.1
		t.req = nil
		return t.flow.Send(t.last)
	}
	t.clock.backOff(t.layer.timers.T2)
	return t.flow.Send(t.last)
}

// flowClosed is the end of the connection. A 2xx has been sent and may have arrived: that is for the user's ACK to tell.
func (t *serverTx) flowClosed() {
	t.mu.Lock()
	accepted := t.state == serverAccepted
	t.mu.Unlock()
	if !accepted {
		t.fail(ErrTransport)
	}
}

// fail ends the transaction and tells the user.
func (t *serverTx) fail(err error) {
	t.mu.Lock()
	if t.state == serverTerminated {
		t.mu.Unlock()
		return
	}
	tell := t.onEnd
	if t.state == serverProceeding || t.state == serverCompleted {
		t.failed = err
	}
	t.terminateLocked()
	t.mu.Unlock()
	if tell != nil {
		t.layer.guard("OnEnd", func() { tell(err) })
	}
}

// terminateLocked takes the transaction out of the tables and lets go of all it held.
func (t *serverTx) terminateLocked() {
	t.state = serverTerminated
	t.clock.stop()
	t.req, t.last, t.onCancel, t.onEnd = nil, nil, nil, nil
	t.leaveMergesLocked()
	t.layer.servers.remove(t.key, t)
	t.layer.flows.remove(t.flow, t)
}

func (t *serverTx) leaveMergesLocked() {
	if t.merges {
		t.merges = false
		t.layer.merges.remove(t.merge, t)
	}
}
