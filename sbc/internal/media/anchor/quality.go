package anchor

import (
	"strconv"
	"strings"
	"time"

	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/sdp"
)

// Quality is how a side hears the other one, by its own RTCP reports. The zero value: it reported nothing.
type Quality struct {
	Reports   uint64
	Loss      float64       // mean share of packets that it missed, 0 to 1
	Jitter    time.Duration // mean
	RoundTrip time.Duration // between us and the side, as last seen; 0: not known
	MOS       float64       // estimate, 1 to 4.5; 0 without reports
}

// maxJitter is what can be believed.
const maxJitter = 10 * time.Second

func (l *leg) quality(q relay.Quality) Quality {
	if q.Reports == 0 {
		return Quality{}
	}
	out := Quality{Reports: q.Reports, Loss: q.Loss, RoundTrip: q.RoundTrip}
	out.Jitter = time.Duration(min(q.Jitter/l.clockRate(), maxJitter.Seconds()) * float64(time.Second))
	out.MOS = mos(rating(out.Loss, out.RoundTrip/2+out.Jitter))
	return out
}

// defaultClock is that of all audio codecs that are older than rtpmap, and of G.722 (RFC 3551 §4.5.2), in Hz.
const defaultClock = 8000

// clockRate is that of the codec that the leg prefers, in Hz.
func (l *leg) clockRate() float64 {
	if l.audio >= len(l.lines) || len(l.lines[l.audio].Formats) == 0 {
		return defaultClock
	}
	line := &l.lines[l.audio]
	for _, m := range line.RTPMaps {
		if m.Format == line.Formats[0] {
			return clockOf(m)
		}
	}
	return defaultClock
}

func clockOf(m sdp.RTPMap) float64 {
	_, rest, _ := strings.Cut(m.Encoding, "/")
	rate, _, _ := strings.Cut(rest, "/")
	if n, err := strconv.Atoi(rate); err == nil && n > 0 {
		return float64(n)
	}
	return defaultClock
}

// What the model needs to know of a codec, for G.711 with loss concealment (ITU-T G.113 appendix I), and what packets and a
// playout buffer delay beside the network.
const (
	lossRobustness = 25.1
	frameDelay     = 40 * time.Millisecond
)

// rating is the E-model's R (ITU-T G.107 §7) for a share of lost packets and the delay of the network, with all else at its
// defaults. It is a yardstick of the network, the same for all codecs.
func rating(loss float64, delay time.Duration) float64 {
	ms := float64((delay + frameDelay).Milliseconds())
	r := 93.2 - 0.024*ms
	if ms > 177.3 {
		r -= 0.11 * (ms - 177.3)
	}
	percent := 100 * loss
	return r - 95*percent/(percent+lossRobustness)
}

// mos turns a rating into a mean opinion score (ITU-T G.107 annex B).
func mos(r float64) float64 {
	r = min(max(r, 0), 100)
	return max(1, 1+0.035*r+r*(r-60)*(100-r)*7e-6)
}
