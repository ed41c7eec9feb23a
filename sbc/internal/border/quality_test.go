package border

import (
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/shared/telemetry"
)

// A side that reported counts for its realm; one that said nothing counts nowhere.
func TestQuality(t *testing.T) {
	m := telemetry.NewMetrics("sbc", "test")
	q := newQuality(m)
	var s anchor.Stats
	s.Sides[0].Quality = anchor.Quality{Reports: 2, Loss: 0.03, Jitter: 4 * time.Millisecond, RoundTrip: 60 * time.Millisecond, MOS: 3.9}
	q.observe([2]string{"access", "core"}, s)
	s.Sides[0].Quality.RoundTrip = 0
	q.observe([2]string{"access", "core"}, s)
	page := scrape(t, m)
	for _, want := range []string{
		`media_loss_ratio_bucket{realm="access",le="0.02"} 0`, `media_loss_ratio_bucket{realm="access",le="0.05"} 2`,
		`media_jitter_seconds_sum{realm="access"} 0.008`, `media_round_trip_seconds_count{realm="access"} 1`,
		`media_mos_bucket{realm="access",le="4"} 2`, `media_loss_ratio_count{realm="core"} 0`, `media_mos_count{realm="peer"} 0`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}
