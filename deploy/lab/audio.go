package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"brickhouse/shared/tone"
)

// toneLevel is how loud every phone of the lab sings, in dBm0.
const toneLevel = -12

// toneSeconds is how long; no scenario talks longer.
const toneSeconds = 180

// ToneFile writes a tone as a WAV file (mono, 16 bit, 8,000 Hz); 0 Hz is silence.
func (l *Lab) ToneFile(name string, hz float64) string {
	l.t.Helper()
	pcm := make([]int16, toneSeconds*tone.Rate)
	if hz > 0 {
		tone.NewSine(hz, toneLevel).Read(pcm)
	}
	return l.file(name, string(encodeWAV(pcm)))
}

// encodeWAV is the RIFF form of samples at 8,000 Hz.
func encodeWAV(pcm []int16) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, 44+2*len(pcm))
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(36+2*len(pcm)))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, 1) // one channel
	b = le.AppendUint32(b, tone.Rate)
	b = le.AppendUint32(b, 2*tone.Rate)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(2*len(pcm)))
	for _, s := range pcm {
		b = le.AppendUint16(b, uint16(s))
	}
	return b
}

// decodeWAV reads mono 16-bit samples at 8,000 Hz. A recording that still runs has no length in its header yet, so what
// follows the data chunk's header counts, whatever the length says; linphone's has 44 zeros for a header until its end.
func decodeWAV(b []byte) ([]int16, error) {
	le := binary.LittleEndian
	if len(b) >= 44 && bytes.Count(b[:44], []byte{0}) == 44 {
		return samples(b[44:]), nil
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("not a WAV file")
	}
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int(le.Uint32(b[4:]))
		b = b[8:]
		switch id {
		case "data":
			return samples(b), nil
		case "fmt ":
			if size < 16 || len(b) < 16 {
				return nil, errors.New("WAV format chunk too short")
			}
			if ch, rate, bits := le.Uint16(b[2:]), le.Uint32(b[4:]), le.Uint16(b[14:]); ch != 1 || rate != tone.Rate || bits != 16 {
				return nil, fmt.Errorf("WAV has %d channels of %d bits at %d Hz, want 1 of 16 at %d", ch, bits, rate, tone.Rate)
			}
		}
		if size > len(b) {
			break
		}
		b = b[size:]
	}
	return nil, errors.New("WAV without a data chunk")
}

func samples(b []byte) []int16 {
	pcm := make([]int16, len(b)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return pcm
}

// ear is what a phone hears: the files it records into, which may grow and become more.
type ear struct {
	t     TB
	who   string
	files func() []string // oldest first
}

// heard are all samples so far. A file that has no whole header yet counts as empty.
func (e *ear) heard() []int16 {
	var all []int16
	for _, path := range e.files() {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if pcm, err := decodeWAV(b); err == nil {
			all = append(all, pcm...)
		}
	}
	return all
}

// window is how much sound a judgement takes: half a second, thousands of periods of silence or hundreds of a tone.
const window = tone.Rate / 2

// hears waits until half a second of sound that came after now is the tone.
func (e *ear) hears(hz float64) tone.Result {
	e.t.Helper()
	from := len(e.heard())
	var last tone.Result
	judged := false
	eventually(e.t, patience, func() string {
		if !judged {
			return fmt.Sprintf("%s to hear %.0f Hz: no sound came", e.who, hz)
		}
		return fmt.Sprintf("%s to hear %.0f Hz: heard %+v", e.who, hz, last)
	}, func() bool {
		pcm := e.heard()
		from = min(from, len(pcm)) // a recording that began anew within its second took the old one's place
		if len(pcm) < from+window {
			return false
		}
		last, judged = tone.Measure(pcm[len(pcm)-window:]), true
		return last.Is(hz)
	})
	return last
}

// hearsNothing waits for a second in which no sound came, or in which what came was silent. What was on its way when a
// call is held may still arrive, hence the waiting.
func (e *ear) hearsNothing() {
	e.t.Helper()
	deadline := time.Now().Add(patience)
	last := 0.0
	for time.Now().Before(deadline) {
		from := len(e.heard())
		time.Sleep(time.Second)
		pcm := e.heard()
		pcm = pcm[min(from, len(pcm)):]
		if last = tone.Level(pcm); len(pcm) == 0 || last < -60 {
			return
		}
	}
	e.t.Fatalf("lab: %s still hears something after %s: %.1f dBm0", e.who, patience, last)
}
