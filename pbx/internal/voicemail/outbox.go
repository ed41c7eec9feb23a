package voicemail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/shared/tone"
)

// mailing marks a message that is still to be mailed to its owner: ID.mail is there before ID.new is, and until the mail server has it. So
// a crash loses no mail; at worst one comes twice.
const mailing = "mail"

// Times of mailing.
const (
	mailPatience = 3 * time.Minute
	mailRetry    = time.Minute // after the first failure; twice as long after each
	mailSlowest  = time.Hour
	mailGiveUp   = 3 * 24 * time.Hour
)

// announceLocked marks a message that is about to become a new one, if its owner has an address.
func (b *Boxes) announceLocked(mailbox, dir, id string) error {
	if b.opt.Address == nil || b.opt.Address(mailbox) == "" {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(dir, id+"."+mailing), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	select {
	case b.mail <- struct{}{}:
	default:
	}
	return f.Close()
}

// due is when a mail that failed is tried again.
type due struct {
	at    time.Time
	pause time.Duration
}

// Mail mails what waits, and then each new message, until ctx ends.
func (b *Boxes) Mail(ctx context.Context) {
	tries := map[string]due{}
	t := time.NewTicker(mailRetry / 4)
	defer t.Stop()
	for {
		b.mailAll(ctx, tries)
		select {
		case <-ctx.Done():
			return
		case <-b.mail:
		case <-t.C:
		}
	}
}

// mailAll tries each mail that is due, once.
func (b *Boxes) mailAll(ctx context.Context, tries map[string]due) {
	waiting, err := filepath.Glob(filepath.Join(b.opt.Dir, "*", "*."+mailing))
	if err != nil {
		b.opt.Log.Error("looking for mails", "error", err)
	}
	for _, path := range waiting {
		if ctx.Err() != nil {
			return
		}
		next := tries[path]
		now := b.opt.Now()
		if now.Before(next.at) {
			continue
		}
		mailbox := filepath.Base(filepath.Dir(path))
		id := strings.TrimSuffix(filepath.Base(path), "."+mailing)
		err := b.mailOne(ctx, mailbox, id)
		switch {
		case err == nil:
		case errors.Is(err, mail.ErrRefused) || b.tooOld(path, now):
			b.opt.Log.Error("a message is not mailed", "mailbox", mailbox, "message", id, "error", err)
		default:
			next.pause = min(max(2*next.pause, mailRetry), mailSlowest)
			next.at = now.Add(next.pause)
			tries[path] = next
			b.opt.Log.Warn("a message can't be mailed yet", "mailbox", mailbox, "message", id, "again in", next.pause, "error", err)
			continue
		}
		delete(tries, path)
		if err := errors.Join(os.Remove(path), syncDir(filepath.Dir(path))); err != nil {
			b.opt.Log.Error("a mail can't be ticked off", "mailbox", mailbox, "message", id, "error", err)
		}
	}
}

func (b *Boxes) tooOld(path string, now time.Time) bool {
	info, err := os.Stat(path)
	return err == nil && now.Sub(info.ModTime()) > mailGiveUp
}

// mailOne mails a message. One that was deleted meanwhile, or whose owner has no address any more, needs no mail.
func (b *Boxes) mailOne(ctx context.Context, mailbox, id string) error {
	to := b.opt.Address(mailbox)
	if to == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mailPatience)
	defer cancel()
	key, err := b.key(ctx)
	if err != nil {
		return err
	}
	_, path, _, err := b.find(mailbox, id)
	if errors.Is(err, ErrNoMessage) || errors.Is(err, ErrNoMailbox) {
		return nil
	}
	if err != nil {
		return err
	}
	o, err := open(path, key)
	if err != nil {
		return err
	}
	defer o.Close()
	sound, _ := io.ReadAll(o) // what a crash has cut is mailed as far as it goes
	return b.opt.Post(ctx, letter(to, mailbox, o.Header, sound))
}

// letter is the mail of a message.
func letter(to, mailbox string, h Header, sound []byte) mail.Mail {
	who := h.Caller
	switch {
	case who == "":
		who = "an unknown caller"
	case h.Name != "":
		who = fmt.Sprintf("%s (%s)", h.Name, h.Caller)
	}
	long := (time.Duration(len(sound)) * time.Second / tone.Rate).Round(time.Second)
	return mail.Mail{
		To: to, Subject: fmt.Sprintf("Voicemail from %s, %v", who, long),
		Text: fmt.Sprintf("A message for extension %s\r\n\r\nFrom:   %s\r\nAt:     %s\r\nLength: %v\r\n\r\nDial the code of your mailbox to hear it on the phone; it stays there.\r\n",
			mailbox, who, h.At.Format("Mon, 2 Jan 2006 15:04 MST"), long),
		Name: h.At.Format("2006-01-02-150405") + ".wav", Attached: prompt.WAV(sound),
	}
}
