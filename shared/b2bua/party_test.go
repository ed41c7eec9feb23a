package b2bua

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

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
		if m.CSeq().MethodName == sip.INVITE && toTag(m) != "" && p.name[0] == 'a' {
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
