package border

import (
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/regcache"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// flowTimer is within which time a phone that registers by RFC 5626 is to show that its flow lives, in seconds (§5.4).
const flowTimer = "120"

// refresh answers a REGISTER here, if it only renews what the exchange has agreed to and holds for long enough: the same
// contacts of the same account, by the next request of the same phone (Call-ID and CSeq), over the very flow that the
// exchange saw credentials on. Over UDP whoever forges all that wins nothing but a binding that lives a minute longer where
// it was. It reports false where the exchange has to be asked.
func (r *registration) refresh() bool {
	if r.b.cfg.Access.Registration.Inside == 0 || len(r.contacts) == 0 {
		return false
	}
	now := r.b.now()
	held := make([]*regcache.Binding, len(r.contacts))
	for i, c := range r.contacts {
		b := r.b.cache.Lookup(c.token)
		if b == nil || !r.renews(c, b, now) {
			return false
		}
		held[i] = b
	}
	seq := r.server.Request().CSeq().SeqNo
	for i, b := range held {
		if !r.b.cache.Refresh(b, seq, now.Add(r.contacts[i].life)) {
			return false
		}
	}
	r.answerHere(held[0])
	return true
}

// renews reports whether a contact asks for no more than that a binding goes on.
func (r *registration) renews(c contact, b *regcache.Binding, now time.Time) bool {
	req := r.server.Request()
	switch {
	case c.life == 0, !now.Before(b.Expires), b.AOR != r.aor:
		return false
	case !b.Flow.Same(r.flow), b.CallID != req.CallID().Value(), b.CSeq >= req.CSeq().SeqNo:
		return false
	case b.Contact.String() != c.hdr.Address.String(), b.Params != c.params():
		return false
	case now.Add(c.life).After(b.Inside):
		return false
	case r.b.core.current() == nil: // better than to lose a phone while the exchange starts again
		return true
	}
	return b.Confirmed.After(r.b.core.since()) && now.Before(b.Confirmed.Add(b.Inside.Sub(b.Confirmed)/2))
}

// answerHere is the 200 to a refresh.
func (r *registration) answerHere(b *regcache.Binding) {
	out := sipmsg.Response(r.server.Request(), sip.StatusOK, "", sipmsg.NewTag())
	for _, c := range r.contacts {
		out.AppendHeader(shown(c.hdr, c.life))
	}
	if b.Outbound {
		out.AppendHeader(sip.NewHeader("Require", "outbound"))
	}
	r.finish(out)
	if b.Proven {
		r.b.tellKnown(r.flow.Remote().Addr(), r.aor)
	}
}

// shown is a contact as its phone gets it back.
func shown(c *sip.ContactHeader, life time.Duration) *sip.ContactHeader {
	out := c.Clone()
	out.Params.Remove("expires")
	out.Params.Add("expires", strconv.Itoa(int(life/time.Second)))
	return out
}

// readLife decides how long a contact may be registered until the phone must refresh; a wish for too little is refused with
// 423 (RFC 3261 §10.3 step 7).
func (r *registration) readLife(c *sip.ContactHeader) (time.Duration, verdict.Verdict) {
	text, ok := sipmsg.Param(c.Params, "expires")
	if !ok {
		text, _ = sipmsg.Header(r.server.Request(), "Expires")
	}
	life := time.Duration(seconds(text, defaultExpires)) * time.Second
	if life > 0 && life < r.b.cfg.Access.Registration.Least {
		return 0, verdict.Rejected(sip.StatusIntervalToBrief, verdict.BadNumber)
	}
	return min(life, r.b.cfg.Access.Registration.longest(r.flow.Network())), verdict.Passed
}
