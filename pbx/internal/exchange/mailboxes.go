package exchange

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/voicemail"
)

// lampPatience is how long a lamp may take to be set.
const lampPatience = 5 * time.Second

// openMailboxes opens the mailboxes of extensions.
func (x *Exchange) openMailboxes() (*voicemail.Boxes, error) {
	opt := voicemail.Options{
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
	}
	if x.cfg.Mail.Server != "" {
		sender := &mail.Sender{Config: x.cfg.Mail, Password: x.mailPassword}
		opt.Address, opt.Post = func(extension string) string { return x.store.Services(extension).Email }, sender.Send
	}
	return voicemail.Open(opt)
}

// Where the password of the mail server is in the secret store.
const (
	mailSecret = "mail/password"
	mailField  = "password"
)

func (x *Exchange) mailPassword(ctx context.Context) (string, error) {
	v, err := x.secrets.Get(ctx, mailSecret)
	return v[mailField], err
}

// SetMailPassword stores the password of the mail server (package admin).
func (x *Exchange) SetMailPassword(ctx context.Context, password string) error {
	if err := x.secrets.Put(ctx, mailSecret, map[string]string{mailField: password}); err != nil {
		return fmt.Errorf("storing the password of the mail server: %w", err)
	}
	return nil
}

// SetEmail has an extension's messages mailed to an address.
func (x *Exchange) SetEmail(ctx context.Context, extension, address string) error {
	if address != "" && x.cfg.Mail.Server == "" {
		return callcontrol.Unfit("the configuration names no mail server (mail.server)")
	}
	return x.calls.SetEmail(ctx, extension, address)
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
