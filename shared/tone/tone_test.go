package tone

import (
	"math"
	"testing"
)

// The digital milliwatt of G.711 table 5 and 6: 1 kHz at 0 dBm0.
var (
	milliwattMu = []byte{0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e}
	milliwattA  = []byte{0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4}
)

func TestDigitalMilliwatt(t *testing.T) {
	for law, seq := range map[Law][]byte{MuLaw: milliwattMu, ALaw: milliwattA} {
		var codes []byte
		for range 100 {
			codes = append(codes, seq...)
		}
		r := Measure(law.Decode(nil, codes))
		if math.Abs(r.Frequency-1000) > 0.5 || math.Abs(r.Level) > 0.1 { // the laws overload 0.03 dB and a step apart
			t.Errorf("%v: %+v, want 1000 Hz at 0 dBm0", law, r)
		}
	}
}

func TestKnownCodes(t *testing.T) {
	for _, c := range []struct {
		code byte
		want int16
	}{{0x00, -32124}, {0x80, 32124}, {0xff, 0}, {0x7f, 0}, {0xfe, 8}, {0x7e, -8}, {0xef, 132}, {0x8f, 16764}} {
		if got := DecodeMuLaw(c.code); got != c.want {
			t.Errorf("μ-law %#02x = %d, want %d", c.code, got, c.want)
		}
	}
	for _, c := range []struct {
		code byte
		want int16
	}{{0x2a, -32256}, {0xaa, 32256}, {0xd5, 8}, {0x55, -8}, {0xc5, 264}, {0x45, -264}, {0x80, 5504}, {0x00, -5504}} {
		if got := DecodeALaw(c.code); got != c.want {
			t.Errorf("A-law %#02x = %d, want %d", c.code, got, c.want)
		}
	}
}

func TestEveryCodeSurvives(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		if got := EncodeALaw(DecodeALaw(c)); got != c {
			t.Errorf("A-law %#02x became %#02x", c, got)
		}
		if c == 0x7f { // minus zero has no sample of its own
			continue
		}
		if got := EncodeMuLaw(DecodeMuLaw(c)); got != c {
			t.Errorf("μ-law %#02x became %#02x", c, got)
		}
	}
}

func TestEverySampleIsNear(t *testing.T) {
	for v := math.MinInt16; v <= math.MaxInt16; v++ {
		s := int16(v)
		allowed := math.Abs(float64(v))/16 + 20 // half a step of the segment, and the overload above the last code
		if d := math.Abs(float64(DecodeMuLaw(EncodeMuLaw(s))) - float64(v)); d > allowed && v > -32124 && v < 32124 {
			t.Fatalf("μ-law: %d is off by %v", v, d)
		}
		if d := math.Abs(float64(DecodeALaw(EncodeALaw(s))) - float64(v)); d > allowed && v > -32256 && v < 32256 {
			t.Fatalf("A-law: %d is off by %v", v, d)
		}
	}
}

func TestSineMeasures(t *testing.T) {
	for _, c := range []struct{ hz, level float64 }{{1004, -10}, {440, -20}, {300, 0}, {3400, -30}, {1209, -6}} {
		for _, law := range []Law{MuLaw, ALaw} {
			pcm := make([]int16, 1600)
			NewSine(c.hz, c.level).Read(pcm)
			r := Measure(law.Decode(nil, law.Encode(nil, pcm)))
			if math.Abs(r.Frequency-c.hz) > 1 || math.Abs(r.Level-c.level) > 0.2 || !r.Is(c.hz) {
				t.Errorf("%v %v Hz %v dBm0 measured as %+v", law, c.hz, c.level, r)
			}
		}
	}
}

func TestPhaseRunsOn(t *testing.T) {
	whole, parts := make([]int16, 800), make([]int16, 800)
	NewSine(1004, -10).Read(whole)
	s := NewSine(1004, -10)
	for i := 0; i < 800; i += 160 {
		s.Read(parts[i : i+160])
	}
	for i := range whole {
		if d := int(whole[i]) - int(parts[i]); d < -1 || d > 1 {
			t.Fatalf("sample %d: %d and %d", i, whole[i], parts[i])
		}
	}
}

func TestSilenceAndNoise(t *testing.T) {
	if r := Measure(make([]int16, 800)); r.Level != Silent || r.Total != Silent || r.Is(1000) {
		t.Errorf("silence measured as %+v", r)
	}
	if r := Measure(nil); r.Level != Silent {
		t.Errorf("nothing measured as %+v", r)
	}
	noise, x := make([]int16, 1600), uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = int16(x >> 16)
	}
	r := Measure(noise)
	if r.Is(r.Frequency) {
		t.Errorf("noise passes as a tone: %+v", r)
	}
	if Power(nil, 100) != Silent || Level(nil) != Silent {
		t.Error("an empty window is not silent")
	}
}

func TestLoudToneIsClipped(t *testing.T) {
	pcm := make([]int16, 800)
	NewSine(1000, 20).Read(pcm)
	for i, s := range pcm {
		if i%8 == 2 && s != math.MaxInt16 {
			t.Fatalf("sample %d is %d", i, s)
		}
	}
}

func TestSilenceCodes(t *testing.T) {
	for _, law := range []Law{MuLaw, ALaw} {
		if s := law.Decode(nil, []byte{law.Silence()})[0]; s < -8 || s > 8 {
			t.Errorf("%v: silence is %d", law, s)
		}
	}
	if MuLaw.String() != "PCMU" || ALaw.String() != "PCMA" || Law(3).String() != "law(3)" {
		t.Error("names")
	}
}

func BenchmarkMeasure(b *testing.B) {
	pcm := make([]int16, 1600)
	NewSine(1004, -10).Read(pcm)
	for b.Loop() {
		Measure(pcm)
	}
}
