package voicemail

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/prompt"
)

// post is a mail server that may fail.
type post struct {
	sent  []mail.Mail
	fault error
}

func mailRig(t *testing.T) (*rig, *post, map[string]due) {
	p := &post{}
	r := newRig(t, func(o *Options) {
		o.Address = func(mailbox string) string {
			return map[string]string{"1001": "one@example.com", "1002": "two@example.com"}[mailbox]
		}
		o.Post = func(_ context.Context, m mail.Mail) error {
			if p.fault == nil {
				p.sent = append(p.sent, m)
			}
			return p.fault
		}
	})
	return r, p, map[string]due{}
}

func (r *rig) marks() int {
	r.Helper()
	all, err := filepath.Glob(filepath.Join(r.opt.Dir, "*", "*."+mailing))
	if err != nil {
		r.Fatal(err)
	}
	return len(all)
}

func TestMailing(t *testing.T) {
	r, p, tries := mailRig(t)
	r.leave("1001", "#", speech(500, 4*time.Second))
	r.leave("1003", "#", speech(500, 4*time.Second)) // has no address
	if n := r.marks(); n != 1 {
		t.Fatalf("%d mails wait", n)
	}
	p.fault = errors.New("away")
	r.mailAll(t.Context(), tries)
	p.fault = nil
	r.mailAll(t.Context(), tries) // it is not time yet
	if len(p.sent) != 0 || r.marks() != 1 {
		t.Errorf("%d sent, %d wait", len(p.sent), r.marks())
	}
	r.now = r.now.Add(mailRetry)
	r.mailAll(t.Context(), tries)
	if len(p.sent) != 1 || r.marks() != 0 || len(tries) != 0 {
		t.Fatalf("%d sent, %d wait, %v", len(p.sent), r.marks(), tries)
	}
	m := p.sent[0]
	sound, err := prompt.ParseWAV(m.Attached)
	if err != nil || m.To != "one@example.com" || !strings.HasPrefix(m.Subject, "Voicemail from ") || !strings.HasSuffix(m.Name, ".wav") || len(sound) < 4*8000 {
		t.Errorf("%v; %s to %s, %d bytes", err, m.Subject, m.To, len(sound))
	}
	r.mailAll(t.Context(), tries)
	if len(p.sent) != 1 {
		t.Error("it is sent twice")
	}
	if list := r.list("1001"); len(list) != 1 || list[0].Folder != New {
		t.Errorf("%+v", list)
	}
	if err := r.Copy("1001", r.list("1001")[0].ID, "1002"); err != nil { // passed on, it is mailed there
		t.Fatal(err)
	}
	r.mailAll(t.Context(), tries)
	if len(p.sent) != 2 || p.sent[1].To != "two@example.com" {
		t.Errorf("%+v", p.sent[1:])
	}
}

func TestMailsThatAreNotSent(t *testing.T) {
	r, p, tries := mailRig(t)
	for name, do := range map[string]func(id string){
		"refused":  func(string) { p.fault = mail.ErrRefused },
		"deleted":  func(id string) { _ = r.Delete("1001", id) },
		"too late": func(string) { p.fault = errors.New("away"); r.now = time.Now().Add(mailGiveUp + time.Hour) },
	} {
		r.leave("1001", "#", speech(500, 4*time.Second))
		id := r.list("1001")[0].ID
		do(id)
		r.mailAll(t.Context(), tries)
		if len(p.sent) != 0 || r.marks() != 0 {
			t.Errorf("%s: %d sent, %d wait", name, len(p.sent), r.marks())
		}
		p.fault = nil
		_ = r.Delete("1001", id)
	}
}

// What a crash has cut is mailed after the next start, and what was to be mailed before it.
func TestMailAfterCrash(t *testing.T) {
	r, p, tries := mailRig(t)
	r.leave("1001", "#", speech(500, 4*time.Second))
	id := r.list("1001")[0].ID
	dir := filepath.Join(r.opt.Dir, "1001")
	if err := errors.Join(os.Remove(filepath.Join(dir, id+"."+mailing)), os.Rename(filepath.Join(dir, id+"."+string(New)), filepath.Join(dir, id+"."+part))); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.mailAll(t.Context(), tries)
	if len(p.sent) != 1 || r.marks() != 0 {
		t.Errorf("%d sent, %d wait", len(p.sent), r.marks())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r.leave("1001", "#", speech(500, 4*time.Second))
	r.Mail(ctx)
	if len(p.sent) != 2 {
		t.Errorf("%d sent", len(p.sent))
	}
}
