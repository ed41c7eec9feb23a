// Package anchor pins the media of a call to the border: it reads each offer and answer (RFC 3264), decides by the
// realm's policy, sets the relay between the two sides, and writes the SDP that the other side sees.
//
// It is the one room that knows both SDP and the relay. No byte of one side's SDP is ever copied to the other: a description is
// built from the fields that passed, with our own origin, addresses, ports and keys.
//
//	offer  from A ──► read, policy, keys ──► offer for B      (ports of both sides are allotted here)
//	answer from B ──► read, policy, keys ──► answer for A     (the relay's rule is swapped in here)
//
// Both directions are alike, so an offer that comes late (RFC 3261 §13.2.1: in the 2xx, its answer in the ACK) is the same two calls
// with the sides exchanged.
package anchor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"brickhouse/sbc/internal/media/dtls"
	"brickhouse/sbc/internal/media/keying"
	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/mediaport"
	"brickhouse/shared/verdict"
)

// Side is one of the two parties of a call.
type Side uint8

// The sides. A called us, we called B.
const (
	A Side = iota
	B
)

// Other returns the opposite side.
func (s Side) Other() Side { return s ^ 1 }

// String is "a" or "b".
func (s Side) String() string { return string('a' + rune(s&1)) }

// Policy says whether a realm's media are encrypted.
type Policy uint8

// The policies. The zero value is the safe one.
const (
	Require Policy = iota // only SRTP; anything else is refused with 488
	Allow                 // SRTP if the other side offers it, RTP if not; our own offers are RTP
	Never                 // only RTP: the realm is a trusted network
)

// Realm is what the anchor must know of a realm.
type Realm struct {
	Name      string
	Bind      netip.Addr // where media sockets are bound; zero or unspecified: Endpoint.Local
	Advertise netip.Addr // written into SDP; zero: the address the sockets are bound to
	Secure    Policy
	Suites    []string // SRTP suites by their SDES names, the preferred first; empty: keying.DefaultSuites
	NAT       bool     // plain RTP may come from another address than SDP names: the first packet's source is latched
	Trusted   bool     // the exchange's realm: its SDP may name our own media ports (a call that leaves and comes back)
}

// Endpoint is one side of one call.
type Endpoint struct {
	Realm     Realm
	Local     netip.Addr // our address of the signalling flow
	Remote    netip.Addr // address that the signalling comes from; behind NAT its media do so, too
	SecureHop bool       // the signalling is TLS, so SDES keys may be sent over it (RFC 4568 §8.2)
	DTLS      bool       // where we offer SRTP its keys come from DTLS, not from SDES
}

// Events are called back on a goroutine of the anchor; they must not block.
type Events struct {
	// OnFault is called once with why the media failed: verdict.MediaTimeout if no valid packet came from either side for Config.Silence
	// while nobody was on hold, or a reason of DTLS or ICE.
	OnFault func(verdict.Reason)
}

// Config sizes the anchor.
type Config struct {
	MinPort    uint16        `yaml:"min_port" doc:"lowest UDP port for media"`
	MaxPort    uint16        `yaml:"max_port" doc:"highest UDP port for media; a call takes two ports on each side"`
	Silence    time.Duration `yaml:"silence" doc:"a call without any valid media packet for this long is ended; 0 never ends one"`
	Handshake  time.Duration `yaml:"handshake" doc:"a call whose phone speaks DTLS ends if there are no keys this long after it was answered"`
	Consent    time.Duration `yaml:"consent" doc:"a call whose phone speaks ICE ends when its checks have ceased for this long (RFC 7675)"`
	Drain      time.Duration `yaml:"drain" doc:"how long a call's ports swallow late packets after its end"`
	Quarantine time.Duration `yaml:"quarantine" doc:"how long a port rests before another call may have it"`
	Kernel     string        `yaml:"kernel" oneof:"auto|off" doc:"auto: calls with plain RTP on both sides are relayed by the XDP program, without a turn through user space, once their sources are known; name the inner interface in guard.xdp.interfaces, too. off: all calls are relayed in user space"`
	Gather     time.Duration `yaml:"gather" doc:"how long a packet may wait for others that are then relayed in one turn: 500us halves what a packet costs when there are many; 0 relays each at once"`
}

// What Config.Kernel may say; empty is off.
const (
	KernelAuto = "auto"
	KernelOff  = "off"
)

// maxGather is a small part of the 20 ms that packets are apart.
const maxGather = 5 * time.Millisecond

// Error is why an offer or answer can't be used. Code is the SIP status code for the one who sent it, if it came in a request.
type Error struct {
	Code   int
	Reason verdict.Reason
	Detail string
}

// Error is "488 secure-media-required: detail".
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Code, e.Reason, e.Detail) }

// DefaultConfig returns what suits a border of some thousand calls; the range stays below Linux's ephemeral ports.
func DefaultConfig() Config {
	return Config{
		MinPort: 16384, MaxPort: 32767, Silence: time.Minute, Handshake: 10 * time.Second, Consent: 30 * time.Second, Drain: 3 * time.Second, Quarantine: 30 * time.Second,
		Kernel: KernelAuto,
	}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.MinPort < 1024 || c.MaxPort < c.MinPort || c.MaxPort-c.MinPort < 3:
		return fmt.Errorf("min_port and max_port: %d–%d must lie in 1024–65535 and hold four ports at least", c.MinPort, c.MaxPort)
	case c.Silence < 0 || c.Drain < 0 || c.Quarantine < 0:
		return errors.New("silence, drain and quarantine must not be negative")
	case c.Handshake < time.Second || c.Consent < 10*time.Second: // a browser checks its path every few seconds
		return errors.New("handshake must be at least 1s, consent at least 10s")
	case c.Kernel != "" && c.Kernel != KernelAuto && c.Kernel != KernelOff:
		return fmt.Errorf("kernel: %q is none of auto, off", c.Kernel)
	case c.Gather < 0 || c.Gather > maxGather:
		return fmt.Errorf("gather: %s is not between 0 and %s", c.Gather, maxGather)
	}
	return nil
}

// Validate says what is wrong with the realm's media.
func (r Realm) Validate() error {
	if _, err := r.suites(); err != nil {
		return fmt.Errorf("realm %s: %w", r.Name, err)
	}
	return nil
}

func (r Realm) suites() ([]keying.Suite, error) {
	if len(r.Suites) == 0 {
		return keying.DefaultSuites(), nil
	}
	var suites []keying.Suite
	for _, name := range r.Suites {
		s, err := keying.ParseSuite(name)
		if err != nil {
			return nil, err
		}
		suites = append(suites, s)
	}
	return suites, nil
}

// Anchor owns the media ports and the sessions on them. It is safe for concurrent use.
type Anchor struct {
	cfg    Config
	log    *slog.Logger
	pool   *mediaport.Pool
	reads  *relay.Readers
	random io.Reader
	stop   chan struct{} // closed by Close
	done   sync.WaitGroup

	identity *dtls.Identity
	slots    dtls.Slots

	ports     portBook
	strangers chan Stranger // nil: nobody wants to know; set before the first Open

	mu       sync.Mutex
	sessions map[*Session]struct{}
	relays   map[*relay.Session]struct{} // also those that drain
	own      map[netip.Addr]struct{}     // addresses that our media are at
	dropped  map[verdict.Reason]uint64   // by relays that are gone
	closed   bool
}

// New makes an anchor; it binds nothing until the first offer. Close ends it.
func New(cfg Config, log *slog.Logger) (*Anchor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	identity, err := dtls.NewIdentity(time.Now())
	if err != nil {
		return nil, err
	}
	pool, err := mediaport.New(mediaport.Config{Min: cfg.MinPort, Max: cfg.MaxPort, Rest: cfg.Quarantine})
	if err != nil {
		return nil, err
	}
	reads, err := relay.NewReaders(cfg.Gather)
	if err != nil {
		return nil, err
	}
	a := &Anchor{
		cfg: cfg, log: log, pool: pool, reads: reads, random: rand.Reader, stop: make(chan struct{}),
		sessions: make(map[*Session]struct{}), relays: make(map[*relay.Session]struct{}), own: make(map[netip.Addr]struct{}),
		identity: identity, slots: dtls.NewSlots(dtls.MaxHandshakes),
		dropped: make(map[verdict.Reason]uint64), ports: portBook{users: make(map[uint16]int)},
	}
	a.done.Add(1)
	go a.watchFaults()
	return a, nil
}

// UseKernel has plain calls relayed by the kernel. It is called before the first Open.
func (a *Anchor) UseKernel(k relay.Kernel) { a.reads.UseKernel(k) }

// Open makes the session of a call. It takes no port yet. The id is for logs. Close must be called.
func (a *Anchor) Open(id string, sideA, sideB Endpoint, ev Events) *Session {
	s := &Session{anchor: a, id: id, events: ev}
	s.legs[A].endpoint, s.legs[B].endpoint = sideA, sideB
	a.mu.Lock()
	defer a.mu.Unlock()
	s.closed = a.closed
	if !a.closed {
		a.sessions[s] = struct{}{}
	}
	return s
}

// Sessions returns how many calls are anchored.
func (a *Anchor) Sessions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sessions)
}

// Close ends all sessions at once, without draining, and waits until every port is closed.
func (a *Anchor) Close() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.closed = true
	sessions := make([]*Session, 0, len(a.sessions))
	for s := range a.sessions {
		sessions = append(sessions, s)
	}
	a.mu.Unlock()
	close(a.stop)
	for _, s := range sessions {
		s.Close()
	}
	for _, r := range a.draining() {
		r.Close(0)
		r.Wait()
	}
	a.done.Wait()
	a.reads.Close()
}

func (a *Anchor) draining() []*relay.Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	relays := make([]*relay.Session, 0, len(a.relays))
	for r := range a.relays {
		relays = append(relays, r)
	}
	return relays
}

// bind opens the ports of a session, and lets media through to them. Lock order: the anchor's, then the ports'.
func (a *Anchor) bind(hosts, told [2]netip.Addr) (*relay.Session, error) {
	r, err := a.reads.Open(a.pool, hosts, [2]string{cname(a.random), cname(a.random)}, a.log)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		r.Close(0)
		return nil, errors.New("the anchor is closed")
	}
	a.relays[r] = struct{}{}
	for i := range hosts {
		a.own[hosts[i]], a.own[told[i]] = struct{}{}, struct{}{}
	}
	a.ports.open(r)
	return r, nil
}

// drain closes a relay and forgets it when its ports are closed.
func (a *Anchor) drain(r *relay.Session) {
	a.done.Add(1)
	r.OnReleased(func() {
		defer a.done.Done()
		a.ports.close(r)
		a.mu.Lock()
		defer a.mu.Unlock()
		addDropped(a.dropped, r)
		delete(a.relays, r)
	})
	r.Close(a.cfg.Drain)
}

func (a *Anchor) forget(s *Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, s)
}

// isOwn reports whether an address is a media port of ours.
func (a *Anchor) isOwn(at netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, own := a.own[at.Addr()]
	return own && at.Port() >= a.cfg.MinPort && at.Port() <= a.cfg.MaxPort
}

// cname draws a name for RTCP that tells nothing (RFC 7022 §4.2).
func cname(random io.Reader) string {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "0"
	}
	return fmt.Sprintf("%x", b)
}
