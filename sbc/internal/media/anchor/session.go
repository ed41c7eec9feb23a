package anchor

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"sync"
	"time"

	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/mediaport"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// Session is the media of one call. It is safe for concurrent use.
type Session struct {
	anchor *Anchor
	id     string
	events Events

	mu          sync.Mutex
	legs        [2]leg
	relay       *relay.Session // nil until the first offer
	last        *exchange      // the latest offer, answered or not; nil before the first
	answered    bool           // an answer set the relay
	established time.Time      // zero: not yet
	held        bool
	silence     silence
	closed      bool
	final       Stats // of a closed session
}

// exchange is one offer and what was answered to it (RFC 3264).
type exchange struct {
	from   Side
	offer  *sdp.Session
	audio  int // index of the relayed m= line in offer
	media  *sdp.Media
	crypto accepted  // what we took of the offer's keys; zero for plain RTP
	ours   *outKey   // our key for the offerer; nil for plain RTP or before the answer
	keys   []*outKey // what we offered the other side to choose from

	answer [sha256.Size]byte // of the last one that was taken
	out    []byte            // what was made of it; nil before the first answer
}

func fail(code int, why verdict.Reason, detail string) *Error { return &Error{code, why, detail} }

// ID returns the id given to Open.
func (s *Session) ID() string { return s.id }

// Established tells that the call was answered. Until then the silence limit is three times as long, since a phone
// may ring without early media.
func (s *Session) Established() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.established.IsZero() {
		s.established = time.Now()
	}
}

// Replace puts another far party on a side: the next gateway after one that failed, say. What the one before said, its keys
// and ours for it are forgotten and nothing more is relayed until the next Offer and Answer; the ports stay. The error is an
// *Error: the new endpoint's media must be bound to the same address.
func (s *Session) Replace(side Side, e Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fail(500, verdict.Internal, "the session is closed")
	}
	leg, old := leg{endpoint: e}, &s.legs[side]
	if s.relay != nil {
		if err := leg.prepare(s.anchor.random); err != nil {
			return err
		}
		if leg.host != old.host {
			return fail(500, verdict.Internal, "media ports can't move to another address")
		}
		leg.port = old.port
		s.relay.Set(relay.Rule{})
	}
	s.forgetExchangeLocked()
	old.wipe()
	s.legs[side], s.answered = leg, false
	return nil
}

// Close ends the relay and wipes the keys. The ports swallow late packets for a while, then rest before the next call
// may have them. A second call does nothing.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.final = s.statsLocked()
	s.closed = true
	if s.relay != nil {
		s.anchor.drain(s.relay)
	}
	s.forgetExchangeLocked()
	for i := range s.legs {
		s.legs[i].wipe()
	}
	s.anchor.forget(s)
}

// forgetExchangeLocked drops the last offer with the keys that it holds and no leg uses.
func (s *Session) forgetExchangeLocked() {
	x := s.last
	if x == nil {
		return
	}
	leg := &s.legs[x.from]
	x.crypto.key.Wipe() // the leg has a copy
	if x.ours != nil && x.ours != leg.ours {
		x.ours.Key.Wipe()
	}
	clear(x.out)
	s.last = nil
}

// prepareLocked takes the ports before the first offer.
func (s *Session) prepareLocked() *Error {
	if s.closed {
		return fail(500, verdict.Internal, "the session is closed")
	}
	if s.relay != nil {
		return nil
	}
	var hosts, told [2]netip.Addr
	for i := range s.legs {
		if err := s.legs[i].prepare(s.anchor.random); err != nil {
			return err
		}
		hosts[i], told[i] = s.legs[i].host, s.legs[i].told
	}
	r, err := s.anchor.bind(hosts, told)
	switch {
	case errors.Is(err, mediaport.ErrExhausted):
		return fail(503, verdict.PortsExhausted, err.Error())
	case err != nil:
		return fail(500, verdict.Internal, err.Error())
	}
	s.watchStrangersLocked(r)
	s.relay = r
	s.legs[A].port, s.legs[B].port = r.Port(0), r.Port(1)
	return nil
}
