package transport

import (
	"time"

	"brickhouse/shared/verdict"
)

// readClock computes until when a connection may stay as it is (threats T14). Pure: time is passed in.
type readClock struct {
	limits Limits
	opened time.Time // handshake done
	last   time.Time // last complete message; zero before the first
	heard  time.Time // last byte
	began  time.Time // first byte of the message that is arriving
}

func newReadClock(l Limits, now time.Time) readClock {
	return readClock{limits: l, opened: now, heard: now}
}

// arrived notes that n bytes came, after which a message is partly there or not.
func (c *readClock) arrived(now time.Time, n int, partial bool) {
	if n == 0 {
		return
	}
	c.heard = now
	if partial && c.began.IsZero() {
		c.began = now
	}
}

// complete notes a whole message. Bytes that follow it arrived just now.
func (c *readClock) complete(now time.Time) { c.last, c.began = now, now }

// deadline is when the connection is to be closed if nothing complete arrives; zero: never.
func (c *readClock) deadline(trusted, partial bool) time.Time {
	at, _ := c.next(trusted, partial)
	return at
}

// expired returns why the connection is to be closed at now, or None.
func (c *readClock) expired(trusted, partial bool, now time.Time) verdict.Reason {
	at, why := c.next(trusted, partial)
	if at.IsZero() || now.Before(at) {
		return verdict.None
	}
	return why
}

func (c *readClock) next(trusted, partial bool) (time.Time, verdict.Reason) {
	if !partial {
		c.began = time.Time{}
	}
	switch {
	case partial:
		began := c.began
		if !trusted && c.last.IsZero() {
			began = c.opened // the first message has one deadline, however it arrives
		}
		return began.Add(c.limits.RequestTimeout), verdict.RequestTimeout
	case trusted && c.limits.TrustedIdle > 0:
		return c.heard.Add(c.limits.TrustedIdle), verdict.IdleTimeout
	case trusted:
		return time.Time{}, verdict.None
	case c.last.IsZero():
		return c.opened.Add(c.limits.RequestTimeout), verdict.RequestTimeout
	default:
		return c.last.Add(c.limits.IdleTimeout), verdict.IdleTimeout
	}
}
