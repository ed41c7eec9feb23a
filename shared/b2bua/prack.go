package b2bua

import (
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Reliable provisional responses of B (RFC 3262 §4). Each is confirmed here, hop by hop; only the PRACK with the answer to
// an offer of B waits for A's. What A gets of them, and how, is in reliable.go.

// rseqOf returns the RSeq of a reliable provisional response; 0 where a response is not reliable.
func rseqOf(res *sip.Response) uint32 {
	if !named(res.GetHeaders("Require"), tagReliable) {
		return 0
	}
	v, _ := sipmsg.Header(res, "RSeq")
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// inOrder takes the next reliable response of an early dialog. One that came before was confirmed before, and one that
// comes too early comes again (RFC 3262 §4).
func (e *early) inOrder(rseq uint32) bool {
	if e.rseq != 0 && (rseq != e.rseq+1 || e.owed != 0) {
		return false
	}
	e.rseq = rseq
	return true
}

// onReliable takes a reliable provisional response of B in its turn.
func (c *Call) onReliable(l *leg, e *early, res *sip.Response) {
	sdp := sdpOf(res)
	switch {
	case len(sdp) == 0:
		c.prack(l, e, e.rseq, nil)
		c.tell(res, nil, nil)
	case c.offer != nil: // RFC 3262 §5: it is the answer, and will not be another
		c.prack(l, e, e.rseq, nil)
		out := c.earlyAnswer(l, e, sdp)
		e.sure = true
		c.tell(res, out, e)
	case c.told == nil && len(c.tried) == 1:
		c.offerEarly(e, res, sdp)
	default:
		// A has an offer already, and can answer only one. Without PRACK this phone gives up by itself.
		e.rseq--
	}
}

// offerEarly carries an offer that B made in its reliable response to A, whose PRACK will bring the answer.
func (c *Call) offerEarly(e *early, res *sip.Response, sdp []byte) {
	out, err := c.offered(B, sdp)
	if err != nil {
		r := refusal(err)
		c.log.Info("offer can't be used", "target", e.leg.target.Name, "reason", r.Reason, "error", err)
		c.end(Ending{Code: sip.StatusNotAcceptableHere, Reason: r.Reason, By: B}, nil)
		return
	}
	e.sdp, e.owed, c.told = sdp, e.rseq, e
	c.a.mine, e.leg.theirs = out, sdp
	c.tell(res, out, e)
}

// answeredEarly takes A's answer to an offer of B to B, in B's PRACK.
func (c *Call) answeredEarly(sdp []byte) {
	e := c.told
	out, err := c.answered(A, sdp)
	if len(sdp) == 0 || err != nil {
		why := verdict.BadBody // RFC 3264 §4: an offer was made, and there is no answer
		if err != nil {
			why = refusal(err).Reason
		}
		c.end(Ending{Code: sip.StatusNotAcceptableHere, Reason: why, By: A}, nil)
		return
	}
	rseq := e.owed
	e.owed, e.sure = 0, true
	c.a.theirs, e.leg.mine = sdp, out
	c.prack(e.leg, e, rseq, out)
}

// prack confirms a reliable response of B. body is the answer to its offer.
func (c *Call) prack(l *leg, e *early, rseq uint32, body []byte) {
	req := l.within(e.dlg, sip.PRACK)
	rack := strconv.FormatUint(uint64(rseq), 10) + " " + strconv.FormatUint(uint64(l.sent.seq), 10) + " INVITE"
	req.AppendHeader(sip.NewHeader("RAck", rack))
	setSDP(req, body)
	c.request(l, e.dlg, req, func(ev transaction.Event) {
		if code := failureOf(ev); code >= 300 {
			c.log.Debug("PRACK was refused", "target", l.target.Name, "code", code) // B repeats what it wants confirmed, or gives up
		}
	})
}

// parseRAck reads the value of a RAck header (RFC 3262 §7.2): which response, of which INVITE.
func parseRAck(v string) (rseq, cseq uint32, ok bool) {
	f := strings.Fields(v)
	if len(f) != 3 || f[2] != string(sip.INVITE) {
		return 0, 0, false
	}
	r, errR := strconv.ParseUint(f[0], 10, 32)
	s, errS := strconv.ParseUint(f[1], 10, 32)
	return uint32(r), uint32(s), errR == nil && errS == nil && r > 0
}
