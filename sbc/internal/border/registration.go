package border

import (
	"time"

	"brickhouse/shared/conffile"
	"brickhouse/shared/transport"
)

// Registration says how registrations of remote phones are kept: short outside, so that a phone that moved or vanished is
// noticed and its NAT stays open; long inside, so that the exchange is not asked each time.
type Registration struct {
	Datagram  time.Duration `yaml:"datagram" doc:"Longest time that a phone over UDP is registered for until it must refresh."`
	Stream    time.Duration `yaml:"stream" doc:"The same over a connection, whose end is noticed anyway."`
	Inside    time.Duration `yaml:"inside" doc:"What the exchange is asked for. A refresh over the same flow goes no further than the border until half of it is over; so long an account that was deleted may seem registered to its phone. 0: what the phone asks for, and each refresh goes to the exchange."`
	Least     time.Duration `yaml:"least" doc:"Shortest registration that a phone may ask for; for less it gets 423."`
	KeepAlive time.Duration `yaml:"keep_alive" doc:"How often a phone over UDP gets an empty packet that keeps its NAT open. 0: never."`
}

// DefaultRegistration suits phones behind home routers.
func DefaultRegistration() Registration {
	return Registration{Datagram: time.Minute, Stream: 10 * time.Minute, Inside: time.Hour, Least: 30 * time.Second, KeepAlive: 25 * time.Second}
}

// longestExpiry is the longest that may be configured.
const longestExpiry = 24 * time.Hour

func (c *Registration) check() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(key, problem string) {
		fs = append(fs, conffile.Bad("access.registration."+key, problem, "leave it away"))
	}
	if c.Least < time.Second || c.Least > longestExpiry {
		bad("least", "is not between 1s and "+longestExpiry.String())
	}
	for _, d := range []struct {
		key  string
		life time.Duration
	}{{"datagram", c.Datagram}, {"stream", c.Stream}, {"inside", c.Inside}} {
		if off := d.key == "inside" && d.life == 0; !off && (d.life < c.Least || d.life > longestExpiry) {
			bad(d.key, "is not between least ("+c.Least.String()+") and "+longestExpiry.String())
		}
	}
	if c.KeepAlive != 0 && (c.KeepAlive < 5*time.Second || c.KeepAlive > time.Hour) {
		bad("keep_alive", "is neither 0 nor between 5s and 1h")
	}
	return fs
}

// longest returns how long a phone on that network may be registered before it must refresh.
func (c *Registration) longest(n transport.Network) time.Duration {
	if n.Reliable() {
		return c.Stream
	}
	return c.Datagram
}
