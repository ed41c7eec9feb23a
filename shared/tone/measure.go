package tone

import "math"

// Silent is the level in dBm0 that stands for "nothing at all".
const Silent = -96.0

// Result is what Measure found.
type Result struct {
	Frequency float64 // of the strongest tone, Hz
	Level     float64 // of that tone, dBm0
	Total     float64 // of everything, dBm0
}

// Is reports whether the measured sound is a tone of hz, within 8 Hz, that carries nearly all of the sound's power and is louder
// than -40 dBm0.
func (r Result) Is(hz float64) bool {
	return math.Abs(r.Frequency-hz) <= 8 && r.Level > -40 && r.Total-r.Level < 1
}

// Power returns the level in dBm0 of the tone at hz in pcm, by Goertzel's algorithm. The window is rectangular, so pcm should hold
// many periods.
func Power(pcm []int16, hz float64) float64 {
	if len(pcm) == 0 {
		return Silent
	}
	coeff := 2 * math.Cos(2*math.Pi*hz/Rate)
	var s1, s2 float64
	for _, x := range pcm {
		s1, s2 = float64(x)+coeff*s1-s2, s1
	}
	energy := s1*s1 + s2*s2 - coeff*s1*s2
	amplitude := 2 * math.Sqrt(math.Max(energy, 0)) / float64(len(pcm))
	return decibel(amplitude / zeroLevelPeak)
}

// Level returns the level of the whole of pcm in dBm0.
func Level(pcm []int16) float64 {
	if len(pcm) == 0 {
		return Silent
	}
	var sum float64
	for _, x := range pcm {
		sum += float64(x) * float64(x)
	}
	rms := math.Sqrt(sum / float64(len(pcm)))
	return decibel(rms * math.Sqrt2 / zeroLevelPeak)
}

// Measure finds the strongest tone between 50 and 3,950 Hz: first coarsely, in steps of half the window's resolution, then by
// narrowing down around the best step to 0.1 Hz.
func Measure(pcm []int16) Result {
	r := Result{Level: Silent, Total: Level(pcm)}
	if len(pcm) < 80 {
		return r
	}
	step := math.Max(Rate/float64(len(pcm))/2, 2)
	for hz := 50.0; hz <= 3950; hz += step {
		if l := Power(pcm, hz); l > r.Level {
			r.Frequency, r.Level = hz, l
		}
	}
	for step > 0.1 {
		step /= 2
		for _, hz := range [2]float64{r.Frequency - step, r.Frequency + step} {
			if l := Power(pcm, hz); l > r.Level {
				r.Frequency, r.Level = hz, l
			}
		}
	}
	return r
}

func decibel(ratio float64) float64 {
	if ratio <= 0 {
		return Silent
	}
	return math.Max(20*math.Log10(ratio), Silent)
}
