package siptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"brickhouse/shared/siptest/ladder"
)

// Phone is a telephone: one user, one set of sockets. Its methods may be called from several goroutines.
type Phone struct {
	cfg  Config
	log  *ladder.Log
	wire *wire
	tx   *table
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	ready    chan struct{} // closed when wire is set
	incoming chan *Call
	screen   func(*serverTx) bool // a carrier's challenge; nil for a phone

	mu     sync.Mutex
	answer Answer
	calls  map[string]*Call // by Call-ID and our tag
	auth   map[string]*used // last challenge by the name of the header that answers it
	regID  string           // Call-ID of all our REGISTERs (RFC 3261 §10.2.4)
	regSeq uint32
	// regContact is the Contact of the last REGISTER.
	regContact string
	faults     []string
	texts      []*Message // MESSAGEs that came in
	subs       map[string]*Subscription
}

// used is a challenge and how often it was answered.
type used struct {
	challenge
	count uint32
}

// Limits of what is kept for the test to read.
const (
	maxIncoming = 256
	maxFaults   = 100
)

// NewPhone opens a phone's sockets. It does not register.
func NewPhone(cfg Config) (*Phone, error) { return newPhone(cfg, nil) }

// newPhone opens a phone whose new calls must pass a screen; the screen answers those that don't.
func newPhone(cfg Config, screen func(*serverTx) bool) (*Phone, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Phone{cfg: cfg, log: ladder.NewLog(cfg.LadderLimit), tx: newTable(cfg.T1), answer: cfg.Answer, screen: screen,
		incoming: make(chan *Call, maxIncoming), calls: make(map[string]*Call), auth: make(map[string]*used), regID: token(),
		ready: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.wire, err = openWire(cfg, p.log, func(f *flow, raw []byte) {
		<-p.ready
		p.receive(f, raw)
	})
	close(p.ready)
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// Close ends all calls without a word, closes all sockets and waits for all goroutines.
func (p *Phone) Close() {
	p.stop()
	p.mu.Lock()
	var calls []*Call
	for _, c := range p.calls {
		calls = append(calls, c)
	}
	p.mu.Unlock()
	for _, c := range calls {
		c.finish(EndClosed)
	}
	p.tx.close()
	p.wire.close()
}

// Name is the name in the configuration.
func (p *Phone) Name() string { return p.cfg.Name }

// Addr is the phone's own SIP address: of its UDP socket or listener; port 0 if it only dials.
func (p *Phone) Addr() netip.AddrPort { return p.wire.local }

// URI is what a phone without a server is called by: its user at its address.
func (p *Phone) URI() string { return p.contactURI(p.wire.local) }

// AOR is the address of record.
func (p *Phone) AOR() string { return "sip:" + p.cfg.User + "@" + p.cfg.Domain }

// Ladder is every message sent and received so far.
func (p *Phone) Ladder() []ladder.Message { return p.log.Messages() }

// Column is the phone as a column of a ladder.
func (p *Phone) Column() ladder.Column {
	c := ladder.Column{Name: p.cfg.Name, Messages: p.log.Messages()}
	if p.wire.local.Port() != 0 {
		c.Addrs = []string{p.wire.local.String()}
	}
	return c
}

// Incoming gives each incoming call as it comes in, before it is answered. Calls beyond 256 that nobody took are not shown.
func (p *Phone) Incoming() <-chan *Call { return p.incoming }

// SetAnswer changes what becomes of later incoming calls.
func (p *Phone) SetAnswer(a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = a
}

// Faults are the errors that the phone found in what it received: messages that can't be read, answers that don't fit. At most
// 100 are kept. A test asserts that there are none.
func (p *Phone) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

func (p *Phone) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

// receive takes each message, on the reader's goroutine.
func (p *Phone) receive(f *flow, raw []byte) {
	m, err := ParseMessage(raw)
	if err != nil {
		p.fault("from %s: %v", f.remote, err)
		return
	}
	switch {
	case !m.IsRequest():
		if !p.tx.response(m) {
			p.stray(f, m)
		}
	case m.Method == "ACK":
		p.gotAck(m)
	default:
		s, fresh := p.tx.request(f, m)
		if fresh {
			p.request(s)
		} else if s != nil {
			s.repeat()
		}
	}
}

// request deals with a new request. Nothing here waits.
func (p *Phone) request(s *serverTx) {
	m := s.req
	switch m.Method {
	case "INVITE":
		if m.ToTag() != "" {
			p.reinvited(s)
			return
		}
		if p.screen == nil || p.screen(s) {
			p.ring(s)
		}
	case "CANCEL":
		p.cancelled(s)
	case "BYE":
		if c := p.callOf(m.CallID(), m.ToTag()); c != nil {
			s.respond(200, nil)
			c.finish(EndBye)
			return
		}
		s.respond(481, nil)
	case "INFO":
		if c := p.callOf(m.CallID(), m.ToTag()); c != nil {
			c.note(m)
			s.respond(200, nil)
			return
		}
		s.respond(481, nil)
	case "NOTIFY":
		if p.watched(s) {
			return
		}
		if m.ToTag() != "" {
			p.notified(s)
			return
		}
		s.respond(200, nil, p.allow())
	case "MESSAGE":
		p.messaged(s)
	case "OPTIONS":
		s.respond(200, nil, p.allow())
	default:
		s.respond(405, nil, p.allow())
	}
}

func (p *Phone) allow() field {
	return field{"Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, NOTIFY, MESSAGE"}
}

func (p *Phone) callOf(callID, localTag string) *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[callID+" "+localTag]
}

func (p *Phone) keep(c *Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c.dialog.callID+" "+c.dialog.localTag] = c
}

func (p *Phone) drop(c *Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c.dialog.callID+" "+c.dialog.localTag)
}

// flowTo is the flow to the next hop of a request: the server if there is one, else the host of the URI.
func (p *Phone) flowTo(ctx context.Context, uri string) (*flow, error) {
	hop := p.cfg.Server
	if hop == "" {
		hop = hostPort(uri)
	}
	remote, err := resolve(ctx, hop)
	if err != nil {
		return nil, err
	}
	return p.wire.to(ctx, remote)
}

// resolve finds the address of host:port.
func resolve(ctx context.Context, hop string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(hop); err == nil {
		return ap, nil
	}
	host, port, err := net.SplitHostPort(hop)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("next hop %q: %w", hop, err)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("next hop %q: %w", hop, err)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return netip.AddrPort{}, fmt.Errorf("next hop %q: %w", hop, errors.Join(err, errors.New("no address")))
	}
	for _, a := range addrs { // IPv4 first: what the tests bind to
		if a.Unmap().Is4() {
			return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
		}
	}
	return netip.AddrPortFrom(addrs[0], uint16(n)), nil
}

// hostPort is the host and port of a SIP URI, with the default port if there is none.
func hostPort(uri string) string {
	rest := uri
	if _, after, ok := strings.Cut(rest, ":"); ok {
		rest = after
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, params, _ := strings.Cut(rest, ";")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if strings.LastIndexByte(rest, ':') > strings.LastIndexByte(rest, ']') {
		return rest
	}
	port := "5060"
	if strings.Contains(strings.ToLower(params), "transport=tls") || strings.HasPrefix(strings.ToLower(uri), "sips:") {
		port = "5061"
	}
	return net.JoinHostPort(strings.Trim(rest, "[]"), port)
}

// targetURI makes a URI of what a test calls: a number, a user@host or a whole URI.
func (p *Phone) targetURI(target string) string {
	switch {
	case strings.HasPrefix(target, "sip:"), strings.HasPrefix(target, "sips:"), strings.HasPrefix(target, "tel:"):
		return target
	case strings.Contains(target, "@"):
		return "sip:" + target
	}
	return "sip:" + target + "@" + p.cfg.Domain
}

// contactURI is our Contact on a flow with that local address.
func (p *Phone) contactURI(local netip.AddrPort) string {
	if p.wire.ln != nil {
		local = p.wire.local // others can reach the listener, not the port that we dialled from
	}
	uri := "sip:" + p.cfg.User + "@" + local.String()
	if p.cfg.Transport != UDP {
		uri += ";transport=" + p.cfg.Transport.param()
	}
	return uri
}

// dress completes a request for a flow: fresh Via, User-Agent.
func (p *Phone) dress(f *flow, d *draft) {
	sentBy := f.local
	if p.wire.ln != nil {
		sentBy = p.wire.local
	}
	via := fmt.Sprintf("SIP/2.0/%s %s;branch=z9hG4bK%s", strings.ToUpper(string(f.network)), sentBy, token())
	if f.network == UDP {
		via += ";rport"
	}
	if d.get("Via") == "" {
		d.fields = append([]field{{"Via", via}}, d.fields...)
	} else {
		d.set("Via", via)
	}
	if d.get("User-Agent") == "" {
		d.add("User-Agent", p.cfg.UserAgent)
	}
}

// authorize puts the answer to the last challenge into a request, if there is one. It returns the names of the headers.
func (p *Phone) authorize(d *draft) {
	if p.cfg.Password == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	method, rest, _ := strings.Cut(d.start, " ")
	uri, _, _ := strings.Cut(rest, " ")
	for name, u := range p.auth {
		u.count++
		d.set(name, u.answer(credentials{user: p.cfg.AuthUser, password: p.cfg.Password, method: method, uri: uri,
			count: u.count, cnonce: token()}))
	}
}

// learn keeps the challenge of a 401 or 407. It returns whether it is of use and whether it only says that the nonce is old.
func (p *Phone) learn(m *Message) (usable, stale bool) {
	answer, ask := "Authorization", "WWW-Authenticate"
	if m.Code == 407 {
		answer, ask = "Proxy-Authorization", "Proxy-Authenticate"
	}
	if p.cfg.Password == "" {
		return false, false
	}
	c, err := chooseChallenge(m.Headers(ask), p.cfg.Algorithms)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		delete(p.auth, answer)
		return false, false
	}
	p.auth[answer] = &used{challenge: c}
	return true, c.stale
}

// do sends a request other than INVITE, answers challenges, and returns the final response. next gives CSeq numbers.
func (p *Phone) do(ctx context.Context, f *flow, d *draft, next func() uint32) (*Message, error) {
	method, _, _ := strings.Cut(d.start, " ")
	var a attempts
	for {
		tx, err := p.launch(f, d, next())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		m, err := tx.wait(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if !p.again(m, &a) {
			return m, nil
		}
	}
}

// launch starts a client transaction with a new branch, CSeq number and credentials.
func (p *Phone) launch(f *flow, d *draft, cseq uint32) (*clientTx, error) {
	method, _, _ := strings.Cut(d.start, " ")
	d.set("CSeq", fmt.Sprintf("%d %s", cseq, method))
	p.dress(f, d)
	p.authorize(d)
	return p.tx.send(f, d)
}

// attempts counts the challenges to one request.
type attempts struct {
	www, proxy bool // challenged by a server, by a proxy
	stale      int
}

// again tells whether a request that was challenged is to be sent once more: once with credentials for each kind of
// challenge, and twice at most because only the nonce was too old.
func (p *Phone) again(m *Message, a *attempts) bool {
	if m.Code != 401 && m.Code != 407 {
		return false
	}
	usable, stale := p.learn(m)
	seen := &a.www
	if m.Code == 407 {
		seen = &a.proxy
	}
	first := !*seen
	*seen = true
	if stale {
		a.stale++
	}
	return usable && (first || stale && a.stale <= 2)
}

// Result is the final answer to a request.
type Result struct {
	Code   int
	Reason string
}

// OK reports a 2xx.
func (r Result) OK() bool { return r.Code/100 == 2 }

func (r Result) String() string { return fmt.Sprintf("%d %s", r.Code, r.Reason) }

func (m *Message) result() Result { return Result{m.Code, m.Reason} }

// RefusedError is a final response that is no success.
type RefusedError struct {
	Method string
	Result
	Response *Message
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%s refused: %s", e.Method, e.Result) }

// refused is the error of a final response, or nil for success.
func refused(m *Message) error {
	if m.result().OK() {
		return nil
	}
	return &RefusedError{Method: m.Method, Result: m.result(), Response: m}
}

// soon is the deadline for what a phone sends by itself.
const soon = 10 * time.Second
