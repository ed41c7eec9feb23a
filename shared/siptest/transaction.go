package siptest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrTimeout is reported when no final response came within 64·T1 (RFC 3261 §17.1, timers B and F).
var ErrTimeout = errors.New("no answer")

// ErrConnection is reported when the connection ended before the final response.
var ErrConnection = errors.New("connection ended")

// maxTransactions bounds the transactions of one phone, each way.
const maxTransactions = 100_000

// table holds a phone's transactions of RFC 3261 §17. Finished ones stay for 64·T1 to absorb what is repeated.
type table struct {
	t1   time.Duration
	stop chan struct{} // closed by the phone's Close
	wg   sync.WaitGroup

	mu      sync.Mutex
	clients map[string]*clientTx
	servers map[string]*serverTx
	closed  bool
}

func newTable(t1 time.Duration) *table {
	return &table{t1: t1, stop: make(chan struct{}), clients: make(map[string]*clientTx), servers: make(map[string]*serverTx)}
}

func (t *table) t2() time.Duration { return 8 * t.t1 }

// close fails all that waits and lets the goroutines end.
func (t *table) close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.stop)
	}
	t.mu.Unlock()
	t.wg.Wait()
}

// spawn starts a goroutine that close waits for.
func (t *table) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// clientTx is a client transaction.
type clientTx struct {
	t      *table
	f      *flow
	sent   *draft
	raw    []byte
	invite bool

	responses   chan *Message // the last 64
	provisional chan struct{} // closed at the first provisional response
	final       chan struct{} // closed at the first final response
	dead        chan struct{} // closed when none will come; err is set before

	mu         sync.Mutex
	gotAny     bool
	finalSeen  bool
	finalIs2xx bool
	err        error
}

// send starts a client transaction. The draft must have its Via with a fresh branch.
func (t *table) send(f *flow, d *draft) (*clientTx, error) {
	method, _, _ := strings.Cut(d.start, " ")
	c := &clientTx{t: t, f: f, sent: d.clone(), raw: d.bytes(), invite: method == "INVITE", responses: make(chan *Message, 64),
		provisional: make(chan struct{}), final: make(chan struct{}), dead: make(chan struct{})}
	key := param(d.get("Via"), "branch") + " " + method
	t.mu.Lock()
	if t.closed || len(t.clients) >= maxTransactions {
		t.mu.Unlock()
		return nil, errClosed
	}
	t.clients[key] = c
	t.mu.Unlock()
	if err := f.send(c.raw); err != nil {
		t.forget(key, 0)
		return nil, fmt.Errorf("%w: %w", ErrConnection, err)
	}
	if !t.spawn(func() { c.run(); t.forget(key, 64*t.t1) }) {
		return nil, errClosed
	}
	return c, nil
}

// forget removes a client transaction after a while.
func (t *table) forget(key string, after time.Duration) {
	time.AfterFunc(after, func() {
		t.mu.Lock()
		delete(t.clients, key)
		t.mu.Unlock()
	})
}

// run repeats the request until it is answered (timers A, E), or gives up (timers B, F).
func (c *clientTx) run() {
	interval := c.t.t1
	resend, giveUp := time.NewTimer(interval), time.NewTimer(64*c.t.t1)
	defer resend.Stop()
	defer giveUp.Stop()
	if c.f.network.stream() {
		resend.Stop()
	}
	provisional := c.provisional
	for {
		select {
		case <-resend.C:
			c.f.send(c.raw) // an error shows as silence
			interval *= 2
			if !c.invite {
				interval = min(interval, c.t.t2())
			}
			resend.Reset(interval)
		case <-provisional:
			provisional = nil
			if c.invite { // RFC 3261 §17.1.1.2: Proceeding has no timers
				resend.Stop()
				giveUp.Stop()
			} else {
				interval = c.t.t2()
			}
		case <-c.final:
			return
		case <-giveUp.C:
			c.fail(ErrTimeout)
			return
		case <-c.f.closed:
			c.fail(ErrConnection)
			return
		case <-c.t.stop:
			c.fail(errClosed)
			return
		}
	}
}

func (c *clientTx) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.finalSeen {
		c.err = err
		close(c.dead)
	}
}

// next waits for the next response.
func (c *clientTx) next(ctx context.Context) (*Message, error) {
	select {
	case m := <-c.responses: // first what is already here
		return m, nil
	default:
	}
	select {
	case m := <-c.responses:
		return m, nil
	case <-c.dead:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wait waits for the final response.
func (c *clientTx) wait(ctx context.Context) (*Message, error) {
	for {
		m, err := c.next(ctx)
		if err != nil || m.Code >= 200 {
			return m, err
		}
	}
}

// response gives a response to its transaction. It returns false if it belongs to none, or is a 2xx to an INVITE that has
// had its final response: the caller must acknowledge it again.
func (t *table) response(m *Message) bool {
	t.mu.Lock()
	c := t.clients[m.branch()+" "+m.Method]
	t.mu.Unlock()
	return c != nil && c.got(m)
}

func (c *clientTx) got(m *Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gotAny && m.Code < 200 {
		c.gotAny = true
		close(c.provisional)
	}
	if m.Code >= 300 && c.invite && !c.finalIs2xx {
		c.f.send(c.ackFor(m).bytes()) // RFC 3261 §17.1.1.3, also for what is repeated
	}
	if m.Code < 200 {
		if !c.finalSeen {
			c.push(m)
		}
		return true
	}
	if c.finalSeen {
		return !(c.invite && m.Code < 300)
	}
	c.finalSeen, c.finalIs2xx = true, m.Code < 300
	c.push(m)
	close(c.final)
	return true
}

// push keeps the newest responses: a final one is never lost behind provisional ones.
func (c *clientTx) push(m *Message) {
	for {
		select {
		case c.responses <- m:
			return
		default:
		}
		select {
		case <-c.responses:
		default:
		}
	}
}

// ackFor is the ACK to a non-2xx response: same Via, Request-URI, Route and CSeq number as the INVITE.
func (c *clientTx) ackFor(m *Message) *draft { return c.sent.follower("ACK", m.Header("To")) }

// follower is an ACK or CANCEL of a request that was sent (RFC 3261 §17.1.1.3, §9.1).
func (d *draft) follower(method, to string) *draft {
	_, rest, _ := strings.Cut(d.start, " ")
	number, _, _ := strings.Cut(d.get("CSeq"), " ")
	out := &draft{start: method + " " + rest}
	out.add("Via", d.get("Via")).add("Max-Forwards", "70").add("From", d.get("From")).add("To", to).
		add("Call-ID", d.get("Call-ID")).add("CSeq", number+" "+method)
	for _, f := range d.fields {
		if f.name == "Route" {
			out.add(f.name, f.value)
		}
	}
	return out
}

// serverTx is a server transaction.
type serverTx struct {
	t     *table
	f     *flow
	req   *Message
	toTag string

	mu        sync.Mutex
	last      []byte        // last response sent
	code      int           // its code
	acked     chan struct{} // closed when the ACK to the final response came
	isAcked   bool
	cancelled chan struct{} // closed when a CANCEL came
	isOff     bool
}

// serverKey is what retransmissions of a request have in common (RFC 3261 §17.2.3).
func serverKey(m *Message, method string) string {
	sentBy, _, _ := strings.Cut(m.Header("Via"), ";")
	return m.branch() + " " + strings.TrimSpace(sentBy) + " " + method
}

// request is the server transaction of a request, and whether it is a new one.
func (t *table) request(f *flow, m *Message) (*serverTx, bool) {
	key := serverKey(m, m.Method)
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.servers[key]; s != nil {
		return s, false
	}
	if t.closed || len(t.servers) >= maxTransactions {
		return nil, false
	}
	s := &serverTx{t: t, f: replyFlow(f, m), req: m, toTag: token(), acked: make(chan struct{}), cancelled: make(chan struct{})}
	t.servers[key] = s
	time.AfterFunc(max(64*t.t1, time.Minute), func() {
		t.mu.Lock()
		delete(t.servers, key)
		t.mu.Unlock()
	})
	return s, true
}

// find is the INVITE transaction that an ACK or CANCEL belongs to, or nil.
func (t *table) find(m *Message) *serverTx {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.servers[serverKey(m, "INVITE")]
}

// replyFlow is where responses to a request go: back over its connection; over UDP to its source, and to the port of Via
// unless rport asks for the source's (RFC 3261 §18.2.2, RFC 3581 §4).
func replyFlow(f *flow, m *Message) *flow {
	if f.network.stream() || hasParam(m.Header("Via"), "rport") {
		return f
	}
	port := uint16(5060)
	sentBy, _, _ := strings.Cut(m.Header("Via"), ";")
	if i := strings.LastIndexByte(sentBy, ':'); i > strings.LastIndexByte(sentBy, ']') {
		if n, err := strconv.ParseUint(strings.TrimSpace(sentBy[i+1:]), 10, 16); err == nil {
			port = uint16(n)
		}
	}
	reply := *f
	reply.remote = netip.AddrPortFrom(f.remote.Addr(), port)
	return &reply
}

func hasParam(value, name string) bool {
	for _, p := range splitParams(value)[1:] {
		n, _, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			return true
		}
	}
	return false
}

// respond sends a response, the fields in extra after those that every response copies (RFC 3261 §8.2.6).
func (s *serverTx) respond(code int, body []byte, extra ...field) error {
	d := &draft{start: fmt.Sprintf("SIP/2.0 %d %s", code, phrase(code)), body: body}
	for i, v := range s.req.list("Via") {
		if i == 0 {
			v = s.received(v)
		}
		d.add("Via", v)
	}
	to := s.req.Header("To")
	if s.req.ToTag() == "" && code > 100 {
		to += ";tag=" + s.toTag
	}
	d.add("From", s.req.Header("From")).add("To", to).add("Call-ID", s.req.CallID()).add("CSeq", s.req.Header("CSeq"))
	if code > 100 && code < 300 { // RFC 3261 §12.1.1
		for _, v := range s.req.Headers("Record-Route") {
			d.add("Record-Route", v)
		}
	}
	d.fields = append(d.fields, extra...)
	raw := d.bytes()
	s.mu.Lock()
	if s.code >= 200 {
		s.mu.Unlock()
		return fmt.Errorf("answering %s with %d: already answered %d", s.req.Method, code, s.code)
	}
	s.last, s.code = raw, code
	s.mu.Unlock()
	if err := s.f.send(raw); err != nil {
		return err
	}
	if s.req.Method == "INVITE" && code >= 200 {
		s.t.spawn(func() { s.repeatUntilAck(raw, code) })
	}
	return nil
}

// received writes the source into the top Via of a response (RFC 3261 §18.2.1, RFC 3581 §4).
func (s *serverTx) received(via string) string {
	parts := splitParams(via)
	for i, p := range parts[1:] {
		if strings.EqualFold(strings.TrimSpace(p), "rport") {
			parts[i+1] = fmt.Sprintf("rport=%d", s.f.remote.Port())
		}
	}
	return strings.Join(parts, ";") + ";received=" + s.f.remote.Addr().String()
}

// repeatUntilAck repeats a final response to an INVITE: a 2xx over any transport (RFC 3261 §13.3.1.4), others over UDP only
// (timer G).
func (s *serverTx) repeatUntilAck(raw []byte, code int) {
	if code >= 300 && s.f.network.stream() {
		return
	}
	giveUp := time.NewTimer(64 * s.t.t1)
	defer giveUp.Stop()
	for interval := s.t.t1; ; interval = min(2*interval, s.t.t2()) {
		wait := time.NewTimer(interval)
		select {
		case <-wait.C:
			s.f.send(raw)
			continue
		case <-s.acked:
		case <-giveUp.C:
		case <-s.t.stop:
		}
		wait.Stop()
		return
	}
}

// repeat answers a retransmitted request with the last response.
func (s *serverTx) repeat() {
	s.mu.Lock()
	last, again := s.last, s.code > 0 && !(s.req.Method == "INVITE" && s.code/100 == 2)
	s.mu.Unlock()
	if again {
		s.f.send(last)
	}
}

// ack notes that the final response has been acknowledged.
func (s *serverTx) ack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isAcked {
		s.isAcked = true
		close(s.acked)
	}
}

// cancel notes a CANCEL; it reports whether the INVITE was still unanswered.
func (s *serverTx) cancel() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOff || s.code >= 200 {
		return false
	}
	s.isOff = true
	close(s.cancelled)
	return true
}

// phrase is the reason phrase of a status code.
func phrase(code int) string {
	known := map[int]string{100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 302: "Moved Temporarily",
		400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
		407: "Proxy Authentication Required", 408: "Request Timeout", 480: "Temporarily Unavailable",
		481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
		491: "Request Pending", 500: "Server Internal Error", 503: "Service Unavailable", 600: "Busy Everywhere",
		603: "Decline"}
	if p := known[code]; p != "" {
		return p
	}
	return "Unspecified"
}
