package exchange

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"brickhouse/pbx/internal/voicemail"
)

// lampPatience is how long a lamp may take to be set.
const lampPatience = 5 * time.Second

// openMailboxes opens the mailboxes of extensions.
func (x *Exchange) openMailboxes() (*voicemail.Boxes, error) {
	return voicemail.Open(voicemail.Options{
		Config: x.cfg.Voicemail, Dir: filepath.Join(x.cfg.State, "voicemail"), Secrets: x.secrets, Prompts: x.prompts, Log: x.log, Now: x.now,
		Owner: func(extension string) bool { return x.store.Services(extension).Voicemail },
		Waiting: func(extension string, fresh, old int) error {
			if w := x.store.Waiting(extension); w.New == fresh && w.Old == old {
				return nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), lampPatience)
			defer cancel()
			return x.setWaiting(ctx, extension, fresh, old)
		},
	})
}

// SetVoicemail gives an extension a mailbox, or takes it away (package admin).
func (x *Exchange) SetVoicemail(ctx context.Context, extension string, on bool) error {
	if err := x.calls.SetVoicemail(ctx, extension, on); err != nil {
		return err
	}
	if !on {
		return x.setWaiting(ctx, extension, 0, 0)
	}
	x.voicemail.Refresh(extension)
	return nil
}

// Messages returns what is in a mailbox.
func (x *Exchange) Messages(ctx context.Context, mailbox string) ([]voicemail.Message, error) {
	return x.voicemail.List(ctx, mailbox)
}

// MessageSound returns the sound of a message, µ-law at 8 kHz.
func (x *Exchange) MessageSound(ctx context.Context, mailbox, id string) ([]byte, error) {
	r, err := x.voicemail.Sound(ctx, mailbox, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// DeleteMessage removes a message.
func (x *Exchange) DeleteMessage(mailbox, id string) error { return x.voicemail.Delete(mailbox, id) }

// SetPIN gives a mailbox a PIN.
func (x *Exchange) SetPIN(ctx context.Context, mailbox, pin string) error {
	return x.voicemail.SetPIN(ctx, mailbox, pin)
}
