package dtls

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/sdp"
)

// Role is who begins the handshake (RFC 4145 §4).
type Role uint8

// The roles.
const (
	Passive Role = iota // we wait for a ClientHello
	Active              // we send it
)

// Bounds on handshakes.
const (
	MaxHandshakes = 256              // at a time, of all calls
	maxAttempts   = 4                // at a time, of one association
	attemptLife   = 10 * time.Second // of one handshake
	maxAgain      = 8                // how often the last flight is sent again
)

// ErrClosed says that an association was closed before it had keys.
var ErrClosed = errors.New("association is closed")

// Slots bounds how many handshakes run at a time.
type Slots chan struct{}

// NewSlots makes room for n handshakes.
func NewSlots(n int) Slots { return make(Slots, n) }

func (s Slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s Slots) give() { <-s }

// Keys is what a handshake ends with.
type Keys struct {
	Ours, Theirs *keying.Key // to send and to receive with
	Remote       netip.AddrPort
}

// Config is what an association must know. Peer has the usable fingerprints of the far side.
type Config struct {
	Identity *Identity
	Slots    Slots
	Suites   []keying.Suite // the preferred first
	Role     Role
	Peer     []sdp.Fingerprint
	Send     func(pkt []byte, to netip.AddrPort) // from any goroutine
	Done     func(Keys, error)                   // once, on a goroutine of the association; the error is ErrMismatch
}

// Association is one DTLS association of a media path. It has at most a few handshakes at a time, one for each source that may be
// the phone; the first that succeeds with the right certificate wins, and those that fail leave no trace, so that nobody ends a call by
// beginning a handshake badly.
//
//	New ─► handshakes ─► won (keys told) ─► Close
//	           └──► lost (a proven source showed another certificate)
type Association struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	over   sync.WaitGroup

	mu       sync.Mutex
	attempts map[netip.AddrPort]*attempt
	settled  bool     // won, lost or closed
	winner   *attempt // nil unless won
	again    int      // how often the last flight was sent again
	last     error    // why the latest attempt failed
}

// New makes an association that waits. Close must be called.
func New(cfg Config) *Association {
	a := &Association{cfg: cfg, attempts: make(map[netip.AddrPort]*attempt)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Role returns our role.
func (a *Association) Role() Role { return a.cfg.Role }

// Peer returns the fingerprints that the far side promised.
func (a *Association) Peer() []sdp.Fingerprint { return a.cfg.Peer }

// Failure returns why the latest handshake failed; nil if none has.
func (a *Association) Failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// Packet takes a DTLS packet from a source that may be the phone. Proven says that it is: by ICE, or because the description names
// it; else it is only a host that the phone is known to be behind. False if the packet is of no use. It does not wait and does not keep pkt.
func (a *Association) Packet(pkt []byte, src netip.AddrPort, proven bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settled {
		return a.againLocked(pkt, src)
	}
	t := a.attempts[src]
	if t == nil {
		if a.cfg.Role != Passive || !isClientHello(pkt) {
			return false
		}
		if t = a.beginLocked(src, proven); t == nil {
			return false
		}
	}
	return t.pipe.put(pkt)
}

// Connect begins a handshake as the active side. It does not wait. A second one towards the same address does nothing.
func (a *Association) Connect(to netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settled || a.cfg.Role != Active || a.attempts[to] != nil {
		return
	}
	a.beginLocked(to, true)
}

// beginLocked starts a handshake; nil if there are too many. Those that are only guessed leave room for one that is proven.
func (a *Association) beginLocked(with netip.AddrPort, proven bool) *attempt {
	most := maxAttempts
	if !proven {
		most--
	}
	if len(a.attempts) >= most || !a.cfg.Slots.take() {
		return nil
	}
	t := &attempt{association: a, remote: with, proven: proven}
	t.pipe = newPipe(with, a.cfg.Send)
	a.attempts[with] = t
	a.over.Go(func() {
		defer a.cfg.Slots.give()
		keys, err := t.run()
		a.settle(t, keys, err)
	})
	return t
}

// settle takes the outcome of a handshake.
func (a *Association) settle(t *attempt, keys Keys, err error) {
	a.mu.Lock()
	delete(a.attempts, t.remote)
	if a.settled {
		a.mu.Unlock()
		keys.Ours.Wipe()
		keys.Theirs.Wipe()
		return
	}
	lost := errors.Is(err, ErrMismatch) && t.proven
	if err != nil {
		if !errors.Is(a.last, ErrMismatch) { // of several causes this is the one to tell
			a.last = err
		}
	} else {
		a.winner = t
	}
	a.settled = err == nil || lost
	if a.settled {
		a.cancel() // the others
	}
	a.mu.Unlock()
	if err == nil || lost {
		a.cfg.Done(keys, err)
	}
}

// againLocked sends the last flight again to a phone that shows by repeating its own that it missed it (RFC 6347 §4.2.4).
func (a *Association) againLocked(pkt []byte, src netip.AddrPort) bool {
	if a.winner == nil || a.winner.remote != src || !isHandshake(pkt) {
		return a.winner != nil && a.winner.remote == src // an alert, which is not heeded
	}
	if a.again++; a.cfg.Role == Passive && a.again <= maxAgain {
		a.winner.pipe.repeat()
	}
	return true
}

// Close ends all handshakes. Done is not called any more, but may be running.
func (a *Association) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled, a.winner = true, nil
	a.cancel()
}

// Wait returns when the goroutines of a closed association are gone.
func (a *Association) Wait() { a.over.Wait() }

const (
	recordHeader  = 13 // RFC 6347 §4.1
	typeHandshake = 22
	clientHello   = 1
)

// LooksLike tells DTLS from all else on a media port (RFC 7983 §7).
func LooksLike(b []byte) bool { return len(b) > recordHeader && b[0] >= 20 && b[0] <= 63 }

// isHandshake reports whether the first record is of a handshake, encrypted or not, or the change of cipher that stands before it.
func isHandshake(b []byte) bool {
	return len(b) > recordHeader && (b[0] == typeHandshake || b[0] == 20)
}

// isClientHello reports whether the datagram begins with a ClientHello that is not encrypted, or with a fragment of one.
func isClientHello(b []byte) bool {
	return len(b) > recordHeader+12 && b[0] == typeHandshake && b[1] == 0xfe && b[3] == 0 && b[4] == 0 && b[recordHeader] == clientHello
}
