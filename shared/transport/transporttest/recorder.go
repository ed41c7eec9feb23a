package transporttest

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Recorder is a transport.Handler that remembers all it is told. The On… fields replace what it does by itself; set them
// before it is used.
type Recorder struct {
	OnAccept   func(i *transport.Interface, remote netip.AddrPort) verdict.Verdict
	OnRaw      func(f *transport.Flow, data []byte) verdict.Verdict
	OnMessage  func(f *transport.Flow, msg sip.Message)
	OnUnparsed func(f *transport.Flow, data []byte, v verdict.Verdict)
	OnClosed   func(f *transport.Flow, why verdict.Reason)

	mu       sync.Mutex // guards all below
	changed  chan struct{}
	messages []Received
	unparsed []Refused
	dropped  []Drop
	closed   []Ended
}

// Received is one call of Message.
type Received struct {
	Flow *transport.Flow
	Msg  sip.Message
}

// Refused is one call of Unparsed.
type Refused struct {
	Flow    *transport.Flow
	Data    []byte
	Verdict verdict.Verdict
}

// Drop is one call of Dropped.
type Drop struct {
	Remote netip.AddrPort
	Why    verdict.Reason
	Data   []byte
}

// Ended is one call of Closed.
type Ended struct {
	Flow *transport.Flow
	Why  verdict.Reason
}

// Accept implements transport.Handler; it passes.
func (r *Recorder) Accept(i *transport.Interface, remote netip.AddrPort) verdict.Verdict {
	if r.OnAccept != nil {
		return r.OnAccept(i, remote)
	}
	return verdict.Passed
}

// Raw implements transport.Handler; it passes.
func (r *Recorder) Raw(f *transport.Flow, data []byte) verdict.Verdict {
	if r.OnRaw != nil {
		return r.OnRaw(f, data)
	}
	return verdict.Passed
}

// Message implements transport.Handler.
func (r *Recorder) Message(f *transport.Flow, msg sip.Message) {
	if r.OnMessage != nil {
		r.OnMessage(f, msg)
	}
	r.record(func() { r.messages = append(r.messages, Received{f, msg}) })
}

// Unparsed implements transport.Handler.
func (r *Recorder) Unparsed(f *transport.Flow, data []byte, v verdict.Verdict) {
	if r.OnUnparsed != nil {
		r.OnUnparsed(f, data, v)
	}
	r.record(func() { r.unparsed = append(r.unparsed, Refused{f, bytes.Clone(data), v}) })
}

// Dropped implements transport.Handler.
func (r *Recorder) Dropped(_ *transport.Interface, remote netip.AddrPort, why verdict.Reason, data []byte) {
	r.record(func() { r.dropped = append(r.dropped, Drop{remote, why, bytes.Clone(data)}) })
}

// Closed implements transport.Handler.
func (r *Recorder) Closed(f *transport.Flow, why verdict.Reason) {
	if r.OnClosed != nil {
		r.OnClosed(f, why)
	}
	r.record(func() { r.closed = append(r.closed, Ended{f, why}) })
}

func (r *Recorder) record(add func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Messages returns what Message got so far.
func (r *Recorder) Messages() []Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Received(nil), r.messages...)
}

// Unparseds returns what Unparsed got so far.
func (r *Recorder) Unparseds() []Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Refused(nil), r.unparsed...)
}

// Drops returns what Dropped got so far.
func (r *Recorder) Drops() []Drop {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Drop(nil), r.dropped...)
}

// Ends returns what Closed got so far.
func (r *Recorder) Ends() []Ended {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Ended(nil), r.closed...)
}

// patience is how long Wait waits; it only bounds a test that fails.
const patience = 20 * time.Second

// Wait returns when cond holds. It looks again whenever something was recorded, and now and then; it fails the test if
// that takes too long.
func (r *Recorder) Wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if cond() {
			return
		}
		poll := time.NewTimer(20 * time.Millisecond)
		select {
		case <-changed:
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("waiting for %s: not within %s", what, patience)
		}
		poll.Stop()
	}
}

// WaitMessages returns the first n messages, waiting for them.
func (r *Recorder) WaitMessages(t testing.TB, n int) []Received {
	t.Helper()
	r.Wait(t, "messages", func() bool { return len(r.Messages()) >= n })
	return r.Messages()
}
