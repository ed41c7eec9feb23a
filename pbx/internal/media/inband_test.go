package media

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/prompt"
	"brickhouse/shared/tone"
)

// dual is a key's two tones for a while: levels of row and column in dBm0, and how far off they are.
func dual(key byte, row, column, off float64, long time.Duration) []int16 {
	at := strings.IndexByte(keypadNames, key)
	n := int(long * tone.Rate / time.Second)
	a, b := make([]int16, n), make([]int16, n)
	tone.NewSine(rows[at/4]*off, row).Read(a)
	tone.NewSine(columns[at%4]*off, column).Read(b)
	for i := range a {
		a[i] += b[i]
	}
	return a
}

func silent(long time.Duration) []int16 { return make([]int16, int(long*tone.Rate/time.Second)) }

// found is which keys are heard, in packets of 20 ms that µ-law has been through.
func found(pcm ...[]int16) string {
	var d inband
	var all []int16
	for _, p := range pcm {
		all = append(all, p...)
	}
	all = tone.MuLaw.Decode(nil, tone.MuLaw.Encode(nil, all))
	var keys strings.Builder
	for len(all) > 0 {
		n := min(roomFrame, len(all))
		d.hear(all[:n], func(k byte) { keys.WriteByte(k) })
		all = all[n:]
	}
	return keys.String()
}

func TestInbandKeys(t *testing.T) {
	var every [][]int16
	for i := range keypadNames {
		every = append(every, dual(keypadNames[i], -9, -7, 1, 80*time.Millisecond), silent(80*time.Millisecond))
	}
	if got := found(every...); got != keypadNames {
		t.Errorf("heard %q", got)
	}
	long, short, gap := 2*time.Second, 50*time.Millisecond, silent(60*time.Millisecond)
	for name, c := range map[string]struct {
		pcm  [][]int16
		want string
	}{
		"held":            {[][]int16{dual('5', -9, -9, 1, long)}, "5"},
		"short":           {[][]int16{gap, dual('5', -9, -9, 1, short), gap, dual('5', -9, -9, 1, short), gap}, "55"},
		"without a pause": {[][]int16{dual('5', -9, -9, 1, 100*time.Millisecond), dual('6', -9, -9, 1, 100*time.Millisecond)}, "56"},
		"a click":         {[][]int16{gap, dual('5', -9, -9, 1, 15*time.Millisecond), gap}, ""},
		"a dropout":       {[][]int16{dual('5', -9, -9, 1, 100*time.Millisecond), silent(8 * time.Millisecond), dual('5', -9, -9, 1, 100*time.Millisecond)}, "5"},
		"faint":           {[][]int16{gap, dual('5', -25, -25, 1, short), gap}, "5"},
		"too faint":       {[][]int16{gap, dual('5', -40, -40, 1, short), gap}, ""},
		"column fainter":  {[][]int16{gap, dual('5', -9, -15, 1, short), gap}, "5"},
		"row much louder": {[][]int16{gap, dual('5', -6, -18, 1, short), gap}, ""},
		"off":             {[][]int16{gap, dual('5', -9, -9, 1.01, short), gap}, "5"},
		"far off":         {[][]int16{gap, dual('5', -9, -9, 1.05, short), gap}, ""},
		"one tone":        {[][]int16{gap, tones(697, short), gap}, ""},
		"music":           {[][]int16{gap, mixed(tones(697, long), tones(1209, long), tones(440, long)), gap}, ""},
		"two rows":        {[][]int16{gap, mixed(tones(697, long), tones(770, long), tones(1209, long)), gap}, ""},
	} {
		if got := found(c.pcm...); got != c.want {
			t.Errorf("%s: heard %q, want %q", name, got, c.want)
		}
	}
}

func tones(hz float64, long time.Duration) []int16 {
	pcm := silent(long)
	tone.NewSine(hz, -12).Read(pcm)
	return pcm
}

func mixed(all ...[]int16) []int16 {
	out := make([]int16, len(all[0]))
	for _, pcm := range all {
		for i, v := range pcm {
			out[i] += v
		}
	}
	return out
}

// No prompt, of which there are minutes, has a key in it, however loud; nor has noise.
func TestSpeechIsNoKey(t *testing.T) {
	sounds, err := prompt.English()
	if err != nil {
		t.Fatal(err)
	}
	long := time.Duration(0)
	for name, s := range sounds {
		pcm := tone.MuLaw.Decode(nil, s)
		long += time.Duration(len(pcm)) * time.Second / tone.Rate
		for _, gain := range []float64{0.5, 1, 2} {
			loud := make([]int16, len(pcm))
			for i, v := range pcm {
				loud[i] = clip(int32(float64(v) * gain))
			}
			if got := found(loud); got != "" {
				t.Errorf("%s, times %.1f: heard %q", name, gain, got)
			}
		}
	}
	t.Logf("%v of speech", long)
	noise := silent(time.Minute)
	for i := range noise {
		noise[i] = int16(rand.IntN(20000) - 10000)
	}
	if got := found(noise); got != "" {
		t.Errorf("noise: heard %q", got)
	}
}

// A phone that offers no events presses its keys in band, and only then are they listened for.
func TestInbandCall(t *testing.T) {
	for events, want := range map[bool]string{false: "5", true: ""} {
		e := newEngine(t, 26500, nil)
		p := newPhone(t, "127.0.0.1")
		offer := string(p.offer())
		if !events {
			offer = strings.NewReplacer(" 101\r\n", "\r\n", "a=rtpmap:101 telephone-event/8000\r\n", "").Replace(offer)
		}
		keys := make(chan string, 1)
		answer, s, err := e.Answer(Script(func(ctx context.Context, d *Dialogue) {
			k, _ := d.Digits(ctx, 0, 1, time.Second)
			keys <- k
		}), []byte(offer), loopback, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.take(answer)
		for pcm := dual('5', -9, -9, 1, 200*time.Millisecond); len(pcm) > 0; pcm = pcm[roomFrame:] {
			p.send(p.rtp, 0, tone.MuLaw.Encode(nil, pcm[:roomFrame]))
		}
		if got := <-keys; got != want {
			t.Errorf("with events %v: %q, want %q", events, got, want)
		}
		s.Close()
	}
}

func BenchmarkInband(b *testing.B) {
	var d inband
	pcm := dual('5', -9, -9, 1, 20*time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		d.hear(pcm, func(byte) {})
	}
}
