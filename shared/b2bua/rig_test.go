package b2bua

import (
	"context"
	"fmt"
	"log/slog"
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

	replace func(*transaction.Server) error // takes the next INVITE
	change  func(*Plan)                     // changes the plan of the next call
	same    bool                            // the callees are one program: it knows the names of all their calls
	groups  func() [][]int                  // which callees ring; nil: the first one

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
	if r.replace != nil {
		if err := r.replace(s); err != nil {
			_ = s.Respond(sipmsg.Response(req, 503, "", s.Tag()))
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
		Allow: "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE",
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
			if p == other || r.same && p != r.a && other != r.a {
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
