package callcontrol

import (
	"context"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Bounds of texts.
const (
	maxText    = 1024            // bytes of one; RFC 3428 §8 lets a whole request have 1300
	maxTexting = 8               // texts of one account that are under way
	textDial   = 5 * time.Second // to reach the phones
)

const typeText = "text/plain"

// texting counts the texts that are under way, by account.
type texting struct {
	mu sync.Mutex
	by map[string]int
}

// begin reports whether an account may send another one now; done is called when that one is through.
func (t *texting) begin(account string) (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]int{}
	}
	if t.by[account] >= maxTexting {
		return nil, false
	}
	t.by[account]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.by[account]--; t.by[account] == 0 {
			delete(t.by, account)
		}
	}, true
}

// text is a MESSAGE (RFC 3428) on its way to the phones of an extension. Nothing of it is kept: if no phone takes it, its
// sender is told so.
type text struct {
	c      *Control
	server *transaction.Server
	done   func()

	mu   sync.Mutex
	left int // phones that may still take it
	best int // code of the best refusal so far
	over bool
}

// Message passes a text of a phone to the phones of an extension. The verdict is for the caller to answer where it is not Pass.
func (c *Control) Message(s *transaction.Server, who Caller, dialled string) verdict.Verdict {
	if v := readable(s.Request()); !v.OK() {
		return v
	}
	if who.Trunk != "" { // nobody pays for texts of carriers, or to them
		return verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	if who.Trace == "" {
		who.Trace = sipmsg.NewTag()
	}
	a := &attempt{c: c, flow: s.Flow(), caller: who}
	var known bool
	if a.action, known = c.plan.Load().Lookup("", dialled, c.moment()); !known {
		return verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	if a.action.Kind != dialplan.Extension {
		return verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	phones, v := a.recipients(a.action.Number)
	if !v.OK() {
		return v
	}
	done, ok := c.texts.begin(who.Number)
	if !ok {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	}
	t := &text{c: c, server: s, done: done, left: len(phones)}
	ctx, cancel := context.WithTimeout(context.Background(), textDial)
	defer cancel()
	for _, target := range phones {
		t.send(ctx, target)
	}
	return verdict.Passed
}

// recipients are the phones of an extension that a text goes to. No forward leads it elsewhere.
func (a *attempt) recipients(number string) ([]b2bua.Target, verdict.Verdict) {
	if _, ok := a.c.cfg.Store.Extension(number); !ok {
		return nil, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	if s := a.c.cfg.Store.Services(number); s.Blocks(a.caller.Number) {
		return nil, verdict.Rejected(sip.StatusGlobalDecline, verdict.Declined)
	}
	phones := a.phones(number)
	if len(phones) == 0 {
		return nil, verdict.Rejected(sip.StatusTemporarilyUnavailable, verdict.NotRegistered)
	}
	return phones, verdict.Passed
}

// readable holds a text against what we carry: plain, in UTF-8, and short.
func readable(req *sip.Request) verdict.Verdict {
	value, _ := sipmsg.Header(req, "Content-Type")
	switch typ, _, err := sipmsg.ParseMediaType(value); {
	case len(req.Body()) > maxText:
		return verdict.Rejected(sip.StatusRequestEntityTooLarge, verdict.Oversize)
	case err != nil || typ != typeText:
		return verdict.Rejected(sip.StatusUnsupportedMediaType, verdict.UnsupportedBody)
	case !utf8.Valid(req.Body()):
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadBody)
	}
	return verdict.Passed
}

// send sends the text to a device, over one of its flows after the other until it was reached.
func (t *text) send(ctx context.Context, target b2bua.Target) {
	flow, err := target.Dial(ctx)
	if err == nil {
		_, err = t.c.cfg.Transactions.Send(flow, t.request(target), func(ev transaction.Event) { t.onEvent(target, ev) })
	}
	if err != nil {
		t.c.cfg.Log.Info("text can't be sent", "target", target.Name, "error", err)
		t.next(ctx, target, sip.StatusTemporarilyUnavailable)
	}
}

// next goes on with the device's next flow, if it has one.
func (t *text) next(ctx context.Context, target b2bua.Target, code int) {
	if len(target.Else) == 0 {
		t.failed(code)
		return
	}
	next := target.Else[0]
	next.Else = target.Else[1:]
	t.send(ctx, next)
}

// request is the text as a phone gets it.
func (t *text) request(target b2bua.Target) *sip.Request {
	in, from := t.server.Request(), target.From
	from.Tag = sipmsg.NewTag()
	req := dialog.NewClient(sipmsg.NewCallID(), from, target.To, target.URI, target.Routes, 1).First(sip.MESSAGE)
	if h := in.MaxForwards(); h != nil && h.Val() > 0 && h.Val() <= dialog.MaxForwards {
		left := sip.MaxForwardsHeader(h.Val() - 1)
		req.ReplaceHeader(&left)
	}
	for _, h := range target.Headers {
		req.AppendHeader(sip.HeaderClone(h))
	}
	req.AppendHeader(sip.NewHeader("Content-Type", typeText+";charset=UTF-8"))
	req.SetBody(in.Body())
	return req
}

// statusFlowFailed is 430 (RFC 5626 §11.6).
const statusFlowFailed = 430

// onEvent takes what a phone said.
func (t *text) onEvent(target b2bua.Target, ev transaction.Event) {
	res := ev.Response
	switch {
	case res != nil && res.IsProvisional():
	case res != nil && res.IsSuccess():
		t.answer(sip.StatusOK)
	case res == nil && errors.Is(ev.Err, transaction.ErrTimeout): // RFC 4320 §4.2: too late for who asked as well
		t.failed(0)
	case res == nil, res.StatusCode == statusFlowFailed:
		if res != nil && target.Lost != nil {
			target.Lost()
		}
		go t.again(target) // a connection may have to be made, and this is a reader's goroutine
	case res.StatusCode/100 == 3, res.StatusCode == sip.StatusUnauthorized, res.StatusCode == sip.StatusProxyAuthRequired: // for us alone
		t.failed(sip.StatusTemporarilyUnavailable)
	default:
		t.failed(res.StatusCode)
	}
}

func (t *text) again(target b2bua.Target) {
	ctx, cancel := context.WithTimeout(context.Background(), textDial)
	defer cancel()
	t.next(ctx, target, sip.StatusTemporarilyUnavailable)
}

// failed takes that one phone does not take the text. When none is left, who sent it is told the best of their reasons (RFC
// 3261 §16.7 step 6).
func (t *text) failed(code int) {
	t.mu.Lock()
	t.left--
	if code != 0 && (t.best == 0 || code/100 == 6 && t.best/100 != 6 || t.best/100 != 6 && code < t.best) {
		t.best = code
	}
	left, best := t.left, t.best
	t.mu.Unlock()
	if left == 0 {
		t.answer(best)
	}
}

// answer gives the text its answer, once. Without a code there is none.
func (t *text) answer(code int) {
	t.mu.Lock()
	over := t.over
	t.over = true
	t.mu.Unlock()
	if over {
		return
	}
	t.done()
	if code == 0 {
		return
	}
	res := sipmsg.Response(t.server.Request(), code, "", t.server.Tag())
	if err := t.server.Respond(res); err != nil {
		t.c.cfg.Log.Debug("answering a text", "code", code, "error", err)
	}
}
