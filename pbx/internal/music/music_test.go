package music

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brickhouse/pbx/internal/prompt"
	"brickhouse/shared/tone"
)

func read(t *testing.T, p *Piece, n int) []int16 {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(p.Play(), b); err != nil {
		t.Fatal(err)
	}
	return tone.MuLaw.Decode(nil, b)
}

func TestPrelude(t *testing.T) {
	p, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	length := len(prelude())
	pcm := read(t, p, length+tone.Rate)
	if level := tone.Level(pcm[:length]); level < -25 || level > -10 {
		t.Errorf("it plays at %.1f dBm0", level)
	}
	if own, other := tone.Power(pcm[:noteEvery], hertz("C5")), tone.Power(pcm[:noteEvery], hertz("D5")); own < other+6 {
		t.Errorf("it begins with another note: C5 has %.1f dBm0, D5 %.1f", own, other)
	}
	for i := range tone.Rate { // round and round
		if pcm[i] != pcm[length+i] {
			t.Fatalf("after the end it differs from the beginning at %d", i)
		}
	}
	for i, v := range pcm {
		if math.Abs(float64(v)) > 31000 {
			t.Fatalf("it is clipped at %d", i)
		}
	}
}

func TestRinging(t *testing.T) {
	pcm := read(t, Ringing(), 6*tone.Rate)
	for second, want := range []bool{true, false, false, false, false, true} {
		got := tone.Level(pcm[second*tone.Rate:][:tone.Rate])
		if want != (got > ringLevel-1) || want && got > ringLevel+1 {
			t.Errorf("second %d: %.1f dBm0", second, got)
		}
	}
}

func TestHertz(t *testing.T) {
	for name, want := range map[string]float64{"A4": 440, "A5": 880, "C4": 261.626, "F#5": 739.989} {
		if got := hertz(name); math.Abs(got-want) > 0.01 {
			t.Errorf("%s is %.3f Hz", name, got)
		}
	}
}

func TestOwnFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "own.wav")
	write := func(b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(prompt.WAV([]byte{1, 2, 3}))
	p, err := Load(Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 7)
	if _, err := io.ReadFull(p.Play(), b); err != nil || string(b) != "\x01\x02\x03\x01\x02\x03\x01" {
		t.Errorf("it plays %v: %v", b, err)
	}
	for text, content := range map[string][]byte{"no WAV file": []byte("MP3"), "no sound": prompt.WAV(nil)} {
		write(content)
		if _, err := Load(Config{File: file}); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Load(Config{File: filepath.Join(dir, "none.wav")}); err == nil {
		t.Error("a file that is not there was loaded")
	}
}

func BenchmarkRender(b *testing.B) {
	for b.Loop() {
		render(bars)
	}
}
