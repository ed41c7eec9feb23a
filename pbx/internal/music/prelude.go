package music

import (
	"math"
	"strings"

	"brickhouse/shared/tone"
)

// bars are those of the first prelude of the Well-Tempered Clavier (J. S. Bach, BWV 846) up to where it comes home: five notes each, which are
// played 1 2 3 4 5 3 4 5, twice. An octave higher than written: a telephone has no bass.
const bars = `
C5 E5 G5 C6 E6
C5 D5 A5 D6 F6
B4 D5 G5 D6 F6
C5 E5 G5 C6 E6
C5 E5 A5 E6 A6
C5 D5 F#5 A5 D6
B4 D5 G5 D6 G6
B4 C5 E5 G5 C6
A4 C5 E5 G5 C6
D4 A4 D5 F#5 C6
G4 B4 D5 G5 B5
G4 A#4 E5 G5 C#6
F4 A4 D5 A5 D6
F4 G#4 D5 F5 B5
E4 G4 C5 G5 C6
E4 F4 A4 C5 F5
D4 F4 A4 C5 F5
G3 D4 G4 B4 F5
C4 E4 G4 C5 E5`

// How it is played.
const (
	noteEvery = tone.Rate * 22 / 100 // samples
	noteLasts = tone.Rate * 3 / 2    // samples
	loudness  = 3600.0               // of a note's beginning; -16 dBm0 or so when they sound together
)

// pattern is the order of a bar's notes.
var pattern = [...]int{0, 1, 2, 3, 4, 2, 3, 4, 0, 1, 2, 3, 4, 2, 3, 4}

// render plays bars. What still sounds at the end sounds into the beginning, so that it goes round without a seam.
func render(bars string) []byte {
	var order []string
	for line := range strings.Lines(strings.TrimSpace(bars)) {
		notes := strings.Fields(line)
		for _, i := range pattern {
			order = append(order, notes[i])
		}
	}
	mix := make([]float64, len(order)*noteEvery)
	for i, name := range order {
		pluck(mix, i*noteEvery, hertz(name))
	}
	sound := make([]byte, len(mix))
	for i, v := range mix {
		sound[i] = tone.EncodeMuLaw(int16(max(-32000, min(32000, v))))
	}
	return sound
}

// pluck adds a note that fades away.
func pluck(mix []float64, at int, hz float64) {
	for i := range noteLasts {
		t := float64(i) / tone.Rate
		w := 2 * math.Pi * hz * t
		v := math.Sin(w)*math.Exp(-3*t) + math.Sin(2*w)*math.Exp(-5*t)*0.35
		if 3*hz < tone.Rate/2 {
			v += math.Sin(3*w) * math.Exp(-8*t) * 0.12
		}
		mix[(at+i)%len(mix)] += v * loudness * min(1, float64(i)/40) * (1 - float64(i)/noteLasts)
	}
}

// hertz is the frequency of a note as C#5, in equal temperament with A4 at 440 Hz.
func hertz(name string) float64 {
	octave := int(name[len(name)-1] - '0')
	step := map[string]int{"C": 0, "C#": 1, "D": 2, "D#": 3, "E": 4, "F": 5, "F#": 6, "G": 7, "G#": 8, "A": 9, "A#": 10, "B": 11}[name[:len(name)-1]]
	return 440 * math.Pow(2, float64(12*(octave-4)+step-9)/12)
}
