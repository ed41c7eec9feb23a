// Package prompt has what the exchange says: the shipped English prompts, or an operator's own, and how numbers and times are said with them.
package prompt

import (
	"bytes"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"brickhouse/shared/tone"
)

//go:generate go run ./generate

//go:embed en/*.ul
var shipped embed.FS

// Set is sounds by name, µ-law at 8 kHz.
type Set map[string][]byte

// English returns the prompts that are in the program. espeak-ng spoke them (make prompts).
func English() (Set, error) {
	s := Set{}
	files, err := shipped.ReadDir("en")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if s[strings.TrimSuffix(f.Name(), ".ul")], err = shipped.ReadFile("en/" + f.Name()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Load returns the shipped prompts with those of a directory in their place: files NAME.wav, 8 kHz mono, 16 bit or µ-law. asked are names
// that must be there, too. An error names the file; so does a name that nothing asks for.
func Load(dir string, asked ...string) (Set, error) {
	s, err := English()
	if err != nil {
		return nil, err
	}
	if dir != "" {
		if err := s.replace(dir, asked); err != nil {
			return nil, err
		}
	}
	for _, name := range asked {
		if _, ok := s[name]; !ok {
			return nil, fmt.Errorf("prompts: the dialplan says %q, and there is no %s.wav", name, filepath.Join(dir, name))
		}
	}
	return s, nil
}

func (s Set) replace(dir string, asked []string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("prompts: %w", err)
	}
	for _, f := range files {
		name, wav := strings.CutSuffix(f.Name(), ".wav")
		if _, known := s[name]; !wav || !known && !slices.Contains(asked, name) {
			return fmt.Errorf("prompts: %s: there is no prompt of that name; give NAME.wav", filepath.Join(dir, f.Name()))
		}
		if s[name], err = ReadWAV(filepath.Join(dir, f.Name())); err != nil {
			return fmt.Errorf("prompts: %w", err)
		}
	}
	return nil
}

// Library is the set in force. It is safe for concurrent use.
type Library struct{ set atomic.Pointer[Set] }

// NewLibrary returns a library of a set.
func NewLibrary(s Set) *Library {
	l := &Library{}
	l.Replace(s)
	return l
}

// Replace puts another set into force.
func (l *Library) Replace(s Set) { l.set.Store(&s) }

// Say returns prompts one after the other, of the set that is in force now.
func (l *Library) Say(names ...string) io.Reader { return (*l.set.Load()).Say(names...) }

// maxWAV bounds one file, in bytes: ten minutes.
const maxWAV = 10 * 60 * 2 * tone.Rate

// ReadWAV returns the sound of a WAV file as µ-law: 8 kHz mono, 16 bit or µ-law, ten minutes at most. An error names the file.
func ReadWAV(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxWAV+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxWAV {
		return nil, fmt.Errorf("%s: is longer than ten minutes", path)
	}
	sound, err := ParseWAV(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return sound, nil
}

// Formats of WAV.
const (
	formatPCM   = 1
	formatMuLaw = 7
)

// ParseWAV returns the sound of a WAV file as µ-law.
func ParseWAV(b []byte) ([]byte, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("is no WAV file")
	}
	format, bits := 0, 0
	for b = b[12:]; len(b) >= 8; {
		kind, size := string(b[:4]), int(binary.LittleEndian.Uint32(b[4:]))
		body := b[8:]
		body = body[:min(size, len(body))] // the last chunk may be cut
		switch {
		case kind == "fmt " && len(body) >= 16:
			format, bits = int(binary.LittleEndian.Uint16(body)), int(binary.LittleEndian.Uint16(body[14:]))
			if channels, rate := binary.LittleEndian.Uint16(body[2:]), binary.LittleEndian.Uint32(body[4:]); channels != 1 || rate != tone.Rate {
				return nil, fmt.Errorf("has %d channels at %d Hz; it must be mono at 8000 Hz", channels, rate)
			}
		case kind == "data" && format == formatMuLaw && bits == 8:
			return body, nil
		case kind == "data" && format == formatPCM && bits == 16:
			out := make([]byte, len(body)/2)
			for i := range out {
				out[i] = tone.EncodeMuLaw(int16(binary.LittleEndian.Uint16(body[2*i:])))
			}
			return out, nil
		case kind == "data":
			return nil, errors.New("is neither 16 bit PCM nor µ-law")
		}
		b = b[8:][len(body):]
		if size%2 == 1 && len(b) > 0 {
			b = b[1:]
		}
	}
	return nil, errors.New("has no sound in it")
}

// WAV returns sound in µ-law as a WAV file, for programs and mail.
func WAV(sound []byte) []byte {
	b := make([]byte, 0, 46+len(sound))
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(38+len(sound)))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 18)
	for _, v := range []uint16{formatMuLaw, 1} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	for range 2 { // samples and bytes a second
		b = binary.LittleEndian.AppendUint32(b, tone.Rate)
	}
	for _, v := range []uint16{1, 8, 0} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(sound)))
	return append(b, sound...)
}

// Say returns prompts one after the other. A name that is none is left out.
func (s Set) Say(names ...string) io.Reader {
	parts := make([]io.Reader, 0, len(names))
	for _, n := range names {
		parts = append(parts, bytes.NewReader(s[n]))
	}
	return io.MultiReader(parts...)
}

// Number is how a count is said, from 0 to 999,999.
func Number(n int) []string {
	var out []string
	if n >= 1000 {
		out, n = append(Number(min(n/1000, 999)), "thousand"), n%1000
		if n == 0 {
			return out
		}
	}
	if n >= 100 {
		out, n = append(out, strconv.Itoa(n/100), "hundred"), n%100
		if n == 0 {
			return out
		}
	}
	if n > 20 {
		out, n = append(out, strconv.Itoa(n/10*10)), n%10
		if n == 0 {
			return out
		}
	}
	return append(out, strconv.Itoa(n))
}

// Digits is how a telephone number is said, one after the other. Other characters are left out.
func Digits(number string) []string {
	names := map[rune]string{'+': "plus", '*': "star", '#': "pound"}
	var out []string
	for _, r := range number {
		if r >= '0' && r <= '9' {
			out = append(out, string(r))
		} else if n, ok := names[r]; ok {
			out = append(out, n)
		}
	}
	return out
}

// Moment is how a time is said, seen from now: the day, and the hour of 24.
func Moment(t, now time.Time) []string {
	t = t.In(now.Location())
	day := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	}
	var out []string
	switch days := int(day(now).Sub(day(t)).Hours() / 24); {
	case days == 0:
		out = append(out, "today")
	case days == 1:
		out = append(out, "yesterday")
	case days > 1 && days < 7:
		out = append(out, strings.ToLower(t.Weekday().String()))
	default:
		out = append(append(out, strings.ToLower(t.Month().String())), Number(t.Day())...)
	}
	out = append(append(out, "at"), Number(t.Hour())...)
	switch minute := t.Minute(); {
	case minute == 0:
		out = append(out, "oclock")
	case minute < 10:
		out = append(out, "oh", strconv.Itoa(minute))
	default:
		out = append(out, Number(minute)...)
	}
	return out
}
