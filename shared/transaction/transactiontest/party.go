// Package transactiontest is a scripted SIP party for tests of the rooms above the transaction layer: a phone, a carrier,
// or the other program. It speaks through real sockets, remembers what it was asked until the test takes it, and does
// nothing by itself but what RFC 3261 §17 makes every party do.
package transactiontest

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Patience bounds every wait. It only matters to a test that fails.
const Patience = 20 * time.Second

// queue is how much a party remembers.
const queue = 256

// Party is one SIP party. It is its own transport.Handler and transaction.User.
type Party struct {
	Name  string // for failures
	Pong  bool   // answer OPTIONS without telling the test; set before it is used
	Layer *transaction.Layer

	t        testing.TB
	requests chan *transaction.Server
	acks     chan *sip.Request
	opened   chan *transport.Flow
	closed   chan *transport.Flow
	strays   chan *sip.Response

	mu   sync.Mutex // guards seen
	seen map[string]bool
}

// New returns a party without sockets.
func New(t testing.TB, name string) *Party {
	p := &Party{
		Name: name, t: t, requests: make(chan *transaction.Server, queue), acks: make(chan *sip.Request, queue),
		opened: make(chan *transport.Flow, queue), closed: make(chan *transport.Flow, queue), strays: make(chan *sip.Response, queue),
		seen: map[string]bool{},
	}
	p.Layer = transaction.New(transaction.DefaultTimers(), p, nil)
	t.Cleanup(p.Layer.Close)
	return p
}

// Listen opens a socket and serves it until the test ends. conf is for TLS only.
func (p *Party) Listen(network transport.Network, at netip.AddrPort, conf *tls.Config) *transport.Interface {
	p.t.Helper()
	c := transport.Config{Name: p.Name, Network: network, Listen: at}
	if conf != nil {
		c.TLS = func() *tls.Config { return conf }
	}
	i, err := transport.Listen(c, p)
	if err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = i.Serve(context.Background()) }()
	p.t.Cleanup(func() { i.Close(); <-done })
	return i
}

// Flow opens a way from bind to remote: a connection, or a UDP socket of its own. conf is for TLS only.
func (p *Party) Flow(network transport.Network, bind netip.Addr, remote netip.AddrPort, conf *tls.Config) *transport.Flow {
	p.t.Helper()
	f, err := p.Dial(network, bind, remote, conf)
	if err != nil {
		p.t.Fatalf("%s: %v", p.Name, err)
	}
	return f
}

// Dial is Flow for a test that expects an error.
func (p *Party) Dial(network transport.Network, bind netip.Addr, remote netip.AddrPort, conf *tls.Config) (*transport.Flow, error) {
	p.t.Helper()
	if network == transport.UDP {
		return p.Listen(network, netip.AddrPortFrom(bind, 0), nil).FlowTo(remote), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	f, err := transport.Dial(ctx, transport.DialConfig{Name: p.Name, Network: network, Remote: remote, TLS: conf, Bind: bind}, p)
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { f.Close(verdict.Shutdown) })
	return f, nil
}

// Accept implements transport.Handler.
func (p *Party) Accept(*transport.Interface, netip.AddrPort) verdict.Verdict { return verdict.Passed }

// Raw implements transport.Handler.
func (p *Party) Raw(*transport.Flow, []byte) verdict.Verdict { return verdict.Passed }

// Message implements transport.Handler.
func (p *Party) Message(f *transport.Flow, msg sip.Message) {
	p.mu.Lock()
	fresh := f.Reliable() && !p.seen[f.ID()]
	p.seen[f.ID()] = true
	p.mu.Unlock()
	if fresh {
		p.opened <- f
	}
	p.Layer.Message(f, msg)
}

// Unparsed implements transport.Handler: nobody may send us what can't be read.
func (p *Party) Unparsed(_ *transport.Flow, data []byte, v verdict.Verdict) {
	p.t.Errorf("%s got what is no SIP (%s): %q", p.Name, v, data)
}

// Dropped implements transport.Handler.
func (p *Party) Dropped(*transport.Interface, netip.AddrPort, verdict.Reason, []byte) {}

// Closed implements transport.Handler.
func (p *Party) Closed(f *transport.Flow, why verdict.Reason) {
	p.Layer.FlowClosed(f, why)
	p.closed <- f
}

// Request implements transaction.User.
func (p *Party) Request(s *transaction.Server) {
	if p.Pong && s.Request().Method == sip.OPTIONS {
		_ = s.Respond(sipmsg.Response(s.Request(), sip.StatusOK, "", s.Tag())) // who asked may be gone
		return
	}
	p.requests <- s
}

// Ack implements transaction.User.
func (p *Party) Ack(_ *transport.Flow, req *sip.Request) { p.acks <- req }

// Stray implements transaction.User.
func (p *Party) Stray(_ *transport.Flow, res *sip.Response) { p.strays <- res }

// take waits for the next of ch.
func take[T any](p *Party, what string, ch <-chan T) T {
	p.t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Patience):
		p.t.Fatalf("%s waits for %s in vain", p.Name, what)
	}
	panic("unreachable")
}

// Next waits for the next request, which must be of that method.
func (p *Party) Next(method sip.RequestMethod) *transaction.Server {
	p.t.Helper()
	s := take(p, string(method), p.requests)
	if s.Request().Method != method {
		p.t.Fatalf("%s got, instead of %s:\n%s", p.Name, method, sipmsg.Bytes(s.Request()))
	}
	return s
}

// NextAck waits for the next ACK of a 2xx.
func (p *Party) NextAck() *sip.Request {
	p.t.Helper()
	return take(p, "an ACK", p.acks)
}

// NextStray waits for the next response that answers no request of the party's own.
func (p *Party) NextStray() *sip.Response {
	p.t.Helper()
	return take(p, "a stray response", p.strays)
}

// Opened waits for the next connection that a message came by, and returns it.
func (p *Party) Opened() *transport.Flow {
	p.t.Helper()
	return take(p, "a connection", p.opened)
}

// Ended waits until a connection has ended.
func (p *Party) Ended(f *transport.Flow) {
	p.t.Helper()
	for take(p, "the end of "+f.String(), p.closed) != f {
		continue
	}
}

// Quiet fails the test if there is a request that nobody took.
func (p *Party) Quiet() {
	p.t.Helper()
	select {
	case s := <-p.requests:
		p.t.Errorf("%s got, although nothing was to come:\n%s", p.Name, sipmsg.Bytes(s.Request()))
	default:
	}
}

// Answer responds to a request. lines are further header lines; a 18x and 2xx to an INVITE has a Contact.
func (p *Party) Answer(s *transaction.Server, code int, body string, lines ...string) {
	p.t.Helper()
	res := sipmsg.Response(s.Request(), code, "", s.Tag())
	if s.Request().IsInvite() && code > 100 && code < 300 {
		host, port := s.Flow().ViaHost()
		res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "far", Host: host, Port: port}})
	}
	addLines(p.t, res, lines)
	setBody(res, body)
	if err := s.Respond(res); err != nil {
		p.t.Errorf("%s: answering: %v", p.Name, err)
	}
}

// Asked is a request that was sent, and what comes back.
type Asked struct {
	Client *transaction.Client
	Sent   Ask

	p      *Party
	events chan transaction.Event
}

// Ask sends a request.
func (p *Party) Ask(f *transport.Flow, a Ask) *Asked {
	p.t.Helper()
	req := a.request(p.t, f)
	if req.IsAck() {
		if err := p.Layer.SendAck(f, req); err != nil {
			p.t.Errorf("%s: sending ACK: %v", p.Name, err)
		}
		return nil
	}
	out := &Asked{Sent: a, p: p, events: make(chan transaction.Event, queue)}
	c, err := p.Layer.Send(f, req, func(ev transaction.Event) { out.events <- ev })
	if err != nil {
		p.t.Fatalf("%s: sending %s: %v", p.Name, a.Method, err)
	}
	out.Client = c
	return out
}

// Event waits for what happens next to the request, 100 Trying aside.
func (a *Asked) Event() transaction.Event {
	a.p.t.Helper()
	for {
		ev := take(a.p, "an answer to "+string(a.Sent.Method), a.events)
		if ev.Response == nil || ev.Response.StatusCode != 100 {
			return ev
		}
	}
}

// Nothing fails the test if there is an answer that nobody took.
func (a *Asked) Nothing() {
	a.p.t.Helper()
	select {
	case ev := <-a.events:
		if ev.Response != nil {
			a.p.t.Errorf("%s got, although nothing was to come:\n%s", a.p.Name, sipmsg.Bytes(ev.Response))
		}
	default:
	}
}

// Response waits for the next response but 100, which must have that code.
func (a *Asked) Response(code int) *sip.Response {
	a.p.t.Helper()
	ev := a.Event()
	if ev.Response == nil {
		a.p.t.Fatalf("%s: no answer to %s: %v", a.p.Name, a.Sent.Method, ev.Err)
	}
	if ev.Response.StatusCode != code {
		a.p.t.Fatalf("%s: answer to %s is no %d:\n%s", a.p.Name, a.Sent.Method, code, sipmsg.Bytes(ev.Response))
	}
	return ev.Response
}

// Do sends a request and waits for a response of that code.
func (p *Party) Do(f *transport.Flow, a Ask, code int) *sip.Response {
	p.t.Helper()
	return p.Ask(f, a).Response(code)
}
