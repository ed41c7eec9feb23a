package media

import (
	"context"

	"brickhouse/shared/tone"
)

// Act is what a session does: a Kind, or a Script.
type Act interface{ begin(s *Session) }

// Kind is an act that is the same all the time.
type Kind uint8

// The kinds.
const (
	Echo      Kind = iota // sends back what it hears
	Milliwatt             // sends a 1004 Hz tone at -10 dBm0
	Confirm               // sends the tone of a service that was set
	Deny                  // sends the tone of one that was not
)

// String is "echo", "milliwatt", "confirm" or "deny".
func (k Kind) String() string { return [...]string{"echo", "milliwatt", "confirm", "deny"}[k] }

// frequency is that of the kind's tone in Hz; 0: it has none.
func (k Kind) frequency() float64 { return [...]float64{0, toneFrequency, 880, 425}[k] }

// The tone: 1004 Hz, not 1000, so that it does not beat with the sampling.
const (
	toneFrequency = 1004 // Hz
	toneLevel     = -10  // dBm0
)

func (k Kind) begin(s *Session) {
	if k == Echo {
		s.echoes = true
		return
	}
	s.voice.Store(&voice{sine: tone.NewSine(k.frequency(), toneLevel)})
}

// Script is an act that plays, listens and records until it returns, in a goroutine of its own. ctx ends with the session; what the
// script has to bring to its end is done all the same, and Engine.Close waits for it.
type Script func(ctx context.Context, d *Dialogue)

func (f Script) begin(s *Session) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.keys = make(chan byte, keyQueue)
	s.running.Add(1)
	go s.guarded(func() {
		defer cancel()
		f(ctx, &Dialogue{s: s})
	})
}
