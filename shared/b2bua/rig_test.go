package b2bua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

// t1 is RFC 3261's; the clock of a bubble makes waiting cheap.
const t1 = 500 * time.Millisecond

// rig is an engine with its transaction layer, a caller and some callees that speak bytes. It lives in a synctest bubble: time
// passes only in pass, and all that can happen has happened when a method returns.
type rig struct {
	t       *testing.T
	network transport.Network
	layer   *transaction.Layer
	engine  *Engine
	a       *party
	b       []*party
	fail    map[string]error // what media say to a description
	media   *fakeMedia       // of the last call
	medias  []*fakeMedia

	change func(*Plan)    // changes the plan of the next call
	groups func() [][]int // which callees ring; nil: the first one

	mu       sync.Mutex // guards below: callbacks of several calls
	started  int
	refused  []error // of Start
	endings  []Ending
	rang     int
	answered []string
	unknown  int // requests that no call knew
}

// bubble runs fn with a rig of n callees, and looks afterwards for what should not be left.
func bubble(t *testing.T, network transport.Network, n int, fn func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, network, n)
		fn(r)
		r.close()
	})
}

// both runs fn on UDP and on a stream.
func both(t *testing.T, n int, fn func(r *rig)) {
	t.Helper()
	for _, network := range []transport.Network{transport.UDP, transport.TCP} {
		t.Run(string(network), func(t *testing.T) { bubble(t, network, n, fn) })
	}
}

func newRig(t *testing.T, network transport.Network, n int) *rig {
	r := &rig{t: t, network: network}
	r.layer = transaction.New(transaction.DefaultTimers(), r, nil)
	r.engine = New(Config{Transactions: r.layer, Log: slog.New(slog.DiscardHandler), MaxCalls: 100})
	r.a = r.party("a", "192.0.2.10", "198.51.100.1")
	for i := range n {
		r.b = append(r.b, r.party(fmt.Sprint("b", i+1), fmt.Sprint("192.0.2.", 21+i), "198.51.100.2"))
	}
	return r
}

// close ends what is left of the calls and checks that nothing stays behind.
func (r *rig) close() {
	r.t.Helper()
	r.engine.Close(2 * time.Minute)
	r.pass(2 * time.Minute)
	if n := r.engine.Len(); n != 0 {
		r.t.Errorf("%d calls are left", n)
	}
	if n := len(r.engine.legs); n != 0 {
		r.t.Errorf("%d legs are left", n)
	}
	if s, c := r.layer.Counts(); s != 0 || c != 0 {
		r.t.Errorf("%d server and %d client transactions are left", s, c)
	}
	if len(r.endings) != r.started {
		r.t.Errorf("%d calls ended %d times: %v", r.started, len(r.endings), r.endings)
	}
	for _, m := range r.medias {
		m.done()
	}
	r.checkHiding()
	r.layer.Close()
	synctest.Wait()
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Request implements transaction.User as the programs do.
func (r *rig) Request(s *transaction.Server) {
	req := s.Request()
	if tag, _ := sipmsg.Param(req.To().Params, "tag"); tag != "" || !req.IsInvite() {
		if !r.engine.Request(s) {
			r.mu.Lock()
			r.unknown++
			r.mu.Unlock()
			_ = s.Respond(sipmsg.Response(req, 481, "", s.Tag()))
		}
		return
	}
	plan := r.plan()
	if r.change != nil {
		r.change(&plan)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.engine.Start(s, plan); err != nil {
		r.refused = append(r.refused, err)
		_ = s.Respond(sipmsg.Response(req, 503, "", s.Tag()))
		return
	}
	r.started++
	if plan.Media != nil {
		r.medias = append(r.medias, r.media)
	}
}

// Ack implements transaction.User.
func (r *rig) Ack(f *transport.Flow, req *sip.Request) {
	if !r.engine.Ack(f, req) {
		r.mu.Lock()
		r.unknown++
		r.mu.Unlock()
	}
}

// Stray implements transaction.User.
func (r *rig) Stray(_ *transport.Flow, res *sip.Response) { r.engine.Stray(res) }

// plan is a call to the callees, with media.
func (r *rig) plan() Plan {
	r.media = &fakeMedia{t: r.t, fail: r.fail}
	p := Plan{
		Policy: policy(), Media: r.media, Info: Info{Trace: "trace", Caller: "alice", Callee: "bob"},
		Ringing: func() { r.note(func() { r.rang++ }) },
		Answer:  func(t Target) { r.note(func() { r.answered = append(r.answered, t.Name) }) },
		End:     func(e Ending) { r.note(func() { r.endings = append(r.endings, e) }) },
	}
	groups := [][]int{{0}}
	switch {
	case r.groups != nil:
		groups = r.groups()
	case len(r.b) == 0:
		groups = nil
	}
	for _, g := range groups {
		var targets []Target
		for _, n := range g {
			targets = append(targets, r.target(r.b[n]))
		}
		p.Groups = append(p.Groups, targets)
	}
	return p
}

func (r *rig) note(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

// target is a callee. Every other one is reached over a connection that is made first.
func (r *rig) target(p *party) Target {
	t := Target{
		Name: p.name, Policy: policy(), URI: sip.Uri{Scheme: "sip", User: "bob", Host: p.name + ".example.net"},
		From: dialog.Party{Display: "Caller", URI: sip.Uri{Scheme: "sip", User: "caller", Host: "b.example.net"}},
		To:   dialog.Party{URI: sip.Uri{Scheme: "sip", User: "bob", Host: "b.example.net"}},
	}
	if strings.HasSuffix(p.name, "1") {
		t.Dial = func(context.Context) (*transport.Flow, error) { return p.flow, nil }
	} else {
		t.Flow = p.flow
	}
	return t
}

// policy lets through what the tests look for.
func policy() *LegPolicy {
	return &LegPolicy{
		Allow: "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO",
		Contact: func(f *transport.Flow) sip.Uri {
			host, port := f.ViaHost()
			return sip.Uri{Scheme: "sip", Host: host, Port: port}
		},
		Pass: func(dst, src sip.Message) {
			for _, name := range []string{"Content-Type", "Subject", "Retry-After", "Proxy-Authenticate", "Proxy-Authorization"} {
				for _, v := range sipmsg.Headers(src, name) {
					if err := sipmsg.Add(dst, name, v); err != nil {
						panic(err)
					}
				}
			}
		},
	}
}

// ended fails the test unless exactly one call ended so.
func (r *rig) ended(code int, why verdict.Reason, by Side) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.endings) != 1 || r.endings[0].Code != code || r.endings[0].Reason != why || r.endings[0].By != by {
		r.t.Errorf("endings are %+v, want %d %s by %s", r.endings, code, why, by)
	}
}

// state fails the test unless there is one call, in that state.
func (r *rig) state(want State) {
	r.t.Helper()
	calls := r.engine.Calls()
	if len(calls) != 1 || calls[0].State != want {
		r.t.Errorf("calls are %+v, want one that is %s", calls, want)
	}
}

// checkHiding fails the test if a name of one leg was seen on another, in whatever direction.
func (r *rig) checkHiding() {
	r.t.Helper()
	all := append([]*party{r.a}, r.b...)
	for _, p := range all {
		for _, other := range all {
			if p == other {
				continue
			}
			for _, b := range other.received() {
				for _, secret := range p.secrets() {
					if strings.Contains(string(b), secret) {
						r.t.Errorf("%s was sent %q of %s:\n%s", other.name, secret, p.name, b)
					}
				}
			}
		}
	}
}

// party is a phone that speaks bytes.
type party struct {
	r          *rig
	name       string
	host       string
	flow       *transport.Flow
	extra      string // header lines in all that it sends
	contact    string // of its messages; empty: sip:NAME@HOST
	branches   int
	mu         sync.Mutex // guards below
	got        [][]byte
	msgs       []sip.Message // got, parsed as far as read has come
	seen       int           // how many of them want has taken
	broken     bool
	callID     string
	tag        string // its own
	theirs     string // ours, as it knows it
	target     string // ours
	seq        int
	inviteSeq  int
	lastBranch string
}

func (r *rig) party(name, remote, local string) *party {
	p := &party{r: r, name: name, host: remote, callID: name + "-call-id", tag: name + "-tag"}
	p.flow = r.flowTo(p, remote+":5060", local+":5060")
	return p
}

// flowTo makes another flow to a party.
func (r *rig) flowTo(p *party, remote, local string) *transport.Flow {
	h := &transporttest.Recorder{OnMessage: r.layer.Message, OnClosed: r.layer.FlowClosed}
	i, err := transport.NewVirtual(transport.Config{Name: p.name, Network: r.network}, h)
	if err != nil {
		r.t.Fatal(err)
	}
	w := &wire{p: p}
	f, err := i.Attach(w, transport.Attachment{
		Network: r.network, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	w.flow = f
	return f
}

// wire is one connection to a party (transport.Carrier).
type wire struct {
	p    *party
	flow *transport.Flow
}

// Send takes what the engine sends.
func (w *wire) Send(b []byte) error { return w.p.accept(b) }

// Close ends the connection.
func (w *wire) Close(why verdict.Reason) { w.flow.Ended(why) }

var errBroken = errors.New("the wire is cut")

func (p *party) accept(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return errBroken
	}
	p.got = append(p.got, b)
	return nil
}

// cut has all that is sent to the party fail.
func (p *party) cut(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

func (p *party) received() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([][]byte(nil), p.got...)
}

// secrets are the names that only the party and we may know.
func (p *party) secrets() []string {
	out := []string{p.host, p.name + "-call-id", p.name + "-tag", "z9hG4bK-" + p.name, p.name + "-agent"}
	for _, b := range p.received() { // ours towards it
		msg, err := sipmsg.Parse(b)
		if err != nil {
			p.r.t.Fatalf("%s was sent %q: %v", p.name, b, err)
		}
		if req, ok := msg.(*sip.Request); ok {
			id := req.CallID().Value()
			from, _ := sipmsg.Param(req.From().Params, "tag")
			branch, _ := sipmsg.Param(req.Via().Params, "branch")
			out = append(out, id, from, branch)
		} else if tag := toTag(msg.(*sip.Response)); tag != "" {
			out = append(out, tag)
		}
	}
	return out
}

// put sends text to us.
func (p *party) put(text string) {
	p.read()
	p.flow.Deliver([]byte(text))
	synctest.Wait()
}

// summary is "INVITE (body)" or "200 INVITE (body)".
func summary(msg sip.Message) string {
	var s string
	switch m := msg.(type) {
	case *sip.Request:
		s = string(m.Method)
	case *sip.Response:
		s = fmt.Sprint(m.StatusCode, " ", m.CSeq().MethodName)
	}
	if b := msg.Body(); len(b) > 0 {
		s += " (" + string(b) + ")"
	}
	return s
}

// read parses and learns from what arrived.
func (p *party) read() {
	p.r.t.Helper()
	for _, b := range p.received()[len(p.msgs):] {
		msg, err := sipmsg.Parse(b)
		if err != nil {
			p.r.t.Fatalf("%s was sent %q: %v", p.name, b, err)
		}
		p.msgs = append(p.msgs, msg)
		p.learn(msg)
	}
}

// take returns what arrived since it was last asked.
func (p *party) take() []sip.Message {
	p.r.t.Helper()
	p.read()
	out := p.msgs[p.seen:]
	p.seen = len(p.msgs)
	return out
}

// learn keeps what the party must know to answer.
func (p *party) learn(msg sip.Message) {
	switch m := msg.(type) {
	case *sip.Request:
		if m.IsInvite() && m.To().Params.Length() == 0 {
			p.callID = m.CallID().Value()
			p.theirs, _ = sipmsg.Param(m.From().Params, "tag")
		}
	case *sip.Response:
		if m.CSeq().MethodName == sip.INVITE && toTag(m) != "" && p.name == "a" {
			p.theirs = toTag(m)
		}
	}
	if c := msg.GetHeaders("Contact"); len(c) > 0 {
		p.target = strings.Trim(c[0].Value(), "<>")
	}
}

// want fails the test unless exactly these messages arrived since it was last asked.
func (p *party) want(want ...string) []sip.Message {
	p.r.t.Helper()
	msgs := p.take()
	var got []string
	for _, m := range msgs {
		got = append(got, summary(m))
	}
	if strings.Join(got, " | ") != strings.Join(want, " | ") {
		p.r.t.Errorf("%s got %q, want %q", p.name, got, want)
	}
	return msgs
}

// invite sends the first INVITE. An empty offer makes none.
func (p *party) invite(offer string) {
	p.r.t.Helper()
	p.seq++
	p.read()
	p.inviteSeq, p.theirs, p.target = p.seq, "", "sip:bob@sbc.example.org"
	p.send("INVITE", p.seq, offer)
}

// reinvite sends an INVITE within the dialog.
func (p *party) reinvite(offer string) {
	p.r.t.Helper()
	p.seq++
	p.inviteSeq = p.seq
	p.send("INVITE", p.seq, offer)
}

// ack acknowledges the last INVITE's 2xx.
func (p *party) ack(answer string) {
	p.r.t.Helper()
	keep := p.lastBranch
	p.send("ACK", p.inviteSeq, answer)
	p.lastBranch = keep
}

// cancel cancels the last INVITE.
func (p *party) cancel() {
	p.r.t.Helper()
	p.read()
	theirs := p.theirs
	if p.seq == 1 {
		p.theirs = "" // RFC 3261 §9.1: To as in the INVITE
	}
	p.sendOn(p.lastBranch, "CANCEL", p.inviteSeq, "")
	p.theirs = theirs
}

// request sends another request within the dialog.
func (p *party) request(method string) {
	p.r.t.Helper()
	p.seq++
	p.send(method, p.seq, "")
}

func (p *party) send(method string, seq int, sdp string) {
	p.branches++
	branch := fmt.Sprint("z9hG4bK-", p.name, "-", p.branches)
	if method == "INVITE" {
		p.lastBranch = branch
	}
	p.sendOn(branch, method, seq, sdp)
}

func (p *party) sendOn(branch, method string, seq int, sdp string) {
	p.put(p.text(branch, method, seq, sdp))
}

// text is a request of the party.
func (p *party) text(branch, method string, seq int, sdp string) string {
	p.read()
	to := "<sip:bob@sbc.example.org>"
	if p.theirs != "" {
		to += ";tag=" + p.theirs
	}
	return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s:5060;branch=%s\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%s@example.org>;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: %s\r\nUser-Agent: %s-agent\r\n%s%s",
		method, p.target, p.r.network.Via(), p.host, branch, p.name, p.tag, to, p.callID, seq, method, p.contactLine(), p.name, p.extra, body(sdp))
}

func (p *party) contactLine() string {
	if p.contact != "" {
		return "<" + p.contact + ">"
	}
	return "<sip:" + p.name + "@" + p.host + ">"
}

func body(sdp string) string {
	if sdp == "" {
		return "Content-Length: 0\r\n\r\n"
	}
	return fmt.Sprintf("Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", len(sdp), sdp)
}

// answer responds to the last request of that method that arrived. lines are further header lines.
func (p *party) answer(method string, code int, sdp string, lines ...string) {
	p.r.t.Helper()
	p.answerAs(p.tag, method, code, sdp, lines...)
}

// answerAs is answer with another To tag.
func (p *party) answerAs(tag, method string, code int, sdp string, lines ...string) {
	p.r.t.Helper()
	p.put(p.response(p.last(method), tag, code, sdp, lines...))
}

// last returns the last request of that method that arrived.
func (p *party) last(method string) *sip.Request {
	p.r.t.Helper()
	p.read()
	for i := len(p.msgs) - 1; i >= 0; i-- {
		if req, ok := p.msgs[i].(*sip.Request); ok && string(req.Method) == method {
			return req
		}
	}
	p.r.t.Fatalf("%s got no %s", p.name, method)
	return nil
}

// response is the text of a response.
func (p *party) response(req *sip.Request, tag string, code int, sdp string, lines ...string) string {
	to := req.To()
	head := fmt.Sprintf("SIP/2.0 %d Whatever\r\nVia: %s\r\nFrom: %s\r\n", code, req.Via().Value(), req.From().Value())
	if to.Params.Length() == 0 && code > 100 {
		head += fmt.Sprintf("To: %s;tag=%s\r\n", to.Value(), tag)
	} else {
		head += fmt.Sprintf("To: %s\r\n", to.Value())
	}
	head += fmt.Sprintf("Call-ID: %s\r\nCSeq: %s\r\nServer: %s-agent\r\n", req.CallID().Value(), req.CSeq().Value(), p.name)
	if req.IsInvite() && code > 100 && code < 400 {
		head += "Contact: " + p.contactLine() + "\r\n"
	}
	for _, l := range lines {
		head += l + "\r\n"
	}
	return head + body(sdp)
}

// up makes a call between A and the first callee: "v1" is offered, "v2" answered.
func (r *rig) up() {
	r.t.Helper()
	r.a.invite("v1")
	r.b[0].want("INVITE (v1>b)")
	r.b[0].answer("INVITE", 180, "")
	r.a.want("180 INVITE")
	r.b[0].answer("INVITE", 200, "v2")
	r.b[0].want("ACK")
	r.a.want("200 INVITE (v2>a)")
	r.a.ack("")
	r.state(StateAnswered)
}

// down ends such a call by A's BYE.
func (r *rig) down() {
	r.t.Helper()
	r.a.request("BYE")
	r.a.want("200 BYE")
	r.b[0].want("BYE")
	r.b[0].answer("BYE", 200, "")
	r.ended(200, verdict.NormalClearing, A)
	if n := r.engine.Len(); n != 0 {
		r.t.Errorf("%d calls are left after BYE", n)
	}
}

// fakeMedia carries descriptions across and checks that offers and answers take turns (RFC 3264).
type fakeMedia struct {
	t *testing.T

	mu     sync.Mutex       // guards below: calls may share it
	fail   map[string]error // what to say to a description
	offer  Side
	made   bool
	log    []string
	closed int
}

func (m *fakeMedia) Offer(from Side, sdp []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("offer %s %s", from, sdp))
	m.offer, m.made = from, true
	return m.passLocked(from, sdp)
}

func (m *fakeMedia) Answer(from Side, sdp []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("answer %s %s", from, sdp))
	if !m.made || m.offer == from {
		m.t.Errorf("an answer without an offer: %q", m.log)
	}
	return m.passLocked(from, sdp)
}

func (m *fakeMedia) passLocked(from Side, sdp []byte) ([]byte, error) {
	if m.closed > 0 {
		m.t.Errorf("media used after Close: %q", m.log)
	}
	if err := m.fail[string(sdp)]; err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s>%s", sdp, from.Other()), nil
}

func (m *fakeMedia) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
}

// done fails the test unless it was closed once.
func (m *fakeMedia) done() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != 1 {
		m.t.Errorf("media closed %d times", m.closed)
	}
}

// wants fails the test unless the media were told exactly this.
func (m *fakeMedia) wants(want ...string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Join(m.log, ", ") != strings.Join(want, ", ") {
		m.t.Errorf("media were told %q, want %q", m.log, want)
	}
}

// byTheCallee sends a request within the dialog that the last INVITE made.
func (p *party) byTheCallee(method string, seq int) {
	p.r.t.Helper()
	p.callee(method, seq, "")
}

// callee is byTheCallee with a description.
func (p *party) callee(method string, seq int, sdp string) {
	p.r.t.Helper()
	in := p.last("INVITE")
	p.callID = in.CallID().Value()
	p.theirs, _ = sipmsg.Param(in.From().Params, "tag")
	p.target = strings.Trim(in.Contact().Value(), "<>")
	p.inviteSeq = seq
	p.send(method, seq, sdp)
}
