package b2bua

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Refer is a party's wish that the other one be called on by somebody else (RFC 3515): a blind transfer.
type Refer struct {
	Account string          // the transferor's: the target is called with its rights
	Target  sip.Uri         // who is to be called
	Party   dialog.Party    // who is transferred, as the transferor knows it
	Partner string          // account of that party; empty if it has none
	Trace   string          // of the call that is transferred
	Flow    *transport.Flow // of that party
}

// Joined is the news that a party of a call was replaced by another.
type Joined struct {
	Account string       // who brought it about: the transferor, or who took the call over
	Party   dialog.Party // the new party
	Partner string       // its account; empty if it has none
	Side    Side         // whose place it took
	Trace   string       // of the call that it came from
}

// onRefer takes a REFER of x: what it wants is done here, and never asked of the far side.
func (c *Call) onRefer(x *leg, s *transaction.Server) {
	y := c.other(x)
	switch {
	case c.transfer != nil || c.joint != nil || c.changing: // one after the other
		c.reply(x, s, sip.StatusRequestPending)
		return
	case x.account == "" || c.plan.Local != nil: // nobody whose rights would count, or nobody to transfer
		c.reply(x, s, sip.StatusForbidden)
		return
	case !x.up() || !y.up():
		c.reply(x, s, sip.StatusTemporarilyUnavailable)
		return
	}
	to, err := referTo(s.Request())
	if err != nil {
		c.referRefused(x, s, err)
		return
	}
	t := &transfer{by: x, rest: y, note: newNotifier(c, x, s.Request())}
	if to.Replaces != nil {
		c.begin(t, s)
		c.transferToCall(t, *to.Replaces)
		return
	}
	plan, err := c.plan.Refer(Refer{
		Account: x.account, Target: to.URI, Party: y.dlg.Remote, Partner: y.account, Trace: c.info.Trace, Flow: y.flow,
	})
	if err != nil {
		c.referRefused(x, s, err)
		return
	}
	c.begin(t, s)
	c.transferToTarget(t, plan)
}

// referTo reads who a REFER names: one and no more (RFC 3515 §2.4.1).
func referTo(req *sip.Request) (dialog.ReferTo, error) {
	bad := &Refusal{Code: sip.StatusBadRequest, Reason: verdict.BadURI}
	all := sipmsg.Headers(req, "Refer-To")
	if len(all) != 1 {
		return dialog.ReferTo{}, bad
	}
	to, err := dialog.ParseReferTo(all[0])
	if err != nil {
		return to, bad
	}
	return to, nil
}

// referRefused answers a REFER that leads to nothing. The call goes on.
func (c *Call) referRefused(x *leg, s *transaction.Server, err error) {
	r := refusal(err)
	c.log.Info("transfer refused", "side", x.side, "reason", r.Reason, "code", r.Code)
	c.reply(x, s, r.Code)
}

// begin accepts a REFER.
func (c *Call) begin(t *transfer, s *transaction.Server) {
	c.transfer = t
	code, sub := sip.StatusAccepted, "true"
	if t.note.silent { // RFC 4488 §4: no subscription is made
		code, sub = sip.StatusOK, "false"
	}
	out := c.response(t.by, s, code, nil)
	t.by.contact(out, s.Flow()) // RFC 3515 §2.2
	if _, asked := sipmsg.Header(s.Request(), "Refer-Sub"); asked || t.note.silent {
		out.AppendHeader(sip.NewHeader("Refer-Sub", sub))
	}
	c.respond(t.by, s, out)
	c.notify(t, sip.StatusTrying, nil)
}

// notifier is the subscription that a REFER made (RFC 3515 §2.4.4). It ends with the transfer.
type notifier struct {
	event  string
	silent bool // the transferor wants to hear nothing, or can't any more
	last   int  // code that was told last
}

// newNotifier reads what sort of subscription a REFER makes: none where Refer-Sub says so (RFC 4488), or where nosub is
// demanded (RFC 7614).
func newNotifier(c *Call, x *leg, req *sip.Request) notifier {
	n := notifier{event: eventRefer}
	if x.referred { // RFC 3515 §2.4.6: the second and later ones are told apart by their CSeq
		n.event += ";id=" + strconv.FormatUint(uint64(req.CSeq().SeqNo), 10)
	}
	x.referred = true
	if sub, _ := sipmsg.Header(req, "Refer-Sub"); strings.EqualFold(strings.TrimSpace(sub), "false") {
		n.silent = true
	}
	for _, tag := range sipmsg.Headers(req, "Require") {
		n.silent = n.silent || strings.EqualFold(tag, "nosub")
	}
	return n
}

// eventRefer is the event package of REFER.
const eventRefer = "refer"

// referExpires is how long the subscription of a REFER says that it holds, in seconds. It ends when the transfer does.
const referExpires = "300"

// notify tells the transferor how far its transfer has come, and runs done once it was told.
func (c *Call) notify(t *transfer, code int, done func()) {
	n := &t.note
	if t.tell != nil && n.last != code {
		n.last = code
		t.tell(code)
	}
	if done == nil {
		done = func() {}
	}
	if n.silent || n.last == code || !t.by.up() {
		done()
		return
	}
	n.last = code
	state := "active;expires=" + referExpires
	if code >= 200 {
		state = "terminated;reason=noresource"
	}
	req := t.by.dlg.NewRequest(sip.NOTIFY)
	t.by.contact(req, t.by.via(t.by.dlg))
	req.AppendHeader(sip.NewHeader("Event", n.event))
	req.AppendHeader(sip.NewHeader("Subscription-State", state))
	typ := sip.ContentTypeHeader("message/sipfrag;version=2.0")
	req.AppendHeader(&typ)
	req.SetBody([]byte("SIP/2.0 " + strconv.Itoa(code) + " " + sipmsg.ReasonPhrase(code) + "\r\n"))
	c.request(t.by, t.by.dlg, req, func(ev transaction.Event) {
		if ev.Response == nil && errors.Is(ev.Err, transaction.ErrTimeout) || ev.Response != nil && ev.Response.StatusCode >= 300 {
			n.silent = true // it does not want to know
		}
		done()
	})
}
