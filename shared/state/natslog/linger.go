package natslog

import "time"

// A table may linger: its changes are written only when the row is still there after a while, so that rows which come and go, as those
// of calls do, cost the disk nothing. Flush writes them at once.

// restLocked lets a key's change wait.
func (o *outbox) restLocked(e *entry) {
	e.until = time.Now().Add(o.linger[e.key.Table])
	o.resting = append(o.resting, e)
}

// replaceLocked puts p in the place of a change that lingers. The end of a row that the log never had is durable as it is.
func (o *outbox) replaceLocked(e *entry, p *pending) {
	e.cur = newer(e.cur, p)
	if _, written := o.last[e.key]; !e.cur.Del || written {
		return
	}
	o.count.Acked += uint64(e.cur.n)
	delete(o.entries, e.key)
	e.until = time.Time{}
	for _, f := range e.cur.acks {
		o.settled = append(o.settled, func() { f(0, nil) })
	}
	o.signal()
}

// rouse makes ready what has lingered long enough.
func (o *outbox) rouse(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rouseLocked(now)
}

// rouseLocked is rouse; the zero time rouses all.
func (o *outbox) rouseLocked(now time.Time) {
	n := 0
	for _, e := range o.resting {
		if !now.IsZero() && e.until.After(now) {
			break
		}
		n++
		if !e.until.IsZero() { // else it has ended
			o.readyLocked(e)
		}
	}
	clear(o.resting[:n]) // what has ended is garbage
	o.resting = o.resting[n:]
}
