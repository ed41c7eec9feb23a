package b2bua

import (
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Transfers that are not executed here. A REFER goes to the other leg with the names that hold there (RFC 7092 §3.2 calls
// that signalling B2BUA), and the NOTIFYs that it causes come back. A NOTIFY that no REFER asked for goes nowhere.

// maxReferrals is how many REFERs of a call are remembered for their NOTIFYs.
const maxReferrals = 8

// referral is a REFER that was carried across.
type referral struct {
	by     *leg
	theirs uint32 // its number as the transferor sent it
	ours   uint32 // and as we did (RFC 3515 §2.4.6: later ones are told apart by it)
}

// referAcross carries a REFER of x to the other leg, if the plan lets it.
func (c *Call) referAcross(x *leg, s *transaction.Server) {
	y := c.other(x)
	if y == nil || !x.established || !y.established {
		c.reply(x, s, sip.StatusTemporarilyUnavailable)
		return
	}
	to, err := referTo(s.Request())
	if err == nil {
		to.URI, err = c.plan.ReferTo(x.side, to)
	}
	switch {
	case err != nil:
		c.referRefused(x, s, err)
	case to.Replaces == nil:
		c.relayRefer(x, y, s, to)
	default:
		c.eng.Across(*to.Replaces, func(across dialog.Replaces, ok bool) {
			to.Replaces = &across
			c.post(func() { c.referMapped(x, y, s, to, ok) })
		})
	}
}

// referMapped goes on once the call that an attended transfer leads to was looked for.
func (c *Call) referMapped(x, y *leg, s *transaction.Server, to dialog.ReferTo, ok bool) {
	switch {
	case c.ended:
		c.reply(x, s, sip.StatusCallTransactionDoesNotExists)
	case !ok: // 481 would say that it is this call that is gone (RFC 5057 §5.1)
		c.referRefused(x, s, &Refusal{Code: sip.StatusNotFound, Reason: verdict.UnknownDialog})
	default:
		c.relayRefer(x, y, s, to)
	}
}

func (c *Call) relayRefer(x, y *leg, s *transaction.Server, to dialog.ReferTo) {
	req := y.dlg.NewRequest(sip.REFER)
	y.contact(req, y.via(y.dlg))
	req.AppendHeader(sip.NewHeader("Refer-To", to.String()))
	y.pass(req, s.Request())
	if len(c.referrals) == maxReferrals {
		c.referrals = c.referrals[1:]
	}
	c.referrals = append(c.referrals, referral{by: x, theirs: s.Request().CSeq().SeqNo, ours: req.CSeq().SeqNo})
	c.relay(x, y, s, req)
}

// notifyAcross carries what became of a transfer of y back to it.
func (c *Call) notifyAcross(x, y *leg, s *transaction.Server) {
	req := y.dlg.NewRequest(sip.NOTIFY)
	y.contact(req, y.via(y.dlg))
	y.pass(req, s.Request())
	value, _ := sipmsg.Header(s.Request(), "Event")
	event, ok := c.eventFor(y, value)
	if !ok {
		c.reply(x, s, sip.StatusCallTransactionDoesNotExists)
		return
	}
	sipmsg.Remove(req, "Event")
	req.AppendHeader(sip.NewHeader("Event", event))
	c.relay(x, y, s, req)
}

// eventFor is the Event of a NOTIFY as y knows it. ok is false where y has sent no such REFER.
func (c *Call) eventFor(y *leg, value string) (event string, ok bool) {
	name, _, _ := strings.Cut(value, ";")
	if !strings.EqualFold(strings.TrimSpace(name), eventRefer) {
		return "", false
	}
	id, has := sipmsg.HeaderParam(value, "id")
	for _, r := range c.referrals {
		switch {
		case r.by != y:
		case !has:
			return eventRefer, true
		case id == strconv.FormatUint(uint64(r.ours), 10):
			return eventRefer + ";id=" + strconv.FormatUint(uint64(r.theirs), 10), true
		}
	}
	return "", false
}
