package border

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Texts of registered phones (MESSAGE, RFC 3428). They make no dialog: each is one request on either side, built anew. While
// one is under way it counts as its sender's calls do.

// text is a MESSAGE on its way through the border.
type text struct {
	b       *Border
	server  *transaction.Server
	from    realmName
	release func()
}

// message passes a text on: from a phone to the exchange, or from the exchange to a phone.
func (b *Border) message(from realmName, s *transaction.Server) verdict.Verdict {
	if from == core {
		return b.messageOut(s)
	}
	if !b.gate(from, s) {
		return verdict.Passed // with an answer
	}
	return b.messageIn(s)
}

// messageIn gives the exchange a remote phone's text: the words only once the phone says who it is.
func (b *Border) messageIn(s *transaction.Server) verdict.Verdict {
	req := s.Request()
	party, err := b.fromPhone(req)
	if err != nil {
		return verdict.Rejected(sip.StatusAddressIncomplete, verdict.BadURI)
	}
	exchange := b.core.current()
	if exchange == nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	release := b.admit(s, b.callerPlaces(access, "", s)...)
	if release == nil {
		return verdict.Passed // with an answer
	}
	out := b.newText(sip.MESSAGE, party, req)
	b.realms[access].rules.In(out, req)
	b.private(out, corelink.RealmAccess, "", s.Flow(), sipmsg.NewTag())
	_, begun := sipmsg.Header(req, "Proxy-Authorization")
	words(out, req, begun)
	return b.sendText(&text{b, s, access, release}, exchange, out)
}

// messageOut gives a registered phone a text of the exchange.
func (b *Border) messageOut(s *transaction.Server) verdict.Verdict {
	req := s.Request()
	bound, ok := b.cache.Get(req.Recipient.User, b.now())
	if !ok {
		return verdict.Rejected(430, verdict.NotRegistered) // RFC 5626 §11.6: Flow Failed
	}
	callee, _ := topology.User(req.To().Address)
	out := b.newText(sip.MESSAGE, parties{
		called: bound.Contact, caller: topology.Caller(req.From(), b.cfg.Domain), callee: topology.Callee(callee, b.cfg.Domain),
	}, req)
	b.realms[access].rules.Out(out, req)
	words(out, req, true)
	return b.sendText(&text{b, s, core, func() {}}, bound.Flow, out) // its sender is counted where it came in
}

// newText is a MESSAGE or PUBLISH without words.
func (b *Border) newText(m sip.RequestMethod, p parties, in *sip.Request) *sip.Request {
	p.caller.Tag = sipmsg.NewTag()
	out := dialog.NewClient(sipmsg.NewCallID(), p.caller, p.callee, p.called, nil, 1).First(m)
	if h := in.MaxForwards(); h != nil && h.Val() > 0 && h.Val() <= dialog.MaxForwards {
		left := sip.MaxForwardsHeader(h.Val() - 1) // loops end although each message is new
		out.ReplaceHeader(&left)
	}
	return out
}

// words gives out the body of in, if its type has passed.
func words(out, in *sip.Request, may bool) {
	if _, ok := sipmsg.Header(out, "Content-Type"); ok && may {
		out.SetBody(in.Body())
		return
	}
	sipmsg.Remove(out, "Content-Type")
	out.SetBody(nil)
}

func (b *Border) sendText(t *text, f *transport.Flow, out *sip.Request) verdict.Verdict {
	if _, err := b.tx.Send(f, out, t.onEvent); err != nil {
		t.release()
		if t.from == core {
			return verdict.Rejected(430, verdict.NotRegistered)
		}
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	return verdict.Passed
}

// onEvent carries the answer back.
func (t *text) onEvent(ev transaction.Event) {
	res := ev.Response
	if res != nil && res.IsProvisional() {
		return
	}
	t.release()
	if res == nil {
		t.lost()
		return
	}
	rules, out := t.b.realms[access].rules, sipmsg.Response(t.server.Request(), res.StatusCode, "", t.server.Tag())
	if t.from == core {
		rules.In(out, res)
	} else {
		t.b.learn(t.server.Flow(), res)
		rules.Out(out, res)
		t.b.allowEvents(out)
	}
	out.SetBody(nil)
	sipmsg.Remove(out, "Content-Type")
	if err := t.server.Respond(out); err != nil {
		t.b.log.Debug("answering a text", "code", res.StatusCode, "error", err)
	}
}

// lost is a text that the other side did not answer.
func (t *text) lost() {
	if t.from == core { // RFC 5626 §11.6: the exchange may know another flow
		t.b.refuseServer(t.server, verdict.Rejected(430, verdict.TransportFailure))
		return
	}
	t.b.refuseServer(t.server, verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable))
}
