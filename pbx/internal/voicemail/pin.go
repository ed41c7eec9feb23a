package voicemail

import (
	"context"

	"brickhouse/pbx/internal/pin"
)

// pinSecrets is where PINs are in the secret store, before the number.
const pinSecrets = "mailbox/"

// SetPIN stores a mailbox's PIN, as a hash. Errors: pin.ErrWeak, ErrNoMailbox, those of the secret store.
func (b *Boxes) SetPIN(ctx context.Context, mailbox, code string) error {
	if _, err := b.dir(mailbox); err != nil {
		return err
	}
	return b.pins.Set(ctx, mailbox, code)
}

// newPINs are those of mailboxes.
func newPINs(opt Options) *pin.Keeper {
	return &pin.Keeper{
		Secrets: opt.Secrets, Path: pinSecrets, Log: opt.Log, Now: opt.Now,
		Owner: func(mailbox string) bool { return Fits(mailbox) && opt.Owner(mailbox) },
	}
}
