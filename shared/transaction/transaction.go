// Package transaction is the transaction layer of RFC 3261 §17 with RFC 6026, for both programs, on top of
// shared/transport. It calls its user back instead of handing out channels, so nothing that the user does not read can
// hold a transaction or a timer.
//
// Responses go back by the flow that the request came by. Retransmission is for UDP only. A finished transaction keeps the
// bytes of its last message, not parsed messages. The number of transactions is bounded; over the bound, new requests are
// answered 503 without state.
package transaction

import (
	"errors"
	"log/slog"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Errors of the layer. Test with errors.Is.
var (
	ErrTimeout    = errors.New("no answer in time")               // RFC 3261 §8.1.3.1: treat as 408
	ErrTransport  = errors.New("transport failed")                // RFC 3261 §8.1.3.1: treat as 503
	ErrClosed     = errors.New("transaction layer is closed")     // our side stops
	ErrOverload   = errors.New("too many transactions")           // Limits reached
	ErrTerminated = errors.New("transaction has ended")           // nothing to respond to any more
	ErrFinal      = errors.New("final response was already sent") // one request, one final response
	ErrBadMessage = errors.New("message can't be sent")           // a required header is missing
)

// Timers are those of RFC 3261 §17 and Table 4. Those not named here follow from them: B, F, H, J, L and M are 64·T1, A, E
// and G begin at T1, I and K are T4.
type Timers struct {
	T1      time.Duration // round trip estimate
	T2      time.Duration // longest gap between retransmissions of a non-INVITE request or an INVITE response
	T4      time.Duration // how long a message stays in the network
	D       time.Duration // how long the client absorbs retransmitted INVITE responses on UDP, at least 32 s
	Trying  time.Duration // RFC 3261 §17.2.1: 100 is sent if the user did not answer an INVITE within this
	C       time.Duration // client INVITE: longest silence after a provisional response; then CANCEL
	Pending time.Duration // server INVITE: longest silence of our own user after a provisional response
}

// DefaultTimers returns the values of RFC 3261 Table 4.
func DefaultTimers() Timers {
	return Timers{
		T1: 500 * time.Millisecond, T2: 4 * time.Second, T4: 5 * time.Second, D: 32 * time.Second,
		Trying: 200 * time.Millisecond, C: 4 * time.Minute, Pending: 10 * time.Minute,
	}
}

// timeout is 64·T1, the life of a request.
func (t Timers) timeout() time.Duration { return 64 * t.T1 }

// User is the transaction user (RFC 3261 §6). It is called on the flow's reader goroutine and must not block.
type User interface {
	// Request gets each new request but ACK; a CANCEL only if it matches no transaction (answer 481).
	Request(s *Server)
	// Ack gets an ACK that belongs to no transaction of the layer: for a 2xx, or stray.
	Ack(f *transport.Flow, req *sip.Request)
	// Stray gets a response that matches no client transaction, such as a late 2xx.
	Stray(f *transport.Flow, res *sip.Response)
}

// Event is what happens to a client transaction: a response, or an error after which nothing follows.
type Event struct {
	Response *sip.Response
	Err      error // nil, ErrTimeout, ErrTransport or ErrClosed
}

// Option changes a Layer.
type Option func(*Layer)

// WithLimits bounds the server and client transactions; the last eighth of the server ones is kept for requests inside
// dialogs. Defaults: 100,000 each.
func WithLimits(server, client int) Option {
	return func(l *Layer) { l.maxServer, l.maxClient = server, client }
}

// WithRefused has fn called for each request that the layer refused by itself: verdict.Overload (503) or
// verdict.LoopDetected (482, a merged request).
func WithRefused(fn func(f *transport.Flow, req *sip.Request, why verdict.Reason)) Option {
	return func(l *Layer) { l.refused = fn }
}

// WithAnswered has fn called for each final answer to a request that was sent, once, also for those of the layer itself. It must not block.
func WithAnswered(fn func(f *transport.Flow, method sip.RequestMethod, code int)) Option {
	return func(l *Layer) { l.answered = fn }
}

// New returns a layer. Its owner calls Message from transport.Handler.Message and FlowClosed from Handler.Closed.
func New(t Timers, u User, log *slog.Logger, opts ...Option) *Layer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Layer{
		timers: t, user: u, log: log,
		maxServer: defaultLimit, maxClient: defaultLimit,
		servers: newTable[serverKey, *serverTx](), clients: newTable[clientKey, *clientTx](),
		merges: newTable[mergeKey, *serverTx](), flows: newFlowIndex(),
		statelessTag: sipmsg.NewTag(),
	}
	for _, o := range opts {
		o(l)
	}
	return l
}

const defaultLimit = 100_000
