package b2bua

import (
	"time"

	"brickhouse/shared/conffile"
)

// SessionConfig is how a program's configuration sets session timers.
type SessionConfig struct {
	Expires time.Duration `yaml:"expires" doc:"Session interval that we ask for; at half of it the call is refreshed, by UPDATE or re-INVITE. 0 switches session timers off."`
	Min     time.Duration `yaml:"min" doc:"Shortest interval that a far side may ask for; a shorter one is answered 422. At least 90s."`
}

// DefaultSession is RFC 4028's recommendation (§4, §5).
func DefaultSession() SessionConfig {
	return SessionConfig{Expires: 30 * time.Minute, Min: MinSession}
}

// Timers returns what an engine needs of it.
func (c SessionConfig) Timers() SessionTimers { return SessionTimers(c) }

// Check says what is wrong with it; its keys stand below "session".
func (c SessionConfig) Check() []conffile.Fault {
	if c.Expires == 0 {
		return nil
	}
	var fs []conffile.Fault
	if c.Min < MinSession {
		fs = append(fs, conffile.Bad("session.min", "must be at least 90s (RFC 4028 §5)", "leave it away"))
	}
	if c.Expires < c.Min || c.Expires > maxSession {
		fs = append(fs, conffile.Bad("session.expires", "must be at least session.min and at most 24h", "leave it away, or 0 for no session timers"))
	}
	return fs
}
