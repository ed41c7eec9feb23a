package voicemail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/shared/secret"
	"brickhouse/shared/tone"
)

// rig is a set of mailboxes of the extensions 1001, 1002 and 1003 on a real disk, with a real secret store.
type rig struct {
	*testing.T
	*Boxes
	opt     Options
	now     time.Time
	waiting map[string]string
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	dir := t.TempDir()
	if err := secret.CreateFile(filepath.Join(dir, "secrets"), filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.OpenFile(filepath.Join(dir, "secrets"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secrets.Close() })
	r := &rig{T: t, now: time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC), waiting: map[string]string{}}
	prompts, err := prompt.English()
	if err != nil {
		t.Fatal(err)
	}
	for name := range prompts { // each prompt's sound is its name
		prompts[name] = []byte(name + " ")
	}
	r.opt = Options{
		Config: DefaultConfig(), Dir: filepath.Join(dir, "voicemail"), Secrets: secrets, Prompts: prompt.NewLibrary(prompts),
		Owner:   func(n string) bool { return n == "1001" || n == "1002" || n == "1003" },
		Waiting: func(n string, fresh, old int) error { r.waiting[n] = fmt.Sprint(fresh, "/", old); return nil },
		Log:     slog.New(slog.DiscardHandler), Now: func() time.Time { return r.now },
	}
	for _, f := range change {
		f(&r.opt)
	}
	r.open()
	return r
}

// open opens the mailboxes as a start does.
func (r *rig) open() {
	r.Helper()
	b, err := Open(r.opt)
	if err != nil {
		r.Fatal(err)
	}
	r.Boxes = b
}

// fakeLine is a caller: what he presses while each thing is played or asked, and what he says. _ stands for no key, and the end of the
// keys for hanging up.
type fakeLine struct {
	keys   string
	voice  []int16
	heard  strings.Builder
	cancel context.CancelFunc
	fault  error // of the disk, while he speaks
}

func (l *fakeLine) press() (byte, error) {
	if l.keys == "" {
		l.cancel()
		return 0, context.Canceled
	}
	k := l.keys[0]
	if l.keys = l.keys[1:]; k == '_' {
		k = 0
	}
	return k, nil
}

func (l *fakeLine) Play(_ context.Context, sound io.Reader) (byte, error) {
	b, err := io.ReadAll(sound)
	if len(b) > 1000 {
		b = []byte(fmt.Sprintf("%.0fs ", float64(len(b))/tone.Rate))
	}
	l.heard.Write(b)
	if err != nil {
		return 0, err
	}
	return l.press()
}

func (l *fakeLine) Beep(context.Context, float64, time.Duration) error {
	l.heard.WriteString("beep ")
	return nil
}

func (l *fakeLine) Key(context.Context, time.Duration) (byte, error) { return l.press() }

func (l *fakeLine) Digits(_ context.Context, first byte, most int, _ time.Duration) (string, error) {
	digits := ""
	for k := first; ; {
		if k == 0 {
			var err error
			if k, err = l.press(); err != nil || k == 0 {
				return digits, err
			}
		}
		if k == '#' {
			return digits, nil
		}
		if digits += string(k); len(digits) == most {
			return digits, nil
		}
		k = 0
	}
}

func (l *fakeLine) Record(_ context.Context, t media.Take) (byte, int, error) {
	for pcm := l.voice; len(pcm) > 0; pcm = pcm[min(160, len(pcm)):] {
		if err := t.Into(pcm[:min(160, len(pcm))]); err != nil {
			return 0, 0, err
		}
		if l.fault != nil {
			return 0, 0, l.fault
		}
	}
	k, err := l.press()
	return k, 0, err
}

func (l *fakeLine) Forget() {}

// speech is something to say.
func speech(hertz float64, long time.Duration) []int16 {
	pcm := make([]int16, int(long.Seconds()*tone.Rate))
	tone.NewSine(hertz, -10).Read(pcm)
	return pcm
}

// leave is a caller who says something in a mailbox. It returns what he heard.
func (r *rig) leave(mailbox, keys string, voice []int16) string {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	l := &fakeLine{keys: keys, voice: voice, cancel: cancel}
	r.now = r.now.Add(time.Second)
	r.Leave(ctx, l, Header{Mailbox: mailbox, Caller: "+4930123", Name: "Ann", At: r.now, Trace: "t"})
	return l.heard.String()
}

// menu is an owner who presses keys.
func (r *rig) menu(mailbox, keys string, voice ...int16) string {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	l := &fakeLine{keys: keys, voice: voice, cancel: cancel}
	r.Menu(ctx, l, mailbox)
	if l.keys != "" {
		r.Errorf("hung up before %q was pressed, after %s", l.keys, l.heard.String())
	}
	return l.heard.String()
}

func (r *rig) heard(got string, want ...string) {
	r.Helper()
	for _, w := range want {
		i := strings.Index(got, w+" ")
		if i < 0 {
			r.Errorf("%q not heard (or not after the one before) in %q", w, got)
			return
		}
		got = got[i+len(w):]
	}
}

func (r *rig) list(mailbox string) []Message {
	r.Helper()
	list, err := r.List(r.Context(), mailbox)
	if err != nil {
		r.Fatal(err)
	}
	return list
}

var errDisk = errors.New("no space left on device")
