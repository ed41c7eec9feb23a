// Command generate speaks the prompts of a language with espeak-ng: one file of 8 kHz µ-law for each line of its list.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"brickhouse/shared/tone"
)

func main() {
	list := flag.String("list", "en.txt", "names and texts")
	dir := flag.String("dir", "en", "where the sounds go")
	voice := flag.String("voice", "en-us", "voice of espeak-ng")
	flag.Parse()
	log.SetFlags(0)
	if err := generate(*list, *dir, *voice); err != nil {
		log.Fatal("generate: ", err)
	}
}

func generate(list, dir, voice string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, words, ok := strings.Cut(line, "\t")
		if !ok {
			return fmt.Errorf("%q: no tab", line)
		}
		pcm, err := speak(voice, words)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".ul"), tone.MuLaw.Encode(nil, pcm), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// speak returns a text as sound: 8 kHz, without the silence around it, at the level of speech in telephony.
func speak(voice, text string) ([]int16, error) {
	var errs bytes.Buffer
	c := exec.Command("espeak-ng", "-v", voice, "-s", "150", "--stdout", text)
	c.Stderr = &errs
	wav, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("espeak-ng: %w: %s", err, errs.String())
	}
	const header = 44
	if len(wav) < header || string(wav[:4]) != "RIFF" || binary.LittleEndian.Uint16(wav[22:]) != 1 || binary.LittleEndian.Uint16(wav[34:]) != 16 {
		return nil, errors.New("espeak-ng wrote no 16 bit mono WAV")
	}
	rate := float64(binary.LittleEndian.Uint32(wav[24:]))
	samples := make([]float64, (len(wav)-header)/2)
	for i := range samples {
		samples[i] = float64(int16(binary.LittleEndian.Uint16(wav[header+2*i:])))
	}
	return level(trim(resample(samples, rate))), nil
}

// resample brings sound to 8 kHz by a windowed sinc that ends at 3.4 kHz.
func resample(in []float64, rate float64) []float64 {
	const cutoff, width = 3400.0, 64
	step := rate / tone.Rate
	out := make([]float64, int(float64(len(in))/step))
	for i := range out {
		at := float64(i) * step
		var sum, weight float64
		for j := max(0, int(at)-width); j < min(len(in), int(at)+width); j++ {
			d := float64(j) - at
			w := (1 + math.Cos(math.Pi*d/(width+1))) / 2
			if x := 2 * math.Pi * cutoff / rate * d; x != 0 {
				w *= math.Sin(x) / x
			}
			sum, weight = sum+w*in[j], weight+w
		}
		out[i] = sum / weight
	}
	return out
}

func trim(in []float64) []float64 {
	const quiet, pause = 200, tone.Rate / 20
	first, last := 0, len(in)
	for first < last && math.Abs(in[first]) < quiet {
		first++
	}
	for last > first && math.Abs(in[last-1]) < quiet {
		last--
	}
	return append(append([]float64(nil), in[first:last]...), make([]float64, pause)...)
}

func level(in []float64) []int16 {
	const most = 16_000
	top := 1.0
	for _, x := range in {
		top = math.Max(top, math.Abs(x))
	}
	out := make([]int16, len(in))
	for i, x := range in {
		out[i] = int16(x * most / top)
	}
	return out
}
