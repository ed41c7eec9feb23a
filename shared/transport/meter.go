package transport

import (
	"errors"
	"math"
	"sync/atomic"

	"brickhouse/shared/verdict"
)

// ErrAmplifies is the error of sending to a UDP source that has not proved to be there more than it sent itself.
var ErrAmplifies = errors.New("more than an unproven source may be sent")

// meter is what may be sent back for one datagram whose sender has not proved that it is where it says: one answer, no longer than it.
// So nobody can have us send more to others than he could himself.
type meter struct {
	size   int         // of the datagram, bytes; 0: not metered
	spent  atomic.Bool // the answer is sent
	proven atomic.Bool // it was proven once: for as long as the flow is held, in a call, say
}

// Proven reports whether the flow may be sent anything at any time: always but for datagrams of strangers (Config.Registered).
func (f *Flow) Proven() bool {
	m := &f.meter
	if m.size == 0 || m.proven.Load() {
		return true
	}
	if !f.Verified() && !f.iface.cfg.Registered(f) {
		return false
	}
	m.proven.Store(true)
	return true
}

// Room is how many bytes may be sent in one message.
func (f *Flow) Room() int {
	switch {
	case f.Proven():
		return math.MaxInt
	case f.meter.spent.Load():
		return 0
	}
	return f.meter.size
}

// afford takes what sending n bytes needs.
func (f *Flow) afford(n int) error {
	if f.Proven() {
		return nil
	}
	if n > f.meter.size || f.meter.spent.Swap(true) {
		f.iface.dropped(f.remote, verdict.Amplification, nil)
		return ErrAmplifies
	}
	return nil
}
