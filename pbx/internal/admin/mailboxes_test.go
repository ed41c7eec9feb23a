package admin

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/store"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/secret"
	"brickhouse/shared/tone"
)

// mailboxes are real ones, below the fake exchange.
type mailboxes struct{ boxes *voicemail.Boxes }

func (m mailboxes) Messages(ctx context.Context, mailbox string) ([]voicemail.Message, error) {
	return m.boxes.List(ctx, mailbox)
}

func (m mailboxes) MessageSound(ctx context.Context, mailbox, id string) ([]byte, error) {
	r, err := m.boxes.Sound(ctx, mailbox, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (m mailboxes) DeleteMessage(mailbox, id string) error { return m.boxes.Delete(mailbox, id) }

func (m mailboxes) SetPIN(ctx context.Context, mailbox, pin string) error {
	return m.boxes.SetPIN(ctx, mailbox, pin)
}

func (f *fake) SetEmail(ctx context.Context, number, address string) error {
	if address == "nobody" {
		return callcontrol.Unfit("that is no mail address")
	}
	return f.change(ctx, number, func(s *store.Services) { s.Email = address })
}

func (f *fake) SetMailPassword(_ context.Context, password string) error {
	f.passwords["mail"] = password
	return f.fault
}

// TestMail says where messages are mailed to, and how the mail server is told who we are.
func TestMail(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	if out := r.do("extension", "email", "1001", "a@example.com"); !strings.Contains(out, "mailed to a@example.com") {
		t.Error(out)
	}
	if s := r.x.store.Services("1001"); s.Email != "a@example.com" {
		t.Errorf("%+v", s)
	}
	r.do("extension", "email", "1001", "off")
	if s := r.x.store.Services("1001"); s.Email != "" {
		t.Errorf("%+v", s)
	}
	if _, err := r.stdin("secret\n", "mailbox", "smtp-password"); err != nil || r.x.passwords["mail"] != "secret" {
		t.Errorf("%v, %v", err, r.x.passwords)
	}
	for args, want := range map[string]string{"1001 nobody": "no mail address", "1099 a@example.com": "no extension"} {
		if status, _, errs := r.run(append([]string{"extension", "email"}, strings.Fields(args)...)...); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, status, errs)
		}
	}
	if _, err := r.stdin("", "mailbox", "smtp-password"); err == nil {
		t.Error("an empty password is taken")
	}
}

func (f *fake) SetVoicemail(ctx context.Context, number string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) { s.Voicemail = on })
}

// caller is one who says something for three seconds.
type caller struct{}

func (caller) Play(context.Context, io.Reader) (byte, error)                    { return 0, nil }
func (caller) Beep(context.Context, float64, time.Duration) error               { return nil }
func (caller) Key(context.Context, time.Duration) (byte, error)                 { return 0, nil }
func (caller) Digits(context.Context, byte, int, time.Duration) (string, error) { return "", nil }
func (caller) Forget()                                                          {}
func (caller) Record(_ context.Context, t media.Take) (key byte, lost int, err error) {
	pcm := make([]int16, 3*tone.Rate)
	tone.NewSine(440, -10).Read(pcm)
	return 0, 0, t.Into(pcm)
}

func mailboxRig(t *testing.T) *rig {
	t.Helper()
	r, dir := newRig(t), t.TempDir()
	if err := secret.CreateFile(filepath.Join(dir, "secrets"), filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.OpenFile(filepath.Join(dir, "secrets"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secrets.Close() })
	sounds, err := prompt.English()
	if err != nil {
		t.Fatal(err)
	}
	r.x.boxes, err = voicemail.Open(voicemail.Options{
		Config: voicemail.DefaultConfig(), Prompts: prompt.NewLibrary(sounds), Dir: filepath.Join(dir, "voicemail"), Secrets: secrets, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Owner:   func(number string) bool { return r.x.store.Services(number).Voicemail },
		Waiting: func(string, int, int) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.do("extension", "add", "1001")
	return r
}

// TestMailbox: an operator gives an extension a mailbox, sees what is in it, takes a message out as a file, and removes it.
func TestMailbox(t *testing.T) {
	r := mailboxRig(t)
	if got := r.do("extension", "voicemail", "1001", "on"); got != "extension 1001: voicemail is on\n" {
		t.Errorf("%q", got)
	}
	if got := r.do("extension", "show", "1001"); !strings.Contains(got, "voicemail       on") {
		t.Errorf("%q", got)
	}
	if got := r.do("mailbox", "list", "1001"); got != "no messages\n" {
		t.Errorf("%q", got)
	}
	r.x.boxes.Leave(t.Context(), caller{}, voicemail.Header{Mailbox: "1001", Caller: "030123", Name: "Ann", At: time.Now(), Trace: "t1"})
	got := r.do("mailbox", "list", "1001")
	fields := strings.Fields(strings.Split(got, "\n")[1])
	if len(fields) != 8 || fields[1] != "new" || fields[2] != "030123" || fields[3] != "Ann" || fields[6] != "3s" || fields[7] != "t1" {
		t.Fatalf("%q", got)
	}
	path := filepath.Join(t.TempDir(), "m.wav")
	r.do("mailbox", "save", "1001", fields[0], path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sound, err := prompt.ParseWAV(b)
	if m := tone.Measure(tone.MuLaw.Decode(nil, sound)); err != nil || !m.Is(440) || len(sound) != 3*tone.Rate {
		t.Errorf("%d bytes, %+v, %v", len(sound), m, err)
	}
	r.do("mailbox", "delete", "1001", fields[0])
	if _, err := r.stdin("2580\n", "mailbox", "pin", "1001"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ args, want string }{
		{"mailbox list 1002", "pbx extension voicemail NUMBER on"},
		{"mailbox delete 1001 " + fields[0], "no such message"},
		{"mailbox save 1001 nothing /nowhere/x.wav", "no such message"},
		{"mailbox pin 1001", "standard input holds no PIN"},
	} {
		if status, _, errs := r.run(strings.Split(c.args, " ")...); status != 2 || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q", c.args, status, errs)
		}
	}
	if _, err := r.stdin("1111\n", "mailbox", "pin", "1001"); err == nil || !strings.Contains(err.Error(), "4 to 10 digits") {
		t.Errorf("a weak PIN: %v", err)
	}
}
