package prompt

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/tone"
)

// Each line of the list is in the program, at the level of speech, and nothing else is.
func TestShipped(t *testing.T) {
	s, err := English()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("en.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^([a-z0-9-]+)\t(.+)$`).FindAllStringSubmatch(string(text), -1)
	if len(names) != len(s) || len(s) < 90 {
		t.Errorf("%d lines, %d sounds: run make prompts", len(names), len(s))
	}
	for _, n := range names {
		pcm := tone.MuLaw.Decode(nil, s[n[1]])
		if long := time.Duration(len(pcm)) * time.Second / tone.Rate; tone.Level(pcm) < -30 || long < 100*time.Millisecond || long > 20*time.Second {
			t.Errorf("%s: %v at %.0f dBm0", n[1], long, tone.Level(pcm))
		}
	}
}

// Whatever is said has a sound.
func TestSaid(t *testing.T) {
	s, err := English()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC)
	for want, got := range map[string][]string{
		"0": Number(0), "7": Number(7), "20": Number(20), "20 1": Number(21), "30": Number(30), "1 hundred": Number(100), "2 hundred 5": Number(205),
		"3 thousand 4 hundred 50 6": Number(3456), "1 thousand": Number(1000), "9 hundred 90 9 thousand 9 hundred 90 9": Number(999_999),
		"plus 4 9 3 0": Digits("+49 30"), "star 9 7 pound": Digits("*97#"), "": Digits("anonymous"),
		"today at 14 oclock":         Moment(now.Add(-30*time.Minute), now),
		"yesterday at 14 oh 5":       Moment(now.Add(-24*time.Hour-25*time.Minute), now),
		"monday at 0 30":             Moment(time.Date(2026, 11, 23, 0, 30, 0, 0, time.UTC), now),
		"december 20 4 at 20 3 50 9": Moment(time.Date(2025, 12, 24, 23, 59, 0, 0, time.UTC), now),
		"november 30 at 9 oclock":    Moment(time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC), now),
		"yesterday at 20 3 30":       Moment(time.Date(2026, 11, 25, 23, 30, 0, 0, time.UTC), now),
		"november 19 at 14 30":       Moment(time.Date(2026, 11, 19, 14, 30, 0, 0, time.UTC), now),
		"today at 2 10":              Moment(time.Date(2026, 11, 26, 2, 10, 0, 0, time.UTC), now),
		"friday at 12 oclock":        Moment(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), now),
		"today at 1 oclock":          Moment(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), now.In(time.FixedZone("x", 3600))),
	} {
		if strings.Join(got, " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
		for _, n := range got {
			if len(s[n]) == 0 {
				t.Errorf("%s has no sound", n)
			}
		}
	}
}

func TestOwnPrompts(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1.wav", WAV([]byte("one")))
	s, err := Load(dir)
	if err != nil || string(s["1"]) != "one" || len(s["2"]) < 100 {
		t.Fatalf("%v %q", err, s["1"])
	}
	if said, _ := io.ReadAll(s.Say("1", "none", "1")); string(said) != "oneone" {
		t.Errorf("said %q", said)
	}
	write("1.wav", append([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"+
		"LIST\x03\x00\x00\x00abc\x00data\x04\x00\x00\x00"), 0, 0, 0x10, 0x27))
	if s, err = Load(dir); err != nil || !bytes.Equal(s["1"], tone.MuLaw.Encode(nil, []int16{0, 10000})) {
		t.Errorf("16 bit: %v %x", err, s["1"])
	}
	write("welcome.wav", WAV([]byte("hello")))
	if _, err := Load(dir); err == nil {
		t.Error("a prompt that nothing says is taken")
	}
	s, err = Load(dir, "welcome", "2")
	if err != nil || string(s["welcome"]) != "hello" {
		t.Errorf("%v, %q", err, s["welcome"])
	}
	l := NewLibrary(Set{})
	l.Replace(s)
	if said, _ := io.ReadAll(l.Say("welcome")); string(said) != "hello" {
		t.Errorf("said %q", said)
	}
	for _, dir := range []string{dir, ""} {
		if _, err := Load(dir, "welcome", "closed"); err == nil || !strings.Contains(err.Error(), "closed") && dir != "" {
			t.Errorf("a prompt that is missing: %v", err)
		}
	}
	for name, c := range map[string]struct{ file, content, want string }{
		"no WAV":       {"1.wav", "hello", "is no WAV file"},
		"stereo":       {"1.wav", strings.Replace(string(WAV(nil)), "\x07\x00\x01\x00", "\x07\x00\x02\x00", 1), "2 channels"},
		"another name": {"one.wav", "", "no prompt of that name"}, "another kind": {"1.mp3", "", "no prompt of that name"},
		"empty": {"1.wav", "RIFF\x00\x00\x00\x00WAVE", "no sound"},
	} {
		dir = t.TempDir()
		write(c.file, []byte(c.content))
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a directory that is not there")
	}
}

func FuzzParseWAV(f *testing.F) {
	f.Add(WAV([]byte("sound")))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEdata\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := ParseWAV(b); err == nil && len(out) > len(b) {
			t.Fatal("more came out than went in")
		}
	})
}
