package tone

import "math"

// zeroLevelPeak is the amplitude of a sine of 0 dBm0 on the 16-bit scale: G.711's μ-law overloads at +3.17 dBm0, which is
// 8159 of 14 bits.
var zeroLevelPeak = 8159 * 4 / math.Pow(10, 3.17/20)

// Sine is a generator of one tone. Its phase runs on from call to call.
type Sine struct {
	amplitude, step, phase float64
}

// NewSine makes a tone of hz at level dBm0, sampled at Rate. Levels above +3.14 are clipped.
func NewSine(hz, level float64) *Sine {
	return &Sine{amplitude: zeroLevelPeak * math.Pow(10, level/20), step: 2 * math.Pi * hz / Rate}
}

// Read fills pcm with the next samples.
func (s *Sine) Read(pcm []int16) {
	for i := range pcm {
		v := math.Round(s.amplitude * math.Sin(s.phase))
		pcm[i] = int16(max(math.MinInt16, min(math.MaxInt16, v)))
		s.phase = math.Mod(s.phase+s.step, 2*math.Pi)
	}
}
