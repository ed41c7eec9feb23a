// Package music is what who waits hears: a piece that the program plays itself, or an operator's own.
package music

import (
	"fmt"
	"io"
	"sync"

	"brickhouse/pbx/internal/prompt"
	"brickhouse/shared/tone"
)

// Config says what is played.
type Config struct {
	File   string `yaml:"file" doc:"WAV file that who waits hears over and over: 8 kHz mono, 16 bit or µ-law, ten minutes at most. Empty: a piece by Bach that the exchange plays itself. Read at the start."`
	OnHold bool   `yaml:"on_hold" doc:"Who is held by the other party of a call hears it, too. Off: it hears what that phone plays, or nothing."`
}

// DefaultConfig holds where the file says nothing.
func DefaultConfig() Config { return Config{OnHold: true} }

// Piece is sound without an end. It is safe for concurrent use.
type Piece struct{ sound func() []byte }

// Load returns the piece of the configuration. An error names the file.
func Load(c Config) (*Piece, error) {
	if c.File == "" {
		return &Piece{prelude}, nil
	}
	sound, err := prompt.ReadWAV(c.File)
	if err != nil {
		return nil, fmt.Errorf("music: %w", err)
	}
	if len(sound) == 0 {
		return nil, fmt.Errorf("music: %s: has no sound in it", c.File)
	}
	return &Piece{func() []byte { return sound }}, nil
}

// Ringing is what a caller hears while a phone rings: 425 Hz, one second in five (ITU-T E.180).
func Ringing() *Piece {
	return &Piece{sync.OnceValue(func() []byte {
		pcm := make([]int16, 5*tone.Rate)
		tone.NewSine(425, ringLevel).Read(pcm[:tone.Rate])
		return tone.MuLaw.Encode(nil, pcm)
	})}
}

// ringLevel is how loud it is, in dBm0.
const ringLevel = -16

// prelude is made when it is first heard.
var prelude = sync.OnceValue(func() []byte { return render(bars) })

// Play returns the piece from its beginning, over and over, µ-law at 8 kHz.
func (p *Piece) Play() io.Reader { return &player{sound: p.sound} }

// player reads a piece over and over.
type player struct {
	sound func() []byte
	at    int
}

func (p *player) Read(b []byte) (int, error) {
	sound := p.sound()
	n := copy(b, sound[p.at:])
	p.at = (p.at + n) % len(sound)
	return n, nil
}
