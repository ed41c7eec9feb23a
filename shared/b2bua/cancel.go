package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// onCancel takes A's CANCEL of the first INVITE; the transaction has answered the CANCEL itself.
func (c *Call) onCancel() {
	if c.info.State == StateSetup || c.info.State == StateRinging {
		c.giveUp(sip.StatusRequestTerminated, verdict.CallCancelled)
	}
}

// giveUp refuses A's INVITE and calls off whatever still rings.
func (c *Call) giveUp(code int, why verdict.Reason) {
	c.refuse(code, why, nil)
}

// giveUpBest refuses A's INVITE with the best refusal that the targets gave.
func (c *Call) giveUpBest() {
	if c.best == nil {
		c.refuse(sip.StatusServiceUnavailable, verdict.TransportFailure, nil)
		return
	}
	code := c.best.StatusCode
	if code/100 == 3 {
		code = sip.StatusTemporarilyUnavailable // where a redirection leads is nobody's business outside
	}
	c.refuse(code, reasonOf(code), c.best)
}

func (c *Call) refuse(code int, why verdict.Reason, far *sip.Response) {
	c.finish(Ending{Code: code, Reason: why})
	for _, l := range c.tried {
		c.callOff(l)
	}
	if s := c.a.server; s != nil && !c.a.established {
		c.respond(c.a, s, c.response(c.a, s, code, far))
		c.a.server = nil
	}
	c.close(c.a)
}

// reasonOf names a final status code for CDRs and counters.
func reasonOf(code int) verdict.Reason {
	switch code {
	case sip.StatusBusyHere, sip.StatusGlobalBusyEverywhere:
		return verdict.Busy
	case sip.StatusRequestTerminated:
		return verdict.CallCancelled
	case sip.StatusRequestTimeout, sip.StatusTemporarilyUnavailable:
		return verdict.NoAnswer
	case sip.StatusGlobalDecline, sip.StatusForbidden:
		return verdict.Declined
	case sip.StatusUnauthorized, sip.StatusProxyAuthRequired:
		return verdict.Challenged
	case sip.StatusNotFound, sip.StatusGone, sip.StatusGlobalDoesNotExistAnywhere, sip.StatusAddressIncomplete:
		return verdict.UnknownNumber
	case sip.StatusNotAcceptableHere, sip.StatusGlobalNotAcceptable:
		return verdict.NoCommonMedia
	}
	return verdict.TargetFailed
}

// callOff cancels a target that has not answered. If its answer is under way, refuseLate takes it.
func (c *Call) callOff(l *leg) {
	if l.over || l.established {
		return
	}
	if l.client != nil {
		l.client.Cancel()
	}
	c.close(l)
}

// refuseLate ends the dialog that a 2xx made although nobody wants it any more (RFC 3261 §13.2.2.4). It stands alone:
// its leg is not in the tables, and a fork may have made several of them.
func (c *Call) refuseLate(l *leg, res *sip.Response) {
	lost := dialog.NewClient(l.dlg.CallID, l.dlg.Local, l.dlg.Remote, l.dlg.Target, l.target.Routes, l.dlg.LocalSeq)
	if err := lost.Establish(res); err != nil {
		return
	}
	tx := c.eng.cfg.Transactions
	if err := tx.SendAck(l.via(), lost.Ack(l.inviteSeq)); err != nil {
		c.log.Debug("acknowledging a late answer", "error", err)
	}
	if _, err := tx.Send(l.via(), lost.NewRequest(sip.BYE), func(transaction.Event) {}); err != nil {
		c.log.Debug("ending a late answer", "error", err)
	}
}
