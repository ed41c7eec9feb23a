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
	"fmt"
	"log/slog"
	"net/netip"
	"time"

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
	SecureHop bool       // the signalling is TLS, so SDES keys may be sent over it (RFC 4568 §8.2)
}

// Events are called back on a goroutine of the anchor; they must not block.
type Events struct {
	OnTimeout func() // once: no valid packet from either side for Config.Silence, while nobody was on hold
}

// Config sizes the anchor.
type Config struct {
	MinPort    uint16        `yaml:"min_port" doc:"lowest UDP port for media"`
	MaxPort    uint16        `yaml:"max_port" doc:"highest UDP port for media; a call takes two ports on each side"`
	Silence    time.Duration `yaml:"silence" doc:"a call without any valid media packet for this long is ended; 0 never ends one"`
	Drain      time.Duration `yaml:"drain" doc:"how long a call's ports swallow late packets after its end"`
	Quarantine time.Duration `yaml:"quarantine" doc:"how long a port rests before another call may have it"`
}

// Error is why an offer or answer can't be used. Code is the SIP status code for the one who sent it, if it came in a request.
type Error struct {
	Code   int
	Reason verdict.Reason
	Detail string
}

// Error is "488 secure-media-required: detail".
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Code, e.Reason, e.Detail) }

// Anchor owns the media ports and the sessions on them.
type Anchor struct {
	cfg Config
	log *slog.Logger
}

// Session is the media of one call.
type Session struct {
	id string
}

// New makes an anchor; it binds nothing until the first offer.
func New(cfg Config, log *slog.Logger) (*Anchor, error) { return &Anchor{cfg: cfg, log: log}, nil }

// Open makes the session of a call. It takes no port yet.
func (a *Anchor) Open(id string, sideA, sideB Endpoint, ev Events) *Session { return &Session{id: id} }

// Close ends all sessions at once, without draining.
func (a *Anchor) Close() {}

// Offer takes an offer that came from a side and returns the offer for the other one. The error is an *Error; a refused
// re-offer leaves the media as they were.
func (s *Session) Offer(from Side, sdp []byte) ([]byte, error) {
	return nil, &Error{500, verdict.Internal, "not built yet"}
}

// Answer takes the answer that came from a side and returns the answer for the one who offered. It may come several
// times (18x, then 200). From here on packets are relayed. The error is an *Error.
func (s *Session) Answer(from Side, sdp []byte) ([]byte, error) {
	return nil, &Error{500, verdict.Internal, "not built yet"}
}

// Established tells that the call was answered. Until then the silence limit is three times as long, since a phone
// may ring without early media.
func (s *Session) Established() {}

// SideStats is what one side sent and got.
type SideStats struct {
	Remote             netip.AddrPort // where media go: latched, or from SDP
	Latched            bool
	LatchMoves         uint64
	Suite              string // SDES name of the SRTP suite; empty: plain RTP
	PacketsIn, BytesIn uint64 // valid RTP from this side; bytes are UDP payload
	PacketsOut         uint64 // RTP sent to this side
	BytesOut           uint64
	RTCPIn, RTCPOut    uint64
	Dropped            map[verdict.Reason]uint64 // packets to this side's ports that were not relayed
}

// Stats is a snapshot of a session's counters.
type Stats struct {
	Sides  [2]SideStats // by Side
	OnHold bool
}

// Stats returns a snapshot; it takes no lock on the packet path. It works after Close, too.
func (s *Session) Stats() Stats { return Stats{} }

// Close ends the relay and wipes the keys. The ports swallow late packets for a while, then rest before the next call
// may have them.
func (s *Session) Close() {}
