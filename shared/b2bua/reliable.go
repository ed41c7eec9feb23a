package b2bua

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// maxReliable is how many provisional responses may wait for their turn at A; the call can do without more.
const maxReliable = 8

// reliable is A's side of RFC 3262 §3: the provisional responses that A has to confirm, one at a time.
//
//	tell ──► sent ──PRACK──► the next one
//	          │ └─ resent at T1, 2·T1, 4·T1 …
//	          └──── 64·T1 without PRACK ──► the call ends
type reliable struct {
	invite  uint32 // CSeq of A's INVITE
	seq     uint32 // RSeq of the last one
	sent    *provisional
	settled bool // a description that was exchanged in one of them is confirmed
	waiting []*provisional
	timer   *time.Timer
	final   func() // sends the 2xx that waits for the PRACK
}

// provisional is one of them.
type provisional struct {
	res *sip.Response
	e   *early // whose description it carries; nil: none
}

// tell sends A a provisional response made of B's. sdp is the description for A, e where it came from.
func (c *Call) tell(from *sip.Response, sdp []byte, e *early) {
	out := c.response(c.a, c.a.server, from.StatusCode, from)
	setSDP(out, sdp)
	if len(sdp) == 0 {
		e = nil
	}
	if !c.reliably(e != nil) {
		c.respond(c.a, c.a.server, out)
		return
	}
	if c.a.rel == nil {
		c.a.rel = &reliable{invite: c.a.server.Request().CSeq().SeqNo, seq: rand.Uint32N(1<<31-1) + 1} // RFC 3262 §3
	}
	p := &provisional{res: out, e: e}
	switch r := c.a.rel; {
	case r.sent == nil:
		c.sendReliably(p)
	case len(r.waiting) < maxReliable:
		r.waiting = append(r.waiting, p)
	}
}

// reliably reports whether A gets a provisional response so that it has to confirm it: where it wants that, and where one
// can that is to carry a description.
func (c *Call) reliably(described bool) bool {
	a := c.a
	if !a.policy.allows(sip.PRACK) {
		return false
	}
	return a.can&mustReliable != 0 || described && a.can&canReliable != 0
}

func (c *Call) sendReliably(p *provisional) {
	r := c.a.rel
	p.res.AppendHeader(sip.NewHeader("Require", tagReliable))
	p.res.AppendHeader(sip.NewHeader("RSeq", strconv.FormatUint(uint64(r.seq), 10)))
	c.a.allow(p.res) // RFC 3311 §5.1: so that A knows that UPDATE is possible early
	r.sent = p
	if p.e != nil {
		c.told = p.e
	}
	c.respond(c.a, c.a.server, p.res)
	c.repeatAfter(p, c.eng.cfg.Timers.T1, 0)
}

// repeatAfter sends a reliable response again until its PRACK comes.
func (c *Call) repeatAfter(p *provisional, gap, waited time.Duration) {
	r := c.a.rel
	r.timer = c.later(gap, func() {
		if r.sent != p || r.timer == nil {
			return
		}
		limit := 64 * c.eng.cfg.Timers.T1
		if waited += gap; waited >= limit { // RFC 3262 §3
			c.end(Ending{Code: sip.StatusGatewayTimeout, Reason: verdict.NoPRACK, By: A}, nil)
			return
		}
		c.respond(c.a, c.a.server, p.res)
		c.repeatAfter(p, min(2*gap, limit-waited), waited)
	})
}

// stop ends the repeating; a PRACK that is under way is still taken.
func (r *reliable) stop() {
	if r != nil && r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// holds reports whether A's 2xx must wait: what was described before it has to be confirmed first (RFC 3262 §3).
func (r *reliable) holds() bool { return r != nil && r.sent != nil && r.sent.e != nil }

// onPrack takes A's PRACK.
func (c *Call) onPrack(l *leg, s *transaction.Server) {
	r, req := l.rel, s.Request()
	v, _ := sipmsg.Header(req, "RAck")
	rseq, cseq, ok := parseRAck(v)
	if r == nil || r.sent == nil || !ok || rseq != r.seq || cseq != r.invite { // RFC 3262 §3
		c.reply(l, s, sip.StatusCallTransactionDoesNotExists)
		return
	}
	sdp, refused := offerOf(req)
	p := r.sent
	r.sent = nil
	r.stop()
	r.settled = r.settled || p.e != nil
	switch {
	case refused != nil:
		c.reply(l, s, refused.Code)
	case p.e != nil && p.e.owed != 0:
		c.reply(l, s, sip.StatusOK)
		c.answeredEarly(sdp)
	case len(sdp) > 0: // RFC 3262 §5: another offer
		c.carryOffer(l, nil, s, sdp)
	default:
		c.reply(l, s, sip.StatusOK)
	}
	c.nextReliable()
}

// nextReliable sends what waited for the PRACK: the answer, or the next provisional response.
func (c *Call) nextReliable() {
	r := c.a.rel
	switch {
	case c.ended || c.a.established:
	case r.final != nil:
		up := r.final
		r.final, r.waiting = nil, nil
		up()
	case len(r.waiting) > 0:
		p := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.seq++
		c.sendReliably(p)
	}
}
