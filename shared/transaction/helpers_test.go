package transaction

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

// user is a User that remembers.
type user struct {
	onRequest func(s *Server)

	mu      sync.Mutex // guards all below
	servers []*Server
	acks    []*sip.Request
	strays  []*sip.Response
	refused []verdict.Reason
}

func (u *user) Request(s *Server) {
	u.mu.Lock()
	u.servers = append(u.servers, s)
	u.mu.Unlock()
	if u.onRequest != nil {
		u.onRequest(s)
	}
}

func (u *user) Ack(_ *transport.Flow, req *sip.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.acks = append(u.acks, req)
}

func (u *user) Stray(_ *transport.Flow, res *sip.Response) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.strays = append(u.strays, res)
}

func (u *user) refuse(_ *transport.Flow, _ *sip.Request, why verdict.Reason) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused = append(u.refused, why)
}

// server returns the only transaction that the user got.
func (u *user) server(t *testing.T) *Server {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.servers) != 1 {
		t.Fatalf("user got %d requests, want 1", len(u.servers))
	}
	return u.servers[0]
}

// rig is a layer at one end of a pipe, and a peer at the other that writes and reads bytes. It lives in a synctest bubble:
// time passes only in sleep, and all that can happen has happened when a method returns.
type rig struct {
	t     *testing.T
	layer *Layer
	user  *user
	flow  *transport.Flow    // the layer's
	peer  *transporttest.End // the other end
	ours  *transporttest.End
}

// bubble runs fn with a rig.
func bubble(t *testing.T, network transport.Network, fn func(r *rig), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u := &user{}
		layer := New(DefaultTimers(), u, nil, append(opts, WithRefused(u.refuse))...)
		ours := &transporttest.Recorder{OnMessage: layer.Message, OnClosed: layer.FlowClosed}
		a, b, err := transporttest.Pipe(network, ours, &transporttest.Recorder{})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, layer: layer, user: u, flow: a.Flow, peer: b, ours: a}
		fn(r)
		layer.Close()
		a.Stop()
		synctest.Wait()
		if s, c := layer.Counts(); s != 0 || c != 0 {
			t.Errorf("after Close %d server and %d client transactions are left", s, c)
		}
	})
}

// put sends bytes to the layer.
func (r *rig) put(b []byte) {
	r.t.Helper()
	if err := r.peer.Flow.Send(b); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// out returns what the layer has sent: "INVITE", "200 INVITE" and so on.
func (r *rig) out() []string {
	var got []string
	for _, b := range r.ours.Sent() {
		msg, err := sipmsg.Parse(b)
		if err != nil {
			r.t.Fatalf("layer sent %q: %v", b, err)
		}
		switch m := msg.(type) {
		case *sip.Request:
			got = append(got, string(m.Method))
		case *sip.Response:
			got = append(got, fmt.Sprint(m.StatusCode, " ", m.CSeq().MethodName))
		}
	}
	return got
}

// wants fails the test unless the layer has sent exactly this.
func (r *rig) wants(what string, want ...string) {
	r.t.Helper()
	if got := r.out(); strings.Join(got, ", ") != strings.Join(want, ", ") {
		r.t.Errorf("%s: sent %q, want %q", what, got, want)
	}
}

// counts fails the test unless there are that many transactions.
func (r *rig) counts(what string, server, client int) {
	r.t.Helper()
	if s, c := r.layer.Counts(); s != server || c != client {
		r.t.Errorf("%s: %d server and %d client transactions, want %d and %d", what, s, c, server, client)
	}
}

// last returns the last message that the layer sent.
func (r *rig) last() []byte {
	r.t.Helper()
	all := r.ours.Sent()
	if len(all) == 0 {
		r.t.Fatal("nothing was sent")
	}
	return all[len(all)-1]
}

// req builds a request of the peer's.
func req(method, branch, extra string) []byte {
	return reqSeq(method, method, branch, "", 1, extra)
}

// reqSeq builds a request with all that varies.
func reqSeq(method, cseqMethod, branch, toTag string, seq int, extra string) []byte {
	if toTag != "" {
		toTag = ";tag=" + toTag
	}
	return fmt.Appendf(nil, "%s sip:200@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=%s;rport\r\n"+
		"From: <sip:100@example.com>;tag=from\r\nTo: <sip:200@example.com>%s\r\nCall-ID: call\r\nCSeq: %d %s\r\n"+
		"Max-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n", method, branch, toTag, seq, cseqMethod, extra)
}

const branch = "z9hG4bKtest"

// answer makes a response to what s got.
func answer(s *Server, code int) *sip.Response {
	return sipmsg.Response(s.Request(), code, "", s.Tag())
}

// respond answers, or fails the test.
func (r *rig) respond(s *Server, code int) {
	r.t.Helper()
	if err := s.Respond(answer(s, code)); err != nil {
		r.t.Fatalf("responding %d: %v", code, err)
	}
	synctest.Wait()
}

// request makes a request of ours.
func request(method sip.RequestMethod) *sip.Request {
	out := sip.NewRequest(method, sip.Uri{Scheme: "sip", User: "200", Host: "example.com"})
	out.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "100", Host: "example.com"}, Params: sip.HeaderParams{{K: "tag", V: "ours"}}})
	out.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: "200", Host: "example.com"}})
	id := sip.CallIDHeader(sipmsg.NewCallID())
	out.AppendHeader(&id)
	out.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: method})
	out.AppendHeader(&sip.RouteHeader{Address: sip.Uri{Scheme: "sip", Host: "proxy.example.com", UriParams: sip.HeaderParams{{K: "lr"}}}})
	return out
}

// events is a callback that remembers.
type events struct {
	mu  sync.Mutex // guards all
	all []Event
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// String is what happened: "100, 180, 200", or the error.
func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s []string
	for _, ev := range e.all {
		if ev.Err != nil {
			s = append(s, ev.Err.Error())
			continue
		}
		s = append(s, fmt.Sprint(ev.Response.StatusCode))
	}
	return strings.Join(s, ", ")
}

// send begins a client transaction.
func (r *rig) send(method sip.RequestMethod) (*Client, *events) {
	r.t.Helper()
	e := &events{}
	c, err := r.layer.Send(r.flow, request(method), e.add)
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	return c, e
}

// reply has the peer answer the n-th message that the layer sent.
func (r *rig) reply(n, code int, tag string) {
	r.t.Helper()
	r.put(replyTo(r.t, r.ours.Sent()[n], code, tag))
}

func replyTo(t testing.TB, sent []byte, code int, tag string) []byte {
	t.Helper()
	msg, err := sipmsg.Parse(sent)
	if err != nil {
		t.Fatal(err)
	}
	return sipmsg.Bytes(sipmsg.Response(msg.(*sip.Request), code, "", tag))
}

// line returns the value of a header of a serialised message.
func line(b []byte, name string) string {
	for l := range bytes.SplitSeq(b, []byte("\r\n")) {
		if v, ok := bytes.CutPrefix(l, []byte(name+": ")); ok {
			return string(v)
		}
	}
	return ""
}
