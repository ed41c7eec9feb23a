package b2bua

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
)

// handovers is a storm over two calls of one phone, of which each may become a part of the other.
type handovers struct {
	storm
	all  []*party // a, its second line, the callees
	took *party   // a third phone of the same account, once it tried
}

// TestTransfersInAnyOrder holds transfers against what must be true whatever happens: every call ends exactly once, no leg and
// no transaction stays, no leg's names show on another (rig.close).
func TestTransfersInAnyOrder(t *testing.T) {
	rounds := uint64(150)
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		network := transport.UDP
		if seed%2 == 1 {
			network = transport.TCP
		}
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, network, 3, func(r *rig) {
				h := &handovers{storm: storm{rig: r, rnd: rand.New(rand.NewPCG(seed, 2))}}
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("what was done: %q", h.log)
					}
				})
				h.run()
			})
		})
		if !ok {
			return
		}
	}
}

// beep is a service that many calls end at.
type beep struct{}

func (beep) Answer([]byte) ([]byte, error) { return []byte("beep"), nil }
func (beep) Offer() ([]byte, error)        { return []byte("beep"), nil }
func (beep) Accept([]byte) error           { return nil }
func (beep) Close()                        {}

func (h *handovers) run() {
	var local Local
	if h.rnd.IntN(4) == 0 {
		local = beep{}
	}
	h.engine.cfg.Session = SessionTimers{Expires: time.Duration(h.rnd.IntN(2)) * 5 * time.Minute, Min: MinSession}
	h.transfers(local)
	h.a.talk(h.b[0])
	h.all = append([]*party{h.a, h.second()}, h.b...)
	for range 10 + h.rnd.IntN(40) {
		h.step()
	}
}

func (h *handovers) step() {
	p := h.all[h.rnd.IntN(len(h.all))]
	switch n := h.rnd.IntN(100); {
	case n < 50:
		h.respond(p)
	case n < 62:
		h.transfer(p)
	case n < 66:
		h.takes()
	case n < 72:
		h.did(p.name, " acks")
		p.read()
		if p.target != "" {
			p.ack(h.sdp())
		}
	case n < 82:
		h.request(p, []string{"BYE", "INVITE", "INVITE", "UPDATE", "INFO", "NOTIFY"}[h.rnd.IntN(6)], "")
	case n < 96:
		d := time.Duration(h.rnd.IntN(3000)) * time.Millisecond
		if h.rnd.IntN(8) == 0 {
			d *= 60
		}
		h.did("time passes: ", d)
		h.pass(d)
	default:
		cut := h.rnd.IntN(2) == 0
		h.did(p.name, " is cut: ", cut)
		p.cut(cut)
	}
}

// transfer has a party transfer the one that it talks to: to a target, or to the far side of one of the calls.
func (h *handovers) transfer(p *party) {
	to := "<sip:1003@example.org>"
	if h.rnd.IntN(2) == 0 {
		to = "<sip:bob@example.org?Replaces=" + url.QueryEscape(h.all[h.rnd.IntN(2)].replaces()) + ">"
	}
	h.request(p, "REFER", "Refer-To: "+to+"\r\n")
}

// request has a party send a request within its call.
func (h *handovers) request(p *party, method, extra string) {
	sdp := ""
	if method == "INVITE" || method == "UPDATE" {
		sdp = h.sdp()
	}
	h.did(p.name, " asks ", method, " ", extra, " (", sdp, ")")
	p.extra = extra
	defer func() { p.extra = "" }()
	p.read()
	p.seq++
	if p.name[0] == 'b' {
		for _, m := range p.msgs {
			if req, ok := m.(*sip.Request); ok && req.IsInvite() {
				p.callee(method, p.seq, sdp)
				return
			}
		}
		return
	}
	if method == "INVITE" {
		p.inviteSeq = p.seq
	}
	p.send(method, p.seq, sdp)
}

// takes has a third phone take the place of the first, once.
func (h *handovers) takes() {
	if h.took != nil {
		return
	}
	h.did("the call is taken over")
	h.took, _ = h.takeOver("1001", h.sdp(), h.all[h.rnd.IntN(2)].replaces())
	h.all = append(h.all, h.took)
}
