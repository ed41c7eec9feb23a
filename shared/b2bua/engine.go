// Package b2bua joins two dialogs into a call (RFC 7092): a back-to-back user agent that answers the one and places the
// other, carries what passes between them, and builds every message of both legs anew.
//
// The border and the exchange are both made of it. What makes a border a border, or an exchange an exchange, is told by a
// Plan for each call and a LegPolicy for each leg: whom to call, what may pass, how we look, what becomes of the media.
//
// One goroutine at a time owns a call (mailbox.go); responses, requests, timers and commands are events that wait their
// turn, so no state of a call is ever locked. The files follow the events: invite.go, answer.go, ack.go, cancel.go,
// bye.go, reinvite.go, info.go, refer.go, replaces.go. The states stand in call.go; how a party gets from one call into
// another in transfer.go and join.go, and why that is no race in adopt.go; how a border lets transfers pass in relay.go.
package b2bua

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/crew"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// DefaultRing is how long a call rings before we give up.
const DefaultRing = 180 * time.Second // RFC 3261 §16.6 step 11: timer C is above three minutes

// DefaultMaxCalls is how many calls an engine holds unless told otherwise.
const DefaultMaxCalls = 50_000

// idleCrew is how many goroutines wait for a call that has something to do.
const idleCrew = 64

// emergencyRoom is how many emergency calls are begun above MaxCalls.
const emergencyRoom = 64

// Config is what an engine needs.
type Config struct {
	Transactions *transaction.Layer
	Timers       transaction.Timers
	Log          *slog.Logger
	MaxCalls     int
	Session      SessionTimers // zero: none
	Kept         int           // calls that are over and remembered with their ladder; 0 means DefaultKept, less none
	Now          func() time.Time
}

// Engine owns all calls of a program.
type Engine struct {
	cfg    Config
	crew   *crew.Crew // runs the mailboxes
	secret []byte     // names of outgoing dialogs are derived with it, so that they tell nothing about incoming ones

	mu     sync.RWMutex
	legs   map[legKey]*leg
	calls  map[string]*Call
	traces map[string]int // calls of a trace
	quit   bool
	drain  bool          // no new calls for now
	idle   chan struct{} // closed when quit is set and the last call is gone

	memory memory
}

// legKey finds the leg that a request within a dialog belongs to.
type legKey struct{ callID, localTag string }

// The faults that keep a call from starting.
var (
	ErrTooMany = errors.New("too many calls")
	ErrMerged  = errors.New("a request for this call is being served already") // RFC 3261 §8.2.2.2
	ErrClosed  = errors.New("shutting down")
)

// New returns an engine without calls.
func New(cfg Config) *Engine {
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = DefaultMaxCalls
	}
	if cfg.Kept == 0 {
		cfg.Kept = DefaultKept
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timers == (transaction.Timers{}) {
		cfg.Timers = transaction.DefaultTimers()
	}
	e := &Engine{
		cfg: cfg, crew: crew.New(idleCrew), secret: make([]byte, 32), legs: map[legKey]*leg{}, calls: map[string]*Call{},
		traces: map[string]int{}, idle: make(chan struct{}),
	}
	rand.Read(e.secret) //nolint:errcheck // crypto/rand never fails
	return e
}

// names makes the Call-ID and the tag of a dialog of ours out of names that strangers chose: the same each time, and
// telling nothing.
func (e *Engine) names(parts ...string) (callID, tag string) {
	mac := hmac.New(sha256.New, e.secret)
	var buf []byte
	for _, p := range parts {
		buf = append(append(buf, p...), 0)
	}
	mac.Write(buf)
	name := hex.EncodeToString(mac.Sum(buf[:0])[:26])
	return name[:32], name[32:]
}

// Start begins the call that the INVITE of s asks for. On an error it has answered nothing, called nothing of the plan,
// and closed nothing.
func (e *Engine) Start(s *transaction.Server, plan Plan) (*Call, error) {
	limit := e.cfg.MaxCalls
	if plan.Emergency {
		limit += emergencyRoom
	}
	if e.Len() >= limit {
		return nil, ErrTooMany // cheaply; the word that counts is below
	}
	c, err := e.newCall(s, plan)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	switch {
	case e.quit, e.drain && !plan.Emergency:
		err = ErrClosed
	case len(e.calls) >= limit:
		err = ErrTooMany
	case e.calls[c.id] != nil || e.legs[c.a.key] != nil:
		err = ErrMerged
	case c.trace != "" && e.traces[c.trace] >= maxPasses:
		err = ErrLoop
	default:
		e.calls[c.id] = c
		e.traces[c.trace]++
		e.legs[c.a.key] = c.a
	}
	e.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.OnCancel(func() { c.post(c.onCancel) })
	s.OnEnd(func(error) { c.post(c.onCallerLost) })
	c.post(c.start)
	return c, nil
}

// Request gives the engine a request with a To tag. It reports false if no call of ours knows it.
func (e *Engine) Request(s *transaction.Server) bool {
	l := e.find(s.Request())
	if l == nil {
		return false
	}
	s.Flow().MarkVerified() // whoever knows our tag was sent it
	if !l.deliver(func(c *Call) { c.onRequest(l, s) }) {
		res := sipmsg.Response(s.Request(), sip.StatusServiceUnavailable, "", l.key.localTag)
		if err := s.Respond(res); err != nil {
			e.cfg.Log.Debug("refusing a request", "error", err)
		}
	}
	return true
}

// Ack gives the engine an ACK for a 2xx. It reports false if no call of ours knows it.
func (e *Engine) Ack(f *transport.Flow, req *sip.Request) bool {
	l := e.find(req)
	if l == nil {
		return false
	}
	return l.deliver(func(c *Call) { c.onAck(l, f, req) })
}

// Stray gives the engine a response that no transaction took: a 2xx that came again after its transaction ended.
func (e *Engine) Stray(res *sip.Response) bool {
	if res.CallID() == nil || res.From() == nil || !res.IsSuccess() {
		return false
	}
	tag, _ := sipmsg.Param(res.From().Params, "tag")
	e.mu.RLock()
	l := e.legs[legKey{res.CallID().Value(), tag}]
	e.mu.RUnlock()
	if l == nil {
		return false
	}
	return l.deliver(func(c *Call) { c.onStray(l, res) })
}

// find returns the leg that a request within a dialog belongs to, or nil.
func (e *Engine) find(req *sip.Request) *leg {
	if req.CallID() == nil || req.To() == nil || req.From() == nil {
		return nil
	}
	tag, _ := sipmsg.Param(req.To().Params, "tag")
	from, _ := sipmsg.Param(req.From().Params, "tag")
	e.mu.RLock()
	l := e.legs[legKey{req.CallID().Value(), tag}]
	e.mu.RUnlock()
	if l == nil || !l.knows(from) {
		return nil
	}
	return l
}

// register adds a leg that we place. It reports false if its name is taken, or the engine closes.
func (e *Engine) register(l *leg) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.quit || e.legs[l.key] != nil {
		return false
	}
	e.legs[l.key] = l
	return true
}

func (e *Engine) unregister(l *leg) {
	e.mu.Lock()
	if e.legs[l.key] == l {
		delete(e.legs, l.key)
	}
	e.mu.Unlock()
}

func (e *Engine) forget(c *Call) {
	e.mu.Lock()
	if e.calls[c.id] == c {
		delete(e.calls, c.id)
		if e.traces[c.trace]--; e.traces[c.trace] == 0 {
			delete(e.traces, c.trace)
		}
	}
	if e.quit && len(e.calls) == 0 {
		select {
		case <-e.idle:
		default:
			close(e.idle)
		}
	}
	e.mu.Unlock()
}

// Calls describes the calls in hand, oldest first.
func (e *Engine) Calls() []Info {
	e.mu.RLock()
	out := make([]Info, 0, len(e.calls))
	for _, c := range e.calls {
		out = append(out, *c.shown.Load())
	}
	e.mu.RUnlock()
	sort.Slice(out, func(i, j int) bool { return out[i].Started.Before(out[j].Started) })
	return out
}

// Len is the number of calls in hand.
func (e *Engine) Len() int {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return len(e.calls)
}

// End hangs up the call with that ID. It reports false if there is none.
func (e *Engine) End(id string, why verdict.Reason) bool {
	e.mu.RLock()
	c := e.calls[id]
	e.mu.RUnlock()
	if c == nil {
		return false
	}
	c.Hangup(why)
	return true
}

// Drain makes the engine take no new calls but emergency calls, or take them again. Calls in hand go on.
func (e *Engine) Drain(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drain = on
}

// Draining reports whether new calls are refused.
func (e *Engine) Draining() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.drain || e.quit
}

// drainLook is how often Finish looks whether the last call has ended.
const drainLook = 100 * time.Millisecond

// Finish takes no new calls and waits for those in hand to end by themselves, at most for so long.
func (e *Engine) Finish(limit time.Duration) {
	e.Drain(true)
	t := time.NewTicker(drainLook)
	defer t.Stop()
	for end := time.Now().Add(limit); e.Len() > 0 && time.Now().Before(end); {
		<-t.C
	}
}

// Close takes no new calls, hangs up those in hand and waits until they are gone or the time is up.
func (e *Engine) Close(patience time.Duration) {
	e.mu.Lock()
	e.quit = true
	calls := make([]*Call, 0, len(e.calls))
	for _, c := range e.calls {
		calls = append(calls, c)
	}
	e.mu.Unlock()
	defer e.crew.Close()
	if len(calls) == 0 {
		return
	}
	for _, c := range calls {
		c.Hangup(verdict.Shutdown)
	}
	select {
	case <-e.idle:
	case <-time.After(patience):
	}
}
