package callcontrol

import (
	"context"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/store"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// SetVoicemail gives an extension a mailbox, or takes it away. Its messages stay on disk.
func (c *Control) SetVoicemail(ctx context.Context, extension string, on bool) error {
	if on && !voicemail.Fits(extension) {
		return unfit("an extension with this number can't have a mailbox")
	}
	return c.change(ctx, extension, func(s *store.Services) error { s.Voicemail = on; return nil })
}

// SetEmail has an extension's messages mailed to an address; empty: to none.
func (c *Control) SetEmail(ctx context.Context, extension, address string) error {
	if address != "" && !mail.IsAddress(address) {
		return unfit("%q is no mail address", address)
	}
	return c.change(ctx, extension, func(s *store.Services) error { s.Email = address; return nil })
}

// hasMailbox reports whether an extension has a mailbox.
func (c *Control) hasMailbox(extension string) bool {
	return c.cfg.Voicemail != nil && c.cfg.Store.Services(extension).Voicemail
}

// leaveMessage leads the call to the mailbox of an extension.
func (a *attempt) leaveMessage(extension string) (b2bua.Turn, verdict.Verdict) {
	if !a.c.hasMailbox(extension) {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	a.at, a.hunt, a.rec.Mailbox = "", nil, extension
	a.place(extension)
	caller := a.caller.Number
	if caller == "anonymous" {
		caller = ""
	}
	h := voicemail.Header{Mailbox: extension, Caller: caller, Name: a.caller.Name, Trace: a.caller.Trace, At: a.c.cfg.Now()}
	return b2bua.Turn{Local: a.script(func(ctx context.Context, d *media.Dialogue) { a.c.cfg.Voicemail.Leave(ctx, d, h) })}, verdict.Passed
}

// hearMessages leads the call to a mailbox; empty: the caller says which.
func (a *attempt) hearMessages(mailbox string) (b2bua.Turn, verdict.Verdict) {
	if a.c.cfg.Voicemail == nil || mailbox != "" && !a.c.hasMailbox(mailbox) {
		return b2bua.Turn{}, verdict.Rejected(sip.StatusNotFound, verdict.UnknownNumber)
	}
	return b2bua.Turn{Local: a.script(func(ctx context.Context, d *media.Dialogue) { a.c.cfg.Voicemail.Menu(ctx, d, mailbox) })}, verdict.Passed
}

// hearOwn leads the call to the mailbox of who dials. Who was sent here by somebody else says which, and its PIN: a caller from outside may
// show any number.
func (a *attempt) hearOwn() (b2bua.Turn, verdict.Verdict) {
	if !a.caller.isOwner() {
		return a.hearMessages("")
	}
	return a.hearMessages(a.caller.Number)
}

// script answers a call with a script. When it is over, so is the call, unless somebody took the place of the script.
func (a *attempt) script(do media.Script) b2bua.Local {
	return a.local(media.Script(func(ctx context.Context, d *media.Dialogue) {
		do(ctx, d)
		if ctx.Err() == nil {
			a.c.cfg.Engine.End(a.id, verdict.NormalClearing)
		}
	}))
}
