package b2bua

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// dialTimeout bounds the making of a connection to a target.
const dialTimeout = 5 * time.Second

// maxChallenges is how many challenges in a row we answer on one leg.
const maxChallenges = 2

// start takes the INVITE of A: it answers here, or rings the first group.
func (c *Call) start() {
	if c.info.State != StateSetup {
		return // cancelled already
	}
	offer := sdpOf(c.a.server.Request())
	if c.plan.Local != nil {
		c.answerHere(offer)
		return
	}
	if len(offer) > 0 {
		out, err := c.offered(A, offer)
		if err != nil {
			r := refusal(err)
			c.giveUp(r.Code, r.Reason)
			return
		}
		c.offer = out
	}
	patience := c.plan.Ring
	if patience == 0 {
		patience = DefaultRing
	}
	c.ring = c.later(patience, c.onNoAnswer)
	c.ringGroup()
}

// offered carries an offer across.
func (c *Call) offered(from Side, sdp []byte) ([]byte, error) {
	if c.plan.Media == nil {
		return sdp, nil
	}
	return c.plan.Media.Offer(from, sdp)
}

// answered carries an answer across.
func (c *Call) answered(from Side, sdp []byte) ([]byte, error) {
	if c.plan.Media == nil {
		return sdp, nil
	}
	return c.plan.Media.Answer(from, sdp)
}

// refusal is what an error says about the response to its cause.
func refusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Code: sip.StatusNotAcceptableHere, Reason: verdict.BadBody}
}

// ringGroup calls every target of the current group.
func (c *Call) ringGroup() {
	c.tried = nil
	if c.group >= len(c.plan.Groups) || len(c.plan.Groups[c.group]) == 0 {
		c.giveUpBest()
		return
	}
	for i, t := range c.plan.Groups[c.group] {
		c.tried = append(c.tried, c.newLeg(t, i))
	}
	for _, l := range c.tried {
		c.place(l)
	}
}

// newLeg makes a B-leg. Its names are derived from A's, so that a caller that comes again with credentials is seen by
// the far side as the same caller that comes again (RFC 3261 §8.1.3.5: same Call-ID, same From tag, next CSeq).
func (c *Call) newLeg(t Target, index int) *leg {
	seed := []string{c.a.dlg.CallID, c.a.dlg.Remote.Tag, strconv.Itoa(c.group), strconv.Itoa(index)}
	callID := c.eng.derive(append(seed, "call-id")...)
	t.From.Tag = c.eng.derive(append(seed, "tag")...)[:20]
	l := &leg{call: c, side: B, key: legKey{callID, t.From.Tag}, policy: t.Policy, target: t, flow: t.Flow}
	l.dlg = dialog.NewClient(callID, t.From, t.To, t.URI, t.Routes, c.a.dlg.RemoteSeq)
	return l
}

// place sends the first INVITE of a B-leg, over a connection that may have to be made first.
func (c *Call) place(l *leg) {
	if l.flow != nil {
		c.placeOver(l, l.flow, nil)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		f, err := l.target.Dial(ctx)
		c.post(func() { c.placeOver(l, f, err) })
	}()
}

func (c *Call) placeOver(l *leg, f *transport.Flow, err error) {
	if c.info.State == StateEnding || l.over {
		c.close(l)
		return
	}
	if err != nil {
		c.log.Warn("target can't be reached", "target", l.target.Name, "reason", verdict.TransportFailure, "error", err)
		c.failed(l, nil)
		return
	}
	l.flow = f
	if !c.eng.register(l) {
		c.failed(l, nil)
		return
	}
	c.sendInvite(l, c.buildInvite(l))
}

// buildInvite makes the first INVITE of a B-leg from A's.
func (c *Call) buildInvite(l *leg) *sip.Request {
	in := c.a.server.Request()
	req := l.dlg.First(sip.INVITE)
	if h := in.MaxForwards(); h != nil && h.Val() > 0 && h.Val() <= dialog.MaxForwards {
		left := sip.MaxForwardsHeader(h.Val() - 1) // RFC 5853 §3.1: loops end although each leg is new
		req.ReplaceHeader(&left)
	}
	l.contact(req, l.flow)
	l.allow(req)
	l.pass(req, in)
	for _, h := range l.target.Headers {
		req.AppendHeader(h)
	}
	setSDP(req, c.offer)
	return req
}

// allow adds our Allow.
func (l *leg) allow(msg sip.Message) {
	if l.policy.Allow != "" {
		msg.AppendHeader(sip.NewHeader("Allow", l.policy.Allow))
	}
}

// sendInvite sends an INVITE on a B-leg: the first one, or the same with credentials.
func (c *Call) sendInvite(l *leg, req *sip.Request) {
	l.invite, l.inviteSeq, l.acked = req, req.CSeq().SeqNo, false
	client, err := c.eng.cfg.Transactions.Send(l.via(), req, func(ev transaction.Event) {
		c.post(func() { c.onInviteEvent(l, ev) })
	})
	if err != nil {
		c.log.Warn("target can't be reached", "target", l.target.Name, "reason", verdict.TransportFailure, "error", err)
		c.failed(l, nil)
		return
	}
	l.client = client
}

// onInviteEvent takes a response to the INVITE of a B-leg, or the news that none will come.
func (c *Call) onInviteEvent(l *leg, ev transaction.Event) {
	if ev.Response != nil && c.plan.Learn != nil && !l.over {
		c.plan.Learn(ev.Response)
	}
	switch res := ev.Response; {
	case l.over && res != nil && res.IsSuccess():
		c.refuseLate(l, res) // it lost the race, or the call is over
	case l.over || l.established && (res == nil || !res.IsSuccess()):
	case res == nil:
		c.failed(l, nil)
	case res.IsProvisional():
		c.onProvisional(l, res)
	case res.IsSuccess():
		c.onAnswer(l, res)
	case l.target.Auth != nil && challenged(res) && l.tries < maxChallenges:
		c.answerChallenge(l, res)
	default:
		c.failed(l, res)
	}
}

func challenged(res *sip.Response) bool {
	return res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired
}

// answerChallenge sends the INVITE again with credentials (RFC 3261 §22.2).
func (c *Call) answerChallenge(l *leg, res *sip.Response) {
	next := c.withCredentials(l, l.invite, res)
	if next == nil {
		c.failed(l, res)
		return
	}
	c.sendInvite(l, next)
}

// withCredentials builds the request that follows a challenge to req, or returns nil where there is no answer to it.
func (c *Call) withCredentials(l *leg, req *sip.Request, res *sip.Response) *sip.Request {
	l.tries++
	credentials, err := l.target.Auth(req, res)
	if err != nil {
		c.log.Warn("challenge can't be answered", "target", l.target.Name, "error", err)
		return nil
	}
	next := req.Clone()
	sipmsg.Remove(next, "Via")
	sipmsg.Remove(next, credentials.Name())
	next.AppendHeader(credentials)
	l.dlg.LocalSeq++
	next.CSeq().SeqNo = l.dlg.LocalSeq
	return next
}

// onProvisional tells A that B rings, or lets A hear what B's side plays.
func (c *Call) onProvisional(l *leg, res *sip.Response) {
	if res.StatusCode == sip.StatusTrying || c.info.State == StateEnding || c.a.server == nil {
		return
	}
	if err := l.dlg.Establish(res); err != nil {
		return
	}
	if c.info.State == StateSetup {
		c.state(StateRinging)
		if c.plan.Ringing != nil {
			c.plan.Ringing()
		}
	}
	out := c.response(c.a, c.a.server, res.StatusCode, res)
	setSDP(out, c.earlyAnswer(res))
	c.respond(c.a, c.a.server, out)
}

// earlyAnswer is what A may hear before the call is answered. Where several targets ring, that would change with each
// of them, which one answer may not (RFC 3264 §4): A hears its own ringing tone.
func (c *Call) earlyAnswer(res *sip.Response) []byte {
	sdp := sdpOf(res)
	if c.offer == nil || len(sdp) == 0 || len(c.tried) > 1 {
		return nil
	}
	out, err := c.answered(B, sdp)
	if err != nil {
		return nil // the 2xx will tell
	}
	c.early = out
	return out
}

// failed takes a target's refusal; when the last one of its group refused, the next group's turn has come, or the end.
func (c *Call) failed(l *leg, res *sip.Response) {
	c.close(l)
	if c.info.State == StateEnding || c.info.State == StateAnswered {
		return
	}
	if res != nil && better(res, c.best) {
		c.best = res
	}
	if res != nil && res.IsGlobalError() {
		c.giveUpBest() // RFC 3261 §16.7 step 5: a 6xx ends the search
		return
	}
	for _, other := range c.tried {
		if !other.over {
			return
		}
	}
	if c.best != nil && !tryNext(c.best.StatusCode) {
		c.giveUpBest()
		return
	}
	c.group++
	c.ringGroup()
}

// tryNext reports whether a refusal was the path's fault rather than the callee's word. Who was asked and said no is
// not asked again through another gateway.
func tryNext(code int) bool {
	return code == sip.StatusRequestTimeout || code/100 == 5 || code/100 == 3
}

// better reports whether res tells A more than the best refusal so far (RFC 3261 §16.7 step 6).
func better(res, best *sip.Response) bool {
	return best == nil || rank(res.StatusCode) < rank(best.StatusCode)
}

func rank(code int) int {
	switch {
	case code >= 600:
		return 0
	case code == sip.StatusBusyHere:
		return 1
	case code == sip.StatusUnauthorized || code == sip.StatusProxyAuthRequired:
		return 2
	case code == sip.StatusRequestTimeout || code == sip.StatusTemporarilyUnavailable:
		return 4
	case code/100 == 4:
		return 3
	case code/100 == 5:
		return 5
	default:
		return 6
	}
}

// onNoAnswer ends a call that rang too long.
func (c *Call) onNoAnswer() {
	if c.info.State == StateSetup || c.info.State == StateRinging {
		c.giveUp(sip.StatusTemporarilyUnavailable, verdict.NoAnswer)
	}
}
