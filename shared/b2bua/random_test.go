package b2bua

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// storm is a call in which everybody does what comes to mind, in an order that the seed decides.
type storm struct {
	*rig
	rnd *rand.Rand
	log []string
}

// TestAnyOrder holds the engine against what must be true whatever happens: every call ends exactly once, media and
// calls are closed, offers and answers take turns, no leg's names show on another, nothing stays (rig.close).
func TestAnyOrder(t *testing.T) {
	rounds := uint64(400)
	if testing.Short() {
		rounds = 40
	}
	for seed := range rounds {
		network := transport.UDP
		if seed%2 == 1 {
			network = transport.TCP
		}
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, network, 3, func(r *rig) {
				s := &storm{rig: r, rnd: rand.New(rand.NewPCG(seed, 1))}
				s.run()
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("what was done: %q", s.log)
					}
				})
			})
		})
		if !ok {
			return
		}
	}
}

func (s *storm) run() {
	shapes := [][][]int{{{0}}, {{0}}, {{0, 1}}, {{0, 1, 2}}, {{0}, {1}, {2}}, {{0, 1}, {2}}}
	shape := shapes[s.rnd.IntN(len(shapes))]
	s.groups = func() [][]int { return shape }
	s.fail = map[string]error{"bad": &Refusal{Code: 488, Reason: verdict.NoCommonMedia}}
	s.change = func(p *Plan) {
		p.Ring = 30 * time.Second
		if s.rnd.IntN(3) == 0 {
			p.Groups[0][0].Auth = func(*sip.Request, *sip.Response) (sip.Header, error) {
				return sip.NewHeader("Authorization", "Digest x"), nil
			}
		}
	}
	s.engine.cfg.Session = SessionTimers{Expires: time.Duration(s.rnd.IntN(2)) * 5 * time.Minute, Min: MinSession}
	says := []string{"Supported: 100rel", "Require: 100rel", "Supported: timer", "Session-Expires: 90;refresher=uac\r\nSupported: timer, 100rel"}
	s.a.with(says[s.rnd.IntN(len(says))]+"\r\nAllow: UPDATE", func() { s.a.invite(s.sdp()) })
	for range 5 + s.rnd.IntN(30) {
		s.step()
	}
}

// sdp is an offer or an answer, or none, or one that is refused.
func (s *storm) sdp() string {
	switch s.rnd.IntN(10) {
	case 0, 1:
		return ""
	case 2:
		return "bad"
	}
	return fmt.Sprint("v", s.rnd.IntN(1000))
}

func (s *storm) step() {
	switch n := s.rnd.IntN(100); {
	case n < 55:
		s.respond(s.someone())
	case n < 65:
		s.did("a acks")
		s.a.ack(s.sdp())
	case n < 68:
		s.did("a cancels")
		s.a.cancel()
	case n < 80:
		s.ask(s.someone())
	case n < 95:
		d := time.Duration(s.rnd.IntN(4000)) * time.Millisecond
		if s.rnd.IntN(8) == 0 {
			d *= 20
		}
		s.did("time passes: ", d)
		s.pass(d)
	case n < 97:
		if calls := s.engine.Calls(); len(calls) > 0 {
			s.did("we hang up")
			s.engine.End(calls[0].ID, verdict.MediaTimeout)
			s.pass(0)
		}
	default:
		p := s.someone()
		cut := s.rnd.IntN(2) == 0
		s.did(p.name, " is cut: ", cut)
		p.cut(cut)
	}
}

func (s *storm) did(what ...any) { s.log = append(s.log, fmt.Sprint(what...)) }

func (s *storm) someone() *party {
	if n := s.rnd.IntN(6); n < len(s.b) {
		return s.b[n]
	} else if n == 3 {
		return s.b[0]
	}
	return s.a
}

// ask has a party send a request of its own.
func (s *storm) ask(p *party) {
	method := []string{"BYE", "INVITE", "INVITE", "INVITE", "INFO", "OPTIONS", "REFER", "UPDATE", "UPDATE", "PRACK"}[s.rnd.IntN(10)]
	s.did(p.name, " asks ", method)
	sdp := ""
	if method == "INVITE" || method == "UPDATE" {
		sdp = s.sdp()
	}
	if method == "PRACK" {
		if p == s.a && strings.Contains(string(bytes.Join(p.received(), nil)), "RSeq: ") {
			p.prack(s.sdp())
		}
		return
	}
	if p != s.a {
		p.read()
		if len(p.msgs) == 0 {
			return
		}
		p.seq++
		p.callee(method, p.seq, sdp)
		return
	}
	p.seq++
	if method == "INVITE" {
		p.inviteSeq = p.seq
	}
	p.send(method, p.seq, sdp)
}

// respond has a party answer one of the last requests that it got, or answer it again.
func (s *storm) respond(p *party) {
	p.read()
	var asked []*sip.Request
	for _, m := range p.msgs {
		if req, ok := m.(*sip.Request); ok && !req.IsAck() {
			asked = append(asked, req)
		}
	}
	if len(asked) == 0 {
		return
	}
	req := asked[max(0, len(asked)-1-s.rnd.IntN(3))]
	codes := []int{100, 180, 183, 200, 200, 200, 200, 302, 401, 404, 408, 481, 486, 491, 500, 603}
	if !req.IsInvite() {
		codes = []int{100, 200, 200, 200, 200, 407, 481, 500}
	}
	code := codes[s.rnd.IntN(len(codes))]
	tag := p.tag
	if s.rnd.IntN(8) == 0 {
		tag += "-other"
	}
	sdp := ""
	if code == 183 || code == 200 {
		sdp = s.sdp()
	}
	var lines []string
	switch {
	case req.IsInvite() && code < 200 && code > 100 && s.rnd.IntN(2) == 0:
		lines = []string{"Require: 100rel", fmt.Sprint("RSeq: ", 1+s.rnd.IntN(4)), "Allow: UPDATE"}
	case code == 200 && s.rnd.IntN(2) == 0:
		lines = []string{"Session-Expires: 90;refresher=" + []string{"uac", "uas"}[s.rnd.IntN(2)], "Allow: UPDATE"}
	}
	s.did(p.name, " answers ", code, " to ", req.Method, " ", req.CSeq().SeqNo, " (", sdp, ")")
	p.put(p.response(req, tag, code, sdp, lines...))
	if tag, _ := sipmsg.Param(req.From().Params, "tag"); req.IsInvite() && p == s.a {
		p.theirs = tag
	}
}
