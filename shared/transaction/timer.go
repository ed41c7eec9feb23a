package transaction

import "time"

// clock is the one timer of a transaction: it fires for whichever of its two times comes first. A transaction holds it
// under its own lock. The zero time means that nothing is due.
type clock struct {
	timer  *time.Timer
	resend time.Time     // next retransmission: A, E or G; or the 100 of an INVITE
	gap    time.Duration // to the one after it
	end    time.Time     // what ends the state: B, D, F, H, I, J, K, L, M, C
}

// arm sets the timer to what comes next; fire runs on a goroutine of its own.
func (c *clock) arm(fire func()) {
	at := c.end
	if !c.resend.IsZero() && (at.IsZero() || c.resend.Before(at)) {
		at = c.resend
	}
	if at.IsZero() {
		c.stop()
		return
	}
	d := max(0, time.Until(at))
	if c.timer == nil {
		c.timer = time.AfterFunc(d, fire)
		return
	}
	c.timer.Reset(d)
}

// stop forgets both times. A timer that has fired already finds nothing due.
func (c *clock) stop() {
	c.resend, c.end = time.Time{}, time.Time{}
	if c.timer != nil {
		c.timer.Stop()
	}
}

// retransmitEvery begins retransmissions after gap.
func (c *clock) retransmitEvery(gap time.Duration) {
	c.gap = gap
	c.resend = time.Now().Add(gap)
}

// endAfter ends the state after d.
func (c *clock) endAfter(d time.Duration) { c.end = time.Now().Add(d) }

// ended reports whether the state's end is due.
func (c *clock) ended(now time.Time) bool { return !c.end.IsZero() && !now.Before(c.end) }

// resendDue reports whether a retransmission is due.
func (c *clock) resendDue(now time.Time) bool { return !c.resend.IsZero() && !now.Before(c.resend) }

// backOff doubles the gap up to limit (zero: none) and schedules the next retransmission.
func (c *clock) backOff(limit time.Duration) {
	c.gap *= 2
	if limit > 0 {
		c.gap = min(c.gap, limit)
	}
	c.resend = time.Now().Add(c.gap)
}
