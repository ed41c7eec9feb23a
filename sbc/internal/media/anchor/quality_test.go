package anchor

import (
	"math"
	"testing"
	"time"

	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/sdp"
)

// The table of ITU-T G.107 annex B.
func TestMOS(t *testing.T) {
	for r, want := range map[float64]float64{94: 4.42, 90: 4.34, 80: 4.03, 70: 3.60, 60: 3.10, 50: 2.58, 0: 1, -20: 1, 120: 4.5} {
		if got := mos(r); math.Abs(got-want) > 0.01 {
			t.Errorf("R %v: %.2f, want %.2f", r, got, want)
		}
	}
	last := 5.0
	for _, loss := range []float64{0, 0.01, 0.05, 0.2, 1} {
		for _, delay := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, 20 * time.Second} {
			got := mos(rating(loss, delay))
			if got < 1 || got > 4.5 || delay == 0 && got >= last {
				t.Errorf("loss %v, delay %v: %v after %v", loss, delay, got, last)
			}
			if delay == 0 {
				last = got
			}
		}
	}
}

func TestLegQuality(t *testing.T) {
	opus := leg{lines: []sdp.Media{{Formats: []string{"111", "0"}, RTPMaps: []sdp.RTPMap{{Format: "111", Encoding: "opus/48000/2"}}}}}
	lying := leg{lines: []sdp.Media{{Formats: []string{"96"}, RTPMaps: []sdp.RTPMap{{Format: "96", Encoding: "x/0"}}}}}
	in := relay.Quality{Reports: 3, Loss: 0.01, Jitter: 480, RoundTrip: 30 * time.Millisecond}
	for name, test := range map[string]struct {
		leg  leg
		want time.Duration
	}{
		"Opus": {opus, 10 * time.Millisecond}, "none agreed": {leg{}, 60 * time.Millisecond}, "no clock": {lying, 60 * time.Millisecond},
	} {
		got := test.leg.quality(in)
		if got.Jitter != test.want || got.Reports != 3 || got.Loss != 0.01 || got.RoundTrip != in.RoundTrip || got.MOS < 4 || got.MOS > 4.4 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := opus.quality(relay.Quality{}); got != (Quality{}) {
		t.Errorf("no reports: %+v", got)
	}
	in.Jitter = math.MaxUint32
	if got := opus.quality(in); got.Jitter != maxJitter || got.MOS != 1 {
		t.Errorf("a lie: %+v", got)
	}
}
