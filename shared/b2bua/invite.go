package b2bua

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// dialTimeout bounds the making of a connection to a target.
const dialTimeout = 5 * time.Second

// start takes the INVITE of A: it answers here, or rings the first group.
func (c *Call) start() {
	if c.ended {
		return // cancelled already
	}
	req := c.a.server.Request()
	if h := req.MaxForwards(); h != nil && h.Val() == 0 { // RFC 3261 §16.3: each leg is new, yet a loop must end
		c.end(Ending{Code: sip.StatusTooManyHops, Reason: verdict.TooManyHops}, nil)
		return
	}
	c.a.learn(req)
	if c.tooShort(req) {
		c.end(Ending{Code: statusIntervalTooSmall, Reason: verdict.IntervalTooSmall, By: A}, nil)
		return
	}
	offer, refused := offerOf(req)
	if refused != nil {
		c.end(Ending{Code: refused.Code, Reason: refused.Reason, By: A}, nil)
		return
	}
	if c.plan.Local != nil {
		c.answerHere(offer)
		return
	}
	if len(offer) > 0 {
		out, err := c.offered(A, offer)
		if err != nil {
			r := refusal(err)
			c.end(Ending{Code: r.Code, Reason: r.Reason, By: A}, nil)
			return
		}
		c.offer, c.a.theirs = out, offer
	}
	patience := c.plan.Ring
	if patience == 0 {
		patience = DefaultRing
	}
	c.ring = c.later(patience, c.onNoAnswer)
	if c.plan.Forwarded {
		c.tellForwarded()
	}
	c.patience(c.plan.First)
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

// newLeg makes a B-leg. Its names are derived from A's, so that a caller that comes again with credentials is seen by
// the far side as the same caller that comes again (RFC 3261 §8.1.3.5: same Call-ID, same From tag, next CSeq). index tells it
// from the other legs of its group.
func (c *Call) newLeg(t Target, index string) *leg {
	a := c.a.dlg
	callID, tag := c.eng.names(c.a.flow.Remote().Addr().String(), a.CallID, a.Remote.Tag, strconv.Itoa(c.group), index)
	t.From.Tag = tag
	l := &leg{
		side: B, placed: true, index: index, key: legKey{callID, t.From.Tag}, policy: t.Policy, target: t, account: t.Account, flow: t.Flow,
	}
	l.call.Store(c)
	l.dlg = dialog.NewClient(callID, t.From, t.To, t.URI, t.Routes, a.RemoteSeq%firstSeqLimit+1)
	return l
}

// firstSeqLimit keeps our first CSeq, which follows the caller's, far from the greatest there is (RFC 3261 §8.1.1.5).
const firstSeqLimit = 1 << 30

// place sends the first INVITE of a B-leg, over a connection that may have to be made first.
func (c *Call) place(l *leg) {
	if l.flow != nil {
		c.placeOver(l, l.flow, nil)
		return
	}
	var ctx context.Context
	ctx, l.dialing = context.WithTimeout(context.Background(), dialTimeout)
	target := l.target // the call may be over, and lightened, while the connection is made
	c.eng.crew.Go(func() {
		f, err := target.dial(ctx)
		c.post(func() { c.placeOver(l, f, err) })
	})
}

var (
	errNoWay     = errors.New("target names neither a flow nor a way to make one")
	errDialFault = errors.New("fault while making a connection")
)

// dial makes the connection to a target. It runs on a goroutine of its own, where a panic would end the program.
func (t *Target) dial(ctx context.Context) (f *transport.Flow, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("%w: %v", errDialFault, p)
		}
	}()
	if t.Dial == nil {
		return nil, errNoWay
	}
	f, err = t.Dial(ctx)
	if f == nil && err == nil {
		err = errNoWay
	}
	return f, err
}

func (c *Call) placeOver(l *leg, f *transport.Flow, err error) {
	if l.dialing != nil {
		l.dialing()
		l.dialing = nil
	}
	if l.over {
		return // called off while the connection was made
	}
	if err == nil && !c.eng.register(l) {
		err = ErrMerged
	}
	if err != nil {
		c.log.Warn("target can't be reached", "target", l.target.Name, "reason", verdict.TransportFailure, "error", err)
		c.word(l, transaction.Event{Err: err})
		c.failed(l, outcomeOf(transaction.Event{Err: err}))
		return
	}
	l.flow = f
	c.invite(l, c.buildInvite(l), true, func(ev transaction.Event) { c.onInviteEvent(l, ev) })
	c.awaitWord(l)
}

// buildInvite makes the first INVITE of a B-leg from A's.
func (c *Call) buildInvite(l *leg) *sip.Request {
	in := c.a.server.Request()
	req := l.dlg.First(sip.INVITE)
	if h := in.MaxForwards(); h != nil && h.Val() > 0 && h.Val() <= dialog.MaxForwards {
		left := sip.MaxForwardsHeader(h.Val() - 1) // RFC 5853 §3.1: loops end although each leg is new
		req.ReplaceHeader(&left)
	}
	c.share(req)
	l.contact(req, l.flow)
	l.options(req, c.reliableFrom())
	c.timing(l, req)
	l.pass(req, in)
	for _, h := range l.target.Headers {
		req.AppendHeader(sip.HeaderClone(h))
	}
	setSDP(req, c.offer)
	return req
}

// onInviteEvent takes a response to the INVITE of a B-leg that somebody waits for, or the news that none will come.
func (c *Call) onInviteEvent(l *leg, ev transaction.Event) {
	c.word(l, ev)
	switch res := ev.Response; {
	case res != nil && res.IsProvisional():
		c.onProvisional(l, res)
	case res != nil && res.IsSuccess():
		c.onAnswer(l, res)
	default:
		if ev.Err != nil {
			c.log.Warn("target can't be reached", "target", l.target.Name, "reason", verdict.TransportFailure, "error", ev.Err)
		}
		if res != nil && res.StatusCode/100 == 3 && c.redirected(l, res) {
			return
		}
		c.failed(l, c.judge(outcomeOf(ev)))
	}
}

// onProvisional tells A that B rings, or lets A hear what B's side plays.
func (c *Call) onProvisional(l *leg, res *sip.Response) {
	if res.StatusCode == sip.StatusTrying {
		return
	}
	e := l.earlyOf(res)
	rseq := rseqOf(res)
	if e == nil || rseq != 0 && !e.inOrder(rseq) {
		return
	}
	if c.info.State == StateSetup {
		c.state(StateRinging)
		if c.plan.Ringing != nil {
			c.plan.Ringing()
		}
	}
	if c.a.server == nil || c.a.rel != nil && c.a.rel.final != nil {
		return // it was answered meanwhile
	}
	if rseq != 0 {
		l.learn(res)
		c.onReliable(l, e, res)
		return
	}
	var out []byte
	if sdp := sdpOf(res); c.told == nil { // else A holds another's for sure
		out = c.earlyAnswer(l, e, sdp)
	}
	c.tell(res, out, e)
}

// reliableFrom reports whether B may send its provisional responses reliably. Where A makes no offer, B would make one in
// them, which only A's PRACK can answer.
func (c *Call) reliableFrom() bool {
	return c.offer != nil || c.a.can&canReliable != 0 && c.a.policy.allows(sip.PRACK)
}

// earlyAnswer is what A may hear before the call is answered. Where several targets ring, that would change with each
// of them, which one answer may not (RFC 3264 §4): A hears its own ringing tone.
func (c *Call) earlyAnswer(l *leg, e *early, sdp []byte) []byte {
	if c.offer == nil || len(sdp) == 0 {
		return nil
	}
	e.sdp = sdp
	if len(c.tried) > 1 {
		return nil
	}
	out, err := c.answered(B, sdp)
	if err != nil {
		c.log.Info("early media can't be used", "target", l.target.Name, "error", err)
		return nil // the 2xx will tell
	}
	if c.told != nil {
		return nil // A has its answer: what follows is the media of this one
	}
	return out
}

// onNoAnswer ends a call that rang too long.
func (c *Call) onNoAnswer() {
	if !c.a.established {
		c.end(Ending{Code: sip.StatusTemporarilyUnavailable, Reason: verdict.NoAnswer, By: B}, nil)
	}
}
