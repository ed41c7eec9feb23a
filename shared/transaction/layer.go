package transaction

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Layer matches messages to transactions and makes new ones. All methods may be called from any goroutine.
//
// Lock order: a transaction's mu, then a table shard's or the flow index's. The user is called with no lock held.
type Layer struct {
	timers   Timers
	user     User
	log      *slog.Logger
	refused  func(f *transport.Flow, req *sip.Request, why verdict.Reason)
	answered func(f *transport.Flow, method sip.RequestMethod, code int)

	maxServer, maxClient int

	servers *table[serverKey, *serverTx]
	clients *table[clientKey, *clientTx]
	merges  *table[mergeKey, *serverTx]
	flows   *flowIndex
	closed  atomic.Bool

	statelessTag string // To tag of responses that left no state: an ACK with it is ours to absorb
}

// Message takes one message from the transport.
func (l *Layer) Message(f *transport.Flow, msg sip.Message) {
	switch m := msg.(type) {
	case *sip.Request:
		l.request(f, m)
	case *sip.Response:
		l.response(f, m)
	}
}

// FlowClosed tells that a connection ended: its pending transactions fail with ErrTransport.
func (l *Layer) FlowClosed(f *transport.Flow, _ verdict.Reason) {
	for _, t := range l.flows.take(f) {
		t.flowClosed()
	}
}

// Counts returns how many transactions there are, finished ones that still absorb retransmissions included.
func (l *Layer) Counts() (server, client int) { return l.servers.len(), l.clients.len() }

// Close ends all transactions with ErrClosed and refuses new ones.
func (l *Layer) Close() {
	l.closed.Store(true)
	for _, t := range l.clients.all() {
		t.fail(ErrClosed)
	}
	for _, t := range l.servers.all() {
		t.fail(ErrClosed)
	}
}

// request finds the server transaction of a request, or makes one.
func (l *Layer) request(f *transport.Flow, req *sip.Request) {
	key, ok := keyOf(f, req)
	if !ok || l.closed.Load() {
		return // the sanitizer has a name for it; here it can't be matched
	}
	switch req.Method {
	case sip.ACK:
		l.ack(f, req, key)
		return
	case sip.CANCEL:
		if tx, ok := l.servers.get(withMethod(key, sip.INVITE)); ok {
			l.cancel(f, req, tx)
			return
		}
	}
	if tx, ok := l.servers.get(key); ok {
		tx.retransmitted(f)
		return
	}
	l.begin(f, req, key)
}

// begin makes a server transaction and hands it to the user.
func (l *Layer) begin(f *transport.Flow, req *sip.Request, key serverKey) {
	merge, initial := mergeKeyOf(f, req)
	if l.full(initial) {
		l.refuse(f, req, sip.StatusServiceUnavailable, verdict.Overload)
		return
	}
	s := newServer(l, f, req, key)
	if tx, added := l.servers.add(key, s.tx); !added {
		tx.retransmitted(f)
		return
	}
	l.flows.add(f, s.tx)
	merged := false
	if initial {
		if _, added := l.merges.add(merge, s.tx); added {
			s.tx.setMerge(merge)
		} else {
			merged = true
		}
	}
	s.tx.start()
	if merged {
		// RFC 3261 §8.2.2.2. The transaction stays, to absorb the ACK.
		l.tellRefused(f, req, verdict.LoopDetected)
		_ = s.Respond(sipmsg.Response(req, sip.StatusLoopDetected, "", s.Tag())) // nobody waits for it
		return
	}
	l.user.Request(s)
}

// full reports whether one more server transaction is too many. Calls that are up go on longer than new ones come in.
func (l *Layer) full(initial bool) bool {
	limit := l.maxServer
	if initial {
		limit -= limit / 8
	}
	return l.servers.len() >= limit
}

// refuse answers without state.
func (l *Layer) refuse(f *transport.Flow, req *sip.Request, code int, why verdict.Reason) {
	l.tellRefused(f, req, why)
	res := sipmsg.Response(req, code, "", l.statelessTag)
	res.AppendHeader(sip.NewHeader("Retry-After", retryAfter)) // RFC 3261 §21.5.4
	l.answer(f, req, res)
}

// answer sends a final answer of the layer's own, without state.
func (l *Layer) answer(f *transport.Flow, req *sip.Request, res *sip.Response) {
	if err := f.Send(sipmsg.Fit(res, f.Room())); err != nil {
		l.log.Debug("answering without state", "method", req.Method, "remote", f.Remote().String(), "error", err)
		return
	}
	l.tellAnswered(f, req.Method, res.StatusCode)
}

func (l *Layer) tellAnswered(f *transport.Flow, method sip.RequestMethod, code int) {
	if l.answered != nil {
		l.answered(f, method, code)
	}
}

const retryAfter = "5" // seconds

func (l *Layer) tellRefused(f *transport.Flow, req *sip.Request, why verdict.Reason) {
	if l.refused != nil {
		l.refused(f, req, why)
	}
}

// ack absorbs the ACK of a 3xx-6xx and passes on that of a 2xx.
func (l *Layer) ack(f *transport.Flow, req *sip.Request, key serverKey) {
	if tx, ok := l.servers.get(withMethod(key, sip.INVITE)); ok && tx.acked() {
		return
	}
	if to := req.To(); to != nil {
		if tag, _ := sipmsg.Param(to.Params, "tag"); tag == l.statelessTag {
			return
		}
	}
	l.user.Ack(f, req)
}

// cancel answers a CANCEL and tells the INVITE's user (RFC 3261 §9.2). It needs no transaction of its own: a
// retransmitted CANCEL gets the same answer again.
func (l *Layer) cancel(f *transport.Flow, req *sip.Request, tx *serverTx) {
	l.answer(f, req, sipmsg.Response(req, sip.StatusOK, "", tx.localTag()))
	tx.cancel()
}

// response finds the client transaction of a response.
func (l *Layer) response(f *transport.Flow, res *sip.Response) {
	key, via, ok := responseKey(res)
	if !ok {
		return // RFC 3261 §8.1.3.3: it went astray
	}
	tx, ok := l.clients.get(key)
	if !ok {
		l.user.Stray(f, res)
		return
	}
	if plainHost(via.Host) != tx.host || via.Port != tx.port {
		return // RFC 3261 §18.1.2: not the Via that we wrote
	}
	if !tx.received(res) {
		l.user.Stray(f, res)
	}
}

// Send begins a client transaction: it adds the top Via, with a new branch and the flow's sent-by, and sends req on f. req
// must have From, To, Call-ID and CSeq, and belongs to the layer afterwards. cb gets the events in order, one at a
// time, perhaps before Send returns; it may be nil. If Send returns an error, cb is never called.
func (l *Layer) Send(f *transport.Flow, req *sip.Request, cb func(Event)) (*Client, error) {
	if l.closed.Load() {
		return nil, ErrClosed
	}
	if l.clients.len() >= l.maxClient {
		return nil, ErrOverload
	}
	if err := sendable(req); err != nil {
		return nil, err
	}
	via := newVia(f)
	req.PrependHeader(via)
	return l.launch(f, req, via, cb)
}

// launch sends a request that has its Via.
func (l *Layer) launch(f *transport.Flow, req *sip.Request, via *sip.ViaHeader, cb func(Event)) (*Client, error) {
	tx := newClientTx(l, f, req, via, cb)
	if err := tx.begin(); err != nil {
		return nil, err
	}
	return &Client{tx: tx}, nil
}

// SendAck sends the ACK of a 2xx, which is no transaction (RFC 3261 §13.2.2.4). It adds a top Via with its own branch if
// there is no Via yet, so the same ACK can be sent again for a retransmitted 2xx.
func (l *Layer) SendAck(f *transport.Flow, ack *sip.Request) error {
	if err := sendable(ack); err != nil {
		return err
	}
	if ack.Via() == nil {
		ack.PrependHeader(newVia(f))
	}
	if err := f.Send(sipmsg.Bytes(ack)); err != nil {
		return fmt.Errorf("sending ACK: %w: %w", ErrTransport, err)
	}
	return nil
}

// sendable checks what a transaction needs of a request (RFC 3261 §8.1.1).
func sendable(req *sip.Request) error {
	cseq := req.CSeq()
	switch {
	case req.From() == nil, req.To() == nil, req.CallID() == nil, cseq == nil:
		return fmt.Errorf("sending %s: From, To, Call-ID and CSeq are needed: %w", req.Method, ErrBadMessage)
	case cseq.MethodName != req.Method:
		return fmt.Errorf("sending %s: CSeq has method %s: %w", req.Method, cseq.MethodName, ErrBadMessage)
	}
	return nil
}

// newVia returns the Via of a request that leaves by f (RFC 3261 §8.1.1.7, §18.1.1).
func newVia(f *transport.Flow) *sip.ViaHeader {
	host, port := f.ViaHost()
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: f.Network().Via(), Host: host, Port: port,
		Params: sip.HeaderParams{{K: "branch", V: sipmsg.NewBranch()}},
	}
	if !f.Reliable() {
		via.Params = append(via.Params, sip.HeaderKV{K: "rport"}) // RFC 3581 §3
	}
	return via
}

func withMethod(k serverKey, m sip.RequestMethod) serverKey {
	k.method = m
	return k
}

// guard runs a callback of the user on a goroutine of ours; a panic there loses that callback only.
func (l *Layer) guard(what string, fn func()) {
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("panic in a transaction's callback", slog.String("callback", what), slog.String("panic", fmt.Sprint(r)))
		}
	}()
	fn()
}
