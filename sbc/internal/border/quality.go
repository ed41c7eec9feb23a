package border

import (
	"time"

	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/telemetry"
)

// measured is what a call's record shows of its media.
func measured(s anchor.Stats) []b2bua.MediaSide {
	out := make([]b2bua.MediaSide, 0, len(s.Sides))
	for i, m := range s.Sides {
		q := m.Quality
		out = append(out, b2bua.MediaSide{
			Side: b2bua.Side(i).String(), Remote: m.Remote, Crypto: m.Suite, PacketsIn: m.PacketsIn, PacketsOut: m.PacketsOut,
			InKernel: m.ByKernel, Dropped: m.Dropped, Reports: q.Reports, Loss: q.Loss, JitterMS: milliseconds(q.Jitter),
			RoundTripMS: milliseconds(q.RoundTrip), MOS: q.MOS,
		})
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quality is how the sides of calls that ended heard each other, by realm.
type quality map[string]heard

type heard struct{ loss, jitter, roundTrip, mos observer }

type observer interface{ Observe(float64) }

func newQuality(m *telemetry.Metrics) quality {
	loss := m.HistogramVec("media_loss_ratio", "Mean share of packets that a side of a call missed, by its own reports.",
		[]float64{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5}, "realm")
	jitter := m.HistogramVec("media_jitter_seconds", "Mean jitter that a side of a call reported.",
		[]float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2}, "realm")
	roundTrip := m.HistogramVec("media_round_trip_seconds", "Last round trip between us and a side of a call.",
		[]float64{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1}, "realm")
	mos := m.HistogramVec("media_mos", "Estimated opinion score of what a side of a call heard, 1 to 4.5.",
		[]float64{2, 2.5, 3, 3.5, 3.8, 4, 4.2, 4.3, 4.4}, "realm")
	q := quality{}
	for _, realm := range answerRealms {
		name := string(realm)
		q[name] = heard{loss.WithLabelValues(name), jitter.WithLabelValues(name), roundTrip.WithLabelValues(name), mos.WithLabelValues(name)}
	}
	return q
}

// observe takes a call that ended. A side that reported nothing is left out.
func (o quality) observe(realms [2]string, s anchor.Stats) {
	for i, m := range s.Sides {
		q, h := m.Quality, o[realms[i]]
		if q.Reports == 0 {
			continue
		}
		h.loss.Observe(q.Loss)
		h.jitter.Observe(q.Jitter.Seconds())
		h.mos.Observe(q.MOS)
		if q.RoundTrip > 0 {
			h.roundTrip.Observe(q.RoundTrip.Seconds())
		}
	}
}
