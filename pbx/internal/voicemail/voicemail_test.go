package voicemail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/pin"
	"brickhouse/shared/tone"
)

// A message is left, waits, is heard as it was said, is old then, and goes.
func TestMessage(t *testing.T) {
	r := newRig(t)
	got := r.leave("1001", "_#_", speech(500, 5*time.Second))
	r.heard(got, "vm-extension", "1 0 0 1", "vm-unavailable vm-leave", "beep", "vm-thanks")
	if r.waiting["1001"] != "1/0" {
		t.Errorf("waiting %v", r.waiting)
	}
	list := r.list("1001")
	if len(list) != 1 || list[0].Folder != New || list[0].Length != 5*time.Second || list[0].Caller != "+4930123" || list[0].Name != "Ann" || !list[0].At.Equal(r.now) {
		t.Fatalf("%+v", list)
	}
	sound, err := r.Sound(r.Context(), "1001", list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(sound)
	sound.Close()
	if m := tone.Measure(tone.MuLaw.Decode(nil, b)); !m.Is(500) || len(b) != 5*tone.Rate {
		t.Errorf("%d bytes, %+v", len(b), m)
	}
	got = r.menu("1001", "1__7__#_")
	r.heard(got, "vm-have 1 vm-new vm-message", "vm-menu", "vm-message vm-from plus 4 9 3 0 1 2 3 vm-received today at 14 30", "5s", "vm-after", "vm-deleted", "vm-nomore", "vm-menu", "vm-goodbye")
	if r.waiting["1001"] != "0/0" || len(r.list("1001")) != 0 {
		t.Errorf("waiting %v", r.waiting)
	}
}

// Hanging up ends a message as well as a key; what is too short is none; silence and the end of patience end it too (package media).
func TestLeaving(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Messages = 2 })
	r.leave("1001", "", nil) // hangs up while the greeting is said
	r.heard(r.leave("1001", "__", speech(500, time.Second)), "beep vm-too-short")
	r.leave("1001", "#", speech(500, time.Second)) // hangs up
	if n := len(r.list("1001")); n != 0 || r.waiting["1001"] == "1/0" {
		t.Errorf("%d messages", n)
	}
	r.leave("1001", "#", speech(500, 3*time.Second))
	r.leave("1001", "_", speech(500, 4*time.Second))
	if got := r.list("1001"); len(got) != 2 || got[0].Length != 3*time.Second || got[1].Length != 4*time.Second {
		t.Errorf("%+v", got)
	}
	r.heard(r.leave("1001", "__", nil), "vm-full")
	r.heard(r.leave("9999", "_", nil), "vm-failed")
	left, _ := filepath.Glob(filepath.Join(r.opt.Dir, "*", "*.part"))
	if len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// What was said before the disk failed is kept.
func TestDiskFails(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &fakeLine{keys: "__", voice: speech(500, 3*time.Second), cancel: cancel, fault: errDisk}
	r.opt.MinLength, r.Boxes.opt.MinLength = 0, 0
	r.Leave(ctx, l, Header{Mailbox: "1001", At: r.now})
	r.heard(l.heard.String(), "beep", "vm-failed")
	if got := r.list("1001"); len(got) != 1 || got[0].Length != 20*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

// After a crash the mailboxes are as they were; what was being recorded is a message, halves of copies and greetings are gone, and the lamps
// burn again.
func TestCrash(t *testing.T) {
	r := newRig(t)
	r.leave("1001", "#", speech(500, 3*time.Second))
	r.now = r.now.Add(time.Second)
	rec, err := r.begin(t.Context(), Header{Mailbox: "1001", Caller: "1002", At: r.now})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 { // four seconds
		if err := rec.Write(speech(700, 4*time.Second)[160*i:][:160]); err != nil {
			t.Fatal(err)
		}
	}
	short, err := r.begin(t.Context(), Header{Mailbox: "1002", At: r.now})
	if err != nil || short.Write(speech(500, 600*time.Millisecond)) != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1001/1-a.copy", "1001/greeting.7.half"} {
		if err := os.WriteFile(filepath.Join(r.opt.Dir, name), make([]byte, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The last record is torn.
	f, err := os.OpenFile(filepath.Join(rec.dir, rec.id+"."+part), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte{0, 0, 1, 0, 1, 2, 3})
	f.Close()
	clear(r.waiting)
	r.open()
	list := r.list("1001")
	if len(list) != 2 || list[1].Folder != New || list[1].Length != 4*time.Second || list[1].Caller != "1002" || r.waiting["1001"] != "2/0" || r.waiting["1002"] != "0/0" {
		t.Fatalf("%+v, waiting %v", list, r.waiting)
	}
	sound, err := r.Sound(t.Context(), "1001", list[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer sound.Close()
	b, err := io.ReadAll(sound)
	if m := tone.Measure(tone.MuLaw.Decode(nil, b)); err != nil || !m.Is(700) || len(b) != 4*tone.Rate {
		t.Errorf("%d bytes, %+v, %v", len(b), m, err)
	}
	left, _ := filepath.Glob(filepath.Join(r.opt.Dir, "*", "*"))
	if len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

// On disk there is no word of a message, nor of who called; another key opens nothing, and a changed file is cut where it was changed.
func TestSealed(t *testing.T) {
	r := newRig(t)
	r.leave("1001", "#", speech(500, 3*time.Second))
	paths, _ := filepath.Glob(filepath.Join(r.opt.Dir, "1001", "*.new"))
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	plain := tone.MuLaw.Encode(nil, speech(500, 3*time.Second))
	if bytes.Contains(b, plain[:16]) || bytes.Contains(b, []byte("4930123")) || bytes.Contains(b, []byte("Ann")) {
		t.Error("it can be read")
	}
	if info, _ := os.Stat(paths[0]); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := open(paths[0], make([]byte, keySize)); !errors.Is(err, errForeign) {
		t.Errorf("another key: %v", err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(paths[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	sound, err := r.Sound(t.Context(), "1001", r.list("1001")[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer sound.Close()
	if got, err := io.ReadAll(sound); err != nil || len(got) >= len(plain) || !bytes.Equal(got, plain[:len(got)]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Only the owner's own phone opens a mailbox without a PIN; others hear that it is wrong, whatever they press.
func TestWhoMayHear(t *testing.T) {
	r := newRig(t)
	r.leave("1001", "#", speech(500, 3*time.Second))
	r.heard(r.menu("1001", "#_"), "vm-have 1", "vm-goodbye")
	r.heard(r.menu("", "_1001#_0000#__1001#_#__1001#_1234#__"), "vm-mailbox", "vm-pin", "vm-wrong", "vm-mailbox", "vm-pin", "vm-wrong", "vm-mailbox", "vm-pin", "vm-wrong", "vm-goodbye")
	if got := r.leave("1001", "*_#__#__#__", nil); strings.Contains(got, "vm-have") || !strings.Contains(got, "vm-wrong") {
		t.Errorf("a caller came in without a PIN: %q", got)
	}
	if err := r.SetPIN(t.Context(), "1001", "1001"); !errors.Is(err, pin.ErrWeak) {
		t.Error(err)
	}
	if err := r.SetPIN(t.Context(), "1001", "2580"); err != nil {
		t.Fatal(err)
	}
	r.heard(r.menu("1001", "_2580#_#_"), "vm-pin", "vm-have 1")
	r.heard(r.menu("", "_1001#_2580#_#_"), "vm-mailbox", "vm-pin", "vm-have 1")
	r.heard(r.leave("1001", "*_2580#_#_", nil), "vm-pin", "vm-have 1")
}

// Guessing locks a mailbox for a quarter of an hour, also for who knows the PIN, and no other.
func TestGuessing(t *testing.T) {
	r := newRig(t)
	for _, m := range []string{"1001", "1002"} {
		if err := r.SetPIN(t.Context(), m, "2580"); err != nil {
			t.Fatal(err)
		}
	}
	for range pin.MaxWrong {
		if ok, err := r.pins.Opens(t.Context(), "1001", "0852"); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r.heard(r.menu("1001", "_2580#_"), "vm-pin", "vm-locked")
	if ok, err := r.pins.Opens(t.Context(), "1002", "2580"); !ok || err != nil {
		t.Errorf("another one: %v %v", ok, err)
	}
	r.now = r.now.Add(pin.LockFor)
	if ok, err := r.pins.Opens(t.Context(), "1001", "2580"); !ok || err != nil {
		t.Errorf("later: %v %v", ok, err)
	}
}

// The owner goes through the messages, keeps some, passes one on, and skips.
func TestListening(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.leave("1001", "#", speech(500, time.Duration(3+i)*time.Second))
	}
	r.heard(r.menu("1001", "1_6_6_4_5_9__x_#_"),
		"vm-have 3 vm-new vm-messages", "3s", "4s", "5s", "4s", "4s", "vm-saved", "5s", "vm-invalid", "vm-goodbye")
	r.heard(r.menu("1001", "18_1002#_68_1001#_68_7777#_*#_"), "vm-have 3 vm-saved-messages vm-messages", "vm-to", "vm-forwarded", "vm-to", "vm-forwarded", "vm-to", "vm-unknown-box")
	if r.waiting["1002"] != "1/0" || r.waiting["1001"] != "1/3" {
		t.Errorf("waiting %v", r.waiting)
	}
	copied := r.list("1002")
	if len(copied) != 1 || copied[0].Length != 3*time.Second || copied[0].Caller != "+4930123" || copied[0].Mailbox != "1001" {
		t.Errorf("%+v", copied)
	}
	r.heard(r.menu("1003", "#_"), "vm-have no vm-messages")
	r.heard(r.menu("1001", "177#_"), "vm-have 1 vm-new vm-message and 3", "vm-deleted", "vm-goodbye") // a key that comes early counts
	if r.waiting["1001"] != "0/2" {
		t.Errorf("waiting %v", r.waiting)
	}
}

func TestGreeting(t *testing.T) {
	r := newRig(t)
	voice := speech(900, 6*time.Second)
	r.heard(r.menu("1001", "01_#2_3_#1_*#_", voice...), "vm-options", "vm-speak", "beep", "vm-review", "6s", "vm-review", "vm-speak", "beep", "vm-review", "vm-greeting-kept", "vm-options")
	got := r.leave("1001", "_#_", speech(500, 3*time.Second))
	if r.heard(got, "6s beep", "vm-thanks"); strings.Contains(got, "vm-unavailable") {
		t.Errorf("heard %q", got)
	}
	r.heard(r.menu("1001", "01_#*#_", speech(900, 8*time.Second)...), "vm-review", "vm-options", "vm-goodbye") // thrown away
	r.menu("1001", "01_", voice...)                                                                            // hangs up before it is kept
	r.heard(r.leave("1001", "_#_", nil), "6s beep")
	r.heard(r.menu("1001", "02_#_"), "vm-greeting-gone")
	r.heard(r.leave("1001", "_#_", nil), "vm-unavailable")
	if left, _ := filepath.Glob(filepath.Join(r.opt.Dir, "1001", "greeting*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestNewPIN(t *testing.T) {
	r := newRig(t)
	r.heard(r.menu("1001", "05_1111#_5_2580#_2581#_5_2580#_2580#_#_"), "vm-new-pin vm-weak", "vm-new-pin vm-again vm-mismatch", "vm-new-pin vm-again vm-pin-kept")
	if ok, err := r.pins.Opens(t.Context(), "1001", "2580"); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func TestRemove(t *testing.T) {
	r := newRig(t)
	r.leave("1001", "#", speech(500, 3*time.Second))
	if err := errors.Join(r.SetPIN(t.Context(), "1001", "2580"), r.Remove(t.Context(), "1001"), r.Remove(t.Context(), "1001"), r.Remove(t.Context(), "../1001")); err != nil {
		t.Fatal(err)
	}
	if has, err := r.pins.Has(t.Context(), "1001"); has || err != nil || len(r.list("1001")) != 0 {
		t.Errorf("%v %v", has, err)
	}
}

// FuzzSealed: whatever stands in a file, reading it ends, and gives no more than is there.
func FuzzSealed(f *testing.F) {
	dir := f.TempDir()
	key := make([]byte, keySize)
	s, err := create(filepath.Join(dir, "seed"), key, Header{Mailbox: "1001"})
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(s.write(make([]byte, 100), time.Time{}), s.finish()); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(append(seed, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := open(path, key)
		if err != nil {
			return
		}
		defer o.Close()
		if n := o.sound(int64(len(b))); n > int64(len(b)) {
			t.Fatalf("%d bytes of sound in %d", n, len(b))
		}
		if got, err := io.ReadAll(o); err != nil || len(got) > len(b) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(b), err)
		}
	})
}
