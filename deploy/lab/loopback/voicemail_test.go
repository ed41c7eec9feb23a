package loopback

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brickhouse/shared/siptest"
	"brickhouse/shared/tone"
)

// TestVoicemail: a caller whom nobody answers leaves a message, and the exchange is killed while he speaks; what he said is there. The next
// one hangs up when he is done. The owner hears both at his phone, by key presses, and deletes one.
func TestVoicemail(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1941", "1942")
	s.exchange("extension", "voicemail", "1941", "on")
	caller := s.register(s.config(remote, "1942"))
	c := s.speaksAfterBeep(caller, "1941")
	time.Sleep(4 * time.Second) // of speech
	s.pbx.kill()
	s.startExchange()
	s.awaitLink()
	_ = c.Hangup(within(t, patience)) // of a call that the exchange does not know any more
	if cut := s.messages("1941", 1); cut[0].Length < 3 || cut[0].Caller != "1942" || cut[0].Folder != "new" {
		t.Errorf("%+v", cut)
	}
	c = s.speaksAfterBeep(caller, "1941")
	time.Sleep(3 * time.Second)
	if err := c.Hangup(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	list := s.messages("1941", 2)
	for _, m := range list {
		if r := s.sound("1941", m.ID); !r.Is(toneOf(caller)) {
			t.Errorf("message %+v sounds %+v", m, r)
		}
	}
	if rec := s.recorded("1942", 2); rec.Disposition != "answered" || rec.Mailbox != "1941" || rec.Callee != "1941" {
		t.Errorf("%+v", rec)
	}

	owner := s.register(s.config(insideUDP, "1941"))
	menu, err := owner.Call(within(t, patience), "*97")
	if err != nil {
		t.Fatal(err)
	}
	press(t, menu, "1")
	hears(t, owner, menu, toneOf(caller))
	press(t, menu, "7")
	s.messages("1941", 1)
	press(t, menu, "#")
	await(t, menu.Done(), "the menu to end")
	if left := s.messages("1941", 1); left[0].ID != list[1].ID {
		t.Errorf("left: %+v", left)
	}
}

// speaksAfterBeep calls somebody's mailbox and skips the greeting with a key. When it returns the exchange records.
func (s *site) speaksAfterBeep(caller *siptest.Phone, number string) *siptest.Call {
	s.t.Helper()
	c, err := caller.Call(within(s.t, patience), number)
	if err != nil {
		s.t.Fatal(err)
	}
	press(s.t, c, "#")
	eventually(s.t, "the recording to begin", func() string {
		if begun, err := filepath.Glob(filepath.Join(s.path("pbx-state"), "voicemail", number, "*.part")); len(begun) == 0 {
			return fmt.Sprint("no file", err)
		}
		return ""
	})
	return c
}

func press(t testing.TB, c *siptest.Call, key string) {
	t.Helper()
	r, err := c.Info(within(t, patience), "application/dtmf-relay", []byte("Signal="+key+"\r\nDuration=160\r\n"))
	if err != nil || !r.OK() {
		t.Fatalf("key %s: %v %v", key, r, err)
	}
}

type voiceMessage struct {
	ID, Folder, Caller string
	Length             float64
}

// messages waits until a mailbox has so many.
func (s *site) messages(mailbox string, n int) (list []voiceMessage) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d messages", n), func() string {
		if err := json.Unmarshal([]byte(s.exchange("mailbox", "list", mailbox, "--json")), &list); err != nil || len(list) != n {
			return fmt.Sprint(list, err)
		}
		return ""
	})
	return list
}

// sound is what a message sounds like.
func (s *site) sound(mailbox, id string) tone.Result {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "message.wav")
	s.exchange("mailbox", "save", mailbox, id, path)
	b, err := os.ReadFile(path)
	if err != nil || len(b) < 46+2*tone.Rate || binary.LittleEndian.Uint16(b[20:]) != 7 {
		s.t.Fatalf("%d bytes, %v", len(b), err)
	}
	return tone.Measure(tone.MuLaw.Decode(nil, b[46+tone.Rate:]))
}
