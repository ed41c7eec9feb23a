package media

import (
	"math"

	"brickhouse/shared/tone"
)

// inband finds keys in what is heard, for phones that send neither events (RFC 4733) nor INFO: two tones at a time (ITU-T Q.23), recognised
// as Q.24 wants it, at 40 ms and more. Speech hardly ever is taken for a key.
type inband struct {
	pcm  [inbandBlock]int16
	n    int
	last byte // of the block before; 0: none
	key  byte // that is being pressed; 0: none
}

// A block is 25.6 ms, and the next one begins half a block later.
const (
	inbandBlock = 205
	inbandStep  = inbandBlock / 2
)

// The tones, and what a block must have to be a key.
var (
	rows    = [4]float64{697, 770, 852, 941}
	columns = [4]float64{1209, 1336, 1477, 1633}
)

const (
	keypadNames = "123A456B789C*0#D"

	quietest    = -30.0 // dBm0 of each tone
	purity      = 0.7   // share of the two tones in all that is heard
	forward     = 8.0   // dB that the column may be fainter than the row
	backward    = 4.0   // dB that it may be louder
	alone       = 8.0   // dB above the other three of its group
	maxHarmonic = -8.0  // dB of a tone's second harmonic, near which a column may be: speech has some
)

// hear takes sound, and hands each key to pressed once, when it has lasted for two blocks.
func (d *inband) hear(pcm []int16, pressed func(key byte)) {
	for len(pcm) > 0 {
		took := copy(d.pcm[d.n:], pcm)
		d.n += took
		if pcm = pcm[took:]; d.n < len(d.pcm) {
			return
		}
		now := keyIn(d.pcm[:])
		switch {
		case now == d.last && now != d.key: // for the second time: a key, or the end of one
			if d.key = now; now != 0 {
				pressed(now)
			}
		}
		d.last = now
		d.n = copy(d.pcm[:], d.pcm[inbandStep:])
	}
}

// keyIn returns the key of a block; 0: none.
func keyIn(pcm []int16) byte {
	var total float64
	for _, v := range pcm {
		total += float64(v) * float64(v)
	}
	if total /= float64(len(pcm)); total == 0 || tone.Level(pcm) < quietest {
		return 0
	}
	row, atRow, okRow := strongest(pcm, &rows)
	column, atColumn, okColumn := strongest(pcm, &columns)
	if !okRow || !okColumn || row+column < purity*total {
		return 0
	}
	twist := 10 * math.Log10(row/column)
	if twist > forward || twist < -backward || harmonic(pcm, rows[atRow], row) || harmonic(pcm, columns[atColumn], column) {
		return 0
	}
	return keypadNames[4*atRow+atColumn]
}

// strongest returns the power of the loudest tone of a group, and which it is. It reports false where it does not stand out, or is too faint.
func strongest(pcm []int16, group *[4]float64) (power float64, at int, ok bool) {
	var all [4]float64
	for i, hz := range group {
		if all[i] = goertzel(pcm, hz); all[i] > all[at] {
			at = i
		}
	}
	power = all[at]
	for i, p := range all {
		if i != at && p*math.Pow(10, alone/10) > power {
			return 0, 0, false
		}
	}
	return power, at, power >= faintest
}

// faintest is quietest as the mean square of samples.
var faintest = func() float64 {
	pcm := make([]int16, tone.Rate)
	tone.NewSine(1000, quietest).Read(pcm)
	return goertzel(pcm, 1000)
}()

func harmonic(pcm []int16, hz, power float64) bool {
	return goertzel(pcm, 2*hz) > power*math.Pow(10, maxHarmonic/10)
}

// goertzel returns the power of one frequency, as the mean square of samples.
func goertzel(pcm []int16, hz float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hz/tone.Rate)
	var a, b float64
	for _, v := range pcm {
		a, b = float64(v)+c*a-b, a
	}
	n := float64(len(pcm))
	return 2 * (a*a + b*b - c*a*b) / (n * n)
}
